"""Solve one ARC task from start to end on a CPU: views, LoRA, search, rescoring, two attempts.

The pipeline's method in plain torch, transformers and peft, without its speed; docs/one_task.md walks through it.
Usage: python examples/one_task.py [TASK]; TASK is a task's id or a JSON file {"train": [...], "test": [...]}.
"""

import math
import random
import sys
import warnings
from itertools import product, zip_longest
from pathlib import Path
from typing import NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, logging

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))
from arcfold.arc.tasks import TASK_ID, Grid, InputError, Pair, Task, find_task, read_tasks
from arcfold.arc.text import FORMATS, Codec

MODEL = Path(__file__).resolve().parents[1] / "resources" / "base-15m"
TASK = "2072aba6"  # of ARC-AGI-1's evaluation set: the model has never seen it
SEED, EPOCHS, LEARNING_RATE, RANK, MIN_PROB = 0, 6, 1e-3, 32, 0.1


class View(NamedTuple):
    """One way to look at a task: turned, recoloured and reordered, it still asks for the same rule."""

    transposed: bool  # with the next two this makes the 8 symmetries of the square
    down: int  # 1, or -1 for rows from the last to the first
    right: int  # 1, or -1 for cells from the last to the first
    colours: list[int]  # the new colour of each old one: a permutation, so that no colour gets lost
    order: list[int]  # which demonstration stands first, second, ...

    def apply(self, grid: Grid) -> Grid:
        grid = tuple(zip(*grid, strict=True)) if self.transposed else grid
        return tuple(tuple(self.colours[cell] for cell in row[:: self.right]) for row in grid[:: self.down])

    def invert(self, grid: Grid) -> Grid:  # `apply` backwards
        grid = tuple(tuple(self.colours.index(cell) for cell in row[:: self.right]) for row in grid[:: self.down])
        return tuple(zip(*grid, strict=True)) if self.transposed else grid

    def demonstrations(self, task: Task) -> list[Pair]:
        return [Pair(self.apply(task.train[i].input), self.apply(task.train[i].output)) for i in self.order]


def draw_views(task: Task, draws: random.Random) -> list[View]:
    """Eight views, each symmetry once; colours and order are drawn."""
    symmetries, n = product((False, True), (1, -1), (1, -1)), len(task.train)
    return [View(*symmetry, draws.sample(range(10), 10), draws.sample(range(n), n)) for symmetry in symmetries]


