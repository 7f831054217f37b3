# Paths and settings of the stages in results/store/, and of the links that a run has to them.


@of_wildcards
def get_split(wildcards):
    """Number of folds and seed of a folder of the store: (8, 0) for '8folds-seed0'."""
    folds, seed = checked_split(wildcards.dataset, wildcards.split)
    check_fold(f"{wildcards.dataset}/{wildcards.split}", int(wildcards.get("fold", 0)), folds)
    return folds, seed


@of_wildcards
def get_seed(wildcards):
    return get_split(wildcards)[1]


@of_wildcards
def get_challenges_of_dataset(wildcards):
    return get_challenges_file(wildcards.dataset)


@says_its_line
def checked_split(dataset, split):
    runs.check_dataset(config, dataset)
    return runs.split_of(split, dataset, count_tasks(config, dataset, cache=KNOWN))


@says_its_line
def check_run(name):
    """A run whose tasks nothing has seen that it starts from, and that can be trained on and searched."""
    get_leaks(name)
    for member in get_run(name).members:
        check_fit_of(member)


@says_its_line
def check_fold(of, fold, folds):
    runs.check_fold(of, fold, folds)


def in_store(stage, name):
    """The path of a run's file in the store."""

    @of_wildcards
    def path(wildcards):
        check_run(wildcards.run)
        check_fold(f"run {wildcards.run}", int(wildcards.get("fold", 0)), get_run(wildcards.run).folds)
        return f"{get_store(wildcards.run, stage)}/{name.format(**wildcards)}"

    return path


@says_its_line
def get_store(name, stage):
    """The folder of a run's files of a stage."""
    return get_run(name).store(stage)


def all_in_store(stage):
    """The paths of a stage's files in the store, one for each fold of the run; of an ensemble those of its members."""

    @of_wildcards
    def paths(wildcards):
        check_run(wildcards.run)
        return paths_in_time(wildcards.run, stage) if IN_TIME else get_run(wildcards.run).paths(stage)

    return paths


def linked_in_store(stage):
    """The paths of those of a stage's files that the run's folder has links to."""

    @of_wildcards
    def paths(wildcards):
        check_run(wildcards.run)
        return paths_in_time(wildcards.run, stage) if IN_TIME else get_run(wildcards.run).linked(stage)

    return paths


@of_wildcards
def get_other_scorings(wildcards):
    """What the rescored files of an ensemble are joined from; a run of one configuration has none."""
    run = get_run(wildcards.run)
    return [] if run.scorings() == run.paths("rescored") else run.scorings()


@of_wildcards
def get_scorings(wildcards):
    return paths_in_time(wildcards.run, "rescored") if IN_TIME else get_run(wildcards.run).scorings()


def get_run_file(name):
    """A file in a run's folder."""

    @of_wildcards
    def path(wildcards):
        return f"results/runs/{wildcards.run}/{name}"

    return path


@of_wildcards
def get_solved_tasks_of_run(wildcards):
    return get_solved_tasks_file(get_run(wildcards.run).dataset)


@of_wildcards
def get_model_records(wildcards):
    """The records of a run's base models."""
    return [f"results/models/{model}.json" for model in get_run(wildcards.run).models]


@functools.cache
def get_earlier_folder(stage, earlier, dataset, split, key):
    """The folder of an earlier stage's files for a store folder of `stage`."""
    return runs.store_path(earlier, dataset, *checked_split(dataset, split), get_settings(stage, key))


def earlier_in_store(stage, earlier, name):
    """The path of an earlier stage's file for a store folder of `stage`."""

    @of_wildcards
    def path(wildcards):
        folder = get_earlier_folder(stage, earlier, wildcards.dataset, wildcards.split, wildcards.key)
        return f"{folder}/{name.format(**wildcards)}"

    return path


def stage_param(stage, section, key=None):
    """The slice of the settings that one section names, or the value of one key in it."""

    @of_wildcards
    def settings(wildcards):
        found = get_settings(stage, wildcards.key)[section]
        return found if key is None else found[key]

    return settings


