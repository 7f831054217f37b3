# Pretrained adapters, corpora, and the base models that are trained from these.


@says_its_line
def get_pretraining(name):
    """Tasks file, base model and training settings of a pretrained adapter, by its name."""
    subset, rank = subset_of_adapter(config, name)
    settings = runs.pretraining_settings(config, rank)
    check_layers(f"adapter {name}", config["model"], settings)
    return {"tasks": runs.tasks_file(config, subset), "model": config["model"], "settings": settings}


@says_its_line
def get_corpus(name):
    """The config's entry of a corpus."""
    if name not in config.get("corpora", {}):
        raise InputError(f"corpus {name}: unknown, expected one of {', '.join(config.get('corpora', {}))}")
    return config["corpora"][name]


@says_its_line
def get_recipe(name):
    """The config's entry of a base model that is trained here."""
    if name not in config.get("base_models", {}):
        raise InputError(f"base model {name}: unknown, expected one of {', '.join(config.get('base_models', {}))}")
    return config["base_models"][name]


@says_its_line
def get_archive(wildcards):
    """The archive that a corpus is read from, if it is read from one."""
    entry = get_corpus(wildcards.corpus)
    if "url" in entry:
        return {"archive": f"results/corpora/archives/{wildcards.corpus}.zip"}
    if "path" not in entry:
        return {}
    if not Path(entry["path"]).is_file():
        raise InputError(
            f"corpora/{wildcards.corpus}: {places.missing(entry['path'])}, expected a zip archive of JSON files"
            + (f": {entry['origin']}" if "origin" in entry else "")
        )
    return {"archive": entry["path"]}


def get_processes_of_corpus(wildcards):
    """Tasks of the families are made in as many processes as there are cores; whatever else is read in one."""
    return workflow.cores if "families" in get_corpus(wildcards.corpus) else 1


def get_fetched(key):
    """A key of a corpus that is fetched; a corpus that is not has no archive to make."""

    @says_its_line
    def value(corpus):
        if key not in get_corpus(corpus):
            raise InputError(f"corpus {corpus}: not fetched, expected a key corpora/{corpus}/{key}")
        return get_corpus(corpus)[key]

    return lambda wildcards: value(wildcards.corpus)


def get_shards(key):
    """The shards that a base model is trained on (`corpora`) or measured on (`held_out`)."""
    return lambda wildcards: [f"results/corpora/{corpus}" for corpus in get_recipe(wildcards.base).get(key, [])]


def get_earlier_model(wildcards):
    """The base model that a training goes on from, if there is one."""
    before = get_recipe(wildcards.base).get("goes_on_from")
    return [] if before is None else f"results/base_model/{before}"
