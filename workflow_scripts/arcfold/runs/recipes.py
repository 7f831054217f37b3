"""What the config says of corpora and base models, as far as a schema cannot check it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arcfold.jobs.files import PlacedError


def check_recipes(config: Mapping[str, Any], where: str) -> None:
    """What a schema cannot say of `corpora` and `base_models`. Raises PlacedError naming the key."""
    corpora, models = config.get("corpora", {}), config.get("base_models", {})
    for name, entry in corpora.items():
        sources = [key for key in ("path", "url", "dataset", "families") if key in entry]
        if len(sources) != 1:
            raise PlacedError(where, f"corpora/{name}", "expected one of path, url, dataset and families")
        for key, needs in (("path", "layout"), ("url", "layout"), ("url", "sha256")):
            if key in entry and needs not in entry:
                raise PlacedError(where, f"corpora/{name}", f"no {needs}, expected one beside {key}")
    for name, recipe in models.items():
        for key in ("corpora", "held_out"):
            for corpus in recipe.get(key, []):
                if corpus not in corpora:
                    raise PlacedError(
                        where, f"base_models/{name}/{key}", f"{corpus!r}, expected one of {', '.join(corpora)}"
                    )
        for corpus in recipe["corpora"]:
            if corpora[corpus].get("split") == "development":
                raise PlacedError(
                    where, f"base_models/{name}/corpora", f"{corpus} is held out, expected no such corpus"
                )
        adapts = recipe.get("adapting", {}).get("to")
        if adapts is not None and adapts not in recipe.get("held_out", []):
            raise PlacedError(where, f"base_models/{name}/adapting/to", f"{adapts!r} is none of its held_out")
        seen = [name]
        while (before := models[seen[-1]].get("goes_on_from")) is not None:
            if before not in models:
                raise PlacedError(where, f"base_models/{seen[-1]}/goes_on_from", f"no base model {before!r}")
            if before in seen:
                raise PlacedError(where, f"base_models/{name}/goes_on_from", f"{before} goes on from itself")
            seen.append(before)
