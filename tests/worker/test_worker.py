"""Workers and their clients as processes: what outlives a job, and what must not."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from processes import until, workers
from shipped import ROOT

from arcfold.jobs.client import identity_of
from arcfold.jobs.holes import read_hole

SOME_JOB = """
import os
from pathlib import Path
from arcfold.jobs.job import job
from arcfold.jobs.devices import lease
from arcfold.jobs.files import InputError
if "snakemake" in globals():
    with job(snakemake), lease(snakemake.resources.gpu) as devices:
        Path(snakemake.output[0]).write_text(f"{os.getpid()} {','.join(devices)}")
        exec(snakemake.params.code)
"""
IDLE, TENURE = 3.0, 1.0


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library with a script that does what its params say, and workers that are less patient."""
    folder = tmp_path_factory.mktemp("code") / "workflow_scripts"
    shutil.copytree(ROOT / "workflow_scripts", folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "schemas", folder.parent / "schemas")
    (folder / "some_job.py").write_text(SOME_JOB)
    serve = folder / "arcfold/worker/serve.py"
    text = serve.read_text()
    for name, seconds in (("IDLE", IDLE), ("TENURE", TENURE)):
        assert f"\n{name} = 10.0\n" in text
        text = text.replace(f"\n{name} = 10.0\n", f"\n{name} = {seconds}\n")
    serve.write_text(text)
    return folder


