"""Small packages in the layouts of an index: wheels, and one source archive."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

from arcfold.jobs.files import hash_of_file


def made_wheel(folder: Path, name: str, version: str, tag: str = "py3-none-any", *, code: str = "") -> str:
    """Writes a wheel with one module, and gives its line of a lock."""
    folder.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    path = folder / f"{module}-{version}-{tag}.whl"
    info = f"{module}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{module}.py", code)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: made\nRoot-Is-Purelib: true\nTag: {tag}\n")
        wheel.writestr(f"{info}/RECORD", f"{module}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return line_of_lock(name, version, path)


def made_source(folder: Path, name: str, version: str) -> str:
    """Writes a source archive with one module, and gives its line of a lock."""
    folder.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    path = folder / f"{module}-{version}.tar.gz"
    setup = f"from setuptools import setup\nsetup(name={name!r}, version={version!r}, py_modules=[{module!r}])\n"
    files = {
        "setup.py": setup,
        f"{module}.py": "POOL = 1\n",
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    with tarfile.open(path, "w:gz") as archive:
        for inside, text in files.items():
            entry = tarfile.TarInfo(f"{module}-{version}/{inside}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return line_of_lock(name, version, path)


def line_of_lock(name: str, version: str, *files: Path, marker: str = "") -> str:
    """As `make lock` writes it."""
    hashes = " \\\n".join(f"    --hash=sha256:{hash_of_file(path)}" for path in files)
    return f"{name}=={version}{f' ; {marker}' if marker else ''} \\\n{hashes}\n"
