"""One bad task or fold does not cost the rest: what cannot be had is named, counted, and tried again."""

from __future__ import annotations

import os

import pytest
from safetensors.torch import load_file, save_file
from tiny_workflow import TASKS, Workflow, refused, without_outputs

from arcfold.jobs.files import check_schema, without_provenance
from arcfold.jobs.holes import leave_hole, read_hole

LARGE = [[1] * 30] * 30
# its test input alone is too long for a search of 1200 tokens; the demonstrations of the second also for a sample
BIG = {"train": TASKS["first"]["train"], "test": [{"input": LARGE, "output": [[1]]}, {"input": [[5]], "output": [[5]]}]}
HUGE = {"train": [{"input": LARGE, "output": LARGE}], "test": [{"input": LARGE, "output": LARGE}]}
LARGER = {"big": BIG, "huge": HUGE}
CONTEST = {name: without_outputs(task) for name, task in {"second": TASKS["second"], "huge": HUGE}.items()}
SCORE = "results/score_tiny.json"
SUBMISSION = "results/runs/tiny/submission.json"
FALLBACKS = "results/runs/tiny/fallbacks.json"
SHORT = {"training": {"longest": 1200}, "search": {"longest": 1200}}
CONFIG = {
    "datasets": {"larger": {"tasks": "larger.json"}, "contest": {"challenges": "contest.json"}},
    "settings": SHORT,
}


@pytest.fixture
def larger(fresh: Workflow) -> Workflow:
    fresh.write("larger.json", LARGER)
    fresh.write("contest.json", CONTEST)
    return fresh


def holes(workflow: Workflow) -> list[str]:
    return [str(path) for path in workflow.path("results/store").rglob("*") if read_hole(path)]


def test_solved_tasks_that_cannot_fit_are_named_all_at_once_before_anything_runs(larger):
    call = larger("results/score_larger_tiny.json", **CONFIG)
    refused(call, "run larger_tiny: 2 of its tasks cannot fit: big, huge", "1863 tokens", "longest", "keep_going: true")
    assert not larger.path("results").exists()


@pytest.mark.slow
def test_what_cannot_fit_is_skipped_without_solutions_and_wrong_with_keep_going(larger):
    """One task a fold: one whole fold has nothing to train on and nothing to search."""
    call = larger("results/runs/contest_tiny/submission.json", **CONFIG)
    assert call.status == 0, call.said
    line = "warning: run contest_tiny: 1 of 2 test inputs were not searched; the fallback answers them"
    assert line in call.said
    submission = larger.read("results/runs/contest_tiny/submission.json")
    check_schema(submission, "submission", "submission")
    assert {name: len(outputs) for name, outputs in submission.items()} == {"second": 1, "huge": 1}
    blank = [[0] * 30] * 30
    assert submission["huge"] == [{"attempt_1": LARGE, "attempt_2": blank}]
    report = larger.read("results/runs/contest_tiny/fallbacks.json")
    check_schema(report, "fallbacks", "fallbacks")
    assert (report["n_outputs"], report["complete"], report["failed"]) == (2, False, [])
    reason = "needs 1863 tokens without any demonstration, expected at most 1200 (search/longest)"
    assert report["tasks"]["huge"] == {"0": f"test[0] {reason}"}
    # huge is right by luck: its output is its input, but nobody has searched for it
    call = larger("results/score_larger_tiny.json", keep_going=True, **CONFIG)
    assert call.status == 0, call.said
    score = larger.read("results/score_larger_tiny.json")
    assert (score["complete"], score["n_outputs"], score["failed"]) == (False, 3, [])
    (output,) = score["tasks"]["huge"]["outputs"]
    assert output == {
        "correct": False, "rank": None, "n_candidates": 0, "source": "fallback", "hole": f"test[0] {reason}",
        "reason": "did_not_fit",
    }  # fmt: skip
    assert ["hole" in output for output in score["tasks"]["big"]["outputs"]] == [True, False]
    assert score["n_fallback"] == sum(
        output["n_candidates"] == 0 for task in score["tasks"].values() for output in task["outputs"]
    )
    untrained = next(fold for fold in score["folds"] if fold["first_loss"] is None)
    report = larger.read(f"results/runs/larger_tiny/adapters/fold-{untrained['fold']}/training.json")
    assert (report["steps"], report["losses"]) == (0, [])
    assert report["notes"][-1].startswith("task huge is left out: a demonstration alone has 18")
    # asked for again there is nothing to try: no job has failed
    again = larger("results/score_larger_tiny.json", keep_going=True, **CONFIG)
    assert "Nothing to be done" in again.said


