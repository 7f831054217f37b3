"""A large model that answers as a small one does: what the pipeline costs at that size, with replies that are real.

    python benchmarks/widen_model.py models/large                    4.2 B parameters, of the embedded 15 M
    python benchmarks/widen_model.py models/large --layers 36        3.6 B: Qwen3-4B with 16 tokens

A large model with drawn weights finds no candidates, so search, rescoring and selection would have nothing to do. Here
the small model's numbers stand inside larger matrices, such that every logit stays what it is (as in Net2Net, Chen,
Goodfellow and Shlens, 2015, arXiv 1511.05641, where networks have no norms):

    hidden      [x, x, 0]: copies, so that RMSNorm divides by a known factor more, which its weights make up for
    heads       numbers j and j + E / 2 of a head turn together, so halves go to halves; rope_theta ^ (E' / E) gives
                frequency j of the larger head the angle that frequency j of the smaller one had. Norms make a query
                of half a head √2 times as large; a key that stands there twice stays what it is, and so does its
                product with the query over √E'
    layers      those behind the small model's add zero

All other weights are drawn where they can change nothing, for a product with zeros costs a device less power.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow_scripts")]

import torch  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch import Tensor  # noqa: E402

from arcfold.jobs.files import new_folder, write_json  # noqa: E402
from arcfold.models.folder import read_config, read_files  # noqa: E402
from arcfold.models.positions import rope_keys  # noqa: E402
from arcfold.models.sizes import ModelSize  # noqa: E402
from arcfold.models.weights import CONFIG, WEIGHTS  # noqa: E402

QWEN3_4B = {
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 42,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
"""The shape of Qwen3-4B, with 42 layers for its 36: 4.2 B parameters with 16 tokens in place of 151,936."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="the folder that is made")
    parser.add_argument("--source", type=Path, default=ROOT / "resources" / "base-15m", help="a Qwen3 or one of ours")
    parser.add_argument("--layers", type=int, default=QWEN3_4B["num_hidden_layers"])
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shape = QWEN3_4B | {"num_hidden_layers": arguments.layers}
    config = widen(arguments.source, arguments.output, shape, device=device)
    print(f"{arguments.output}: {ModelSize.of(config).parameters:,} parameters in matrices")


def widen(
    source: Path, output: Path, shape: dict[str, int], *, seed: int = 0, device: torch.device | None = None
) -> dict[str, Any]:
    """Writes a model folder of this shape whose logits are those of `source`; gives its config.json.

    source: a Qwen3 or one of ours in one file, at most as large in each number of `shape`, with at most as many query
        heads to a key head
    """
    config = read_config(source)
    with safe_open(source / WEIGHTS, framework="pt", device="cpu") as file:
        small = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    made = _Widened(config, shape, seed, device or torch.device("cpu"))
    with new_folder(output) as folder:
        save_file(made.tensors(small), folder / WEIGHTS, metadata={"format": "pt"})
        write_json(folder / CONFIG, made.config())
        for name in read_files(source):
            if name not in (CONFIG, WEIGHTS):
                shutil.copyfile(source / name, folder / name)
    return made.config()