@dataclass
class Workers:
    """The clients of one workflow on a machine with pretended devices."""

    scripts: Path
    folder: Path
    root: Path
    """Of the folders of workers: a short path, for a socket's must be."""
    pool: Path
    devices: str

    def start(
        self, name: str, code: str = "", config: Mapping[str, Any] = {}, **environment: str
    ) -> subprocess.Popen[str]:
        """A client for a job of that name that runs some code."""
        self.folder.mkdir(exist_ok=True)
        parts: dict[str, Any] = {"input": [], "wildcards": {}, "config": config, "resources": {"gpu": 1}, "threads": 1}
        parts |= {"rule": "some", "script": "some_job.py", "output": [f"{name}.txt"], "log": [f"{name}.log"]}
        (self.folder / f"{name}.job.json").write_text(
            json.dumps({**parts, "params": {"code": code, "threads": 1, "of_a_fold": True}})
        )
        client = self.scripts / "arcfold/jobs/client.py"
        env = {"PATH": os.environ["PATH"], "CUDA_VISIBLE_DEVICES": self.devices, "ARCFOLD_LEASES": str(self.pool)}
        return subprocess.Popen(
            [sys.executable, "-I", "-S", client, str(self.workers), f"{name}.log"], cwd=self.folder, text=True,
            env={**env, **environment}, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    @property
    def workers(self) -> Path:
        return self.root / f"identity-{self.folder.name}" / "gpu1"

    def do(self, name: str, code: str = "", config: Mapping[str, Any] = {}) -> tuple[int, str]:
        """Status and standard error of a job that runs to its end."""
        client = self.start(name, code, config)
        _, said = client.communicate(timeout=60)
        return client.returncode, said

    def output(self, name: str, timeout: float = 30.0) -> tuple[int, str]:
        """The process that does a job, and its devices, once it has begun."""
        path = self.folder / f"{name}.txt"
        until(lambda: path.is_file() and path.read_text().count(" ") == 1, timeout)
        process, _, devices = path.read_text().partition(" ")
        return int(process), devices


@pytest.fixture
def group(scripts: Path, tmp_path: Path) -> Iterator[Callable[..., Workers]]:
    """Makes workflows that share a machine; what they leave is ended."""
    made: list[Workers] = []

    def make(name: str = "one", devices: str = "") -> Workers:
        made.append(Workers(scripts, tmp_path / name, root, tmp_path / "leases", devices))
        return made[-1]

    root = Path(tempfile.mkdtemp(prefix="workers-"))
    yield make
    for process in alive_in(root):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    shutil.rmtree(root)


def alive_in(folder: Path) -> list[int]:
    """The workers whose slot is in the folder or below."""
    return [process for process, slot, _ in workers() if slot.startswith(bytes(folder))]


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_jobs_follow_each_other_in_one_process(group: Callable[..., Workers]) -> None:
    one = group()
    assert [one.do(name) for name in "abc"] == [(0, "")] * 3
    assert len({one.output(name) for name in "abc"}) == 1
    assert "python" in (one.folder / "a.log").read_text()


def test_what_a_job_says_reaches_its_client_and_its_log(group: Callable[..., Workers]) -> None:
    one = group()
    status, said = one.do("a", "import sys; print('half', file=sys.stderr); raise InputError('x.json: wrong')")
    assert (status, said) == (1, "half\nerror: x.json: wrong\n")
    assert (one.folder / "a.log").read_text().endswith(said)


def test_a_job_that_fails_leaves_nothing_to_the_next(group: Callable[..., Workers]) -> None:
    one = group()
    assert one.do("a", "raise KeyError('x')")[0] == 1
    first, _ = one.output("a")
    assert one.do("b") == (0, "")
    assert one.output("b")[0] != first
    until(lambda: not is_alive(first), 15)


def test_a_job_that_declines_leaves_its_worker_to_the_next(group: Callable[..., Workers]) -> None:
    """Of hundreds of folds without time none may cost a start of the libraries."""
    one = group()
    declines = "from arcfold.jobs.files import Declined; raise Declined('out of time: 0 s are left')"
    assert one.do("a", declines) == (1, "error: out of time: 0 s are left\n")
    first, _ = one.output("a")
    assert one.do("b") == (0, "")
    assert one.output("b")[0] == first


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_client_that_ends_takes_its_job_along(group: Callable[..., Workers], how: signal.Signals) -> None:
    one = group(devices="0")
    busy = "import subprocess, time; subprocess.Popen(['sleep', '61']); time.sleep(60)"
    client = one.start("a", busy)
    worker, devices = one.output("a")
    assert devices == "0"
    client.send_signal(how)
    client.wait(15)
    until(lambda: not is_alive(worker), 15)
    assert one.do("b") == (0, "")  # the device is free


def test_a_worker_that_dies_costs_its_job_a_second_try(group: Callable[..., Workers]) -> None:
    one = group()
    dies_once = "m = Path('mark')\nif not m.exists():\n    m.touch()\n    os.kill(os.getpid(), 9)"
    status, said = one.do("a", dies_once)
    assert (status, said) == (0, "a.job.json: its worker died, doing it again with another\n")
    status, said = one.do("b", "os.kill(os.getpid(), 9)")
    assert status == 1
    assert said.splitlines()[-1].startswith("error: b.job.json: its worker died twice, see ")


def test_a_run_that_keeps_going_does_without_a_job_that_fails_or_that_no_worker_survives(
    group: Callable[..., Workers],
) -> None:
    one, keeps_going = group(), {"keep_going": True}
    begins = "os.remove(snakemake.output[0]); Path('who').write_text(str(os.getpid())); "
    status, said = one.do("a", begins + "raise InputError('x.json: wrong')", keeps_going)
    assert (status, said.splitlines()[0]) == (0, "error: x.json: wrong")
    worker = int((one.folder / "who").read_text())
    until(lambda: not is_alive(worker), 15)  # who knows what the job left behind
    status, said = one.do("b", begins + "os.kill(os.getpid(), 9)", keeps_going)
    assert status == 0
    assert said.splitlines()[-1] == "keep_going: the run goes on without this fold"
    of_a, of_b = read_hole(one.folder / "a.txt"), read_hole(one.folder / "b.txt")
    assert of_a == {"rule": "some", "reason": "x.json: wrong"}
    assert of_b is not None
    assert of_b["reason"].startswith("its worker died twice")


def test_an_idle_worker_ends(group: Callable[..., Workers]) -> None:
    one = group(devices="0")
    one.do("a")
    worker, _ = one.output("a")
    assert is_alive(worker)
    until(lambda: not is_alive(worker), IDLE + 15)
    assert not list(one.workers.glob("*.sock"))


def test_without_its_snakemake_a_client_ends(group: Callable[..., Workers]) -> None:
    one = group()
    snakemake = subprocess.Popen(["sleep", "60"])
    client = one.start("a", "import time; time.sleep(60)", ARCFOLD_SNAKEMAKE=identity_of(snakemake.pid))
    worker, _ = one.output("a")
    snakemake.kill()
    snakemake.wait()
    _, said = client.communicate(timeout=20)
    assert (client.returncode, said) == (1, f"error: Snakemake (process {snakemake.pid}) is gone\n")
    until(lambda: not is_alive(worker), 15)


def test_a_snakemake_on_another_machine_is_not_looked_for(group: Callable[..., Workers]) -> None:
    one = group()
    client = one.start("a", "import time; time.sleep(1.5)", ARCFOLD_SNAKEMAKE="elsewhere/1/1")
    assert client.wait(60) == 0


def test_another_workflow_gets_the_device_from_an_idle_worker(group: Callable[..., Workers]) -> None:
    one, other = group("one", "0"), group("other", "0")
    one.do("a")
    worker, _ = one.output("a")
    status, said = other.do("a")
    assert status == 0, said
    assert "waiting for 1 of 1 devices" in said
    until(lambda: not is_alive(worker), 15)
    assert other.output("a")[1] == "0"


def test_jobs_share_the_workers_that_have_a_device(group: Callable[..., Workers]) -> None:
    """Six clients at once and two devices: no more than two work at a time, whoever was started."""
    one = group(devices="0,1")
    busy = "import time; t = time.monotonic(); time.sleep(0.3)\n"
    busy += "Path(snakemake.log[0] + '.when').write_text(f'{t} {time.monotonic()}')"
    clients = [one.start(name, busy) for name in "abcdef"]
    said = [client.communicate(timeout=60)[1] for client in clients]
    assert [client.returncode for client in clients] == [0] * 6, said
    done = sorted(
        (one.output(name)[1], *map(float, (one.folder / f"{name}.log.when").read_text().split())) for name in "abcdef"
    )
    assert {device for device, *_ in done} <= {"0", "1"}
    for (device, _, end), (following, begin, _) in itertools.pairwise(done):
        assert device != following or end <= begin
    until(lambda: len(alive_in(one.workers)) <= 2, IDLE + 15)


def test_a_job_that_is_begun_early_waits_for_the_worker_that_has_the_device(group: Callable[..., Workers]) -> None:
    """One device and always two clients: one process does all jobs, and no other is ever started."""
    one = group(devices="0")
    seen: set[int] = set()

    def has_ended(client: subprocess.Popen[str]) -> bool:
        seen.update(alive_in(one.workers))
        return client.poll() is not None

    clients = [one.start("a")]
    until((one.workers / "slot-0.lock").exists, 30)
    for name in "bcde":
        clients.append(one.start(name, "import time; time.sleep(0.5)"))
        until(functools.partial(has_ended, clients[-2]), 30)
    assert [client.wait(30) for client in clients] == [0] * 5
    assert len(seen) == 1
    assert {one.output(name)[0] for name in "abcde"} == seen


def test_a_job_does_not_wait_for_a_worker_that_was_killed(group: Callable[..., Workers]) -> None:
    one = group(devices="0")
    one.do("a")
    worker, _ = one.output("a")
    os.kill(worker, signal.SIGKILL)
    until(lambda: not is_alive(worker), 15)
    assert list(one.workers.glob("*.sock"))
    assert one.do("b") == (0, "")


@pytest.mark.parametrize("spoilt", ["", "identity-one", "identity-one/gpu1"])
def test_a_folder_that_others_can_use_is_refused(group: Callable[..., Workers], spoilt: str) -> None:
    one = group()
    assert one.do("a") == (0, "")
    assert stat.S_IMODE((one.root / spoilt).stat().st_mode) == 0o700
    (one.root / spoilt).chmod(0o755)
    status, said = one.do("b")
    assert status == 1
    assert said == f"error: {one.root / spoilt}: expected a folder of this user alone (mode 0700), remove it\n"


def test_a_job_without_a_file_is_one_line(group: Callable[..., Workers]) -> None:
    one = group()
    client = one.start("a")
    client.wait(60)
    (one.folder / "a.job.json").unlink()
    again = subprocess.run(client.args, cwd=one.folder, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert again.stderr.startswith("error: a.job.json: no such file")
    assert again.stderr.count("\n") == 1