@pytest.mark.slow
def test_a_fold_that_fails_is_left_out_and_made_up_for_when_its_cause_is_mended(copy):
    """The weights of one adapter are damaged, so that its search fails for good."""
    complete, attempts = copy.read(SCORE), copy.read(SUBMISSION)
    weights = copy.path("results/runs/tiny/adapters/fold-1").resolve() / "adapter_model.safetensors"
    content, times = weights.read_bytes(), weights.stat()
    made = {"search_candidates": 1, "rescore_candidates": 1, "link_run": 1, "select_attempts": 1, "score_run": 1}
    for stage in ("candidates", "rescored"):
        copy.path(f"results/runs/tiny/{stage}/fold-1.json").resolve().unlink()
    weights.write_bytes(content[:40])
    # with a hash the damage would be known, and end whoever reads it
    sums = weights.parents[1] / "SHA256SUMS"
    hashes = sums.read_bytes()
    sums.unlink()
    call = copy(SCORE, "--forcerun", "select_attempts", "link_run", keep_going=True)
    assert call.status == 0, call.said
    assert "warning: run tiny: fold 1 is left out, since search_candidates failed: " in call.said
    assert holes(copy) == []
    assert not copy.path("results/runs/tiny/candidates/fold-1.json").is_symlink()
    files = copy.read("results/runs/tiny/files.json")
    check_schema(files, "files", "files")
    assert [failed["path"] for failed in files["failed"]] == ["candidates/fold-1.json", "rescored/fold-1.json"]
    score, submission = copy.read(SCORE), copy.read(SUBMISSION)
    check_schema(score, "score", SCORE)
    (failed,) = score["failed"]
    assert (failed["fold"], failed["rule"]) == (1, "search_candidates")
    lost = copy.read("results/runs/tiny/folds.json")["folds"][1]
    assert score["complete"] is False
    assert submission.keys() == attempts.keys()
    for name, task in score["tasks"].items():
        if name in lost:
            assert all(output["source"] == "fallback" and not output["correct"] for output in task["outputs"])
        else:
            assert task == complete["tasks"][name]
            assert submission[name] == attempts[name]
    # mended, just the fold is made, whatever it is that is asked for
    weights.write_bytes(content)
    sums.write_bytes(hashes)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert copy("--dry-run", SCORE).jobs == made
    assert copy(SCORE).status == 0
    assert without_provenance(copy.read(SCORE)) == without_provenance(complete)
    assert copy.read(SUBMISSION) == attempts
    assert "Nothing to be done" in copy("--dry-run", SCORE).said


def test_a_hole_that_a_killed_run_left_is_no_result(copy):
    left = copy.path("results/runs/tiny/rescored/fold-0.json").resolve()
    store = left.relative_to(copy.path("results").resolve())
    copy.path(f"results/records/{store}.json").unlink()  # a job forgets it before it begins
    leave_hole(left, "rescore_candidates", ValueError("killed"))
    made = {"rescore_candidates": 1, "link_run": 1, "select_attempts": 1, "score_run": 1}
    assert copy("--dry-run", SCORE).jobs == made
    assert copy("--dry-run", SCORE, "--rerun-triggers", "mtime", keep_going=True).jobs == made


@pytest.mark.slow
def test_a_run_of_which_every_fold_diverges_has_no_score(fresh):
    # finite weights whose logits are not
    path = fresh.path("models/bigram/model.safetensors")
    weights = load_file(path)
    head = weights["lm_head.weight"].float()
    weights["lm_head.weight"] = head * (3e38 / head.abs().max())
    weights["model.norm.weight"] = weights["model.norm.weight"].float() * 1e10
    save_file(weights, path, metadata={"format": "pt"})
    call = fresh("results/score_1folds.json", keep_going=True)
    assert call.status == 1
    assert "error: run 1folds: not one test input was searched (fold 0: train_adapter failed: training: " in call.said
    assert holes(fresh) == []
    assert not fresh.path("results/score_1folds.json").exists()
    assert not fresh.path("results/runs/1folds/submission.json").exists()
    # what is asked for by its own name is there or the call has failed
    call = fresh("results/runs/1folds/adapters/fold-0", keep_going=True)
    assert call.status == 1
    assert "results/runs/1folds/adapters/fold-0: training: " in call.said
    assert holes(fresh) == []
    assert not fresh.path("results/runs/1folds/adapters/fold-0").is_symlink()
