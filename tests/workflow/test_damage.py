"""One flipped bit in any file of a finished workflow: who reads it ends with a line that names it and the remedy."""

from __future__ import annotations

import base64
import logging
import os
import re
import runpy
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_workflow import Workflow, copied, refused

from arcfold.jobs import checksums
from arcfold.jobs.holes import read_hole
from arcfold.jobs.request import Values, read_request
from arcfold.models.folder import model_files
from arcfold.runs.verify import Findings, verify

MODELS = {"bigram": "models/bigram"}


@pytest.fixture(scope="module")
def shared(done: Workflow, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """A finished workflow whose files are damaged and mended again."""
    return copied(done, tmp_path_factory.mktemp("damaged"))


@pytest.fixture
def here(shared: Workflow, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workflow]:
    """The same, as the current folder."""
    monkeypatch.chdir(shared.folder)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    handlers = logging.root.handlers[:]
    yield shared
    logging.root.handlers[:] = handlers


def found(pattern: str) -> Path:
    """The first file of that pattern below results/."""
    return min(Path("results").glob(pattern))


def flip(path: Path) -> None:
    """Turns a bit in the middle, and keeps the time of the file, as a disk would."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def do_again(job: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Does a job from its file in this process; the last line of what it says if it fails."""
    given = read_request(job)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(given.script), init_globals={"snakemake": given}, run_name="__main__")
    assert ended.value.code == 1
    return capsys.readouterr().err.splitlines()[-1]


READERS = {
    "challenges/mine.json": "make_folds/mine/*/*.job.json",
    "tasks/mine.json": "score_run/tiny.job.json",
    "tasks/one.json": "find_new_tasks/others.job.json",
    "store/folds/mine/*/*/folds.json": "train_adapter/mine/*/*/fold-0.job.json",
    "models/bigram.json": "train_adapter/mine/*/*/fold-0.job.json",
    "store/adapters/mine/*/*/fold-0/adapter_model.safetensors": "search_candidates/mine/*/*/fold-0.job.json",
    "store/adapters/mine/*/*/fold-0/adapter_config.json": "search_candidates/mine/*/*/fold-0.job.json",
    "store/adapters/mine/*/*/fold-0/base.json": "rescore_candidates/mine/*/*/fold-0.job.json",
    "store/adapters/mine/*/*/fold-0/training.json": "score_run/tiny.job.json",
    "store/candidates/mine/*/*/fold-0.json": "rescore_candidates/mine/*/*/fold-0.job.json",
    "store/rescored/mine/*/*/fold-0.json": "select_attempts/tiny.job.json",
    "runs/tiny/submission.json": "score_run/tiny.job.json",
    "runs/tiny/files.json": "score_run/tiny.job.json",
}


