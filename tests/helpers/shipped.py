"""What is in the clone itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the Snakefile."""

CONFIG: Any = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
"""The shipped config.yaml; not to be changed."""
