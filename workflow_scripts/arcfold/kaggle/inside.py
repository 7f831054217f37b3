"""What the cells of a bundle's notebook do. Each ends without an error, so that the next one runs; a fault is one line.

    contest = Contest(bundle, work, submission)
    contest.prepare()      # checks the image and the bundle, unpacks, installs
    contest.run()          # the run, in the time that is left
    contest.leave()        # the submission

Nothing is installed yet when this is imported, and the bundle cannot be written to.

The image's own packages stay as they are: the wheels go into an environment of their own, behind which the folders of
the image stand, so that torch comes from there.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from glob import glob
from importlib import metadata
from pathlib import Path
from typing import Any

from arcfold.jobs.checksums import SUMS, check_own_sums, files_of, read_sums
from arcfold.jobs.files import InputError, new_file, one_line, read_json

MANIFEST, CONFIG, NOTEBOOK = "bundle.json", "config.json", "notebook.ipynb"
WORKFLOW = "workflow"
OLDEST_TORCH = "2.6"
"""What the locked transformers asks for."""
GRACE = 600
"""Seconds behind the deadline after which a run is stopped that has not ended itself."""
CALIBRATION_SECONDS = 600
"""That the measuring of the machine may take; it is done where there is at least twice that time."""
HIDDEN = "KAGGLE_IS_COMPETITION_RERUN"
"""The variable that is set where the hidden tasks are; without it the notebook is only tried out."""
FREE = ("PYTHON", "PIP_", "CONDA", "VIRTUAL_ENV", "SNAKEMAKE_")
"""Beginnings of variables that say which packages and settings a Python takes: what is installed here decides that."""

# Reports on the packages of the run's environment, as its jobs will find them: those that the run needs, and peft,
# which looks at the image's quantization libraries only when it makes a LoRA.
_PROBE = """
import importlib, json, sys
def said(error):
    return " ".join(f"{type(error).__name__}: {error}".split())
found = {"wrong": None, "peft": None, "cards": []}
try:
    for name in sys.argv[1:]:
        importlib.import_module(name)
except BaseException as error:
    print(json.dumps({"wrong": [name, said(error)]}))
    sys.exit()
import torch
try:
    from peft import LoraConfig, get_peft_model
    get_peft_model(torch.nn.Sequential(torch.nn.Linear(2, 2)), LoraConfig(target_modules=["0"]))
except BaseException as error:
    found["peft"] = said(error)
from arcfold.jobs.compute import unsupported
found |= {"torch": torch.__version__, "built_for_cuda": torch.version.cuda is not None}
if torch.cuda.is_available():
    for index in range(torch.cuda.device_count()):
        name, capability = torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
        wrong = unsupported(capability, torch.cuda.get_arch_list())
        found["cards"].append({"name": name, "wrong": wrong and f"device {index} ({name}): {wrong}"})
