# Submissions from elsewhere: runs of the config that are a file.

_theirs = "|".join(runs.submissions(config))
# a run is made by the rules of one kind or of the other, never by both
THEIRS = _theirs or r"(?!)"
_but_theirs = rf"(?!(?:{_theirs})(?:\.json|/submission\.json)$)" if _theirs else ""
OURS = rf"{_but_theirs}[A-Za-z0-9_]+(-seed\d+)?"


@says_its_line
def get_theirs(name):
    """Name, dataset and file of a submission from elsewhere."""
    entry = config["runs"][name]
    dataset = entry.get("dataset", config["dataset"])
    runs.check_dataset(config, dataset)
    if not Path(entry["submission"]).is_file():
        raise InputError(
            f"config: runs/{name}/submission: {places.missing(entry['submission'])}, expected a submission"
        )
    return {"name": name, "dataset": dataset, "submission": entry["submission"]}
