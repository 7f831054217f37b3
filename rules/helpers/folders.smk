# What is done before the first job: is there a place that this user may not write to?
from arcfold.jobs.folders import check_own_folder, check_writable


def check_folders(outputs):
    """Ends the workflow with a line if files are to be made where this user may not."""
    for folder in sorted({Path(output).parent for output in outputs}):
        check_folder(folder)


@says_its_line
def check_folder(folder):
    check_writable([folder])


if workflow.is_main_process:
    says_its_line(check_own_folder)()


onstart:
    jobs = tuple(workflow.dag.needrun_jobs())
    check_folders(output for job in jobs for output in job.output)
    if workflow.executor_plugin.name == "slurm":
        watch_slurm()
    if config["workers"]:
        write_job_files(jobs)
    if IN_TIME:
        begin_in_time(jobs)
