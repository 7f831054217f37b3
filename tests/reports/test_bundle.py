import re

import pytest

from arcfold.planning.plan import STEPS
from arcfold.reports.bundle import ASSETS, scripts, styles
from arcfold.reports.summary import OUTCOMES


def written(folder, **modules):
    for name, text in modules.items():
        (folder / f"{name}.js").write_text(text)
    return folder


def test_a_module_stands_behind_what_it_imports_and_gives_its_exports(tmp_path):
    folder = written(
        tmp_path,
        main='import {\n  b,\n} from "./second.js";\nb();\n',
        second='import { a } from "./first.js";\nexport function b() {\n  return a;\n}\n',
        first="export const a = 1;\n",
    )
    made = scripts("main", folder)
    assert [made.index(f"const {name}Module") for name in ("first", "second", "main")] == sorted(
        made.index(f"const {name}Module") for name in ("first", "second", "main")
    )
    assert "const { a } = firstModule;" in made
    assert "return { b };" in made
    assert not re.search(r"^\s*(import|export)\b", made, re.MULTILINE)


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        ({"main": 'import { a } from "./main.js";\n'}, "main imports main"),
        ({"main": "export default 1;\n"}, "export default 1;"),
        ({"main": 'import "./other.js";\n'}, 'import "./other.js";'),
    ],
)
def test_what_cannot_be_joined_is_named(tmp_path, modules, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        scripts("main", written(tmp_path, **modules))


def test_every_module_is_part_of_the_page_and_every_colour_is_there():
    made, style = scripts(), styles()
    for module in ASSETS.iterdir():
        if module.name.endswith(".js"):
            assert f"const {module.name.removesuffix('.js')}Module" in made
    for key in (*OUTCOMES, *STEPS):
        assert f"--{key}:" in style
    used = set(re.findall(r"var\((--[a-z_-]+)\)", style + made))
    # given by the page to single elements
    given = {"--from", "--to", "--at", "--heat", "--why"}
    assert {name for name in used if f"{name}:" not in style} <= given