@pytest.mark.parametrize("file", READERS)
def test_the_job_that_reads_a_damaged_file_ends_with_its_line(
    here: Workflow, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = found(file)
    folder = next(parent for parent in path.parents if (parent / "SHA256SUMS").exists())
    output = path.parent if path.parent.name == "fold-0" else path
    before = here.results()
    for damage in (flip, lambda path: os.truncate(path, path.stat().st_size // 2), lambda path: os.truncate(path, 0)):
        content = path.read_bytes()
        damage(path)
        line = do_again(found(f"logs/{READERS[file]}"), capsys)
        path.write_bytes(content)
        assert line == (
            f"error: {path}: does not match its hash in {folder}/SHA256SUMS (damaged or edited), "
            f"delete {'it' if output == path else output} and run the same command again"
        )
    assert here.results().keys() == before.keys()


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("reader", ["train_adapter", "search_candidates", "rescore_candidates"])
def test_the_files_of_a_base_model_are_those_of_its_record(
    here: Workflow, file: str, reader: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("models/bigram", file)
    assert file in model_files("models/bigram")
    flip(path)
    line = do_again(found(f"logs/{reader}/mine/*/*/fold-0.job.json"), capsys)
    flip(path)
    assert line == (
        f"error: {path}: does not match its hash in results/models/bigram.json (damaged or replaced), bring back what "
        "was there, or delete results/models/bigram.json for a new model, and run the same command again"
    )


def sums(workflow: Workflow) -> list[Path]:
    return sorted(workflow.path("results").rglob("SHA256SUMS"))


def passes(folder: Path) -> bool:
    done = subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder)
    return done.returncode == 0


def test_sha256sum_passes_in_every_folder_and_each_file_has_a_line(done: Workflow) -> None:
    paths = sums(done)
    results = done.path("results")
    assert {path.parent for path in paths} == {results, *results.glob("store/*/*/*/*")}
    assert all(passes(path.parent) for path in paths)
    listed = {str(path.parent / line[66:]) for path in paths for line in path.read_text().splitlines()}
    there = {
        str(path)
        for path in results.rglob("*")
        if path.is_file() and path.name not in ("SHA256SUMS", ".snakemake_timestamp") and not path.is_symlink()
        and path.relative_to(results).parts[0] not in checksums.WITHOUT_SUMS
        and not any(parent.is_symlink() for parent in path.parents)
    }  # fmt: skip
    assert listed == there


def test_sha256sum_passes_after_a_deletion_and_with_other_settings(copy: Workflow) -> None:
    copy.path("results/score_tiny.json").unlink()
    copy.path("results/runs/tiny/pictures/first.svg").unlink()
    call = copy("results/score_tiny.json", settings={"rescoring": {"views": 3}})
    assert call.status == 0, call.said
    assert all(passes(path.parent) for path in sums(copy))
    assert "pictures" not in copy.path("results/SHA256SUMS").read_text()
    assert len(list(copy.path("results/store/rescored/mine").glob("*/*/SHA256SUMS"))) == 2


def test_a_damaged_target_that_is_asked_for_is_named_and_made_again_when_it_is_deleted(copy: Workflow) -> None:
    path = copy.path("results/score_tiny.json")
    content = path.read_bytes()
    flip(path)
    refused(copy(), "results/score_tiny.json: does not match its hash in results/SHA256SUMS", "delete it and run")
    path.unlink()
    call = copy()
    assert call.jobs == {"all": 1, "score_run": 1, "report_run": 1}
    assert len(path.read_bytes()) > len(content) // 2
    assert passes(copy.path("results"))


def test_a_copy_of_the_results_in_a_new_clone_matches_its_sums(
    done: Workflow, fresh: Workflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["cp", "-r", str(done.path("results")), str(fresh.folder)], check=True)
    assert all(passes(path.parent) for path in sums(fresh))
    monkeypatch.chdir(fresh.folder)
    looked = verify(MODELS)
    assert looked == Findings(checked=looked.checked)
    assert looked.checked > 20


def test_verify_says_what_is_damaged_what_is_gone_and_what_nobody_knows(here: Workflow) -> None:
    adapter, candidates = found("store/adapters/mine/*/*/fold-0"), found("store/candidates/mine/*/*/fold-1.json")
    weights, score, picture = adapter / "adapter_model.safetensors", Path("results/score_tiny.json"), found("**/*.svg")
    whole = verify(MODELS)
    assert whole == Findings(checked=whole.checked)
    kept = {path: path.read_bytes() for path in (candidates, picture, adapter / "base.json")}
    flipped = (weights, score, Path("models/bigram/model.safetensors"))
    for path in flipped:
        flip(path)
    os.truncate(candidates, 0)
    picture.unlink()
    (adapter / "base.json").unlink()
    Path("results/notes.txt").write_text("mine")
    looked = verify(MODELS)
    assert sorted(looked.damaged) == sorted(map(str, [weights, adapter / "base.json", score, candidates]))
    assert sorted(looked.delete) == sorted(map(str, [adapter, score, candidates]))
    assert (looked.missing, looked.unknown) == ([str(picture)], ["results/notes.txt"])
    assert [line.partition(":")[0] for line in looked.models] == ["models/bigram/model.safetensors"]
    assert looked.checked == whole.checked - 5
    assert looked.lines()[-1].startswith("delete what is damaged, and ask for your target again: rm -r results/")
    for path in flipped:
        flip(path)
    Path("results/notes.txt").unlink()
    for path, content in kept.items():
        path.write_bytes(content)
    assert verify(MODELS) == whole


def test_verify_ends_with_status_1_where_something_is_damaged(copy: Workflow) -> None:
    path = copy.path("results/tasks/mine.json")
    flip(path)
    call = copy("verify_results", "--quiet", "all")
    refused(call, "results: 1 damaged")
    assert "rm -r results/tasks/mine.json" in call.said


def test_clean_store_lists_and_only_then_deletes_what_no_run_needs(
    copy: Workflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = {path.name: path for path in copy.path("results/store").iterdir()}
    before = copy.results()
    # no run has these settings any more; `lower` has others of its own for the search
    changed = {"settings": {"search": {"min_prob": 0.03}}}
    monkeypatch.delenv("ARCFOLD_DELETE", raising=False)
    call = copy("clean_store", "--quiet", "all", **changed)
    assert (call.status, copy.results()) == (0, before)
    listed = set(re.findall(r"MiB  (results/\S+)$", call.said, re.M))
    expected = {path for stage in ("candidates", "rescored") for path in stages[stage].glob("*/*/*")}
    assert {copy.path(name) for name in listed} == expected
    monkeypatch.setenv("ARCFOLD_DELETE", "yes")
    assert copy("clean_store", "--quiet", "all", **changed).status == 0
    left = copy.results()
    assert not any("store/candidates" in path or "store/rescored" in path for path in left)
    gone = before.keys() - left.keys()
    assert all("store/candidates" in path or "store/rescored" in path for path in gone)
    assert all(passes(path.parent) for path in sums(copy))


def test_killed_before_its_line_is_written_a_job_is_done_again_by_the_next_plain_command(copy: Workflow) -> None:
    """What a kill between the two leaves: the new file, no line, and Snakemake's mark of what is incomplete."""
    path, sums_file = copy.path("results/score_tiny.json"), copy.path("results/SHA256SUMS")
    lines = [line for line in sums_file.read_text().splitlines() if not line.endswith("  score_tiny.json")]
    sums_file.write_text("".join(f"{line}\n" for line in lines))
    flip(path)
    mark = base64.urlsafe_b64encode(b"results/score_tiny.json").decode()
    copy.path(".snakemake/incomplete").mkdir(exist_ok=True)
    copy.path(".snakemake/incomplete").joinpath(mark).touch()
    call = copy("results/score_tiny.json")
    assert call.jobs == {"score_run": 1}
    assert passes(copy.path("results"))


def test_a_hole_in_the_place_of_a_fold_has_no_hash_of_what_was_there(
    copy: Workflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under keep_going: a fold whose adapter is damaged leaves a hole, which those behind it read as one."""
    monkeypatch.chdir(copy.folder)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    handlers = logging.root.handlers[:]
    flip(found("store/adapters/mine/*/*/fold-0/adapter_model.safetensors"))
    candidates = found("store/candidates/mine/*/*/fold-0.json")
    candidates.unlink()  # as Snakemake does before a job
    given = read_request(found("logs/search_candidates/mine/*/*/fold-0.job.json"))
    given.config["keep_going"] = True
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(given.script), init_globals={"snakemake": given}, run_name="__main__")
    assert ended.value.code == 0
    logging.root.handlers[:] = handlers
    hole = read_hole(candidates)
    assert hole is not None
    assert "adapter_model.safetensors: does not match its hash in" in hole["reason"]
    assert "fold-0.json" not in checksums.read_sums(candidates.parent)
    checksums.check([candidates])


def test_a_job_that_ends_badly_keeps_the_line_of_what_is_still_there(here: Workflow) -> None:
    given = read_request(found("logs/select_attempts/tiny.job.json"))
    given.params = Values({"settings": {"method": "none of them"}})
    with pytest.raises(SystemExit):
        runpy.run_path(str(given.script), init_globals={"snakemake": given}, run_name="__main__")
    assert "runs/tiny/submission.json" in checksums.read_sums(Path("results"))