def stage_model_record(stage):
    @of_wildcards
    def path(wildcards):
        return f"results/models/{get_settings(stage, wildcards.key)['model']}.json"

    return path


def stage_model_inputs(stage):
    @of_wildcards
    def paths(wildcards):
        return get_model_inputs(get_settings(stage, wildcards.key)["model"])

    return paths


def stage_model_folder(stage):
    @of_wildcards
    def path(wildcards):
        return get_model_folder(get_settings(stage, wildcards.key)["model"])

    return path


def stage_model_loading(stage):
    @of_wildcards
    def loading(wildcards):
        return get_model_loading(get_settings(stage, wildcards.key)["model"])

    return loading


@says_its_line
def check_target(path):
    checksums.check([path])


def whole(target):
    """An input without files that ends with one line for a target that does not match its hash.

    What is asked for and up to date is used as it is, and no job looks at it.
    """

    def nothing(wildcards):
        check_target(target.format(**wildcards))
        return []

    return nothing


def run_param(section):
    @of_wildcards
    def settings(wildcards):
        return get_run(wildcards.run).settings[section]

    return settings


def run_steps(wildcards):
    """The folders of the store that a run is made of; under a deadline those that it would be made of, and the budget."""
    steps = get_run(wildcards.run).steps()
    return steps | {"budget": f"{in_run(wildcards.run)}/budget.json"} if IN_TIME else steps


def link_marker(name):
    """A file that is newer than a run's link if the link leads elsewhere than the config says.

    Links are made by `link_run` too, of which Snakemake knows nothing when one is asked for by name.
    """

    @of_wildcards
    def path(wildcards):
        link = Path(f"results/runs/{wildcards.run}/{name.format(**wildcards)}")
        stage = {"folds.json": "folds"}.get(name, name.partition("/")[0])
        target = f"{get_store(wildcards.run, stage)}/{link.name}"
        stale = link.is_symlink() and os.path.normpath(link.parent / os.readlink(link)) != target
        return marker(link, stale)

    return path


def get_link_target(wildcards, input, output):
    """The path from a link's folder to what it shows."""
    return os.path.relpath(input.file, Path(output[0]).parent)


@says_its_line
def get_adapter_folder(name):
    """The folder of a pretrained adapter: the config's, or the one that a rule makes."""
    if name not in config["adapters"]:
        return f"results/adapters/{name}"
    folder = config["adapters"][name]["path"]
    if not Path(folder).is_dir():
        raise InputError(f"config: adapters/{name}/path: {places.missing(folder, 'folder')}, expected an adapter")
    return folder


@of_wildcards
def get_init(wildcards):
    """The pretrained adapter that a fold starts from, if any."""
    init = get_settings("adapters", wildcards.key)["training"].get("init")
    return [] if init is None else get_adapter_folder(init)  # a path, not a list of one


def what_stays(adapters):
    """What stays of adapters when their folds are rescored, and says how they were trained."""

    @of_wildcards
    def paths(wildcards):
        return [path if config["keep_adapters"] else f"{path}.json" for path in adapters(wildcards)]

    return paths


def outputs_of_training(folder):
    """A fold's adapter, which may be temporary; what is not comes first, since its record is asked whether it is stale.

    A folder is many objects in storage, and an upload may end in the middle of them. So the report goes there last.
    """
    if config["keep_adapters"] and STORED:
        return {"folder": directory(folder), "report": f"{folder}.json"}
    if config["keep_adapters"]:
        return {"folder": directory(folder)}
    return {"report": f"{folder}.json", "folder": temp(directory(folder))}


@of_wildcards
def get_sign_of_whole_adapter(wildcards):
    """What object storage has only of a whole adapter."""
    return f"{earlier_in_store('candidates', 'adapters', 'fold-{fold}')(wildcards)}.json" if STORED else []


@of_wildcards
def adapter_that_stays(wildcards):
    refuse_temporary(wildcards.run)
    return in_store("adapters", "fold-{fold}")(wildcards)


@says_its_line
def refuse_temporary(run):
    if not config["keep_adapters"]:
        raise InputError(f"run {run}: its adapters do not stay, expected keep_adapters: true in the config")
