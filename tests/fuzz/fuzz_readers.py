"""Fuzzes every reader of files, guided by what of the library is reached: an InputError is fine, all else is a finding.

    python -m venv FOLDER && FOLDER/bin/pip install atheris==3.0.0
    PYTHONPATH=$(.venv/bin/python -c 'import site; print(site.getsitepackages()[0])') \\
        nice -n 19 FOLDER/bin/python tests/fuzz/fuzz_readers.py CORPUS -max_total_time=3600

CORPUS is a folder for the inputs that reach something new; a later run goes on from them. Options are libFuzzer's.
A finding is printed with its traceback and written to crash-…; the same command with that file in place of CORPUS
shows it again. `-seed=1` makes a run from an empty CORPUS repeatable.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "workflow_scripts"), str(ROOT / "tests" / "helpers")]
os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}

with atheris.instrument_imports(include=["arcfold"]):
    from breaking import broken
    from readers import READERS

    from arcfold.jobs.files import InputError

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-readers-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))


def prepared() -> list[tuple[str, Path, str, bytes]]:
    """For each file that may be broken its reader, its folder and what it holds when it is whole."""
    made = []
    for number, (name, reader) in enumerate(READERS.items()):
        folder = FOLDER / str(number)
        folder.mkdir()
        reader.write(folder)
        reader.read(folder)
        made += [(name, folder, file, (folder / file).read_bytes()) for file in reader.files]
    return made


def main() -> None:
    targets = prepared()

    def one_input(data: bytes) -> None:
        provider = atheris.FuzzedDataProvider(data)
        name, folder, file, whole = targets[provider.ConsumeIntInRange(0, len(targets) - 1)]
        if provider.ConsumeBool():
            content = broken(whole, file, lambda n: provider.ConsumeIntInRange(0, n - 1))
        else:
            content = provider.ConsumeBytes(len(data))
        before = {path for path in folder.rglob("*") if path.name != "made"}
        path = folder / file
        path.unlink()
        path.write_bytes(content)
        try:
            READERS[name].read(folder)
        except InputError as error:
            line = str(error)
            assert line.isprintable(), line
            assert len(line) <= 1000, line
        finally:
            shutil.rmtree(folder / "made", ignore_errors=True)
            path.write_bytes(whole)
        assert {path for path in folder.rglob("*") if path.name != "made"} == before, "a file was left"

    atheris.Setup(sys.argv, one_input)
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


if __name__ == "__main__":
    main()
