"""Log-probabilities of given replies, all replies to a prompt in one pass behind it.

The prompt is run once. Replies that begin alike share those tokens too: they make a tree, each of
whose nodes is run once and sees the prompt and its ancestors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from arcfold.decoding import Arena, Decoder, Segment, chain, open_decoder
from arcfold.memory import within_memory
from arcfold.pool import decoder_kind
from arcfold.replies import Tally

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
    """log p(reply | prompt) for each reply of each question `(prompt, replies)`, in their order.

    `model` is a causal language model (a light one, transformers' or a PeftModel) in eval mode on its
    device; log-softmax in fp32 over the whole vocabulary, summed in fp64 over all tokens of the
    reply (the end token is one of them, where the reply has it). An empty reply has log-probability 0.

    `groups[i]` names questions that `progress` counts as one.

    `memory_budget`: bytes for keys and values, all questions of a pass together; None finds one. A
    question that needs more is run all the same, alone. Should memory run out, all begins anew with half
    of it. The same call gives the same bytes.
    `engine`: "arenas" (on a CPU) or "pool" (on a GPU); None takes the one for the model's device.

    Raises ValueError for an empty prompt, InputError for a model that can't be run this way.
    """
    if any(not len(prompt) for prompt, _ in questions):
        raise ValueError("a prompt is empty, expected at least one token")
    longest = max((len(prompt) + max(map(len, replies), default=0) for prompt, replies in questions), default=0)

    def attempt(halvings: int) -> list[list[float]]:
        with open_decoder(model, longest, decoder_kind(model, engine), memory_budget, halvings) as decoder:
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
    room = max(1, min(decoder.pass_tokens, decoder.budget // decoder.layout.token_bytes))
    decoder.expect(min(room, sum(len(prompt) + sum(map(len, replies)) for prompt, replies in questions)))
    tally = Tally(groups)
    done = tokens = 0
    for number, (_, replies) in enumerate(questions):
        if not replies:
            tally.finish(groups[number])
    for trees, results in _one_ahead(_begin(decoder, questions, room)):
        for tree, log_probs in zip(trees, results(), strict=True):
            scored[tree.number] = log_probs
            tally.finish(groups[tree.number])
        done += len(trees)
        tokens += sum(tree.size for tree in trees)
        if progress is not None:
            progress(Progress(done, tally.done, sum(map(len, scored)), tokens))
    return scored


class _Tree:
    """A question's replies as a tree of tokens: node 0 is the prompt's last token, then one node a token.

    The last token of a reply is looked up in its parent's probabilities and needs no node.
    """

    def __init__(self, number: int, prompt: Sequence[int], replies: Sequence[Sequence[int]]) -> None:
        self.number = number
        self.prompt = list(prompt)
        self.paths: list[list[int]] = []
        """For each reply the nodes whose successors its tokens are."""
        self.replies = [list(tokens) for tokens in replies]
        self.branches: list[tuple[list[int], list[int]]] = []
        """(nodes that a branch builds on, without node 0; tokens of its new nodes), in the nodes' order."""
        children: list[dict[int, int]] = [{}]
        for tokens in self.replies:
            path, old = [0], True
            for token in tokens[:-1]:
                node = children[path[-1]].get(token)
                if node is None:
                    if old:
                        self.branches.append((path[1:], []))
                    old = False
                    node = len(children)
                    children[path[-1]][token] = node
                    children.append({})
                    self.branches[-1][1].append(token)
                path.append(node)
            self.paths.append(path if tokens else [])
        self.nodes = len(children)
        self.users: list[list[tuple[int, int]]] = [[] for _ in children]
        """For each node the (reply, step) whose token is looked up in its successors' probabilities."""
        for reply, path in enumerate(self.paths):
            for step, node in enumerate(path):
                self.users[node].append((reply, step))

    @property
    def size(self) -> int:
        return len(self.prompt) + self.nodes - 1


def _batches(questions: Sequence[Question], room: int) -> Iterator[list[int]]:
    """Numbers of the questions, longest prompts first, as many together as have `room` tokens in all."""
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
    terms: list[list[list[float]]] = [[[0.0] * len(path) for path in tree.paths] for tree in trees]
    begun: list[Callable[[], None]] = []
    pending: list[tuple[int, list[int], Segment]] = []
    used = 0
    for number, tree in enumerate(trees):
        arena = decoder.arena(tree.size)
        for nodes, segment in _segments(tree, arena):
            if pending and used + len(segment.tokens) > room:
                begun.append(_look_up(decoder, trees, pending, terms))
                pending, used = [], 0
            pending.append((number, nodes, segment))
            used += len(segment.tokens)
    if pending:
        begun.append(_look_up(decoder, trees, pending, terms))

    def results() -> list[list[float]]:
        for put in begun:
            put()
        return [[math.fsum(values) for values in of_tree] for of_tree in terms]

    return results


def _segments(tree: _Tree, arena: Arena) -> Iterator[tuple[list[int], Segment]]:
    """Each branch as a segment, with its nodes; the first one follows the prompt in the same segment."""
    length = len(tree.prompt)
    _, tokens = tree.branches[0] if tree.branches else ([], [])
    outputs = range(length - 1, length + len(tokens))
    yield list(range(len(outputs))), chain(arena, tree.prompt + tokens, 0, outputs, None)
    for path, tokens in tree.branches[1:]:
        # Node n > 0 stands right behind the prompt's last token, node 0, in the arena.
        seen = np.array([*range(length), *(length - 1 + node for node in path)])
        node = arena.length - length + 1
        segment = chain(arena, tokens, length + len(path), range(len(tokens)), seen)
        yield list(range(node, node + len(tokens))), segment


def _look_up(
    decoder: Decoder,
    trees: Sequence[_Tree],
    pending: Sequence[tuple[int, list[int], Segment]],
    terms: list[list[list[float]]],
) -> Callable[[], None]:
    """Begins a pass over the pending segments; the function puts log p(token | what precedes it) into `terms`."""
    log_probs = decoder.log_probs([segment for _, _, segment in pending])
    row = 0
    rows: list[int] = []
    tokens: list[int] = []
    targets: list[tuple[list[float], int]] = []
    for number, nodes, _ in pending:
        for node in nodes:
            for reply, step in trees[number].users[node]:
                rows.append(row)
                tokens.append(trees[number].replies[reply][step])
                targets.append((terms[number][reply], step))
            row += 1
    looked_up = log_probs[
        decoder.there(np.array(rows, dtype=np.int64)), decoder.there(np.array(tokens, dtype=np.int64))
    ]
    values = decoder.fetch(looked_up)

    def put() -> None:
        for (of_reply, step), value in zip(targets, values().tolist(), strict=True):
            of_reply[step] = value

    return put
