"""Ways to train the same adapter on the same samples, each timed in a process of its own.

    packed        our loop
    trl           the reference backend: trl's SFTTrainer with our optimizer groups, order and loss
    trl-defaults  trl's SFTTrainer as it comes, told no more than the task itself
    unsloth       Unsloth's layers under trl's SFTTrainer, the rest as Unsloth has it

All see the samples in the same order, the same number at a step, and the same steps; the last two
end early when they are slow, and say so. Run as a program, this module reads a request from standard
input and prints what it measured.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arcfold.models.base import BaseModel

WAYS = ("packed", "trl", "trl-defaults", "unsloth")

LIMIT = 120.0
"""Seconds of training after which trl's defaults and Unsloth end with the step that they are at, the third at least."""

_MARK = "MEASURED "


def measure(way: str, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    """What `request` (see `main`) gives in a process of its own, or `error` and the last lines that it wrote.

    timeout: seconds; then the process and what it started are killed
    """
    with tempfile.TemporaryDirectory() as compiled:
        environment = os.environ | {
            "HF_HUB_OFFLINE": "1",
            "UNSLOTH_DISABLE_STATISTICS": "1",
            "UNSLOTH_COMPILE_LOCATION": compiled,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "arcfold.training.benchmark"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            asked = json.dumps({**request, "way": way, "began": time.time()})
            output, errors = process.communicate(asked, timeout=timeout)
        except subprocess.TimeoutExpired:
            _kill(process)
            output, errors = process.communicate()
            return {"error": f"not done after {timeout:g} s", "last_lines": errors.strip().splitlines()[-4:]}
        except BaseException:  # an interrupt does not reach a group of its own
            _kill(process)
            raise
    for line in output.splitlines():
        if line.startswith(_MARK):
            measured: dict[str, Any] = json.loads(line.removeprefix(_MARK))
            return measured
    last = (errors.strip() or output.strip()).splitlines()[-12:]
    return {"error": (last or [f"status {process.returncode}"])[-1][:300], "last_lines": last}


def _kill(process: subprocess.Popen[str]) -> None:
    """A process that leads a group of its own, and what it started."""
    os.killpg(process.pid, signal.SIGKILL)


def compare(rows: Mapping[str, Mapping[str, Any]], reference: str = "trl") -> dict[str, dict[str, float]]:
    """For every way that was measured: its speed over the others', and its losses' distance from the reference's."""
    there = {way: row for way, row in rows.items() if "error" not in row}
    made: dict[str, dict[str, float]] = {}
    for way, row in there.items():
        made[way] = {
            f"speed over {other}": row["tokens_per_second"] / there[other]["tokens_per_second"]
            for other in there
            if other != way
        }
        if reference in there:
            pairs = zip(row["losses"], there[reference]["losses"], strict=False)
            made[way]["largest relative difference of a loss"] = max(abs(a - b) / abs(b) for a, b in pairs)
    return made


def main() -> None:
    """Reads {way, began, base, loading, tasks, ids, record, seed, threads, settings} and prints what was measured.

    base, loading: the model's folder, its dtype and quantization (Unsloth has its own defaults);
    tasks, record: files; ids: the fold's tasks; settings: a run's section `training`
    """
    request = json.loads(sys.stdin.read())
    way = request["way"]
    if way == "unsloth":
        import unsloth  # noqa: F401  (it patches the libraries that are imported after it)
    from arcfold.arc.tasks import tasks_by_id
    from arcfold.jobs.files import read_json
    from arcfold.models.base import BaseModel
    from arcfold.training.adapt import OF_SAMPLES, training_settings
    from arcfold.training.samples import fold_samples

    settings = request["settings"]
    base = BaseModel.open(request["base"], read_json(request["record"], "model"), **request["loading"])
    samples = fold_samples(
        tasks_by_id(request["tasks"], request["ids"]),
        base.codec,
        seed=request["seed"],
        **{key: settings[key] for key in OF_SAMPLES & settings.keys()},
    )
    chosen = training_settings(settings, seed=request["seed"], threads=request["threads"])
    measured = train(way, base, samples, chosen, request["began"])
    print(_MARK + json.dumps(measured), flush=True)


def train(way: str, base: BaseModel, samples: Sequence[Any], settings: Any, began: float) -> dict[str, Any]:
    """One training, timed. began: time.time() when the process was started.

    `tokens_per_second` counts real tokens from the end of the first step to the end of the last.
    """
    import torch

    torch.set_num_threads(settings.threads or torch.get_num_threads())
    measured = (
        _unsloth(base.folder, samples, settings, began)
        if way == "unsloth"
        else _trl_defaults(load(base, way), base.folder, samples, settings, began)
        if way == "trl-defaults"
        else _ours(way, load(base, way), samples, settings, began)
    )
    from arcfold.jobs.provenance import versions

    gpu = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "versions": versions(),
        "tflops": 4 * measured["parameters"] * measured["tokens_per_second"] / 1e12,
        **measured,
    }


def load(base: BaseModel, way: str) -> Any:
    """The model on the device that there is, by the loader that the workflow would take."""
    import torch

    from arcfold.models.loading import model_loader

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return model_loader(base, plain=way == "packed")(device)


def count_parameters(model: Any) -> int:
    """Parameters without the two embeddings."""
    skipped = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    return sum(p.numel() for p in model.parameters() if id(p) not in skipped)


def _ours(way: str, model: Any, samples: Sequence[Any], settings: Any, began: float) -> dict[str, Any]:
    from arcfold.training.train import train_adapter

    parameters = count_parameters(model)
    called = time.time()
    with tempfile.TemporaryDirectory() as scratch:
        report = train_adapter(
            model, samples, settings, folder=Path(scratch) / "adapter", checkpoints=None, backend=way,
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
        "seconds_of_the_backend_to_first_step": measured["seconds_to_first_step"],
        "seconds_of_the_call": measured["seconds"],
        "peak_memory_gib": measured["peak_memory_bytes"] / 2**30,
    }


def _trl_defaults(model: Any, folder: Path, samples: Sequence[Any], settings: Any, began: float) -> dict[str, Any]:
    from peft import LoraConfig

    from arcfold.models.architectures import EMBEDDINGS

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        use_rslora=settings.rslora,
        target_modules=[name for name in settings.targets if name not in EMBEDDINGS],
        modules_to_save=[name for name in EMBEDDINGS if name in settings.targets] or None,
    )
    return _sft_trainer(model, count_parameters(model), folder, samples, settings, began, {}, peft_config=config)


