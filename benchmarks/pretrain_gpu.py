"""Trains a base model without Snakemake: what the rule train_base_model does, on a machine that has only torch.

    python3 benchmarks/pretrain_gpu.py --shards corpora/*.gz --held-out dev/*.gz --seconds 540 --out checkpoint

prints a line every 30 s and writes a folder that transformers loads and `--resume` goes on from. `--gpus 4`
trains on four devices. `--probe 20` only measures tokens per second.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

STARTED = time.monotonic()

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

MIXTURE = "re_arc=0.62,arc1_training=0.1,concept_arc=0.08,mini_arc=0.05,one_d_arc=0.03,families=0.8"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--shards", nargs="+", default=[], help="shard folders, or packed shards (.gz)")
    add("--held-out", nargs="*", default=[], help="the same, of held-out tasks")
    add("--adapt-on", help="name of the held-out shard that a copy adapts to at the end")
    add("--adapt-steps", type=int, default=0, help="steps of adapting; 0 leaves it out")
    add("--adapt-rate", type=float, nargs="+", default=[0.25], help="factors of the rates, one copy for each")
    add("--only-adapt", action="store_true", help="no training: adapt copies of the model of --resume")
    add("--mixture", default=MIXTURE, help="weights of the corpora by name; those without a shard do not matter")
    add("--seconds", type=float, default=540, help="wall-clock seconds, all included")
    add("--steps", type=int, help="steps of this call at most")
    add("--resume", help="a folder that an earlier call wrote")
    add("--out", help="where to write the model; nothing is written without it")
    add("--part-mib", type=float, default=15.0, help="largest weights file")
    add("--save-optimizer", action="store_true", help="keep the optimizer's state too (four times the weights)")
    for name, value in (("layers", 8), ("width", 384), ("hidden", 1024), ("heads", 6), ("head-size", 64)):
        add(f"--{name}", type=int, default=value)
    add("--rope-theta", type=float, default=100000.0)
    add("--positions-by", default="places", choices=("places", "grids"), help="what heads are turned by")
    add("--tokens", type=int, default=131072, help="tokens of a batch on one device")
    add("--longest", type=int, default=8192, help="tokens of a sample")
    add("--accumulation", type=int, default=1)
    add("--output-symmetry", type=float, default=0.1)
    add("--upscale", type=float, default=0.05)
    add("--matrix-rate", type=float, default=0.012)
    add("--other-rate", type=float, default=1.2e-3)
    add("--weight-decay", type=float, default=0.0)
    add("--warmup-steps", type=int, default=100)
    add("--decay-share", type=float, default=0.6, help="share of the seconds; 0 to go on later")
    add("--decay-shape", default="linear", choices=("linear", "sqrt"))
    add("--loss-on-inputs", type=float, default=0.0)
    add("--loss-on-first-output", action="store_true")
    add("--held-out-seconds", type=float, default=120)
    add("--report-seconds", type=float, default=30)
    add("--attention", default="auto", choices=("auto", "samples", "flex", "varlen"))
    add("--workers", type=int, default=4, help="processes that make batches, for each device")
    add("--gpus", type=int, default=1)
    add("--seed", type=int, default=0)
    add("--rewrite", help="only read this folder's weights and write all of its files anew to --out")
    add("--probe", type=int, default=0, help="only time so many steps with each kind of attention")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.gpus > 1 and "RANK" not in os.environ:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={options.gpus}"]
        os.execv(sys.executable, [sys.executable, *launcher, __file__, *sys.argv[1:]])
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

    from arcfold.pretraining.base_folder import load_network, save_model
    from arcfold.pretraining.loop import Group, training_device
    from arcfold.pretraining.run import probe, save, train

    if options.rewrite:
        save_model(options.out, load_network(options.rewrite), part_mib=options.part_mib)
        return
    plan = make_plan(options)
    if options.probe:
        print(json.dumps(probe(plan, options.shards, options.probe)), flush=True)
        return
    group = Group(training_device())
    outcome = train(plan, options.shards, options.held_out, resume=options.resume, started=STARTED, group=group)
    if group.rank == 0:
        if options.out:
            save(outcome, options.out, part_mib=options.part_mib, keep_optimizer=options.save_optimizer, card=None)
            Path(options.out, "training.json").write_text(json.dumps(outcome.report, indent=1), encoding="utf-8")
        print(json.dumps({key: value for key, value in outcome.report.items() if key != "progress"}), flush=True)
        print(f"{time.monotonic() - STARTED:.0f} s", flush=True)
    group.close()


def make_plan(options: argparse.Namespace) -> Any:
    from arcfold.pretraining.adapting_score import AdaptingSettings
    from arcfold.pretraining.batches import BatchSettings
    from arcfold.pretraining.loop import PretrainingSettings, TrainingBudget
    from arcfold.pretraining.muon import OptimizerSettings
    from arcfold.pretraining.network import Shape
    from arcfold.pretraining.run import Plan

    def taken(kind: Any) -> dict[str, Any]:
        return {field.name: getattr(options, field.name) for field in fields(kind) if hasattr(options, field.name)}

    # the model is written, and adapts, within the seconds too
    reserve = 10 + (35 + 10 * len(options.adapt_rate) if options.adapt_steps else 0)
    return Plan(
        shape=Shape(**taken(Shape)),
        mixture={name: float(weight) for name, weight in (part.split("=") for part in options.mixture.split(","))},
        batches=BatchSettings(**taken(BatchSettings)),
        training=PretrainingSettings(
            optimizer=OptimizerSettings(**taken(OptimizerSettings)), **taken(PretrainingSettings)
        ),
        budget=TrainingBudget(seconds=options.seconds - reserve, steps=0 if options.only_adapt else options.steps),
        attention=options.attention,
        workers=options.workers,
        adapt_on=options.adapt_on if options.adapt_steps else None,
        adapting=tuple(AdaptingSettings(steps=options.adapt_steps, rate=rate) for rate in options.adapt_rate),
    )


if __name__ == "__main__":
    main()