def train(model: torch.nn.Module, codec: Codec, task: Task, views: list[View]) -> torch.nn.Module:
    """Test-time training: the model learns this one task from views of its demonstrations. Test inputs stay out."""
    full = ["embed_tokens", "lm_head"]  # 16 rows each: a LoRA of rank 32 would be larger than they are
    lora = LoraConfig(r=RANK, lora_alpha=16, use_rslora=True, target_modules="all-linear", modules_to_save=full)
    model = get_peft_model(model, lora)
    optimizer = torch.optim.Adam(model.parameters())  # wild at first: its rate warms up, then falls as a cosine
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, len(views), pct_start=0.1)
    for view in views:  # one a step, so that nothing is padded
        text = codec.demonstrations(view.demonstrations(task))
        ids = torch.tensor([text.ids])  # (1, tokens)
        labels = torch.full_like(ids, -100)  # no loss on inputs, which are given and need not be foretold
        for output in text.outputs:
            labels[:, output] = ids[:, output]
        loss = model(ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        rate.step()
        optimizer.zero_grad()
    print(f"trained on {len(views)} views of the demonstrations, last loss {loss.item():.3f}", flush=True)
    return model.merge_and_unload().eval()  # the LoRA goes into the weights, so that the search is no slower for it


@torch.no_grad()
def search(model: torch.nn.Module, prompt: list[int], end: int, min_prob: float, longest: int) -> list[list[int]]:
    """Every reply with p(reply | prompt) >= min_prob that closes with `end` within `longest` tokens."""
    tokens, cache = torch.tensor([prompt]), DynamicCache()  # keys and values of what was read: nothing is read twice
    replies, prefixes, log_p = [], [[]], torch.zeros(1)
    while prefixes and len(prefixes[0]) < longest:
        logits = model(tokens, past_key_values=cache).logits[:, -1]  # (prefixes, vocabulary): what comes next
        log_ps = log_p[:, None] + logits.log_softmax(-1)
        # Exact: what falls below min_prob never rises again, because each token multiplies by at most 1.
        parents, tokens = torch.where(log_ps >= math.log(min_prob))
        replies += [[*prefixes[i], end] for i in parents[tokens == end]]
        # Prefixes of one length exclude each other: at most 1 / min_prob are alive, and one pass is for all of them.
        parents, tokens = parents[tokens != end], tokens[tokens != end, None]
        prefixes = [[*prefixes[i], token] for i, [token] in zip(parents, tokens.tolist(), strict=True)]
        log_p = log_ps[parents, tokens[:, 0]]  # (prefixes,)
        cache.batch_select_indices(parents)  # each goes on from its parent's keys and values
    return replies


@torch.no_grad()
def solve(model: torch.nn.Module, codec: Codec, task: Task, test_input: Grid, draws: random.Random) -> list[Grid]:
    """The candidates, best first: found in eight views, judged in eight others."""
    found: list[Grid] = []
    for view in draw_views(task, draws):
        prompt = [*codec.demonstrations(view.demonstrations(task)).ids, *codec.question(view.apply(test_input))]
        for reply in search(model, prompt, codec.end, MIN_PROB, codec.longest_reply):
            if grid := codec.decode(reply):  # not every reply is a grid
                found.append(view.invert(grid))  # mapped back: where views agree, they find the same grid
    # Product of experts: a wrong grid may look likely in one view, the right one does in all of them.
    scores = dict.fromkeys(found, 0.0)  # mean log p, the log of the geometric mean
    for view in draw_views(task, draws):
        prompt = [*codec.demonstrations(view.demonstrations(task)).ids, *codec.question(view.apply(test_input))]
        for grid in scores:
            reply = codec.reply(view.apply(grid))
            logits = model(torch.tensor([prompt + reply])).logits[0, len(prompt) - 1 : -1]  # (reply, vocabulary)
            scores[grid] += logits.log_softmax(-1)[range(len(reply)), reply].sum().item() / 8
    best = sorted(scores, key=lambda grid: -scores[grid])
    for grid in best[:3]:
        print(f"candidate with p = {math.exp(scores[grid]):.3f}, found in {found.count(grid)} of 8 views")
    return best


def show(*grids: Grid) -> None:
    """Grids side by side, a dot for colour 0."""
    names = ("test input", "attempt 1", "attempt 2", "solution")
    rows = [[" ".join(".123456789"[cell] for cell in row) for row in grid] for grid in grids]
    width = max(len(line) for column in [names, *rows] for line in column) + 3
    for lines in [names[: len(grids)], *zip_longest(*rows, fillvalue="")]:
        print("".join(line.ljust(width) for line in lines).rstrip())


def main(name: str = TASK) -> None:
    warnings.simplefilter("ignore")  # what libraries tell each other
    logging.disable_progress_bar()
    torch.set_num_threads(1)  # the order of sums depends on it, so the output does too
    torch.manual_seed(SEED)  # for the LoRA's first weights; everything else comes from `draws`
    draws = random.Random(SEED)
    try:
        task = (find_task(name) if TASK_ID.fullmatch(name) else read_tasks(name))[0]
    except InputError as error:
        sys.exit(str(error))
    codec = Codec(FORMATS["embedded"], AutoTokenizer.from_pretrained(MODEL).get_vocab())
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    model = train(model, codec, task, [view for _ in range(EPOCHS) for view in draw_views(task, draws)])
    for pair in task.test:
        attempts = [*solve(model, codec, task, pair.input, draws), pair.input, pair.input][:2]  # however few were found
        show(pair.input, *attempts, *([pair.output] if pair.output else []))
        if pair.output:
            print("one attempt is right" if pair.output in attempts else "no attempt is right")


if __name__ == "__main__":
    main(*sys.argv[1:2])
