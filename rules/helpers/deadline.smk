# A deadline, or the budget of a run that had one: which paths stand for a run's files then, and what is done at the
# beginning and the end of a call.
from datetime import datetime, timedelta

from arcfold.jobs.files import hash_of

IN_TIME = "deadline" in config or "budget" in config
# The one run of the call that has the deadline.
ITS_RUN = set()

if IN_TIME:
    from arcfold.arc.datasets import prompt_lengths
    from arcfold.arc.folds import make_folds
    from arcfold.planning import budget as budgets
    from arcfold.planning.deadline import began, clock_of, moment_of
    from arcfold.planning.here import devices_of
    from arcfold.planning.rungs import rungs_of
    from arcfold.planning.so_far import NAME as SO_FAR
    from arcfold.planning.summary import said_of


@says_its_line
def check_in_time():
    """What the config must have for a deadline."""
    key = "deadline" if "deadline" in config else "budget"
    if "deadline" in config and "budget" in config:
        raise InputError("config: deadline and budget, expected one of the two: a budget is replayed without a clock")
    if not config["workers"]:
        raise InputError(f"config: {key}: needs workers that can be stopped, expected workers: true")
    if key == "deadline" and workflow.is_main_process:
        get_moment()
    # a fold without time must not cost the others
    config["keep_going"] = True


def get_moment():
    """When the command has to be done; a rehearsal is over as much earlier as it has fewer tasks."""
    deadline, of = config["deadline"], config.get("rehearsal_of")
    if of is not None and isinstance(deadline, str):
        raise InputError(f"config: rehearsal_of: deadline is {deadline!r}, expected minutes, which can be scaled")
    return moment_of(deadline * get_scale() if of is not None else deadline, began())


def get_scale():
    """The part of the real run's time that a rehearsal has."""
    tasks = count_tasks(config, get_run(next(iter(ITS_RUN), config["run"])).dataset, cache=KNOWN)
    return tasks / config["rehearsal_of"]


if IN_TIME:
    check_in_time()


def in_run(name):
    return f"results/runs/{name}"


@says_its_line
def paths_in_time(name, stage):
    """The links of a run's folder: what they will lead to nobody knows before the folds are done."""
    run = get_run(name)
    if len(run.members) > 1:
        raise InputError(f"run {name}: an ensemble has no deadline, expected one of its members")
    ITS_RUN.add(name)
    if len(ITS_RUN) > 1:
        raise InputError(f"deadline: {' and '.join(sorted(ITS_RUN))} are asked for, expected one run in a call")
    return runs.paths_in(f"{in_run(name)}/{stage}", stage, run.folds)


@of_wildcards
def get_init_of_run(wildcards):
    init = get_run(wildcards.run).settings["training"].get("init")
    return [] if init is None else get_adapter_folder(init)


def link_of_adapter(path):
    """What stays of a fold's adapter in the run's folder."""
    return directory(path) if config["keep_adapters"] else f"{path}.json"


@says_its_line
def get_replayed():
    """The budget that is replayed, if one is."""
    return budgets.Ledger(places.found(config["budget"])).read() if "budget" in config else None


@of_wildcards
def get_replayed_fold(wildcards):
    """What a budget that is replayed has decided for a fold: by step the rung."""
    budget = get_replayed()
    steps = {} if budget is None else budget["folds"].get(wildcards.fold, {"steps": {}})["steps"]
    return None if budget is None else {step: of["rung"] for step, of in steps.items()}


def get_code_in_time():
    scripts = ("fold_in_time", "train_adapter", "search_candidates", "rescore_candidates")
    return hash_of([get_code(script) for script in scripts], 16)


@functools.cache
def get_places(name):
    """The folds of a run by their prompt tokens, the fewest first: by fold, how many have more."""
    run = get_run(name)
    lengths = prompt_lengths(load_dataset(config, run.dataset))
    folds = make_folds(lengths, run.folds, run.seed, run.settings["folds"]["split"])
    order = sorted(range(run.folds), key=lambda fold: (-sum(lengths[task] for task in folds[fold]), fold))
    return {fold: place for place, fold in enumerate(order)}


@of_wildcards
def easy_first(wildcards):
    """What is short is done first, so that at any moment as many tasks as possible are."""
    return get_places(wildcards.run)[int(wildcards.fold)] if workflow.is_main_process else 0


def begin_in_time(jobs):
    """Fixes the clock, and writes the budget and the first submission."""
    asked = [job for job in jobs if job.rule.name == "fold_in_time"]
    if asked:
        begin_budget(asked[0].wildcards.run, frozenset(int(job.wildcards.fold) for job in asked))


@says_its_line
def begin_budget(name, folds):
    run = get_run(name)
    ITS_RUN.add(name)
    clock = None
    if "budget" not in config:
        clock = clock_of(get_moment(), began(), datetime.now().astimezone())
        if "rehearsal_of" in config:
            clock["scale"] = get_scale()
    budgets.begin(
        Path(in_run(name)) / "budget.json",
        run.to_json(),
        rungs_of({section: run.settings[section] for section in budgets.STEPS}, config.get("gives_way", [])),
        load_dataset(config, run.dataset),
        devices=devices_of(get_machine()),
        folds=folds,
        clock=clock,
        replayed=get_replayed(),
    )


def say_cuts():
    """What the deadline cost, where a run had one in this call."""
    for name in ITS_RUN if IN_TIME and workflow.is_main_process else ():
        for line in said_of(Path(in_run(name)) / "budget.json", time.time()):
            print(line, file=sys.stderr)