print(json.dumps(found))
"""


def _says_its_line(function: Callable[..., bool]) -> Callable[..., bool]:
    """What goes wrong becomes one line and False: an exception would keep the next cell from running."""

    @functools.wraps(function)
    def told(*arguments: Any, **more: Any) -> bool:
        try:
            return function(*arguments, **more)
        except InputError as error:
            _say(f"error: {one_line(error, 600)}")
        except KeyboardInterrupt:
            _say("interrupted")
        except Exception as error:
            _say(f"internal error: {type(error).__name__}: {one_line(error, 600)}")
        return False

    return told


def _say(line: str) -> None:
    print(line, flush=True)


class Contest:
    """A run in a notebook."""

    def __init__(self, bundle: str | Path, work: str | Path, submission: str | Path) -> None:
        """bundle: where it is mounted; work: a folder to make; submission: the file to leave"""
        self.began = time.time()
        self.bundle, self.work, self.submission = Path(bundle), Path(work), Path(submission)
        self.about: dict[str, Any] = {}
        self.cards = 0
        self.ready = False

    @_says_its_line
    def prepare(self) -> bool:
        """Checks the image and the bundle, unpacks it and installs its wheels."""
        self.about = read_json(self.bundle / MANIFEST)
        check_image(self.about, sys.version_info, _version_of("torch"))
        challenges = find_challenges(self.about["challenges"], self.bundle)
        tasks = read_challenges(challenges)
        check_bundle(self.bundle)
        _say(f"run {self.about['run']} on the {len(tasks)} tasks of {challenges}")
        unpack(self.bundle, self.work, challenges)
        install(self.bundle, self.work / "env")
        self._probe()
        self.ready = True
        _say(f"ready after {time.time() - self.began:.0f} s")
        return True

    def _probe(self) -> None:
        found = probe(self.work, self.about["needs"])
        if found["peft"] and self.about["backend"] != "packed":
            raise InputError(said_of_clash("peft", found["peft"]))
        if found["peft"]:
            _say(f"warning: {said_of_clash('peft', found['peft'])}; this run does without it")
        wrong = [card["wrong"] for card in found["cards"] if card["wrong"]]
        if wrong:
            raise InputError(f"{wrong[0]}; expected another accelerator in the notebook's settings")
        self.cards = len(found["cards"])
        names = ", ".join(sorted({card["name"] for card in found["cards"]}))
        if self.cards:
            _say(f"torch {found['torch']} of this image, {self.cards} × {names}")
        else:
            why = "no CUDA card" if found["built_for_cuda"] else "a torch without CUDA"
            _say(f"torch {found['torch']} of this image; {why}: the run computes on the CPU")

    @_says_its_line
    def run(self) -> bool:
        """Does the run in the time that is left; the submission so far grows meanwhile."""
        if not self.ready:
            _say("not run: the first cell has said why")
            return False
        is_hidden = bool(os.environ.get(HIDDEN))
        minutes = self.about["minutes" if is_hidden else "draft_minutes"]
        deadline = self.began + 60 * minutes
        if not is_hidden:
            _say(f"not the hidden tasks yet ({HIDDEN} is not set): {minutes} minutes for a draft")
        if 60 * minutes >= 2 * CALIBRATION_SECONDS:
            self._measure()
        moment = datetime.fromtimestamp(deadline, UTC).isoformat(timespec="seconds")
        status = self._snakemake(
            f"results/runs/{self.about['run']}/submission.json", f"deadline={moment}", until=deadline + GRACE
        )
        if status:
            _say(f"error: the run ended with status {status}, as said above; the next cell takes its answers so far")
        return status == 0

    def _measure(self) -> None:
        """Measures what training and search take here: the deadline's first decisions need it."""
        if self._snakemake("results/calibration.json", until=time.time() + CALIBRATION_SECONDS):
            _say("warning: this machine was not measured; the deadline goes by the rates that come with the workflow")

    def _snakemake(self, target: str, *assignments: str, until: float) -> int:
        """Calls Snakemake, whose output becomes the cell's; what has not ended `until` then is stopped. Its status."""
        gpus = self.cards or self.about["cores"]
        command = [str(self.work / "env" / "bin" / "snakemake"), target, "--snakefile", f"{WORKFLOW}/Snakefile",
                   "--cores", str(self.about["cores"]), "--resources", f"gpu={gpus}",
                   "--replace-workflow-config", "--configfile", CONFIG]  # fmt: skip
        if assignments:
            command += ["--config", *assignments]
        _say(" ".join(["$ snakemake", *command[1:]]))
        process = subprocess.Popen(
            command,
            cwd=self.work,
            env=_environment(self.work),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        timer = threading.Timer(max(until - time.time(), 1), _stop, [process])
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="", flush=True)
            return process.wait()
        finally:
            timer.cancel()
            _stop(process)

    @_says_its_line
    def leave(self) -> bool:
        """Leaves the final submission, else the best so far, if it is valid."""
        if not self.about:
            _say("no submission: the first cell has said why")
            return False
        tasks = read_challenges(find_challenges(self.about["challenges"], self.bundle))
        folder = self.work / "results" / "runs" / self.about["run"]
        for name in ("submission.json", "submission_so_far.json"):
            path = folder / name
            if not path.is_file():
                continue
            try:
                answers = read_json(path)
                check_submission(answers, tasks)
            except InputError as error:
                _say(f"{name}: not taken: {one_line(error)}")
                continue
            with new_file(self.submission) as temporary:
                shutil.copyfile(path, temporary)
            if (folder / "budget.json").is_file():
                shutil.copyfile(folder / "budget.json", self.submission.with_name("budget.json"))
            final = "final" if name == "submission.json" else "the best so far"
            _say(f"{self.submission}: {len(answers)} tasks, {final}")
            return True
        _say("error: no submission: the run ended before it had one")
        return False


