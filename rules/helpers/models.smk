# Where base models lie, and how they are loaded.


@says_its_line
def get_model_entry(name):
    if name not in config["models"]:
        raise InputError(f"model {name}: unknown, expected one of {', '.join(config['models'])}")
    return config["models"][name]


@says_its_line
def get_model_folder(name):
    """The folder of the base model that the other rules use, its vocabulary cut if the config says so."""
    return f"results/models/{name}" if get_model_entry(name).get("cut") else get_model_origin(name)


def is_local_model(name):
    """Whether a base model is used as it lies in a folder of the user's."""
    return "path" in get_model_entry(name) and not get_model_entry(name).get("cut")


@says_its_line
def get_model_files(name):
    """The files of a local base model; the folder of one that a rule makes.

    With object storage those of a local one are no inputs: they are in the image that jobs run in.
    """
    if not is_local_model(name):
        return [get_model_folder(name)]
    files = get_model_origin_files(name)
    return [] if STORED else files


@functools.cache
def get_model_inputs(name):
    """What jobs read of a base model beside its record: the folder of one that a rule makes.

    Of a local one the record stands for the files, since it is made from them: a few files less for each job are a
    tenth of the dry run of hundreds of folds.
    """
    return [] if is_local_model(name) else [get_model_folder(name)]


@says_its_line
def get_model_origin(name):
    """The folder of a base model as its authors made it."""
    return get_model_entry(name).get("path", f"results/hub/{name}")


@says_its_line
def get_model_origin_files(name):
    entry, folder = get_model_entry(name), get_model_origin(name)
    if "path" not in entry:
        return [folder]
    try:
        return [f"{folder}/{file}" for file in read_files(folder)]
    except InputError as error:
        raise InputError(f"models/{name}: {error}; {how_to_get(name, entry)}") from None


@says_its_line
def get_files_to_cut(name):
    if not get_model_entry(name).get("cut"):
        raise InputError(f"models/{name}: used as it is, expected 'cut: true' there to make results/models/{name}")
    return get_model_origin_files(name)


@says_its_line
def get_origin(name):
    """Where a model comes from, in the config's words."""
    return {key: value for key, value in get_model_entry(name).items() if key in ("path", "hub", "revision")}


@says_its_line
def get_hub(name):
    """Organisation/name and revision of a model of the hub."""
    entry = get_model_entry(name)
    if "hub" not in entry:
        raise InputError(f"models/{name}: the local folder {entry['path']}, expected 'hub' and 'revision' to fetch it")
    return {key: entry[key] for key in ("hub", "revision")}


def get_place_on_hub(name):
    """Organisation/name and revision of a model that is used as the hub has it; nothing for any other."""
    entry = get_model_entry(name)
    return get_hub(name) if "hub" in entry and not entry.get("cut") else {}


def get_model_loading(name):
    """How a base model is loaded: its number type, and whether its weights are quantized."""
    entry = get_model_entry(name)
    return {"dtype": entry.get("dtype", "auto"), "quantization": entry.get("quantization", "none")}
