"""Forward passes over packed tokens; keys and values are kept for as long as somebody builds on them.

One pass takes tokens of many questions in one row: the linear layers see nothing but tokens, and
attention is done segment by segment against the keys and values of the question that the segment
belongs to. So there is no padding, no mask over a whole batch, and a prompt is stored once,
however many replies are being tried behind it. The model is a plain one or transformers' own, whatever
its architecture; only its attention function is replaced while a `Decoder` is open.

This module has what every device shares; `cpu_cache` has the form for a CPU, where each question has a
piece of memory of its own, `gpu_cache` the form for a GPU, where all share one.

Example: prompts A of 5 tokens and B of 3, then the tokens 1 and 2 behind A and 2 behind B (O = 2, then 3).

    pass 1  segments A: places 0-4, output 4; B: places 0-2, output 2
            T = 8, input_ids (1, 8), position_ids 0 1 2 3 4 0 1 2; queries (1, H, 8, D), keys (1, K, 8, D)
            log-probabilities (2, V); the caches hold 5 and 3 tokens
    pass 2  segments A: place 5, sees 0-4 and itself; A: place 6, sees 0-4 and itself; B: place 3, sees 0-3
            T = 3, position_ids 5 5 3; log-probabilities (3, V); the caches hold 7 and 4 tokens

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

from arcfold.jobs.files import InputError
from arcfold.models.base import remedy_of_numbers
from arcfold.models.passes import Pass
from arcfold.models.plain import PlainModel
from arcfold.models.positions import PositionRule, rule_of

ATTENTION = "arcfold"
CPU_BUDGET = 3 * 2**29
"""Bytes for keys and values on a CPU if nothing else is said: a job then stays well under 3 GB."""
CPU_PASS = 2048
"""Tokens that a pass takes at most, unless one segment alone has more. They bound the memory of its activations; on a
CPU that many already keep its cores busy."""


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


class KVCache(Protocol):
    """The cache of one question's keys and values: its prompt, then what was run behind it, in the order of running.

    What was run behind the prompt is a tree; who sees whom is told by the segments of a pass.
    """

    length: int
    """Places in use."""

    def append(self, count: int) -> int:
        """Makes room for `count` tokens and returns the place of the first."""
        ...


@dataclass(eq=False)
class Segment:
    """Tokens of one question that are run in one pass, and what they see of the question's cache."""

    cache: Any
    tokens: np.ndarray
    """(S,) token ids."""
    positions: np.ndarray
    """(S,) position of each token in its own text, by the model's rule, for the rotary embedding."""
    outputs: np.ndarray
    """Which of the tokens (by their number in the segment) somebody wants to know the successors of."""
    start: int
    """Place of the first token in the cache; the others follow."""
    places: np.ndarray | None = None
    """(N,) places of the cache that are seen, this segment's own last; None: all up to its own end."""
    mask: np.ndarray | None = None
    """(S, N) True where a token sees a place; None: each token sees itself and all places before it."""

    @property
    def stop(self) -> int:
        """The place behind the last token."""
        return self.start + len(self.tokens)

    @property
    def seen(self) -> int:
        """N, the places that its tokens see, all together."""
        return self.stop if self.places is None else len(self.places)


