"""The scripts of a page as one: `assets/main.js` with all modules that it imports, each in a scope of its own.

A browser reads modules from their files, and a page has none. So

    import { percent } from "./format.js";        const { percent } = format;
    export function row() { … }             →     const table = (() => { … function row() { … } … return { row }; })();

which holds for the two forms that the modules use: named imports and exported declarations.
"""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.resources.abc import Traversable

ASSETS: Traversable = files("arcfold.reports") / "assets"

_IMPORT = re.compile(r'^import \{(?P<names>[\w,\s]+)\} from "\./(?P<module>\w+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?P<rest>(?:async )?(?:function\*?|const|class) (?P<name>\w+))", re.MULTILINE)
_LEFT = re.compile(r"^\s*(?:import|export)\b.*$", re.MULTILINE)


def scripts(entry: str = "main", folder: Traversable = ASSETS) -> str:
    """The script that a module and all that it imports are together.

    Raises ValueError for modules that import each other in a circle and for imports and exports of another form.
    """
    made: dict[str, str] = {}
    _add(entry, folder, made, ())
    return '"use strict";\n' + "\n".join(made.values())


def _add(name: str, folder: Traversable, made: dict[str, str], importers: tuple[str, ...]) -> None:
    """Puts a module behind all that it imports."""
    if name in importers:
        raise ValueError(f"{' imports '.join([*importers, name])}: expected no circle")
    if name in made:
        return
    source = (folder / f"{name}.js").read_text(encoding="utf-8")
    for found in _IMPORT.finditer(source):
        _add(found["module"], folder, made, (*importers, name))
    exported = [found["name"] for found in _EXPORT.finditer(source)]
    body = _EXPORT.sub(r"\g<rest>", _IMPORT.sub(r"const {\g<names>} = \g<module>Module;", source))
    if left := _LEFT.search(body):
        raise ValueError(f'{name}.js: {left[0]!r}, expected import {{ a, b }} from "./c.js"; or export function a()')
    made[name] = f"const {name}Module = (() => {{\n{body}\nreturn {{ {', '.join(exported)} }};\n}})();"


def styles(folder: Traversable = ASSETS) -> str:
    """All style sheets, in the order of their names."""
    sheets = sorted((sheet for sheet in folder.iterdir() if sheet.name.endswith(".css")), key=lambda sheet: sheet.name)
    return "\n".join(sheet.read_text(encoding="utf-8") for sheet in sheets)
