"""Forward passes over packed tokens; keys and values are kept for as long as somebody builds on them.

One pass takes tokens of many questions in one row: the linear layers see nothing but tokens, and
attention is done segment by segment against the keys and values of the question that the segment
belongs to. So there is no padding, no mask over a whole batch, and a prompt is stored once,
however many replies are being tried behind it. The model is a light one or transformers' own, whatever
its architecture; only its attention function is replaced while a `Decoder` is open.

This module has what every device shares; `arenas` has the form for a CPU, where each question has a
piece of memory of its own, `pool` the form for a GPU.

Shapes: T tokens of a pass, N places that a segment sees, S tokens of a segment, O outputs asked
for, H query heads, K key-value heads, D size of a head, V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from arcfold.files import InputError
from arcfold.light_models import LightModel

ATTENTION = "arcfold"
CPU_BUDGET = 3 * 2**29
"""Bytes for keys and values on a CPU if nothing else is said: a job then stays well under 3 GB."""
CPU_PASS = 2048
"""Tokens that a pass takes at most, unless one segment alone has more: they bound the activations."""


@dataclass(frozen=True)
class Layout:
    """What the keys and values of one token look like."""

    layers: int
    heads: int
    """Key-value heads."""
    groups: int
    """Query heads for each of them."""
    size: int
    """Numbers in a head."""
    dtype: torch.dtype
    device: torch.device

    @property
    def token_bytes(self) -> int:
        """Bytes of the keys and values of one token."""
        return 2 * self.layers * self.heads * self.size * self.dtype.itemsize


class Arena(Protocol):
    """Keys and values of one question: its prompt, then what was run behind it, in the order of running.

    What was run behind the prompt is a tree; who sees whom is told by the segments of a pass.
    """

    length: int

    def append(self, count: int) -> int:
        """Makes room for `count` tokens and returns the place of the first."""
        ...


@dataclass(eq=False)
class Segment:
    """Tokens of one question that are run in one pass, and what they see of the question's arena."""

    arena: Any
    tokens: np.ndarray
    """(S,) token ids."""
    positions: np.ndarray
    """(S,) place of each token in its own text, for the rotary embedding."""
    outputs: np.ndarray
    """Which of the tokens (by their number in the segment) somebody wants to know the successors of."""
    start: int
    """Place of the first token in the arena; the others follow."""
    places: np.ndarray | None = None
    """(N,) places of the arena that are seen, this segment's own last; None: all up to its own end."""
    mask: np.ndarray | None = None
    """(S, N) True where a token sees a place; None: each token sees itself and all places before it."""

    @property
    def stop(self) -> int:
        return self.start + len(self.tokens)

    @property
    def seen(self) -> int:
        """N."""
        return self.stop if self.places is None else len(self.places)


def chain(
    arena: Arena, tokens: Sequence[int] | np.ndarray, first: int, outputs: range, seen: np.ndarray | None
) -> Segment:
    """A segment of consecutive tokens: each sees the places `seen` and the tokens of its own before it.

    `first` is the position of the first token; `seen` (ascending places) None means all that the
    arena holds. Appends to the arena.
    """
    held = arena.length
    own = len(tokens)
    start = arena.append(own)
    places = None
    if seen is not None and len(seen) < held:
        places = np.concatenate([seen, np.arange(start, start + own)])
    return Segment(
        arena,
        np.asarray(tokens, dtype=np.int64),
        np.arange(first, first + own),
        np.asarray(outputs, dtype=np.int64),
        start,
        places,
    )


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """The array on a device; to a GPU from pinned memory, so that the host need not wait for what runs there."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class Pass(Protocol):
    """What a forward pass knows of its tokens' keys and values."""

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None
    ) -> torch.Tensor:
        """(1, T, H, D) from the pass's queries (1, H, T, D) and its new keys and values (1, K, T, D)."""
        ...


