import io
import os

import pytest
from made_reports import made_study, made_tasks
from rich.console import Console

from arcfold.arc.misses import Reason
from arcfold.jobs.files import write_json
from arcfold.terminal.drawing import comparison, results_table
from arcfold.terminal.results import (
    WORDS,
    Result,
    Seeds,
    beside,
    comparisons_of,
    endings,
    missed,
    plain,
    report,
    result_of,
)


@pytest.fixture(scope="module")
def study():
    return made_study(made_tasks(12, longest=8), 2, 3)


@pytest.fixture
def scores(study, tmp_path):
    """Score files of two configurations with three seeds each."""
    for run, score in study.scores.items():
        write_json(tmp_path / f"score_{run}.json", score, "score")
    return tmp_path


def test_a_result_is_what_the_file_says(study, scores):
    run = study.names[0]
    score = study.scores[run]
    result = result_of(scores / f"score_{run}.json")
    assert (result.run, result.score, result.oracle) == (run, score["score"], score["oracle"])
    outputs = [output for task in score["tasks"].values() for output in task["outputs"]]
    assert result.n_outputs == len(outputs)
    assert sum(result.missed.values()) == sum(not output["correct"] for output in outputs)
    held = [
        fold["total"] - fold["import"] - fold["wait for a device"]
        for folds in score["provenance"]["seconds_of_folds"].values()
        for fold in folds
    ]
    assert result.seconds == pytest.approx(sum(held))


def test_seeds_are_the_scores_beside_it_that_differ_in_nothing_else(study, scores):
    first = study.names[0]
    path, score = scores / f"score_{first}.json", study.scores[first]
    assert list(beside(path, score)) == [f"score_{run}.json" if run != first else first for run in study.names[:3]]
    # other settings, other tasks, a file that is none: no seeds of it
    other = study.scores[study.names[1]]
    changed = {**other["provenance"]["run"], "seed": 7, "folds": 3}
    write_json(scores / f"score_{first}-seed7.json", {**other, "provenance": {**other["provenance"], "run": changed}})
    again = {**other["provenance"]["run"], "seed": 8}
    data = {**other["data"], "sha256": "0" * 64}
    write_json(
        scores / f"score_{first}-seed8.json",
        {**other, "data": data, "provenance": {**other["provenance"], "run": again}},
    )
    (scores / f"score_{first}-seed9.json").write_text("{}")
    # a deadline cut its settings, or left folds out
    for seed, more in ((10, {"cuts": [{"fold": 0, "settings": {"search": {"views": 2}}}]}), (11, {"complete": False})):
        run = {**other["provenance"]["run"], "seed": seed}
        made = {**other, **more, "provenance": {**other["provenance"], "run": run}}
        write_json(scores / f"score_{first}-seed{seed}.json", made, "score")
    # the same seed under another name counts once
    write_json(scores / f"score_{first}-seed0.json", score)
    assert len(beside(path, score)) == 3
    assert len(beside(scores / f"score_{study.names[2]}.json", study.scores[study.names[2]])) == 3


def test_with_seeds_the_mean_and_its_interval_stand_beside_the_score(study, scores):
    seeds = result_of(scores / f"score_{study.names[1]}.json").seeds
    values = [study.scores[run]["score"] for run in study.names[:3]]
    assert seeds.number == 3
    assert seeds.mean == pytest.approx(sum(values) / 3, abs=1e-3)
    low, high = seeds.interval
    assert 0 <= low < seeds.mean < high <= 100


def test_one_seed_alone_has_none(study, tmp_path):
    path = tmp_path / f"score_{study.names[0]}.json"
    write_json(path, study.scores[study.names[0]], "score")
    assert result_of(path).seeds is None


RESULT = Result(
    "results/score_made.json", "8folds", 90.625, 93.75, 18, {"not_found": 1, "ranked_later": 2}, 104.2,
    Seeds(3, 89.5, (80.25, 94.0)),
)  # fmt: skip


def test_the_lines_have_score_interval_oracle_misses_seconds_and_the_command_of_the_page():
    assert plain(RESULT, []) == [
        "8folds: score 90.62 %, mean of 3 seeds 89.50 % (95 % interval 80.2 to 94.0), oracle 93.75 %, "
        "device time 1 min 44 s",
        "  missed 3 of 18 outputs: 2 ranked third or later, 1 not found",
        "  report: snakemake results/score_made.html",
    ]
    bare = Result("results/score_made.json", "theirs", 50.0, None, 2, {}, None, None)
    assert plain(bare, []) == ["theirs: score 50.00 %", "  report: snakemake results/score_made.html"]


def test_every_reason_has_its_words():
    assert set(WORDS) == set(Reason)
    assert "1 made up" in missed(Result("", "", 0, None, 1, {"made_up": 1}, None, None))


def test_a_page_that_is_newer_than_the_score_is_named_else_the_command_with_its_options(scores, study):
    path = scores / f"score_{study.names[0]}.json"
    page = path.with_suffix(".html")
    arguments = ["results/score_x.json", "-n", "--cores", "2", "--configfile", "a b.yaml", "--config", "seed=1"]
    command = f"snakemake {page} --configfile 'a b.yaml' --config seed=1"
    assert report(str(path), arguments) == command
    page.touch()
    os.utime(path, (1, 1))
    assert report(str(path), arguments) == str(page)
    os.utime(page, (0, 0))
    assert report(str(path), arguments) == command


def test_files_that_are_no_scores_are_passed_over_and_many_are_cut(scores, study):
    paths = [str(scores / f"score_{run}.json") for run in study.names]
    (scores / "score_broken.json").write_text('{"score": 1}')
    lines = endings([*paths, str(scores / "score_broken.json"), "results/runs/8folds/files.json"], [])
    assert [line.partition(":")[0] for line in lines if not line.startswith(" ")] == study.names
    many = endings(paths * 3, [])
    assert many[-1] == "and 6 more runs"


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_screen(width):
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=True)
    console.print(results_table([RESULT, Result("x", "theirs", 50.0, None, 2, {}, None, None)], []))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].split() == ["run", "score", "seeds", "mean", "95", "%", "oracle", "device", "time"]
    assert " ".join(lines[1].split()) == "8folds 90.62 % 3 89.50 % 80.2 to 94.0 93.75 % 1 min 44 s"
    assert lines[2].split() == ["theirs", "50.00", "%", "1", "-", "-", "-", "-"]
    assert "8folds: missed 3 of 18 outputs: 2 ranked third or later, 1 not found" in lines


def test_a_comparison_ends_with_its_sentences_and_its_page(study, tmp_path):
    path = str(tmp_path / "compare_made.json")
    write_json(path, study.comparison, "compare")
    (pair,) = study.comparison["pairs"]
    assert comparisons_of([path, str(tmp_path / "score_x.json")]) == {path: [pair["sentence"]]}
    page = path.replace(".json", ".html")
    assert endings([path], []) == [f"{path}: report: snakemake {page}"]
    console = Console(file=io.StringIO(), width=300, color_system=None)
    console.print(comparison(path, [pair["sentence"]] * 20, []))
    lines = console.file.getvalue().splitlines()
    assert lines == [*[pair["sentence"]] * 12, "and 8 more pairs", f"{path}: report: snakemake {page}"]