# --- what is checked --------------------------------------------------------------------------


def check_image(about: Mapping[str, Any], python: Sequence[Any], torch: str | None) -> None:
    """Raises InputError, in one line, for a Python or a torch that the bundle is not for."""
    here = f"{python[0]}.{python[1]}"
    if here != about["python"]:
        raise InputError(
            f"Python {here} in this image, expected {about['python']}, for which the wheels are: "
            f'make the bundle again with kaggle: {{python: "{here}"}} in the config'
        )
    if torch is None:
        raise InputError("no torch in this image, expected one: choose a GPU as accelerator, whose image has it")
    if _numbers(torch) < _numbers(about["oldest_torch"]):
        raise InputError(
            f"torch {torch} in this image, expected {about['oldest_torch']} or newer: choose a newer image"
        )


def check_bundle(bundle: Path) -> None:
    """Raises InputError for a file that is missing or damaged; what lies there besides is nobody's business."""
    if not read_sums(bundle):
        raise InputError(f"{bundle}: no {SUMS}, expected the whole bundle: upload it again")
    try:
        check_own_sums(bundle)
    except InputError as error:
        raise InputError(f"{error}: upload the bundle again") from None


def find_challenges(pattern: str, bundle: Path) -> Path:
    """The file of the hidden tasks. Raises InputError if nothing is there; of several the first counts."""
    inside = bundle.resolve()
    found = [path for path in sorted(glob(pattern, recursive=True)) if not Path(path).resolve().is_relative_to(inside)]
    if not found:
        raise InputError(
            f"{pattern}: no such file, expected the contest's data among the notebook's inputs (Add Input)"
        )
    return Path(found[0])


def read_challenges(path: Path) -> dict[str, int]:
    """How many test inputs each task has. Raises InputError for a file that has no tasks."""
    content = read_json(path)
    try:
        counts = {name: len(task["test"]) for name, task in content.items()}
    except (AttributeError, KeyError, TypeError):
        counts = {}
    if not counts:
        raise InputError(f"{path}: no tasks, expected {{id: {{train: […], test: […]}}}}")
    return counts


def check_submission(answers: Any, tasks: Mapping[str, int]) -> None:
    """Raises InputError unless each test input of each task has two attempts that are grids, and there is no more."""
    if not isinstance(answers, dict) or set(answers) != set(tasks):
        raise InputError("not the contest's tasks")
    for name, count in tasks.items():
        outputs = answers[name]
        if not isinstance(outputs, list) or len(outputs) != count:
            raise InputError(f"{name}: expected {count} outputs")
        for output in outputs:
            if not isinstance(output, dict) or set(output) != {"attempt_1", "attempt_2"}:
                raise InputError(f"{name}: expected attempt_1 and attempt_2")
            if not all(map(_is_grid, output.values())):
                raise InputError(f"{name}: an attempt is no grid")


def _is_grid(grid: Any) -> bool:
    if not isinstance(grid, list) or not 1 <= len(grid) <= 30 or not all(isinstance(row, list) for row in grid):
        return False
    width = len(grid[0])
    cells = [cell for row in grid for cell in row]
    return 1 <= width <= 30 and {len(row) for row in grid} == {width} and all(
        type(cell) is int and 0 <= cell <= 9 for cell in cells
    )  # fmt: skip


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """Major and minor number of a version: `2.11.0+cu130` is (2, 11)."""
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