class Decoder:
    """A model with its attention function replaced; a subclass for each way of keeping keys and values."""

    pass_tokens = CPU_PASS

    def __init__(self, model: Any, budget: int | None, halvings: int = 0) -> None:
        self.model = model
        self.layout = layout_of(model)
        self.budget = (self.default_budget() if budget is None else budget) >> halvings
        """Bytes for keys and values, of all questions together."""
        self.pass_tokens = max(1, self.pass_tokens >> halvings)
        self.needed: torch.Tensor | None = None
        """(O,) the tokens of the running pass that somebody wants to know the successors of; None: all."""
        self.sparing = False
        """Whether the model's last layer hands on those alone."""

    @classmethod
    def prepared(cls, model: Any) -> contextlib.AbstractContextManager[bool]:
        """A context in which the model runs as this kind of decoder likes it.

        It gives whether the model's last layer hands on the needed tokens alone.
        """
        return contextlib.nullcontext(False)

    def default_budget(self) -> int:
        return CPU_BUDGET

    def expect(self, tokens: int) -> None:
        """Says how many tokens will have to be held at once, if the budget allows it."""

    def arena(self, capacity: int) -> Any:
        """A new arena for a question that is expected to need `capacity` places."""
        raise NotImplementedError

    def clear(self) -> None:
        """Forgets all arenas: nobody uses them any more."""

    def log_probs(self, segments: Sequence[Segment]) -> torch.Tensor:
        """Runs the segments in one pass; (O, V) log-probabilities in fp32, in the order of their outputs.

        Every segment's keys and values are stored before any segment attends, layer by layer, so
        a segment may build on one that runs in the same pass.
        """
        begins = np.cumsum([0, *(len(segment.tokens) for segment in segments[:-1])])
        outputs = np.concatenate([begin + segment.outputs for begin, segment in zip(begins, segments, strict=True)])
        return self.run(
            self.there(np.concatenate([segment.tokens for segment in segments])),
            self.there(np.concatenate([segment.positions for segment in segments])),
            self.there(outputs),
            self._pass(segments),
        )

    def run(self, tokens: torch.Tensor, positions: torch.Tensor, outputs: Any, what: Pass) -> torch.Tensor:
        """(O, V) log-probabilities in fp32 behind the tokens (T,) that `outputs` numbers; 0 means all."""
        self.needed = outputs if isinstance(outputs, torch.Tensor) else None
        logits = self.model(
            input_ids=tokens[None],
            position_ids=positions[None],
            use_cache=False,
            logits_to_keep=0 if self.sparing else outputs,
            arcfold=what,
        ).logits
        return logits[0].float().log_softmax(-1)

    def there(self, array: np.ndarray) -> torch.Tensor:
        """The array on the model's device."""
        return to_device(array, self.layout.device)

    def fetch(self, tensor: torch.Tensor) -> Callable[[], np.ndarray]:
        """Begins to bring a tensor to the host; the function waits for it, and only for it."""
        if tensor.device.type != "cuda":
            return tensor.cpu().numpy
        here = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        here.copy_(tensor, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()

        def wait() -> np.ndarray:
            arrived.synchronize()
            return here.numpy()

        return wait

    def _pass(self, segments: Sequence[Segment]) -> Pass:
        raise NotImplementedError


Kind = TypeVar("Kind", bound=Decoder)


@contextlib.contextmanager
def open_decoder(
    model: torch.nn.Module, longest: int, kind: type[Kind], budget: int | None, halvings: int = 0
) -> Iterator[Kind]:
    """A Decoder of a causal language model for texts of up to `longest` tokens.

    `model` is a light model, a transformers model or a PeftModel around one, in eval mode on its device. Its
    attention function is put back at the end. `budget` is in bytes; None finds one; it and the tokens
    of a pass are halved `halvings` times. Raises
    ValueError for a model in training mode, InputError for one that can't be run this way: a
    sliding window shorter than `longest`, or rotary embeddings that depend on the batch.
    """
    core: Any = model
    if hasattr(core, "get_base_model"):
        core = core.get_base_model()
    if core.training:
        raise ValueError("the model is in training mode: call eval() first")
    _refuse_what_is_not_supported(core.config.get_text_config(), longest)
    before = core.config._attn_implementation
    if not isinstance(core, LightModel):
        _tell_transformers()
    core.set_attn_implementation(ATTENTION)
    try:
        with torch.inference_mode(), kind.prepared(core) as sparing:
            decoder = kind(core, budget, halvings)
            decoder.sparing = sparing
            with contextlib.nullcontext() if sparing else _spared(decoder):
                yield decoder
    finally:
        core.set_attn_implementation(before)


@contextlib.contextmanager
def _spared(decoder: Decoder) -> Iterator[None]:
    """Spares the last layer the tokens whose successors nobody wants to know, all of a prompt's but one.

    Others see a token through its keys and values alone: of the last layer's work the queries, the
    attention's projection and the feed-forward block are only for the head.
    """
    with contextlib.ExitStack() as stack:
        layers: Any = getattr(decoder.model.get_decoder(), "layers", None)
        for path in ("self_attn.q_proj", "self_attn.o_proj", "mlp") if layers else ():
            with contextlib.suppress(AttributeError):
                _spare(layers[-1].get_submodule(path), decoder, stack)
        yield


def _spare(block: Any, decoder: Decoder, stack: contextlib.ExitStack) -> None:
    """Lets a block work on the needed tokens only, until the stack is closed; zeros stand for the others."""
    if "forward" in vars(block):
        return
    whole = block.forward

    def forward(states: torch.Tensor) -> torch.Tensor:  # (1, T, numbers)
        if decoder.needed is None:
            return whole(states)
        made = whole(states[:, decoder.needed])
        return made.new_zeros(1, states.shape[1], made.shape[2]).index_copy_(1, decoder.needed, made)

    block.forward = forward
    stack.callback(vars(block).pop, "forward")


def weight_bytes(model: torch.nn.Module) -> int:
    """Bytes of all parameters, tied ones counted once."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def layout_of(model: Any) -> Layout:
    """The layout of a model's keys and values, from its configuration and its embeddings."""
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    weight = model.get_input_embeddings().weight
    return Layout(config.num_hidden_layers, kv_heads, heads // kv_heads, size, weight.dtype, weight.device)


def _refuse_what_is_not_supported(config: Any, longest: int) -> None:
    window = getattr(config, "sliding_window", None)
    if window is not None and longest > window:
        raise InputError(
            f"model {config.model_type}: sliding_window is {window} and texts have up to {longest} tokens,"
            " expected a model with full attention or a window at least that long"
        )
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") in ("dynamic", "longrope"):
        raise InputError(
            f"model {config.model_type}: rope_type {rope['rope_type']!r} makes a token's embedding depend on"
            " the rest of the batch, expected another one (default, linear, yarn, llama3)"
        )


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,  # (1, H, T, D)
    key: torch.Tensor,  # (1, K, T, D)
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    *,
    arcfold: Pass,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: hands over to the running pass, (1, T, H, D)."""
    if options.get("softcap") is not None or options.get("s_aux") is not None:
        raise InputError("attention with soft caps or sinks is not supported, expected a Llama-like model")
    return arcfold.attend(int(module.layer_idx), query, key, value, scaling), None  # type: ignore[arg-type]


def _tell_transformers() -> None:
    """Makes the name of our attention known; a light model needs no transformers, whose import takes seconds."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, _attention)