def _unsloth(folder: Path, samples: Sequence[Any], settings: Any, began: float) -> dict[str, Any]:
    from unsloth import FastLanguageModel

    longest = max(len(sample.input_ids) for sample in samples)
    model, _ = FastLanguageModel.from_pretrained(
        str(folder), max_seq_length=longest, load_in_4bit=False, dtype=None, local_files_only=True
    )
    parameters = count_parameters(model)
    model = FastLanguageModel.get_peft_model(
        model, r=settings.rank, lora_alpha=settings.alpha, use_rslora=settings.rslora, lora_dropout=0.0,
        target_modules=list(settings.targets), bias="none", use_gradient_checkpointing=False, random_state=0,
    )  # fmt: skip
    more = {"bf16": True, "gradient_checkpointing": False, "padding_free": False}
    return _sft_trainer(model, parameters, folder, samples, settings, began, more)


def _sft_trainer(
    model: Any, parameters: int, folder: Path, samples: Sequence[Any], settings: Any, began: float,
    more: Mapping[str, Any], **peft: Any,
) -> dict[str, Any]:  # fmt: skip
    """The trainer on our samples in our order, with our collator; everything else as `more` or the library says."""
    import torch
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from arcfold.training.job import make_schedule, peak_memory
    from arcfold.training.trl import collate, make_dataset

    ends: list[float] = []
    losses: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            ends.append(time.time())
            control.should_training_stop |= len(ends) >= 3 and ends[-1] - called > LIMIT

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if logs and "loss" in logs:
                losses.append(float(logs["loss"]))

    with tempfile.TemporaryDirectory() as scratch:
        arguments = SFTConfig(
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
            model=model,
            args=arguments,
            train_dataset=make_dataset(samples),
            data_collator=collate,
            processing_class=AutoTokenizer.from_pretrained(folder),
            callbacks=[Clock()],
            **peft,
        )
        called = time.time()
        trainer.train()
    of_step = settings.batch * settings.accumulation
    lengths = [len(sample.input_ids) for sample in samples[: len(ends) * of_step]]
    batches = [lengths[i : i + settings.batch] for i in range(0, len(lengths), settings.batch)]
    computed = sum(max(batch) * len(batch) for batch in batches)
    whole = -(-len(samples) // of_step)
    return {
        "parameters": parameters,
        "losses": losses,
        "notes": [f"ended after {len(ends)} of {whole} steps"] if len(ends) < whole else [],
        "steps": len(ends),
        "tokens": sum(lengths),
        "tokens_per_second": sum(lengths[of_step:]) / max(ends[-1] - ends[0], 1e-9),
        "padding_percent": 100 * (1 - sum(lengths) / computed),
        "seconds_to_first_step": ends[0] - began,
        "seconds_of_the_backend_to_first_step": ends[0] - called,
        "seconds_of_the_call": ends[-1] - called,
        "peak_memory_gib": peak_memory(next(model.parameters()).device) / 2**30,
    }


if __name__ == "__main__":
    main()
