"""SHA256SUMS as sha256sum itself reads it, written by jobs side by side, and what a file that does not match says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from environments import environment_of_tests

from arcfold.jobs import checksums
from arcfold.jobs.files import InputError, hash_of_file

KEY = "results/store/candidates/mine/2folds-seed0/0123456789ab"
AT_ONCE, EACH = 8, 12


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: str, text: str = "content") -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    return path


def passes(folder: str) -> bool:
    """What the program of that name says of a folder."""
    return subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder).returncode == 0


def flip(path: str | Path, bit: int = 0) -> None:
    content = bytearray(Path(path).read_bytes())
    content[len(content) // 2] ^= 1 << bit
    Path(path).write_bytes(content)


def test_each_folder_of_the_store_has_its_sums_and_results_those_of_all_else() -> None:
    checksums.record([write(f"{KEY}/fold-0.json"), write("results/score_a.json"), write("results/runs/a/files.json")])
    assert Path(KEY, "SHA256SUMS").read_text() == f"{hash_of_file('results/score_a.json')}  fold-0.json\n"
    assert [line[66:] for line in Path("results/SHA256SUMS").read_text().splitlines()] == [
        "runs/a/files.json", "score_a.json",
    ]  # fmt: skip
    assert passes(KEY)
    assert passes("results")


def test_a_folder_has_a_line_for_each_file_below_it_and_what_is_no_result_has_none() -> None:
    write(f"{KEY}/fold-0/weights")
    write(f"{KEY}/fold-0/parts/one")
    write(f"{KEY}/fold-0/.snakemake_timestamp")
    checksums.record([f"{KEY}/fold-0", write("elsewhere/x.json")])
    assert [line[66:] for line in Path(KEY, "SHA256SUMS").read_text().splitlines()] == [
        "fold-0/parts/one", "fold-0/weights",
    ]  # fmt: skip
    assert not Path("elsewhere/SHA256SUMS").exists()


def test_names_that_sha256sum_escapes_are_read_back() -> None:
    for name in ("a b", "back\\slash", "two\nlines", "ünï", "*star"):
        checksums.record([write(f"results/{name}")])
        checksums.check([f"results/{name}"])
    assert passes("results")
    flip("results/two\nlines")
    with pytest.raises(InputError):
        checksums.check(["results/two\nlines"])


def test_one_flipped_bit_is_named_with_the_remedy() -> None:
    checksums.record([write(f"{KEY}/fold-0.json"), write(f"{KEY}/fold-1/a/weights"), write("results/score_a.json")])
    checksums.check([f"{KEY}/fold-0.json", f"{KEY}/fold-1", "results/score_a.json"])
    for bit in range(8):
        flip("results/score_a.json", bit)
        with pytest.raises(InputError) as raised:
            checksums.check([f"{KEY}/fold-0.json", "results/score_a.json"])
        assert str(raised.value) == (
            "results/score_a.json: does not match its hash in results/SHA256SUMS (damaged or edited), "
            "delete it and run the same command again"
        )
        flip("results/score_a.json", bit)
    flip(f"{KEY}/fold-1/a/weights")
    with pytest.raises(InputError, match=f"^{KEY}/fold-1/a/weights: .*, delete {KEY}/fold-1 and run"):
        checksums.check([f"{KEY}/fold-1"])
    Path(f"{KEY}/fold-1/a/weights").unlink()
    with pytest.raises(InputError, match=f"^{KEY}/fold-1/a/weights: is missing, .*, delete {KEY}/fold-1 and run"):
        checksums.check([f"{KEY}/fold-1"])


def test_a_flip_in_a_large_file_is_seen_though_its_size_and_time_of_writing_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("arcfold.jobs.files.LARGE", 4)
    path = Path(write("results/model"))
    checksums.record([path])
    checksums.check([path])
    found = path.stat()
    flip(path)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    with pytest.raises(InputError):
        checksums.check([path])


def test_a_file_without_a_line_is_read_and_a_sums_file_that_is_none_is_named() -> None:
    checksums.check([write("results/mine.json"), "results/not_there.json"])
    for text in ("no hash\n", f"{'0' * 64}\n", f"{'0' * 63}  name\n"):
        write("results/SHA256SUMS", text)
        with pytest.raises(InputError, match=r"^results/SHA256SUMS: line 1: no SHA-256 and name, .*, delete it$"):
            checksums.check(["results/mine.json"])


def test_lines_go_with_their_files() -> None:
    checksums.record([write(f"results/{name}.json") for name in ("a", "b", "c")])
    Path("results/a.json").unlink()
    checksums.prune(["results/a.json"])
    assert [line[66:] for line in Path("results/SHA256SUMS").read_text().splitlines()] == ["b.json", "c.json"]
    Path("results/b.json").unlink()
    checksums.record([write("results/c.json", "other content")])
    assert [line[66:] for line in Path("results/SHA256SUMS").read_text().splitlines()] == ["c.json"]
    assert passes("results")
    Path("results/c.json").unlink()
    for _ in range(2):
        checksums.prune(["results/c.json"])
        assert not Path("results/SHA256SUMS").exists()


def test_a_line_can_be_dropped_while_its_file_is_there() -> None:
    checksums.record([write(f"{KEY}/fold-0/weights"), write(f"{KEY}/fold-1.json")])
    checksums.drop([f"{KEY}/fold-0", f"{KEY}/fold-2.json"])
    assert list(checksums.read_sums(Path(KEY))) == ["fold-1.json"]


WRITER = """
import fcntl, sys
from pathlib import Path
from arcfold.jobs import checksums
key, number, each, locks = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
if locks == "without":
    def flock(*arguments):
        raise OSError(95, "Operation not supported")
    fcntl.flock = flock