def causal_segment(
    cache: KVCache,
    tokens: Sequence[int] | np.ndarray,
    first: int,
    outputs: range,
    seen: np.ndarray | None,
    rule: PositionRule,
) -> Segment:
    """A segment of consecutive tokens: each sees the places `seen` and the tokens of its own before it.

    `tokens` (S,); `first` is the position of the first token, the others follow by the rule; `outputs` numbers those
    whose successors are asked for. `seen` (ascending places) None means all that the cache holds. Appends to the cache.
    """
    held = cache.length
    own = len(tokens)
    start = cache.append(own)
    places = None
    # Attention over a range reads the cache as it lies; a list of places is copied first, or looked up by the kernel.
    if seen is not None and len(seen) < held:
        places = np.concatenate([seen, np.arange(start, start + own)])
    return Segment(
        cache,
        np.asarray(tokens, dtype=np.int64),
        rule.following(tokens, first),
        np.asarray(outputs, dtype=np.int64),
        start,
        places,
    )


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """The array on a device; to a GPU from pinned memory, so that the host need not wait for what runs there."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class Decoder:
    """A model with its attention function replaced; a subclass for each way of keeping keys and values."""

    pass_tokens = CPU_PASS
    """Tokens that a pass takes at most."""

    def __init__(self, model: Any, budget: int | None, halvings: int = 0) -> None:
        self.model = model
        self.layout = layout_of(model)
        self.rule = rule_of(model.config.get_text_config())
        """The positions of its tokens."""
        self.budget = (self.default_budget() if budget is None else budget) >> halvings
        """Bytes for keys and values, of all questions together."""
        # Half of a budget alone would not help a pass whose activations are what does not fit.
        self.pass_tokens = max(1, self.pass_tokens >> halvings)
        self.logits_indices: torch.Tensor | None = None
        """(O,) the tokens of the running pass whose logits somebody wants; None: all."""
        self.last_layer_trimmed = False
        """Whether the model's last layer hands on those alone, so that the head has no others to leave out."""

    @classmethod
    def patched(cls, model: Any) -> contextlib.AbstractContextManager[bool]:
        """A context in which parts of the model are replaced by faster ones for this kind of decoder.

        It gives whether the model's last layer hands on the tokens of `logits_indices` alone.
        """
        return contextlib.nullcontext(False)

    def default_budget(self) -> int:
        """Bytes for keys and values if the caller names none."""
        return CPU_BUDGET

    def reserve(self, tokens: int) -> None:
        """Makes room for `tokens` tokens in all, or as many as the budget allows; else the cache grows on demand."""

    def allocate(self, capacity: int) -> Any:
        """A new, empty `KVCache` for a question that is expected to need `capacity` places."""
        raise NotImplementedError

    def clear(self) -> None:
        """Forgets all that was allocated: nobody uses it any more."""

    def log_probs(self, segments: Sequence[Segment]) -> torch.Tensor:
        """Runs the segments in one pass; (O, V) log-probabilities in fp32, in the order of their outputs.

        Every segment's keys and values are stored before any segment attends, layer by layer, so
        a segment may build on one that runs in the same pass.
        """
        # Outputs are numbered within their segments; in the pass each segment begins behind the ones before it.
        begins = np.cumsum([0, *(len(segment.tokens) for segment in segments[:-1])])
        outputs = np.concatenate([begin + segment.outputs for begin, segment in zip(begins, segments, strict=True)])
        return self.run(
            self.to_device(np.concatenate([segment.tokens for segment in segments])),
            self.to_device(np.concatenate([segment.positions for segment in segments])),
            self.to_device(outputs),
            self._pass(segments),
        )

    def run(self, tokens: torch.Tensor, positions: torch.Tensor, outputs: Any, what: Pass) -> torch.Tensor:
        """(O, V) log-probabilities in fp32 behind the tokens that `outputs` (O,) numbers; 0 means all.

        A row whose logits include inf or NaN is NaN throughout; a single -inf is a probability of zero.

        tokens, positions: (T,) int64 on the model's device; what: where their keys and values go, and what they see
        """
        self.logits_indices = outputs if isinstance(outputs, torch.Tensor) else None
        logits = self.model(
            input_ids=tokens[None],
            position_ids=positions[None],
            use_cache=False,
            logits_to_keep=0 if self.last_layer_trimmed else outputs,
            arcfold=what,
        ).logits
        # In fp32 whatever the model computes in: bfloat16 has too few digits for a threshold.
        return logits[0].float().log_softmax(-1)

    def to_device(self, array: np.ndarray) -> torch.Tensor:
        """The array on the model's device."""
        return to_device(array, self.layout.device)

    def to_host(self, tensor: torch.Tensor) -> Callable[[], np.ndarray]:
        """Begins to copy a tensor to the host; the function waits for it, and only for it.

        The tensor must keep its content until then.
        """
        if tensor.device.type != "cuda":
            return tensor.cpu().numpy
        # A copy into pageable memory takes two steps and the host waits for both; into pinned memory the device writes
        # by itself. The event is behind this copy and in front of whatever is launched later.
        here = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        here.copy_(tensor, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()

        def wait() -> np.ndarray:
            arrived.synchronize()
            return here.numpy()

        return wait

    def _pass(self, segments: Sequence[Segment]) -> Pass:
        """What the model's attention is told of these segments."""
        raise NotImplementedError

    def not_finite(self, what: str) -> InputError:
        """The error of a search or rescoring (`what`) whose model gives logits that are not finite."""
        remedy = remedy_of_numbers(self.layout.dtype) or "are the weights of the model and its adapter finite?"
        return InputError(f"{what}: logits are not finite, expected numbers; {remedy}")


Kind = TypeVar("Kind", bound=Decoder)


@contextlib.contextmanager
def open_decoder(
    model: torch.nn.Module, longest: int, kind: type[Kind], budget: int | None, halvings: int = 0
) -> Iterator[Kind]:
    """A Decoder of a causal language model for texts of up to `longest` tokens.

    `model` is a plain model, a transformers model or a PeftModel around one, in eval mode on its device. Its
    attention function is put back at the end. `budget` is in bytes; None finds one; it and the tokens
    of a pass are halved `halvings` times. Raises ValueError for a model in training mode, InputError for one that
    can't be run this way: a sliding window shorter than `longest`, or rotary embeddings that depend on the batch.
    """
    core: Any = model
    if hasattr(core, "get_base_model"):
        core = core.get_base_model()
    # Dropout would make every pass another model.
    if core.training:
        raise ValueError("the model is in training mode: call eval() first")
    _check_supported(core.config.get_text_config(), longest)
    before = core.config._attn_implementation
    if not isinstance(core, PlainModel):
        _register_attention()
    core.set_attn_implementation(ATTENTION)
    try:
        with torch.inference_mode(), kind.patched(core) as last_layer_trimmed:
            decoder = kind(core, budget, halvings)
            decoder.last_layer_trimmed = last_layer_trimmed
            with contextlib.nullcontext() if last_layer_trimmed else _trimmed_last_layer(decoder):
                yield decoder
    finally:
        core.set_attn_implementation(before)


@contextlib.contextmanager
def _trimmed_last_layer(decoder: Decoder) -> Iterator[None]:
    """Leaves out of the last layer the tokens whose logits nobody wants, all of a prompt's but one.

    Others see a token through its keys and values alone: of the last layer's work the queries, the
    attention's projection and the feed-forward block are only for the head. In a model of few layers that is a
    good part of a prompt's cost.
    """
    with contextlib.ExitStack() as stack:
        layers: Any = getattr(decoder.model.get_decoder(), "layers", None)
        for path in ("self_attn.q_proj", "self_attn.o_proj", "mlp") if layers else ():
            # Other architectures name their blocks otherwise: they do the whole work, and it is right all the same.
            with contextlib.suppress(AttributeError):
                _trim(layers[-1].get_submodule(path), decoder, stack)
        yield


def _trim(block: Any, decoder: Decoder, stack: contextlib.ExitStack) -> None:
    """Lets a block work on the tokens of `logits_indices` only, until the stack is closed; the others become zeros."""
    if "forward" in vars(block):  # somebody else has replaced it: it may do more than it looks like
        return
    whole = block.forward

    def forward(states: torch.Tensor) -> torch.Tensor:  # (1, T, numbers)
        if decoder.logits_indices is None:
            return whole(states)
        made = whole(states[:, decoder.logits_indices])
        return made.new_zeros(1, states.shape[1], made.shape[2]).index_copy_(1, decoder.logits_indices, made)

    block.forward = forward
    stack.callback(vars(block).pop, "forward")


def weight_bytes(model: torch.nn.Module) -> int:
    """Bytes of all parameters, tied ones counted once."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def layout_of(model: Any) -> Layout:
    """The layout of a model's keys and values, from its configuration and its embeddings."""
    # The embeddings say type and device: the weights of quantized layers have another type.
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    weight = model.get_input_embeddings().weight
    return Layout(config.num_hidden_layers, kv_heads, heads // kv_heads, size, weight.dtype, weight.device)


def _check_supported(config: Any, longest: int) -> None:
    # Every token sees all tokens before it here: of a window that never closes nobody would notice.
    window = getattr(config, "sliding_window", None)
    if window is not None and longest > window:
        raise InputError(
            f"model {config.model_type}: sliding_window is {window} and texts have up to {longest} tokens,"
            " expected a model with full attention or a window at least that long"
        )
    # These turn all tokens by what the longest text of the batch needs; keys that were kept would be turned wrongly.
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


def _register_attention() -> None:
    """Makes the name of our attention known; a plain model needs no transformers, whose import takes seconds."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, _attention)
