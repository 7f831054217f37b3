import gc
import weakref

import pytest
import torch
from tiny_models import tiny_model

from arcfold.jobs.files import InputError
from arcfold.jobs.memory import ATTEMPTS, memory_budget, within_memory
from arcfold.search.cpu_cache import CpuDecoder
from arcfold.search.decoding import open_decoder
from arcfold.search.gpu_cache import GpuDecoder


def test_the_budget_of_the_config_is_in_gib_and_auto_finds_one() -> None:
    assert memory_budget(1.5) == 3 * 2**29
    assert memory_budget("auto") is None


def test_work_that_runs_out_of_memory_gets_half_of_it_each_time() -> None:
    asked = []

    def work(halvings: int) -> str:
        asked.append(halvings)
        if halvings < 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return "done"

    assert within_memory(work, "search") == "done"
    assert asked == [0, 1, 2]


def test_nothing_of_a_failed_attempt_is_held_when_the_next_begins() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def work(halvings: int) -> bool:
        if halvings == 0:
            tensor = torch.zeros(5)
            held.append(weakref.ref(tensor))
            raise torch.OutOfMemoryError("out")
        gc.collect()
        return held[0]() is None

    assert within_memory(work, "search")


def test_too_little_memory_for_anything_is_one_line() -> None:
    def work(halvings: int) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory:\nyou tried to allocate 9 bytes")

    with pytest.raises(
        InputError, match=rf"^search: out of memory with a budget {2 ** (ATTEMPTS - 1)} times .*9 bytes"
    ):
        within_memory(work, "search")


def test_other_errors_are_not_tried_again() -> None:
    asked = []

    def work(halvings: int) -> None:
        asked.append(halvings)
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        within_memory(work, "search")
    assert asked == [0]


@pytest.mark.parametrize("kind", [CpuDecoder, GpuDecoder])
def test_half_of_the_memory_is_half_of_the_budget_and_of_a_pass(kind: type) -> None:
    budgets, passes = [], []
    for halvings in range(3):
        with open_decoder(tiny_model("llama"), 10, kind, 8000, halvings) as decoder:
            budgets.append(decoder.budget)
            passes.append(decoder.pass_tokens)
    assert budgets == [8000, 4000, 2000]
    assert passes == [passes[0], passes[0] // 2, passes[0] // 4]
