"""The lease of devices, with real processes and pretended devices."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arcfold.jobs import devices
from arcfold.jobs.files import InputError

SCRIPTS = Path(devices.__file__).parents[2]

# Leases n devices, notes when it held which (a clock that all processes share), and says so.
JOB = """
import json, os, subprocess, sys, time
from arcfold.jobs.devices import lease
n, seconds, log, children = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4:]
with lease(n) as mine:
    start = time.monotonic()
    if "forked" in children and os.fork() == 0:
        os.close(1)
        time.sleep(20)
        os._exit(0)
    if "started" in children:
        subprocess.Popen(["sleep", "20"], stdout=subprocess.DEVNULL, close_fds=False)
    print("holding", flush=True)
    time.sleep(seconds)
    end = time.monotonic()
shown = {"start": start, "end": end, "devices": mine}
with open(f"{log}/{os.getpid()}.json", "w") as stream:
    json.dump(shown, stream)
"""

StartJob = Callable[..., subprocess.Popen[str]]


@pytest.fixture(autouse=True)
def no_devices_but_pretended_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without nvidia-smi, SLURM and other people's leases, whatever this one is."""
    for name in [*os.environ]:
        if name.startswith(("SLURM", "CUDA")):
            monkeypatch.delenv(name)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "bin/nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "bin/nvidia-smi").chmod(0o755)
    monkeypatch.setattr(devices, "device_files", list)
    monkeypatch.setenv("ARCFOLD_LEASES", str(tmp_path / "leases"))
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))


