"""A stock Qwen3 in the shapes of one of our models, with drawn weights: what other programs can be measured on.

Programs that know no positions by grids refuse our models. How fast they train depends on shapes and not on
weights, so a model of the same shapes stands in: the same tensors but for their numbers, the same tokenizer.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

from arcfold.jobs.files import new_folder, write_json
from arcfold.models.folder import read_config, read_files
from arcfold.models.positions import AXES, GRID_TOKENS, rope_keys
from arcfold.models.weights import CONFIG, WEIGHTS, stored_tensors


def write_stock_model(source: str | Path, output: str | Path, seed: int) -> None:
    """Writes the folder of a stock Qwen3, whole or not at all.

    source: the folder of a Qwen3, one of ours or a stock one
    seed: of the weights: matrices are normal with deviation 1 / √(inputs), norms are ones

    Raises InputError for a folder that is no model, and weights that are no safetensors.
    """
    import torch
    from safetensors.torch import save_file

    source = Path(source)
    files = read_files(source)
    config = read_config(source)
    shapes = {name: tensor.shape for name, tensor in stored_tensors(source).items()}
    draws = torch.Generator().manual_seed(seed)
    number_type = getattr(torch, config.get("dtype", "float32"))

    def drawn(shape: tuple[int, ...]) -> torch.Tensor:
        if len(shape) == 1:
            return torch.ones(shape, dtype=number_type)
        return (torch.randn(shape, generator=draws) / math.sqrt(shape[-1])).to(number_type)

    # in the order of their names, so that a seed gives one model however the source is cut into files
    tensors = {name: drawn(shapes[name]) for name in sorted(shapes)}
    with new_folder(output) as folder:
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        write_json(folder / CONFIG, stock_config(config))
        for name in files:
            if name != CONFIG and not name.endswith((".safetensors", ".safetensors.index.json")):
                shutil.copyfile(source / name, folder / name)


def stock_config(config: dict[str, Any]) -> dict[str, Any]:
    """The config.json of a stock Qwen3 in the shapes of a Qwen3's, one of ours or a stock one."""
    rope = {key: value for key, value in config["rope_parameters"].items() if key not in rope_keys(2 * AXES)}
    made = {key: value for key, value in config.items() if key != GRID_TOKENS}
    return made | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "rope_parameters": rope}
