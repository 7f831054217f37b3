# What jobs get of the workflow where no file system is shared: Snakemake packs the folder of each rule's script, and stops
# at a script whose name depends on the rule.
if STORED:
    for rule_ in workflow.rules:
        if rule_.script and "{" in rule_.script:
            rule_.script = "../workflow_scripts/run_job.py"