@pytest.fixture
def start_job(tmp_path: Path) -> Iterator[StartJob]:
    """Starts a job in a session of its own; whatever of it still runs is killed after the test."""
    jobs: list[subprocess.Popen[str]] = []
    (tmp_path / "log").mkdir()

    def start(n: int, *children: str, seconds: float = 0.3, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", JOB, str(n), str(seconds), str(tmp_path / "log"), *children]
        jobs.append(
            subprocess.Popen(
                command,
                env=os.environ | environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return jobs[-1]

    yield start
    for job in jobs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
        job.communicate()


def wait_until_it_holds(job: subprocess.Popen[str]) -> None:
    assert job.stdout is not None
    assert job.stdout.readline() == "holding\n"


def holdings(log: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in log.glob("*.json")]


def overlaps(log: Path) -> list[tuple[dict, dict]]:
    """Pairs of jobs that held the same device at the same time."""
    held = holdings(log)
    return [
        (one, other)
        for i, one in enumerate(held)
        for other in held[:i]
        if set(one["devices"]) & set(other["devices"]) and one["start"] < other["end"] and other["start"] < one["end"]
    ]


def test_eight_jobs_on_four_devices_never_share_one(start_job: StartJob, tmp_path: Path) -> None:
    jobs = [start_job(1, CUDA_VISIBLE_DEVICES="0,1,2,3") for _ in range(8)]
    assert [job.wait(20) for job in jobs] == [0] * 8
    held = holdings(tmp_path / "log")
    assert len(held) == 8
    assert all(len(job["devices"]) == 1 for job in held)
    assert not overlaps(tmp_path / "log")


def test_a_job_takes_the_device_that_is_free(start_job: StartJob) -> None:
    for _ in range(4):
        wait_until_it_holds(start_job(1, seconds=20, CUDA_VISIBLE_DEVICES="0,1,2,3"))


def test_jobs_of_two_devices_and_of_one_never_share_one(start_job: StartJob, tmp_path: Path) -> None:
    jobs = [start_job(n, seconds=0.2, CUDA_VISIBLE_DEVICES="0,1,2") for n in (2, 1, 2, 2, 1, 2)]
    assert [job.wait(20) for job in jobs] == [0] * 6
    assert sorted(len(job["devices"]) for job in holdings(tmp_path / "log")) == [1, 1, 2, 2, 2, 2]
    assert not overlaps(tmp_path / "log")


def test_a_job_that_waits_for_two_devices_holds_none(start_job: StartJob) -> None:
    holder = start_job(1, seconds=20, CUDA_VISIBLE_DEVICES="0")
    wait_until_it_holds(holder)
    waiter = start_job(2, CUDA_VISIBLE_DEVICES="0,1")
    assert waiter.stderr is not None
    assert "waiting for 2 of 2 devices" in waiter.stderr.readline()
    other = start_job(1, seconds=0, CUDA_VISIBLE_DEVICES="1")
    assert other.wait(5) == 0
    assert waiter.poll() is None
    holder.kill()
    assert waiter.wait(5) == 0


def test_waiting_is_said_once_with_who_holds_the_device(start_job: StartJob) -> None:
    holder = start_job(1, seconds=1.5, CUDA_VISIBLE_DEVICES="7")
    wait_until_it_holds(holder)
    waiter = start_job(1, CUDA_VISIBLE_DEVICES="7")
    assert waiter.communicate(timeout=10)[1] == f"waiting for 1 of 1 devices (7: process {holder.pid}, -c)\n"
    assert holder.communicate()[1] == ""


@pytest.mark.parametrize("children", [[], ["forked"], ["started"]])
def test_a_killed_job_frees_its_device_though_its_children_live(start_job: StartJob, children: list[str]) -> None:
    holder = start_job(1, *children, seconds=20, CUDA_VISIBLE_DEVICES="0")
    wait_until_it_holds(holder)
    waiter = start_job(1, CUDA_VISIBLE_DEVICES="0")
    assert waiter.stderr is not None
    assert "waiting" in waiter.stderr.readline()
    holder.kill()
    assert holder.wait(5) == -signal.SIGKILL
    assert waiter.wait(5) == 0
    if children:
        os.killpg(holder.pid, 0)  # raises if no child is left, and then this test would show nothing


def test_a_forked_child_that_ends_takes_nothing_from_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with devices.lease(1) as mine:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        assert mine == ("0",)
        assert is_locked("0")
    assert not is_locked("0")


def is_locked(name: str) -> bool:
    """Asks another process, without anything of what is tested."""
    code = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    lock = Path(os.environ["ARCFOLD_LEASES"]) / name
    return (
        "BlockingIOError"
        in subprocess.run([sys.executable, "-c", code, lock], stderr=subprocess.PIPE, text=True).stderr
    )


def test_the_pool_is_what_cuda_visible_devices_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 3")
    assert devices.visible_devices() == ("2", "3")
    assert devices.count_devices() == 2
    with devices.lease(1) as mine:
        assert mine == ("2",)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "2"
        assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2, 3"
    assert "CUDA_DEVICE_ORDER" not in os.environ


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
        ("1,-1,0", ("1",)),
        ("3,1", ("3", "1")),
        ("0,0", ("0",)),
        ("GPU-8932f937-d72c", ("GPU-8932f937-d72c",)),
        ("MIG-GPU-8932f937/1/0", ("MIG-GPU-8932f937/1/0",)),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(
    setting: str, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
    assert devices.visible_devices() == expected
    with devices.lease(1) as mine:
        assert mine == expected[:1]


def test_without_a_device_the_lease_is_empty_and_nothing_is_locked(tmp_path: Path) -> None:
    assert devices.count_devices() == 0
    with devices.lease(1) as mine:
        assert mine == ()
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert not (tmp_path / "leases").exists()


def test_a_lease_of_nothing_hides_every_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with devices.lease(0) as mine:
        assert mine == ()
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_device_files_count_where_nvidia_smi_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "device_files", lambda: ["/dev/nvidia3", "/dev/nvidia5"])
    assert devices.visible_devices() == ("0", "1")


NVIDIA_SMI = """#!/bin/sh
cat <<END
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa1111-0000)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb2222-0000)
  MIG 3g.20gb     Device  0: (UUID: MIG-cccc3333-0000)
  MIG 3g.20gb     Device  1: (UUID: MIG-dddd4444-0000)
GPU 2: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb9999-0000)
END
"""


@pytest.fixture
def nvidia_smi(tmp_path: Path) -> None:
    (tmp_path / "bin/nvidia-smi").write_text(NVIDIA_SMI)


@pytest.mark.usefixtures("nvidia_smi")
def test_the_pool_is_what_nvidia_smi_lists_with_the_parts_of_a_divided_card() -> None:
    assert devices.visible_devices() == ("0", "MIG-cccc3333-0000", "MIG-dddd4444-0000", "2")


@pytest.mark.usefixtures("nvidia_smi")
@pytest.mark.parametrize("name", ["2", "GPU-bbbb9999-0000", "GPU-bbbb9"])
def test_index_and_uuid_of_a_card_are_one_lock(name: str, start_job: StartJob, monkeypatch: pytest.MonkeyPatch) -> None:
    wait_until_it_holds(start_job(1, seconds=20, CUDA_VISIBLE_DEVICES="2"))
    waiter = start_job(1, CUDA_VISIBLE_DEVICES=name)
    assert waiter.stderr is not None
    assert "waiting" in waiter.stderr.readline()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{name},2")
    assert devices.count_devices() == 1


def test_under_slurm_the_job_has_what_it_was_given(start_job: StartJob, tmp_path: Path) -> None:
    given = {"SLURM_JOB_ID": "5", "CUDA_VISIBLE_DEVICES": "0"}
    jobs = [start_job(1, seconds=20, **given) for _ in range(2)]
    for job in jobs:
        wait_until_it_holds(job)
    assert not (tmp_path / "leases").exists()


def test_under_slurm_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    before = dict(os.environ)
    with devices.lease(1) as mine:
        assert mine == ("1", "3")
        assert dict(os.environ) == before
    with pytest.raises(InputError, match=r"gpu=3 asks for more devices than the 2 that SLURM gave this job \(1, 3\)"):
        devices.lease(3)


def test_more_than_there_is_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(InputError) as error:
        devices.lease(3)
    assert str(error.value) == (
        "resources: gpu=3 asks for more devices than the 2 that CUDA_VISIBLE_DEVICES names (0, 1); "
        "expected gpu=2 or less"
    )


def test_a_second_lease_in_a_process_would_wait_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with devices.lease(1), pytest.raises(RuntimeError, match="holds devices already"):
        devices.lease(1)
    devices.lease(2).release()


def test_every_user_may_lock_and_only_the_owner_may_remove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    mask = os.umask(0o077)
    try:
        devices.lease(1).release()
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "leases").stat().st_mode) == 0o1777
    assert stat.S_IMODE((tmp_path / "leases/0").stat().st_mode) == 0o666


@pytest.fixture
def leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shared folder as another user may have found it first, and one device."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    devices.lease(1).release()
    (tmp_path / "leases/0").unlink()
    return tmp_path / "leases"


@pytest.mark.parametrize("laid", ["symlink", "hard link", "fifo", "folder"])
def test_nothing_is_written_through_what_another_user_laid_there(laid: str, leases: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("precious")
    make: dict[str, Callable[[], object]] = {
        "symlink": lambda: (leases / "0").symlink_to(mine),
        "hard link": lambda: (leases / "0").hardlink_to(mine),
        "fifo": lambda: os.mkfifo(leases / "0"),
        "folder": lambda: (leases / "0").mkdir(),
    }
    make[laid]()
    with pytest.raises(InputError, match=r"leases/0: cannot be used .* set ARCFOLD_LEASES"):
        devices.lease(1)
    assert mine.read_text() == "precious"


def test_what_a_lock_says_of_its_holder_is_one_short_printable_line(leases: Path, tmp_path: Path) -> None:
    (leases / "0").write_bytes(b"\x1b]0;owned\x07\nerror: all is lost\xff" + b"x" * 10_000)
    said = devices._holder(leases / "0")
    assert said.isprintable()
    assert len(said) <= 80
    (leases / "0").unlink()
    (tmp_path / "secret").write_text("secret")
    (leases / "0").symlink_to(tmp_path / "secret")
    assert devices._holder(leases / "0") == "unknown"


def test_a_folder_in_which_others_can_remove_locks_is_refused(leases: Path) -> None:
    leases.chmod(0o777)
    with pytest.raises(InputError, match=r"leases: cannot be used .*without the sticky bit .*chmod \+t"):
        devices.lease(1)
    for mode in (0o1777, 0o755, 0o700):
        leases.chmod(mode)
        devices.lease(1).release()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make another user's link")
def test_a_folder_that_another_users_link_leads_to_is_refused(leases: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(leases)
    devices.lease(1, tmp_path / "link").release()  # one's own
    os.chown(tmp_path / "link", 65534, 65534, follow_symlinks=False)
    with pytest.raises(InputError, match=r"link: cannot be used .* \(a link of another user\)"):
        devices.lease(1, tmp_path / "link")


def test_a_lock_file_that_was_cleaned_away_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    devices.lease(1).release()
    opened = devices._open

    def open_then_clean(path: Path) -> int:
        descriptor = opened(path)
        monkeypatch.setattr(devices, "_open", opened)
        path.unlink()
        return descriptor

    monkeypatch.setattr(devices, "_open", open_then_clean)
    with devices.lease(1):
        assert is_locked("0")


def test_an_unusable_folder_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/0: cannot be used .* set ARCFOLD_LEASES") as error:
        devices.lease(1, tmp_path / "file")
    assert "\n" not in str(error.value)


def test_the_default_folder_is_the_same_for_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ARCFOLD_LEASES")
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    devices.lease(1).release()
    assert (tmp_path / "arcfold-devices/0").is_file()


def test_torch_is_not_imported() -> None:
    code = "import sys, arcfold.jobs.devices; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_wait_leaves_the_global_random_state_alone(start_job: StartJob, monkeypatch: pytest.MonkeyPatch) -> None:
    import random

    wait_until_it_holds(start_job(1, seconds=0.5, CUDA_VISIBLE_DEVICES="0"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    before, start = random.getstate(), time.monotonic()
    devices.lease(1).release()
    assert time.monotonic() - start > 0.1
    assert random.getstate() == before
