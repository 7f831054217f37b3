# `cores: all` are those of the machine for Snakemake; in a container with a quota they are what the quota leaves.
from snakemake.resources import Resource
from snakemake.utils import available_cpu_count

from arcfold.jobs.quota import cores_within_quota

if workflow.is_main_process and workflow.global_resources["_cores"].value == available_cpu_count():
    cores_ = cores_within_quota(available_cpu_count())
    if cores_ < available_cpu_count():
        print(f"cores: {cores_} of {available_cpu_count()}, the quota of this container", file=sys.stderr)
        workflow.global_resources["_cores"] = Resource("_cores", cores_)
