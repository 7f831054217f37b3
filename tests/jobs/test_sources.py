import ast
import json
import shutil
import subprocess
import sys
from modulefinder import ModuleFinder

import pytest
from shipped import ROOT

from arcfold.jobs.sources import hash_of_code

SCRIPTS = sorted(path.stem for path in (ROOT / "workflow_scripts").glob("*.py"))
LIBRARY = ROOT / "workflow_scripts/arcfold"
MODULES = sorted(
    ".".join(path.relative_to(LIBRARY).with_suffix("").parts)
    for path in LIBRARY.rglob("*.py")
    if path.stem != "__init__"
)

HASHES = """
import json, sys
from pathlib import Path
from arcfold.jobs.sources import hash_of_code
scripts = sorted(Path(sys.argv[1]).glob("*.py"))
def hashes():
    return {path.stem: hash_of_code(path) for path in scripts}
before, changed = hashes(), {}
library = Path(sys.argv[1], "arcfold")
modules = [path for path in sorted(library.rglob("*.py")) if path.stem != "__init__"]
texts = {path: path.read_text() for path in modules}
def changed_by(line, paths):
    for path in paths:
        path.write_text(texts[path] + line)
    found = sorted(script for script, value in hashes().items() if value != before[script])
    for path in paths:
        path.write_text(texts[path])
    return found
for path in modules:
    module = ".".join(path.relative_to(library).with_suffix("").parts)
    changed[module] = changed_by("\\nadded = 1\\n", [path])
changed["remarks"] = changed_by("\\n# a remark\\n\\n", modules)
assert hashes() == before
print(json.dumps(changed))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The scripts and the library, to be changed."""
    folder = tmp_path_factory.mktemp("code") / "workflow_scripts"
    shutil.copytree(ROOT / "workflow_scripts", folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def hash_in(folder, script):
    code = "import sys; from arcfold.jobs.sources import hash_of_code; print(hash_of_code(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, str(folder / script)],
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def changed(copy):
    """Which scripts' hashes change with code in each module, and with a remark in all of them."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", HASHES, str(copy)],
        env={"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def imported():
    """The library's modules behind each script, as the standard library's own finder follows imports."""
    found = {}
    for script in SCRIPTS:
        # what `import arcfold` itself does is behind every script, and makes one name known, no result
        finder = ModuleFinder(path=[str(ROOT / "workflow_scripts")], excludes=["arcfold.models.registration"])
        finder.run_script(str(ROOT / "workflow_scripts" / f"{script}.py"))
        found[script] = {name.removeprefix("arcfold.") for name in finder.modules if name.startswith("arcfold.")}
    return found


def test_a_changed_module_changes_the_scripts_that_import_it_and_only_those(changed, imported):
    for module in MODULES:
        expected = sorted(script for script in SCRIPTS if module in imported[script])
        assert changed[module] == expected, module


def test_a_remark_in_any_module_changes_nothing(changed):
    assert changed["remarks"] == []


def test_selection_is_behind_what_selects_and_scores_and_not_behind_what_trains(imported):
    behind = {script for script in SCRIPTS if "arc.selection" in imported[script]}
    assert {"select_attempts", "score_run"} <= behind
    assert not behind & {"train_adapter", "search_candidates", "rescore_candidates", "make_folds", "collect_tasks"}


BEFORE = '''
"""What the module is for."""
import os

LIMIT = 3
"""What the limit is."""


def double(value):
    """Twice the value."""
    return 2 * value


class Empty:
    """Nothing in it."""
'''


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("What the module is for", "Something else", True),
        ('"""What the limit is."""\n', "", True),
        ('    """Twice the value."""\n', "", True),
        ("Nothing in it", "Nothing at all", True),
        ("\n\n\ndef", "\n# a remark\n\n\n\ndef", True),
        ("2 * value", "(2  *  value)  # by hand", True),
        ("2 * value", "3 * value", False),
        ("LIMIT = 3", "LIMIT = 4", False),
        ("import os", "import sys", False),
        ("value", "other", False),
        ("class Empty", "class Void", False),
    ],
)
def test_what_a_file_does_counts_and_what_it_says_does_not(tmp_path, old, new, same):
    assert old in BEFORE
    path = tmp_path / "script.py"
    path.write_text(BEFORE)
    before = hash_of_code(path)
    path.unlink()
    path.write_text(BEFORE.replace(old, new))
    assert (hash_of_code(path) == before) is same


def test_the_hash_is_the_same_wherever_the_clone_lies(copy):
    for script in ("train_adapter.py", "score_run.py"):
        assert hash_in(copy, script) == hash_of_code(ROOT / "workflow_scripts" / script)


def test_importing_a_package_runs_no_code_of_it():
    """So that a job can lease its device before torch is loaded; the families and the library register something."""
    for path in LIBRARY.rglob("__init__.py"):
        if path.parent not in (LIBRARY, LIBRARY / "pretraining/families"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            assert [type(statement) for statement in tree.body] == [ast.Expr], path


def test_what_is_known_of_the_code_changes_no_hash(tmp_path):
    known = tmp_path / "known" / "code.json"
    scripts = [ROOT / "workflow_scripts" / f"{name}.py" for name in ("make_folds", "score_run")]
    expected = [hash_of_code(script) for script in scripts]
    code = (
        "import sys; from arcfold.jobs.sources import hash_of_code; "
        "print(*[hash_of_code(script, known=sys.argv[1]) for script in sys.argv[2:]])"
    )
    for content in (None, None, "{", "[1]"):  # made, read, broken, of another kind
        if content is not None:
            known.write_text(content)
        done = subprocess.run(
            [sys.executable, "-c", code, str(known), *map(str, scripts)],
            env={"PYTHONPATH": str(ROOT / "workflow_scripts")},
            capture_output=True,
            text=True,
        )
        assert done.stdout.split() == expected, done.stderr


def test_a_changed_file_is_not_taken_for_what_is_known_of_it(tmp_path):
    path, known = tmp_path / "script.py", tmp_path / "code.json"
    path.write_text(BEFORE)
    before = hash_of_code(path, known)
    path.write_text(BEFORE.replace("2 * value", "3 * value"))
    changed = hash_of_code(path, known)
    path.write_text(BEFORE.replace("Twice", "Two times"))
    assert hash_of_code(path, known) == before != changed


@pytest.mark.parametrize("entry", [None, [], ["x"], ["x", "arcfold.jobs"], ["x", [1]], [1, []], {"x": []}])
def test_an_entry_that_is_none_is_made_again(tmp_path, entry):
    path, known = tmp_path / "script.py", tmp_path / "code.json"
    path.write_text(BEFORE)
    before = hash_of_code(path, known)
    other = tmp_path / "other.json"  # each file is read once in a process
    other.write_text(json.dumps(dict.fromkeys(json.loads(known.read_text()), entry)))
    assert hash_of_code(path, other) == before
    assert json.loads(other.read_text()) == json.loads(known.read_text())
