# Which files and which part of the config a dataset is made from.


@says_its_line
def get_dataset_files(dataset):
    runs.check_dataset(config, dataset)
    return dataset_files(config, dataset)


@says_its_line
def get_dataset_config(dataset):
    """The entries of the config that a dataset is made by, in the config's layout."""
    runs.check_dataset(config, dataset)
    return dataset_entries(config, dataset)


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
