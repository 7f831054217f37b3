"""Where compilers keep code that they run again: a folder of this user alone.

PyTorch's compiler keeps Python and machine code in `torchinductor_{name of the user}` in the temporary folder, and runs
what lies there. On a machine of several users anybody may make that folder first, and write into it. (For a
CPU it keeps headers of C++ there whatever it is told; nothing here is compiled for a CPU.)
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from arcfold.jobs.files import InputError

COMPILED = "TORCHINDUCTOR_CACHE_DIR"
_OF_TORCH = "torchinductor_"


def keep_compiled_code_private() -> None:
    """Before anything is compiled: `arcfold-compiled-{user id}` in the temporary folder, unless the environment names
    another than PyTorch's own (which PyTorch itself sets as soon as its compiler is imported).

    Triton's files of the same code go there too. Raises InputError where that folder is not this user's alone.
    """
    if not Path(os.environ.get(COMPILED, _OF_TORCH)).name.startswith(_OF_TORCH):
        return
    folder = Path(tempfile.gettempdir()) / f"arcfold-compiled-{os.getuid()}"
    make_private(folder, COMPILED)
    os.environ[COMPILED] = str(folder)


def make_private(folder: Path, variable: str) -> None:
    """Makes a folder that only this user can enter, or checks that it is one.

    variable: of the environment, which names another folder
    Raises InputError for a folder, or a link, that another user may have laid there.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); set {variable} to another folder") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise InputError(
            f"{folder}: expected a folder of this user alone (mode 0700); "
            f"remove it, or set {variable} to another folder"
        )
