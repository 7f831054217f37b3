# Ensembles: the steps that put their members together. What stands for what is in arcfold.runs.ensembles.


def get_members(stage, wildcards):
    """The members behind a folder of the store."""
    return checked_members(stage, wildcards.key, wildcards.dataset)


@says_its_line
def checked_members(stage, key, dataset):
    runs.check_dataset(config, dataset)
    return tuple(ensembles.members_of(get_settings(stage, key), dataset))


def get_scoring(stage, wildcards):
    """The number of the member that scores in a folder of the store."""
    return get_settings(stage, wildcards.key)["of"]


def get_scoring_member(wildcards):
    return get_members("others_rescored", wildcards)[get_scoring("others_rescored", wildcards)]


def members_folds(stage):
    """The folds.json of every member."""
    return lambda wildcards: [f"{member.store('folds')}/folds.json" for member in get_members(stage, wildcards)]


def members_paths(stage, of):
    """The files of a stage of all members, one member behind the other."""
    return lambda wildcards: [path for member in get_members(stage, wildcards) for path in member.paths(of)]


def members_others_rescored(wildcards):
    """What each member says of the others' candidates."""
    content = get_settings("ensembles", wildcards.key)
    return [
        path
        for number, member in enumerate(get_members("ensembles", wildcards))
        for path in runs.paths_in(
            ensembles.store_of("others_rescored", content, wildcards.dataset, number), "rescored", member.folds
        )
    ]


def get_others(wildcards):
    """The candidates that a member is to score for the others."""
    content = get_settings("others_rescored", wildcards.key)
    folder = ensembles.store_of("others", content, wildcards.dataset, content["of"])
    return f"{folder}/fold-{wildcards.fold}.json"


def get_number_of_folds(stage):
    return lambda wildcards: [member.folds for member in get_members(stage, wildcards)]
