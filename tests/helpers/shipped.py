"""What is in the clone itself."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the Snakefile."""

CONFIG: Any = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
"""The shipped config.yaml; not to be changed."""


@cache
def rules() -> dict[str, list[str]]:
    """The output patterns of each rule, with the constraints of their wildcards."""
    text = "\n".join(
        path.read_text(encoding="utf-8") for path in [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
    )
    constraints = dict(re.findall(r'^ +(\w+)=r"(.*)",$', text, re.MULTILINE))
    made = {}
    for rule in re.finditer(r"^(?:use )?rule (?:\w+ as )?(\w+)(?: with)?:\n((?:[ \n].*\n?)*)", text, re.MULTILINE):
        block = re.search(r"^    output:\n((?:        .*\n)+)", rule[2], re.MULTILINE)
        made[rule[1]] = [
            re.sub(r"\{(\w+)\}", lambda name: f"{{{name[1]},{constraints.get(name[1], '.+')}}}", path)
            for path in re.findall(r'"(results/[^"]+)"', block[1] if block else "")
        ]
    return made


def outputs() -> list[str]:
    """The output patterns of all rules, those with fewer wildcards first."""
    return sorted((path for of_rule in rules().values() for path in of_rule), key=lambda path: path.count("{"))