# --- what is done -----------------------------------------------------------------------------


def unpack(bundle: Path, work: Path, challenges: Path) -> None:
    """Makes the folder of the run: the workflow as a copy, all that is large as a link to the bundle.

    Results of an earlier call stay.
    """
    work.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(work / WORKFLOW, ignore_errors=True)
    for name in files_of(bundle, WORKFLOW):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle / name, work / name)
    (work / "bundle").unlink(missing_ok=True)
    (work / "bundle").symlink_to(bundle.resolve())
    shutil.copyfile(bundle / CONFIG, work / CONFIG)
    shutil.copyfile(challenges, work / "challenges.json")


def install(bundle: Path, environment: Path) -> None:
    """Installs the wheels into an environment of their own, with the bundle's own pip; the image's packages follow."""
    venv.EnvBuilder(clear=True, symlinks=True, with_pip=False).create(environment)
    wheels = bundle / "wheels"
    pip = min(wheels.glob("pip-*.whl"), default=None)
    if pip is None:
        raise InputError(f"{wheels}: no wheel of pip, expected those of the lock: make and upload the bundle again")
    python = environment / "bin" / "python"
    done = subprocess.run(
        [str(python), str(pip / "pip"), "install", "--quiet", "--disable-pip-version-check", "--no-input",
         "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--require-hashes", "--find-links", str(wheels),
         "--requirement", str(wheels / "requirements.txt")],
        env=_environment(environment.parent) | {"PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or [done.stderr or done.stdout]
        raise InputError(f"the wheels cannot be installed: {one_line(said[-1].removeprefix('ERROR: '), 400)}")
    # not before: pip would take what the image has for its own
    (own,) = environment.glob("lib/python*/site-packages")
    (own / "image.pth").write_text("".join(f"{folder}\n" for folder in image_folders(sys.path)), encoding="utf-8")


def image_folders(path: Sequence[str]) -> list[str]:
    """Where the packages of a Python lie that has this `sys.path`."""
    names = ("site-packages", "dist-packages")
    return list(dict.fromkeys(each for each in path if Path(each).name in names and Path(each).is_dir()))


def probe(work: Path, modules: Sequence[str]) -> dict[str, Any]:
    """What the run's jobs will find: torch, peft, the cards. Raises InputError for a module that cannot be imported."""
    done = subprocess.run(
        [str(work / "env" / "bin" / "python"), "-c", _PROBE, *modules],
        env=_environment(work) | {"PYTHONPATH": str(work / WORKFLOW / "workflow_scripts")},
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    last = (done.stdout.splitlines() or [""])[-1]
    try:
        found: dict[str, Any] = json.loads(last)
    except json.JSONDecodeError:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise InputError(f"the installed packages do not work in this image: {one_line(said, 400)}") from None
    if found["wrong"]:
        raise InputError(said_of_clash(*found["wrong"]))
    return found


def said_of_clash(module: str, error: str) -> str:
    """One line for a package that cannot be imported beside the image's, with the remedy where it is known."""
    said = f"{module} does not work in this image: {one_line(error, 300)}"
    if "torchao" in error:
        return f"{said}; the image's torchao is too old for it, put '!pip uninstall -y torchao' above the first cell"
    return said


def _environment(work: Path) -> dict[str, str]:
    """The variables of a program of the run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FREE)}
    path = os.pathsep.join([str(work / "env" / "bin"), kept.get("PATH", os.defpath)])
    return kept | {
        "PATH": path,
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        "XDG_CACHE_HOME": str(work / "cache"),
    }


def _stop(process: subprocess.Popen[str]) -> None:
    """Ends a process with all that it has begun, if it still runs."""
    for sent, seconds in ((signal.SIGTERM, 30), (signal.SIGKILL, 30)):
        if process.poll() is not None:
            return
        try:
            os.killpg(process.pid, sent)
            process.wait(seconds)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