class _Widened:
    """Where the numbers of a small model stand in a large one."""

    def __init__(self, config: dict[str, Any], shape: dict[str, int], seed: int, device: torch.device) -> None:
        self.small, self.shape, self.device = config, shape, device
        self.draws = torch.Generator(device=device).manual_seed(seed)
        width, wide = config["hidden_size"], shape["hidden_size"]
        # a power of 4 has a root that scales bfloat16 without rounding
        ratios = {copies: wide / (copies * width) for copies in range(1, wide // width + 1)}
        self.copies = next((c for c, ratio in ratios.items() if math.log(ratio, 4).is_integer()), 1)
        self.shrink = math.sqrt(self.copies * width / wide)
        size, large = config["head_dim"], shape["head_dim"]
        self.within = torch.cat([torch.arange(size // 2), large // 2 + torch.arange(size // 2)])
        self.doubled = large == 2 * size
        # for other sizes a factor, which bfloat16 rounds
        self.of_queries = 1.0 if self.doubled else math.sqrt(size / large)
        groups = config["num_attention_heads"] // config["num_key_value_heads"]
        larger = shape["num_attention_heads"] // shape["num_key_value_heads"]
        assert groups <= larger
        assert all(config[key] <= value for key, value in shape.items())
        keys = range(config["num_key_value_heads"])
        self.key_heads = [*keys]
        self.query_heads = [key * larger + place for key in keys for place in range(groups)]

    def config(self) -> dict[str, Any]:
        rope = dict(self.small["rope_parameters"])
        size, large = self.small["head_dim"], self.shape["head_dim"]
        rope["rope_theta"] = rope["rope_theta"] ** (large / size)
        if "mrope_section" in rope:
            rope |= rope_keys(large)
        layers = self.shape["num_hidden_layers"]
        return {
            **self.small,
            **self.shape,
            "rope_parameters": rope,
            "rms_norm_eps": self.small["rms_norm_eps"] * self.shrink**2,
            "layer_types": ["full_attention"] * layers,
            "max_window_layers": layers,
        }

    def tensors(self, small: dict[str, Tensor]) -> dict[str, Tensor]:
        parts: dict[str, Callable[[Tensor], Tensor]] = {
            "embed_tokens": self._hidden,
            "lm_head": self._reads_hidden,
            "norm": self._norm,
            "input_layernorm": self._norm,
            "post_attention_layernorm": self._norm,
            "q_norm": lambda w: self._head_norm(w, self.of_queries),
            "k_norm": lambda w: self._head_norm(w, 1.0),
            "q_proj": lambda w: self._to_heads(w, self.query_heads, self.shape["num_attention_heads"]),
            "k_proj": lambda w: self._to_heads(w, self.key_heads, self.shape["num_key_value_heads"], self.doubled),
            "v_proj": lambda w: self._to_heads(w, self.key_heads, self.shape["num_key_value_heads"]),
            "o_proj": lambda w: self._to_hidden(w, self._slots(self.query_heads), self._attention()),
            "gate_proj": self._to_inner,
            "up_proj": self._to_inner,
            "down_proj": lambda w: self._to_hidden(w, torch.arange(w.shape[1]), self.shape["intermediate_size"]),
        }
        made = {name: parts[name.split(".")[-2]](tensor).contiguous() for name, tensor in small.items()}
        first = {name: tensor for name, tensor in made.items() if name.startswith("model.layers.0.")}
        for layer in range(self.small["num_hidden_layers"], self.shape["num_hidden_layers"]):
            for name, tensor in first.items():
                silent = name.split(".")[-2] in ("o_proj", "down_proj")
                like = torch.zeros_like(tensor) if silent else tensor.clone()
                made[name.replace(".0.", f".{layer}.", 1)] = like
        return made

    def _attention(self) -> int:
        return self.shape["num_attention_heads"] * self.shape["head_dim"]

    def _slots(self, heads: list[int]) -> Tensor:
        """The places of the small model's heads, side by side, in the large one's."""
        return torch.cat([head * self.shape["head_dim"] + self.within for head in heads])

    def _drawn(self, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
        drawn = torch.randn(rows, columns, generator=self.draws, device=self.device, dtype=torch.float32)
        return (drawn / math.sqrt(columns)).to(dtype)

    def _hidden(self, small: Tensor) -> Tensor:
        """Copies of the last dimension, and zeros behind them."""
        wide = small.new_zeros(*small.shape[:-1], self.shape["hidden_size"], device=self.device)
        for copy in range(self.copies):
            wide[..., copy * small.shape[-1] : (copy + 1) * small.shape[-1]] = small.to(self.device)
        return wide

    def _norm(self, small: Tensor) -> Tensor:
        wide = self._hidden(small * self.shrink)
        wide[self.copies * len(small) :] = 1.0  # what it scales is zero
        return wide

    def _head_norm(self, small: Tensor, factor: float) -> Tensor:
        wide = small.new_ones(self.shape["head_dim"], device=self.device)
        wide[self.within.to(self.device)] = (small * factor).to(self.device)
        return wide

    def _reads_hidden(self, small: Tensor, rows: int | None = None) -> Tensor:
        """(rows, hidden): reads the first copy, nothing of the others, and what is zero with drawn weights."""
        width = small.shape[1]
        wide = self._drawn(rows or len(small), self.shape["hidden_size"], small.dtype)
        wide[: len(small), :width] = small.to(self.device)
        wide[:, width : self.copies * width] = 0
        return wide

    def _to_inner(self, small: Tensor) -> Tensor:
        return self._reads_hidden(small, self.shape["intermediate_size"])

    def _to_heads(self, small: Tensor, heads: list[int], number: int, doubled: bool = False) -> Tensor:
        """(heads, hidden): doubled, the numbers stand a second time where the queries are zero."""
        size, slots = self.shape["head_dim"], self._slots(heads).to(self.device)
        wide = self._reads_hidden(small, number * size)
        # a head that is in use has zeros between its numbers, for its norm's sake
        used = torch.cat([head * size + torch.arange(size, device=self.device) for head in heads])
        rows = self._reads_hidden(small)
        wide[used] = 0
        wide[slots] = rows
        if doubled:
            wide[slots + self.small["head_dim"] // 2] = rows
        return wide

    def _to_hidden(self, small: Tensor, slots: Tensor, inputs: int) -> Tensor:
        """(hidden, inputs): writes every copy, from the inputs that the small model has."""
        wide = small.new_zeros(self.shape["hidden_size"], inputs, device=self.device)
        wide[:, slots.to(self.device)] = self._hidden(small.T).T
        return wide


if __name__ == "__main__":
    main()
