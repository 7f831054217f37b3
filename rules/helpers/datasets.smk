# What a dataset is made from, and the files that hold it.


@says_its_line
def get_dataset_identity(dataset, solved):
    """What the tasks of a dataset depend on; of files it is the content."""
    runs.check_dataset(config, dataset)
    return dataset_identity(config, dataset, solved=solved)


@says_its_line
def get_data_source(dataset):
    """Where a dataset's tasks come from, in words."""
    return dataset_source(config, dataset)


@says_its_line
def get_challenges_file(dataset):
    """The tasks of a dataset without the outputs of their tests: all that a run may see before it is scored."""
    runs.check_dataset(config, dataset)
    return f"results/challenges/{dataset}.json"


@says_its_line
def get_subset_files(subset, key):
    if subset not in config["subsets"]:
        raise InputError(f"subset {subset}: unknown, expected one of {', '.join(config['subsets'])}")
    return [runs.tasks_file(config, dataset) for dataset in config["subsets"][subset][key]]


@says_its_line
def get_solved_tasks_file(dataset):
    """The tasks of a run that can be scored: those of a dataset whose solutions are known."""
    entry = config["datasets"].get(dataset, {})
    if "challenges" in entry and "solutions" not in entry:
        raise InputError(
            f"dataset {dataset}: no solutions to score against, expected a key datasets/{dataset}/solutions "
            "(ask for results/runs/{run}/submission.json instead)"
        )
    return runs.tasks_file(config, dataset)


@says_its_line
def get_tasks_file_with(dataset, task):
    """The tasks of a dataset that has a task of that id."""
    ids = [known.id for known in load_dataset(config, dataset)]
    if task not in ids:
        raise InputError(f"task {task}: none of {dataset}{runs.guess(task, ids)}, expected the id of one of its tasks")
    return runs.tasks_file(config, dataset)
