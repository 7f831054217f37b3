# What the archive of a run holds.


def get_archived(wildcards):
    """By its name in the archive the file, or the folder of an adapter."""
    run = get_run(wildcards.run)
    folder = f"results/runs/{run.name}"
    entry = config["datasets"].get(run.dataset, {})
    solved = "challenges" not in entry or "solutions" in entry
    files = {
        "tasks.json": (get_solved_tasks_file if solved else get_challenges_file)(run.dataset),
        "model.json": f"results/models/{run.model}.json",
        "folds.json": f"{run.store('folds')}/folds.json",
        "submission.json": f"{folder}/submission.json",
        "fallbacks.json": f"{folder}/fallbacks.json",
    }
    if solved:
        files["score.json"] = f"results/score_{run.name}.json"
    # a page of the score, if somebody has asked for it
    if Path(f"results/score_{run.name}.html").is_file():
        files["score.html"] = f"results/score_{run.name}.html"
    if wildcards.adapters:
        files |= {f"adapters/fold-{fold}": f"{run.store('adapters')}/fold-{fold}" for fold in range(run.folds)}
    return files


@of_wildcards
def archived_files(wildcards):
    check_run(wildcards.run)
    return list(get_archived(wildcards).values())
