"""Makes transformers' Auto classes know our model, without importing transformers.

Whoever imports `arcfold` may load our models with `AutoModelForCausalLM` afterwards, or before, if transformers is
there already. Most that import it never do (a workflow that is parsed, a client), and transformers takes a second.
So the import of transformers' table of configurations is waited for: it runs as ever, and then our entry is made.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

TABLE = "transformers.models.auto.configuration_auto"


class _Finder:
    """Finds the one module as Python's own finder does, with a loader that makes our entry behind it."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != TABLE:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _add_entry(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def register() -> None:
    """Makes the entry now, or as soon as the table is imported; a second call does nothing."""
    table = sys.modules.get(TABLE)
    if table is not None:
        _add_entry(table)
    elif _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


def _add_entry(table: Any) -> None:
    from arcfold.models.configuration_arcfold_qwen3 import ArcfoldQwen3Config

    table.AutoConfig.register(ArcfoldQwen3Config.model_type, ArcfoldQwen3Config, exist_ok=True)
