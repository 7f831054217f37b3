"""Several short trainings, each with other options, one on each GPU at a time: what to choose, in one command.

    python3 benchmarks/pretrain_sweep.py --gpus 4 --common "--shards a.gz b.gz --held-out dev.gz --seconds 120" \\
        -- "" "--rope-theta 10000" "--layers 12 --width 320 --hidden 896 --heads 5"

Each string behind `--` is a training by `pretrain_gpu.py` with the common options and its own. The table
says of each: tokens, loss, held-out loss and percent right, and how well it adapts.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).resolve().with_name("pretrain_gpu.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--common", default="", help="options of all trainings")
    parser.add_argument("--save", help="folder for the models, one in each of its folders 0, 1, …")
    parser.add_argument("trainings", nargs="+", help="the options of each training")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.save or temporary)
        waiting, running = list(enumerate(options.trainings)), {}
        while waiting or running:
            for gpu in set(range(options.gpus)) - set(running):
                if waiting:
                    number, own = waiting.pop(0)
                    running[gpu] = (number, _start(gpu, options.common, own, folder / str(number)))
            time.sleep(1)
            for gpu, (number, process) in list(running.items()):
                if process.poll() is not None:
                    del running[gpu]
                    _say(number, options.trainings[number], folder / str(number), process.returncode)


def _start(gpu: int, common: str, own: str, folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(PROGRAM), *shlex.split(common), *shlex.split(own), "--out", str(folder / "model")]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": str(gpu), "PYTHONUNBUFFERED": "1"}
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)


def _say(number: int, own: str, folder: Path, status: int) -> None:
    if status:
        lines = (folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()
        print(f"{number} FAILED {own!r}: {' | '.join(lines[-3:])[-600:]}", flush=True)
        return
    report: dict[str, Any] = json.loads((folder / "model" / "training.json").read_text(encoding="utf-8"))
    progress = report["progress"]
    last = progress["curve"][-1]
    scores = " ".join(f"{n} {s['loss']:.4f} {s['accuracy']:.1f}" for n, s in last.get("held_out", {}).items())
    adapted = " ".join(
        f"x{score['rate']:g}: {score['loss']:.4f} {score['accuracy']:.1f} ({score['solved']:.1f})"
        for score in report.get("adapted", [])
    )
    speed = progress["tokens"] / max(progress["seconds"], 1e-9)
    print(
        f"{number} {own!r}: {report['parameters']:,} parameters, {progress['tokens'] / 1e6:.1f} Mtokens, "
        f"{speed:,.0f} tokens/s, loss {last['loss']:.4f}; held out {scores}; "
        f"adapted {adapted or 'not'}; {report['measured']['peak_mib']} MiB",
        flush=True,
    )


if __name__ == "__main__":
    main()
