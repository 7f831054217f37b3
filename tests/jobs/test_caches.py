"""Where compilers keep code that they run again."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from arcfold.jobs import caches
from arcfold.jobs.caches import COMPILED, keep_compiled_code_private, make_private
from arcfold.jobs.files import InputError


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where compiled code goes in a test; the variable is as before when it ends."""
    monkeypatch.setenv(COMPILED, "")
    monkeypatch.delenv(COMPILED)
    monkeypatch.setattr(caches.tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path / f"arcfold-compiled-{os.getuid()}"


def test_compiled_code_lies_in_a_folder_of_this_user_alone(folder: Path) -> None:
    mask = os.umask(0)
    try:
        keep_compiled_code_private()
    finally:
        os.umask(mask)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert os.environ[COMPILED] == str(folder)


def test_the_folder_that_torch_itself_has_set_is_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(COMPILED, str(tmp_path / "torchinductor_somebody"))
    keep_compiled_code_private()
    assert os.environ[COMPILED] == str(folder)


def test_a_users_own_choice_stays(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(COMPILED, str(tmp_path / "mine"))
    keep_compiled_code_private()
    assert os.environ[COMPILED] == str(tmp_path / "mine")
    assert not folder.exists()


def test_a_folder_that_others_laid_there_is_refused(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(mode=0o700)
    keep_compiled_code_private()
    folder.chmod(0o755)
    with pytest.raises(InputError, match=r"expected a folder of this user alone .* remove it, or set X "):
        make_private(folder, "X")
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="expected a folder of this user alone"):
        make_private(folder, "X")


def test_a_folder_that_cannot_be_made_is_one_line(folder: Path) -> None:
    folder.write_text("")
    with pytest.raises(InputError, match=r"cannot be made \(File exists\); set X to another folder"):
        make_private(folder, "X")
