# Workers: processes that outlive a job and keep what its start costs. A rule that they do has a client for a
# command; what the client hands over is the job's file, which is written here for all jobs before the first begins.
from arcfold.jobs.client import PARENT, count_devices, identity_of
from arcfold.jobs.request import write_request_of
from arcfold.jobs.workers import CLIENT, workers_folder

from snakemake.resources import Resource

WORKER_SCRIPTS = ("train_adapter", "pretrain_adapter", "search_candidates", "rescore_candidates", "fold_in_time")


@says_its_line
def get_client():
    """The command that hands a job to a worker, up to its log."""
    code = [get_code(script) for script in (*WORKER_SCRIPTS, "arcfold/worker/serve")]
    # where Snakemake deploys environments, the job's own Python is the first on its path
    python = "python" if workflow.deployment_settings.deployment_method else shlex.quote(sys.executable)
    command = f"{python} -I -S {shlex.quote(str(CLIENT))} {shlex.quote(str(workers_folder(config, code)))}"
    return command.replace("{", "{{").replace("}", "}}")


@says_its_line
def write_job_files(jobs):
    """Writes the files of all jobs that workers will do."""
    os.environ[PARENT] = identity_of(os.getpid())
    for job in jobs:
        if job.rule.shellcmd and job.params.get("script") in WORKER_SCRIPTS:
            write_request_of(job, job.rule.name, f"{job.params.script}.py", config)


# How many jobs may use a GPU at a time, as the caller says (`--resources gpu=4`). On this machine one more is begun for
# each device: it waits at a worker's door, so that what Snakemake does between two jobs costs no device a moment.
GPUS = getattr(workflow.global_resources.get("gpu"), "value", None)
if GPUS and config["workers"] and workflow.is_main_process and EXECUTOR == "local":
    workflow.global_resources["gpu"] = Resource("gpu", GPUS + min(GPUS, count_devices()))
