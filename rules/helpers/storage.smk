# Results in object storage, which Kubernetes needs: arcfold.jobs.stored says how paths stay as they are.
from arcfold.jobs import stored

STORED = workflow.storage_settings.default_storage_provider is not None
# What stands before a path of the workflow in that of the object's copy.
BEFORE_COPIES = ""


@says_its_line
def begin_with_storage():
    stored.check_config(config)
    stored.lay(BEFORE_COPIES)


if STORED:
    copy_ = workflow.modifier.path_modifier.apply_default_storage("x").flags["storage_object"].local_path()
    BEFORE_COPIES = f"{copy_.parent}/"
    begin_with_storage()
    config["workers"] = False  # their job files lie beside results
    # a job has the sources of the workflow and nothing else; the config's files and the schemas are among them
    workflow.configfiles.extend(stored.sources(config))
