"""Log-probabilities of given replies, all replies to a prompt in one pass behind it.

The prompt is run once. Replies that begin alike share those tokens too: they make a tree, each of
whose nodes is run once and sees the prompt and its ancestors.

Example: the prompt A of 5 tokens and the replies (1, 0, 3), (2, 3) and (1, 3). Their last tokens are only looked up.

    tree      node 0, the prompt's last token; 1: token 1; 2: token 0 behind it; 3: token 2 behind the prompt
    lookups   L = 7: of reply 0 token 1 behind node 0, 0 behind 1, 3 behind 2; of reply 1 2 behind 0, 3 behind 3;
              of reply 2 1 behind 0, 3 behind 1
    segments  the prompt and node 1 at places 0-5, outputs 4 and 5; node 2 at place 6, sees 0-5 and itself;
              node 3 at place 7, sees 0-4 and itself
    pass      T = 8 tokens, log-probabilities (4, V), one row a node; 7 numbers of them come to the host

Run one by one the same three replies take 7 + 6 + 6 tokens in three passes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from arcfold.jobs.memory import within_memory
from arcfold.models.positions import PositionRule
from arcfold.search.decoding import Decoder, KVCache, Segment, causal_segment, open_decoder
from arcfold.search.gpu_cache import decoder_class
from arcfold.search.replies import GroupStats

Question = tuple[Sequence[int], Sequence[Sequence[int]]]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Progress:
    """How far a rescoring is, for a progress bar."""

    done: int
    """Questions whose replies are all scored."""
    inputs: int
    """Groups of questions, the views of a test input, whose replies are all scored."""
    replies: int
    """Replies of those questions."""
    tokens: int
    """Tokens run so far, prompts included."""


def reply_log_probs(
    model: torch.nn.Module,
    questions: Sequence[Question],
    *,
    groups: Sequence[Hashable] | None = None,
    memory_budget: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    engine: str | None = None,
) -> list[list[float]]:
    """log p(reply | prompt), natural logarithm, for each reply of each question `(prompt, replies)`, in their order.

    `model` is a causal language model (a plain one, transformers' or a PeftModel) in eval mode on its
    device; log-softmax in fp32 over the whole vocabulary, summed in fp64 over all tokens of the
    reply (the end token is one of them, where the reply has it). An empty reply has log-probability 0.

    `groups[i]` names questions that `progress` counts as one.

    `memory_budget`: bytes for keys and values, all questions of a pass together; None finds one. A
    question that needs more is run all the same, alone. Should memory run out, all begins anew with half
    of it. The same call gives the same bytes.
    `engine`: "cpu" or "gpu", the device that its cache and passes are made for (both run on either); None
    takes the one for the model's device.

    Raises ValueError for an empty prompt, an unknown engine or a model in training mode, InputError for a model
    that can't be run this way, for which there is not enough memory, or whose logits are not finite.
    """
    if any(not len(prompt) for prompt, _ in questions):
        raise ValueError("a prompt is empty, expected at least one token")
    longest = max((len(prompt) + max(map(len, replies), default=0) for prompt, replies in questions), default=0)

    def attempt(halvings: int) -> list[list[float]]:
        with open_decoder(model, longest, decoder_class(model, engine), memory_budget, halvings) as decoder:
            return _score_all(decoder, questions, groups or range(len(questions)), progress)

    return within_memory(attempt, "rescoring")


def _score_all(
    decoder: Decoder,
    questions: Sequence[Question],
    groups: Sequence[Hashable],
    progress: Callable[[Progress], None] | None,
) -> list[list[float]]:
    """What `reply_log_probs` gives."""
    scored: list[list[float]] = [[] for _ in questions]
    # A batch is what one pass takes and the budget holds: one pass a batch, but for questions that need more alone.
    room = max(1, min(decoder.pass_tokens, decoder.budget // decoder.layout.token_bytes))
    decoder.reserve(min(room, sum(len(prompt) + sum(map(len, replies)) for prompt, replies in questions)))
    stats = GroupStats(groups)
    done = tokens = 0
    for number, (_, replies) in enumerate(questions):
        if not replies:
            stats.finish(groups[number])
    for trees, results in _one_ahead(_begin(decoder, questions, room)):
        for tree, log_probs in zip(trees, results(), strict=True):
            scored[tree.number] = log_probs
            stats.finish(groups[tree.number])
        done += len(trees)
        tokens += sum(tree.size for tree in trees)
        if progress is not None:
            progress(Progress(done, stats.done, sum(map(len, scored)), tokens))
    return scored


class _Tree:
    """A question's replies as a tree of tokens: node 0 is the prompt's last token, then one node a token.

    The last token of a reply is looked up in its parent's probabilities and needs no node. The lookups,
    L in all, are numbered reply by reply.
    """

    def __init__(self, number: int, prompt: Sequence[int], replies: Sequence[Sequence[int]]) -> None:
        self.number = number
        self.prompt = np.asarray(prompt, dtype=np.int64)
        self.branches: list[tuple[np.ndarray, np.ndarray]] = []
        """(nodes that a branch builds on, without node 0; tokens of its new nodes), in the nodes' order."""
        self.nodes = 1
        texts = [np.asarray(tokens, dtype=np.int64) for tokens in replies]
        # Of each reply the nodes whose successors its tokens are, from node 0 on.
        paths = [np.zeros(len(text), dtype=np.int64) for text in texts]
        before = nodes = np.zeros(0, dtype=np.int64)
        # Of texts in the order of a dictionary, each shares with the one before it what it shares with any before.
        for reply in sorted((r for r, text in enumerate(texts) if len(text)), key=lambda r: tuple(replies[r][:-1])):
            text = texts[reply][:-1]
            nodes = self._add(text, before, nodes)
            paths[reply][1:], before = nodes, text
        self.starts = np.cumsum([0, *map(len, texts)])
        """(replies + 1,) the first lookup of each reply."""
        path = np.concatenate(paths)
        self.order = np.argsort(path, kind="stable")
        """(L,) the lookups by their node; two more arrays of this order:"""
        self.path = path[self.order]
        """the nodes, ascending"""
        self.tokens = np.concatenate(texts)[self.order]
        """the tokens that are looked up"""

    def _add(self, text: np.ndarray, before: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """A text's nodes: those of the text before it for what they share, new ones for the rest."""
        same = min(len(text), len(before))
        differs = text[:same] != before[:same]
        shared = int(differs.argmax()) if differs.any() else same
        fresh = np.arange(self.nodes, self.nodes + len(text) - shared)
        if len(fresh):
            self.branches.append((nodes[:shared], text[shared:]))
            self.nodes += len(fresh)
        return np.concatenate([nodes[:shared], fresh])

    @property
    def size(self) -> int:
        """Tokens that are run: the prompt's and one for each node but node 0, which is its last."""
        return len(self.prompt) + self.nodes - 1

    def sums(self, terms: np.ndarray) -> list[float]:
        """Each reply's sum of its lookups' values (L,), rounded once."""
        # Exact sums do not depend on the order in which passes brought the terms.
        return [math.fsum(terms[start:stop].tolist()) for start, stop in itertools.pairwise(self.starts.tolist())]


def _batches(questions: Sequence[Question], room: int) -> Iterator[list[int]]:
    """Numbers of the questions, longest prompts first, as many together as have `room` tokens in all."""
    # Prompts of like length together; and should memory not be enough, the first batch is the one that says so.
    order = sorted(
        (number for number, (_, replies) in enumerate(questions) if len(replies)),
        key=lambda number: (-len(questions[number][0]), number),
    )
    batch: list[int] = []
    used = 0
    for number in order:
        prompt, replies = questions[number]
        need = len(prompt) + sum(map(len, replies))
        if batch and used + need > room:
            yield batch
            batch, used = [], 0
        batch.append(number)
        used += need
    if batch:
        yield batch


def _begin(
    decoder: Decoder, questions: Sequence[Question], room: int
) -> Iterator[tuple[list[_Tree], Callable[[], list[list[float]]]]]:
    """Begins one batch after the other; for each its trees, and a function that waits for their scores."""
    for batch in _batches(questions, room):
        trees = [_Tree(number, *questions[number]) for number in batch]
        results = _score(decoder, trees, room)
        # Its passes are launched and nothing builds on them: the next batch may have their places, behind them.
        decoder.clear()
        yield trees, results


def _one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The items, each when the next one has begun: the device works on that while the host looks at this."""
    last: list[Item] = []
    for item in items:
        yield from last
        last = [item]
    yield from last


def _score(decoder: Decoder, trees: Sequence[_Tree], room: int) -> Callable[[], list[list[float]]]:
    """Begins passes of `room` tokens (or one segment that has more) over the trees.

    The function waits for them and gives the log-probabilities of each tree's replies.
    """
    terms = [np.zeros(len(tree.order)) for tree in trees]
    begun: list[Callable[[], None]] = []
    pending: list[_Piece] = []
    used = 0
    for tree, values in zip(trees, terms, strict=True):
        # A segment may see one of an earlier pass or of its own: the cache keeps both.
        for node, segment in _segments(tree, decoder.allocate(tree.size), decoder.rule):
            if pending and used + len(segment.tokens) > room:
                begun.append(_look_up(decoder, pending))
                pending, used = [], 0
            pending.append(_Piece(tree, values, node, segment))
            used += len(segment.tokens)
    if pending:
        begun.append(_look_up(decoder, pending))

    def results() -> list[list[float]]:
        for put in begun:
            put()
        return [tree.sums(values) for tree, values in zip(trees, terms, strict=True)]

    return results


@dataclass(frozen=True)
class _Piece:
    """A segment of a tree's nodes, from `node` on, one for each of its outputs; `terms` (L,) takes what is found."""

    tree: _Tree
    terms: np.ndarray
    node: int
    segment: Segment

    @property
    def lookups(self) -> slice:
        """Those of its nodes, in the order of the tree's nodes."""
        return slice(*np.searchsorted(self.tree.path, [self.node, self.node + len(self.segment.outputs)]))


def _segments(tree: _Tree, cache: KVCache, rule: PositionRule) -> Iterator[tuple[int, Segment]]:
    """Each branch as a segment, with its first node; the first one follows the prompt in the same segment."""
    length = len(tree.prompt)
    # of each node its token and its position, which that of a branch behind it follows from
    node_tokens, node_positions = np.zeros((2, tree.nodes), dtype=np.int64)

    def note(node: int, segment: Segment) -> None:
        count = len(segment.outputs)
        node_tokens[node : node + count] = segment.tokens[segment.outputs]
        node_positions[node : node + count] = segment.positions[segment.outputs]

    _, tokens = tree.branches[0] if tree.branches else (None, tree.prompt[:0])
    outputs = range(length - 1, length + len(tokens))
    text = np.concatenate([tree.prompt, tokens])
    segment = causal_segment(cache, text, rule.first(int(text[0])), outputs, None, rule)
    note(0, segment)
    yield 0, segment
    for path, tokens in tree.branches[1:]:
        # Nodes are appended in their order: node n stands n places behind the prompt's last token, node 0.
        seen = np.concatenate([np.arange(length), length - 1 + path])
        node = cache.length - length + 1
        parent = int(path[-1]) if len(path) else 0
        first = rule.next(int(node_positions[parent]), int(node_tokens[parent]), int(tokens[0]))
        segment = causal_segment(cache, tokens, first, range(len(tokens)), seen, rule)
        note(node, segment)
        yield node, segment


def _look_up(decoder: Decoder, pieces: Sequence[_Piece]) -> Callable[[], None]:
    """Begins a pass over some pieces; the function puts log p(token | what precedes it) into their terms."""
    log_probs = decoder.log_probs([piece.segment for piece in pieces])
    begins = np.cumsum([0, *(len(piece.segment.outputs) for piece in pieces[:-1])])
    lookups = [piece.lookups for piece in pieces]
    each = list(zip(pieces, lookups, strict=True))
    rows = [begin + piece.tree.path[of] - piece.node for begin, (piece, of) in zip(begins, each, strict=True)]
    tokens = [piece.tree.tokens[of] for piece, of in each]
    # Only what was asked for leaves the device: a number for each lookup instead of V for each token.
    at = decoder.to_device(np.concatenate(rows)), decoder.to_device(np.concatenate(tokens))
    values = decoder.to_host(log_probs[at])

    def put() -> None:
        looked_up = values()
        if not np.isfinite(looked_up).all():
            raise decoder.not_finite("rescoring")
        found = np.split(looked_up, np.cumsum([len(of_piece) for of_piece in rows[:-1]]))
        for (piece, of), numbers in zip(each, found, strict=True):
            piece.terms[piece.tree.order[of]] = numbers

    return put
