import math
from typing import Any

import pytest
import torch
from reference_search import brute_force
from tiny_models import EMBEDDED, END, shared_embedded_model

from arcfold.arc.tasks import Pair, Task
from arcfold.arc.text import codec_with_own_ids
from arcfold.jobs.measuring import PAUSES, kernel_share
from arcfold.models.base import BaseModel
from arcfold.models.plain import load_plain
from arcfold.search.benchmark import NOISE, agreement, measure, search_input_views, spread, totals
from arcfold.search.candidates import InputViews, draw_input_views
from arcfold.search.replies import Found, Reply
from arcfold.search.sequential import SequentialSearch

CPU = torch.device("cpu")
CODEC = codec_with_own_ids("embedded")


def _task(name: str, side: int, test_inputs: int = 1) -> Task:
    """Recolours a square."""

    def pair(before: int, after: int) -> Pair:
        return Pair(((before,) * side,) * side, ((after,) * side,) * side)

    return Task(name, (pair(1, 2), pair(3, 2)), (pair(5, 2),) * test_inputs)


def _input_views(views: int, purpose: str, *tasks: Task) -> InputViews:
    return draw_input_views(tasks, CODEC, views=views, longest=2000, seed=0, purpose=purpose)


def test_the_spread_goes_from_the_shortest_to_the_longest_that_fits() -> None:
    tasks = [_task(f"t{side:02d}", side) for side in range(1, 31)]
    fitting = [task for task in tasks if CODEC.longest_prompt(task) + CODEC.longest_reply <= 3000]
    assert 3 < len(fitting) < 30
    chosen = spread(tasks, CODEC, 3, 3000)
    assert [task.id for task in chosen] == [fitting[0].id, fitting[(len(fitting) - 1) // 2].id, fitting[-1].id]
    assert spread(tasks, CODEC, 99, 3000) == fitting


def _found(replies: dict[tuple[int, ...], float]) -> Found:
    return Found(tuple(Reply(tokens, value) for tokens, value in replies.items()), 0.1)


@pytest.mark.parametrize(
    ("mine", "agree", "of_one"),
    [
        ({(1,): -0.5, (2,): -1.0}, True, 0),
        ({(1,): -0.5004, (2,): -1.0}, True, 0),
        ({(1,): -0.51, (2,): -1.0}, False, 0),
        ({(1,): -0.5}, False, 1),
        ({(1,): -0.5, (2,): -1.0, (3,): math.log(0.2) + 0.0005}, True, 1),
    ],
)
def test_searches_agree_up_to_noise_at_the_threshold(mine: Any, agree: bool, of_one: int) -> None:
    how = agreement([_found({}), _found(mine)], {1: {(1,): -0.5, (2,): -1.0}}, 0.2, 1e-3)
    assert (how["agree"], how["replies_of_one"], how["looks"]) == (agree, of_one, 1)


def test_the_best_grid_of_a_view_is_the_guess_of_the_next_and_changes_nothing() -> None:
    input_views = _input_views(4, "inference views", _task("square", 2))
    model = shared_embedded_model()
    searcher = SequentialSearch(model, END, 0.05)
    together = search_input_views(searcher, input_views, range(4))
    assert any(together.values())
    alone = SequentialSearch(model, END, 0.05)
    for number, prompt in enumerate(input_views.prompts):
        expected = alone.search(prompt, CODEC.longest_reply)
        assert together[number] == pytest.approx(expected, abs=NOISE["float32"])
        short = {tokens: value for tokens, value in expected.items() if len(tokens) <= 7}
        assert short == pytest.approx(brute_force(model, prompt, 7, END, 0.05), abs=NOISE["float32"])
    assert searcher.passes < alone.passes


def test_figures_of_two_folds_add_up() -> None:
    model = shared_embedded_model()
    folds = []
    for task in (_task("one", 1), _task("two", 1, test_inputs=2)):
        searched, scored = _input_views(2, "inference views", task), _input_views(3, "scoring views", task)
        folds.append(
            measure(
                load_plain(BaseModel.open(EMBEDDED, dtype="float32"), CPU),
                model,
                searched,
                scored,
                min_probs=[0.3, 0.1],
                seconds=0.01,
                profile=task.id == "one",
                memory_budget=None,
                device=CPU,
            )
        )
    one, two = folds
    assert two["inputs"]["test_inputs"] == 2
    assert two["inputs"]["views"] == 2
    assert two["inputs"]["scoring_views"] == 3
    assert "profile" in one
    for made in [*one["search"], *two["search"]]:
        theirs = made["sequential"]
        assert (
            theirs["scaled_up_by"]
            == len(two["inputs"]["tasks"]) * 2 * (2 if made in two["search"] else 1) / (theirs["measured"]["looks"])
        )
        assert made["agreement"]["agree"]
        assert made["ours"]["same_bytes_twice"]
    scored = two["rescoring"]
    assert scored["scores"] % 3 == 0
    assert scored["largest_difference"] < NOISE["float32"]
    total = totals(folds)
    assert total["search"][1]["ours_seconds"] == sum(fold["search"][1]["ours"]["seconds"] for fold in folds)
    assert total["agree"]


def test_the_share_of_a_work_is_what_ran_of_its_time() -> None:
    a = torch.randn(200, 200)
    facts = kernel_share(lambda: [a @ a for _ in range(20)], CPU)
    assert 0 < facts["kernel_seconds"] <= facts["wall_seconds_with_profiler"]
    assert facts["share"] == facts["kernel_seconds"] / facts["wall_seconds_with_profiler"]
    assert list(facts["pauses"]) == [name for _, name in PAUSES]
    assert sum(facts["pauses"].values()) + facts["kernel_seconds"] <= facts["wall_seconds_with_profiler"] * 1.01
    (product,) = (kernel for kernel in facts["kernels"] if kernel["name"] == "aten::mm")
    assert product["launches"] == 20