for turn in range(each):
    path = Path(key, f"fold-{number}-{turn}.json")
    path.write_text(str(path))
    checksums.record([path])
    if turn % 3 == 0:
        path.unlink()
        checksums.prune([path])
        path.write_text("again")
        checksums.record([path])
"""


@pytest.mark.parametrize("locks", ["with", "without"])
def test_jobs_side_by_side_lose_no_line(locks: str) -> None:
    """On a file system with locks and on one without."""
    Path(KEY).mkdir(parents=True)
    command = [sys.executable, "-c", WRITER, KEY]
    writers = [
        subprocess.Popen([*command, str(number), str(EACH), locks], env=environment_of_tests())
        for number in range(AT_ONCE)
    ]
    assert [writer.wait() for writer in writers] == [0] * AT_ONCE
    assert len(checksums.read_sums(Path(KEY))) == AT_ONCE * EACH
    assert passes(KEY)
    assert list(Path(KEY).glob(".*")) == []


def test_a_lock_file_of_a_process_that_died_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "_ABANDONED", 0.05)
    lock = Path(write("results/.SHA256SUMS.lock"))
    with checksums._locked_by_file(lock):
        assert lock.exists()
    assert not lock.exists()


FULL = """
import resource, sys
from arcfold.jobs import checksums
from arcfold.jobs.files import InputError
resource.setrlimit(resource.RLIMIT_FSIZE, (16, resource.RLIM_INFINITY))
try:
    checksums.record(sys.argv[1:])
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize("before", [False, True])
def test_where_nothing_more_can_be_written_it_is_one_line_and_no_half_file(before: bool) -> None:
    old = write("results/old.json")
    if before:
        checksums.record([old])
    names = sorted(os.listdir("results"))
    command = [sys.executable, "-c", FULL, write("results/new.json")]
    done = subprocess.run(command, env=environment_of_tests(), capture_output=True, text=True, check=True)
    assert done.stdout == (
        "results/SHA256SUMS: cannot be written (File too large); make room there and run the same command again\n"
    )
    assert sorted({*names, "new.json"}) == sorted(os.listdir("results"))
    assert not before or passes("results")


def test_a_folder_of_its_own_is_checked_as_a_whole(tmp_path: Path) -> None:
    own = tmp_path / "own"
    write(str(own / "state"))
    write(str(own / "more" / "state"))
    checksums.write_sums(own)
    checksums.check_own_sums(own, complete=True)
    assert passes(str(own))
    write(str(own / "late"))
    checksums.check_own_sums(own)
    with pytest.raises(InputError, match="late: has no line in"):
        checksums.check_own_sums(own, complete=True)
    (own / "late").unlink()
    flip(own / "more" / "state")
    with pytest.raises(InputError, match="more/state: does not match its hash in"):
        checksums.check_own_sums(own)
    write(str(own / "SHA256SUMS"), "")
    checksums.check_own_sums(own)
    with pytest.raises(InputError, match=f"^{own}: no SHA256SUMS"):
        checksums.check_own_sums(own, complete=True)


def test_a_copy_of_the_results_matches_too(tmp_path: Path) -> None:
    checksums.record([write(f"{KEY}/fold-0.json"), write("results/score_a.json")])
    shutil.copytree("results", tmp_path / "clone" / "results")
    assert passes(str(tmp_path / "clone" / "results"))
    assert passes(str(tmp_path / "clone" / KEY))
