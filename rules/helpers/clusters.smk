# What SLURM is asked: before the first job whether its partitions can run the jobs at all, and why it ended one.
from arcfold.jobs import slurm
from arcfold.terminal.cluster import SaysWhy


def watch_slurm():
    check_limits()
    logger_ = workflow.logger_manager.logger
    logger_.addFilter(SaysWhy(logger_, slurm.why_failed))


@says_its_line
def check_limits():
    slurm.check_requests(map(slurm_request, jobs_to_submit()), slurm.ask_limits())


def jobs_to_submit():
    """The jobs and groups that will go to the cluster."""
    dag = workflow.dag
    # of jobs that need not run again Snakemake knows no group, so it cannot be asked for the groups of all
    for job in dict.fromkeys(dag.get_job_group(job) or job for job in dag.needrun_jobs()):
        if not job.is_local:
            yield job


def slurm_request(job):
    """What a job or group will ask for at its first attempt."""

    def number(name):
        value = job.resources.get(name)
        return value if isinstance(value, int) else None

    rules = sorted({part.rule.name for part in job.jobs}) if job.is_group() else [job.rule.name]
    partition = job.resources.get("slurm_partition")
    return slurm.Request(
        what=", ".join(rules),
        partition=None if partition is None else str(partition),
        minutes=number("runtime"),
        memory_mib=number("mem_mb"),
        gpus=number("gpu") or 0,
    )
