"""Families: every one makes good tasks, the same for the same seed; many are checked by rules written here anew."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest

from arcfold.jobs.files import InputError
from arcfold.pretraining.corpora import CorpusTask
from arcfold.pretraining.families.canvas import Draws, RejectError, things_in, turned
from arcfold.pretraining.families.corpus import _LARGEST_TASK, ALL_MODULES, families_tasks, make_task
from arcfold.pretraining.families.registry import FAMILIES, WEIGHTS, Made, register

Grid = np.ndarray
Check = Callable[[Grid, Grid], bool]
PAIRS = 6


@cache
def task_of(name: str, number: int = 0) -> CorpusTask:
    return make_task(name, number, PAIRS, 0)


CONDITIONS = [name for name in FAMILIES if name.startswith("if_")]
"""Every property with every act: some of these stand for all."""


@pytest.mark.parametrize("name", [*(name for name in FAMILIES if name not in CONDITIONS), *CONDITIONS[::6]])
def test_a_family_makes_good_tasks(name):
    task = task_of(name)
    assert len(task.examples) == PAIRS
    grids = [grid for example in task.examples for grid in (example.input, example.output)]
    for grid in grids:
        assert grid.dtype == np.uint8
        assert grid.ndim == 2
        assert 1 <= min(grid.shape) <= max(grid.shape) <= 30
        assert grid.max() <= 9
    assert len({(e.input.shape, e.input.tobytes()) for e in task.examples}) == PAIRS
    assert len({(e.output.shape, e.output.tobytes()) for e in task.examples}) > 1
    assert not any(np.array_equal(e.input, e.output) for e in task.examples)
    assert sum(grid.size for grid in grids) <= _LARGEST_TASK


@pytest.mark.parametrize("name", list(FAMILIES)[::29])
def test_a_task_depends_on_the_seed_alone(name):
    task, again, other = task_of(name), make_task(name, 0, PAIRS, 0), make_task(name, 0, PAIRS, 1)

    def content(made: CorpusTask) -> list[bytes]:
        return [grid.tobytes() for example in made.examples for grid in (example.input, example.output)]

    assert content(task) == content(again)
    assert content(task) != content(other)


def test_tasks_come_by_family_and_number_with_its_weight():
    heavy, light = (next(name for name in WEIGHTS if (WEIGHTS[name] > 1) == is_heavy) for is_heavy in (True, False))
    names = [heavy, next(iter(FAMILIES)), light]
    ids = [task.id for task in families_tasks(tasks=1, pairs=3, names=names)]
    assert ids == [*(f"{heavy}_{number}" for number in range(int(WEIGHTS[heavy]))), f"{names[1]}_0", f"{light}_0"]


def test_tasks_do_not_depend_on_the_order_of_imports():
    """Some families are made of all that others register."""
    names = ["followed", "framed", "if_holed_haloed"]
    program = (
        "from arcfold.pretraining.families import {first}\n"
        "from arcfold.pretraining.families.corpus import families_tasks\n"
        "import hashlib\n"
        f"tasks = families_tasks(tasks=1, pairs=3, names={names!r})\n"
        "print(hashlib.sha256(b''.join(e.output.tobytes() for t in tasks for e in t.examples)).hexdigest())\n"
    )
    where = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    found = {
        subprocess.run(
            [sys.executable, "-c", program.format(first=first)], env=where, capture_output=True, check=True
        ).stdout
        for first in ("embedding", "deciding", "whole")
    }
    assert len(found) == 1


def test_processes_make_the_same_tasks_in_the_same_order():
    names = ["stairs", "if_holed_haloed", "framed"]

    def content(tasks: Iterator[CorpusTask]) -> list[tuple[str, list[bytes]]]:
        return [(task.id, [e.input.tobytes() + e.output.tobytes() for e in task.examples]) for task in tasks]

    alone = content(families_tasks(tasks=2, pairs=3, names=names, wide=0.5))
    assert content(families_tasks(tasks=2, pairs=3, names=names, wide=0.5, processes=2)) == alone


def test_wide_tasks_are_longer():
    names = [*CONDITIONS[::25], *(name for name in FAMILIES if name not in CONDITIONS)][::12]

    def median(wide: float) -> float:
        lengths = [
            sum(grid.shape[0] * (grid.shape[1] + 1) for grid in (example.input, example.output))
            for name in names
            for example in make_task(name, 0, 3, 0, wide=wide).examples
        ]
        return float(np.median(lengths))

    assert median(1.0) > 1.25 * median(0.0)


def test_there_are_many_families_in_every_module():
    found = Counter(function.__module__ for function in FAMILIES.values())
    assert set(found) == {module.__name__ for module in ALL_MODULES}
    assert len(FAMILIES) >= 300


def test_an_unknown_family_and_a_second_one_of_a_name_are_refused():
    with pytest.raises(InputError, match="no family"):
        list(families_tasks(tasks=1, names=["nothing"]))
    with pytest.raises(ValueError, match="two families"):
        register(next(iter(FAMILIES)), FAMILIES["stairs"])


def test_a_family_that_makes_nothing_is_an_error(monkeypatch):
    def never(draws: Draws) -> Callable[[], Made]:
        raise RejectError

    monkeypatch.setitem(FAMILIES, "never", never)
    with pytest.raises(InputError, match="makes no task"):
        make_task("never", 0, PAIRS, 0)


# --- rules written anew ----------------------------------------------------------------------------------


SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1))
AROUND = (*SIDES, (1, 1), (1, -1), (-1, 1), (-1, -1))


def components(mask: Grid, steps: tuple[tuple[int, int], ...] = SIDES) -> list[set[tuple[int, int]]]:
    """Connected cells, by spreading labels until nothing changes."""
    labels = {cell: number for number, cell in enumerate(map(tuple, np.argwhere(mask).tolist()))}
    changed = True
    while changed:
        changed = False
        for r, c in labels:
            best = min(labels.get((r + down, c + right), 10**6) for down, right in ((0, 0), *steps))
            if best < labels[r, c]:
                labels[r, c], changed = best, True
    groups: dict[int, set[tuple[int, int]]] = {}
    for cell, label in labels.items():
        groups.setdefault(label, set()).add(cell)
    return list(groups.values())


def outside(grid: Grid) -> set[tuple[int, int]]:
    """Background cells joined to the border."""
    rows, columns = grid.shape
    found: set[tuple[int, int]] = set()
    for group in components(grid == 0):
        if any(r in (0, rows - 1) or c in (0, columns - 1) for r, c in group):
            found |= group
    return found


def filled_enclosures(first: Grid, last: Grid) -> bool:
    free = outside(first)
    inside = [cell for cell in map(tuple, np.argwhere(first == 0).tolist()) if cell not in free]
    colours = {int(last[cell]) for cell in inside}
    same = all(first[c] == last[c] for c in np.ndindex(*first.shape) if c not in set(inside))
    return same and len(colours) == 1 and 0 not in colours


def filled_outside(first: Grid, last: Grid) -> bool:
    free = outside(first)
    return all((first[c] != last[c]) == (c in free) for c in np.ndindex(*first.shape))


def shortest_way(first: Grid, last: Grid) -> bool:
    """What was painted is free in the input, joins the two ends and has the length of the shortest way."""
    colours, counts = np.unique(first[first > 0], return_counts=True)
    wall = colours[counts.argmax()]
    ends = [tuple(c) for c in np.argwhere((first > 0) & (first != wall)).tolist()]
    distance = {ends[0]: 0}
    waiting = deque([ends[0]])
    while waiting:
        r, c = waiting.popleft()
        for new in ((r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)):
            if new not in distance and first[new] != wall:
                distance[new] = distance[r, c] + 1
                waiting.append(new)
    painted = {tuple(c) for c in np.argwhere(first != last).tolist()}
    way = painted | set(ends)
    mask = np.zeros(first.shape, bool)
    for cell in way:
        mask[cell] = True
    return len(painted) == distance[ends[1]] - 1 and len(components(mask)) == 1


def logic(function: Callable[[bool, bool], bool]) -> Check:
    """Two panels with or without a line between them, beside or below each other."""

    def check(first: Grid, last: Grid) -> bool:
        if first.shape[1] == last.shape[1]:
            first, last = first.T, last.T
        width = last.shape[1]
        a, b = first[:, :width] > 0, first[:, -width:] > 0
        return all(bool(last[c]) == bool(function(bool(a[c]), bool(b[c]))) for c in np.ndindex(*last.shape))

    return check


def water(first: Grid, last: Grid) -> bool:
    """Water stands in an empty cell exactly if ground is left and right of it in its row."""
    for r, c in np.ndindex(*first.shape):
        held = first[r, c] == 0 and first[r, :c].any() and first[r, c + 1 :].any()
        if bool(last[r, c] != first[r, c]) != bool(held):
            return False
    return True


def heights(grid: Grid) -> list[int]:
    return [int((column > 0).sum()) for column in grid.T if column.any()]


def fallen(first: Grid, last: Grid) -> bool:
    """No empty cell is below a filled one, and each column has its cells in order."""
    for a, b in zip(first.T, last.T, strict=True):
        if [x for x in a.tolist() if x] != [x for x in b.tolist() if x] or (np.diff((b > 0).astype(int)) < 0).any():
            return False
    return True


def largest_square(first: Grid, last: Grid) -> bool:
    painted = np.argwhere(first != last)
    (top, left), (bottom, right) = painted.min(axis=0), painted.max(axis=0)
    side = bottom - top + 1
    whole = len(painted) == side * (right - left + 1) and side == right - left + 1
    size = np.zeros(first.shape, int)
    for r, c in np.ndindex(*first.shape):  # the side of the largest empty square that ends here
        if first[r, c] == 0:
            size[r, c] = 1 + (min(size[r - 1, c], size[r, c - 1], size[r - 1, c - 1]) if r and c else 0)
    return bool(whole and size.max() == side and (size == side).sum() == 1)


def nearest_ring(first: Grid, last: Grid) -> bool:
    """All cells at one distance from the only dot have one colour."""
    ((row, column),) = np.argwhere(first).tolist()
    rings: dict[int, set[int]] = {}
    for r, c in np.ndindex(*first.shape):
        rings.setdefault(max(abs(r - row), abs(c - column)), set()).add(int(last[r, c]))
    return all(len(colours) == 1 for colours in rings.values())


def bounding_box(grid: Grid, wanted: int) -> Grid:
    cells = np.argwhere(grid == wanted)
    (top, left), (bottom, right) = cells.min(axis=0), cells.max(axis=0)
    return grid[top : bottom + 1, left : right + 1]


def extreme_object(largest: bool) -> Check:
    def check(first: Grid, last: Grid) -> bool:
        groups = [g for colour in np.unique(first[first > 0]) for g in components(first == colour, AROUND)]
        chosen = (max if largest else min)(groups, key=len)
        cells = np.array(sorted(chosen))
        corner = cells.min(axis=0)
        made = {(int(r - corner[0]), int(c - corner[1])) for r, c in cells}
        return made == {tuple(c) for c in np.argwhere(last).tolist()}

    return check


def without(test: Callable[[set[tuple[int, int]], Grid], bool]) -> Check:
    """Groups that pass the test vanish, the others stay."""

    def check(first: Grid, last: Grid) -> bool:
        made = first.copy()
        for colour in np.unique(first[first > 0]):
            for group in components(first == colour, AROUND):
                if test(group, first):
                    for cell in group:
                        made[cell] = 0
        return bool((made == last).all())

    return check


def at_border(group: set[tuple[int, int]], grid: Grid) -> bool:
    return any(r in (0, grid.shape[0] - 1) or c in (0, grid.shape[1] - 1) for r, c in group)


def solid(group: set[tuple[int, int]], grid: Grid) -> bool:
    rows, columns = {r for r, _ in group}, {c for _, c in group}
    return len(group) == (max(rows) - min(rows) + 1) * (max(columns) - min(columns) + 1)


def symmetric(cells: Grid) -> bool:
    return any((cells == move).all() for move in (cells[:, ::-1], cells[::-1]))


def as_many(first: Grid, last: Grid) -> bool:
    """Whether as many cells are filled."""
    return bool((first > 0).sum() == (last > 0).sum())


def mirrored_half(first: Grid, last: Grid) -> bool:
    half = first.shape[1] // 2
    return bool((last == last[:, ::-1]).all() and (last[:, :half] == first[:, :half]).all())


def scaled(first: Grid, last: Grid) -> bool:
    factor = last.shape[0] // first.shape[0]
    return factor > 1 and all(last[r, c] == first[r // factor, c // factor] for r, c in np.ndindex(*last.shape))


def large_stay(first: Grid, last: Grid) -> bool:
    groups = [sorted(group) for group in components(first > 0, AROUND)]
    return all(last[cell] == first[cell] for group in groups if len(group) >= 5 for cell in group)


def spiral(first: Grid, last: Grid) -> bool:
    """One line along the first row that never lies beside itself."""
    squares = (last[:-1, :-1] > 0) & (last[1:, :-1] > 0) & (last[:-1, 1:] > 0) & (last[1:, 1:] > 0)
    return bool(last[0].all()) and len(components(last > 0)) == 1 and not squares.any()


def bounces(first: Grid, last: Grid) -> bool:
    """One cell in each row, one step aside from the next."""
    return bool((np.abs(np.diff((last > 0).argmax(axis=1))) == 1).all()) and (last > 0).sum() == len(last)


CHECKS: dict[str, Check] = {
    "whole_kaleidoscope": lambda a, b: bool((b == b[::-1]).all() and (b == b[:, ::-1]).all()),
    "whole_mirror_half": mirrored_half,
    "whole_tile": lambda a, b: all(b[c] == a[c[0] % a.shape[0], c[1] % a.shape[1]] for c in np.ndindex(*b.shape)),
    "whole_scale": scaled,
    "whole_turn": lambda a, b: any(np.array_equal(turned(a, n), b) for n in (1, 2, 3)),
    "whole_fall": fallen,
    "whole_trim": lambda a, b: bool(b[0].any() and b[-1].any() and b[:, 0].any() and b[:, -1].any()) and as_many(a, b),
    "whole_negative": lambda a, b: bool(((a > 0) != (b > 0)).all()),
    "whole_boustrophedon": lambda a, b: all((b[r] == (a[r, ::-1] if r % 2 else a[r])).all() for r in range(len(a))),
    "whole_distinct_rows": lambda a, b: all((b[n] != b[n + 1]).any() for n in range(len(b) - 1)),
    "whole_pinwheel": lambda a, b: bool((np.rot90(b) == b).all() and (b[: len(a), : len(a)] == a).all()),
    "fill_enclosed": filled_enclosures,
    "fill_outside": filled_outside,
    "pour_water": water,
    "largest_empty_square": largest_square,
    "way_through_maze": shortest_way,
    "rings_around_point": nearest_ring,
    "panels_and": logic(lambda a, b: a and b),
    "panels_or": logic(lambda a, b: a or b),
    "panels_xor": logic(lambda a, b: a != b),
    "panels_nor": logic(lambda a, b: not a and not b),
    "panels_first_only": logic(lambda a, b: a and not b),
    "sort_bars": lambda a, b: sorted(heights(a)) in (heights(b), heights(b)[::-1]),
    "bar_for_each_column": lambda a, b: [int((c > 0).sum()) for c in a.T] == [int((c > 0).sum()) for c in b.T],
    "count_objects_as_row": lambda a, b: len(components(a > 0, AROUND)) == (b > 0).sum(),
    "count_into_square": lambda a, b: len(components(a > 0, AROUND)) == (b > 0).sum(),
    "size_of_object_as_square": lambda a, b: (a > 0).sum() == max(b.shape),
    "colours_by_frequency": lambda a, b: [c for c, _ in Counter(a[a > 0].tolist()).most_common()] == b.ravel().tolist(),
    "shrink_mosaic": lambda a, b: set(np.unique(a)) == set(np.unique(b)),
    "select_largest_crop": extreme_object(True),
    "select_smallest_crop": extreme_object(False),
    "select_bordering_remove": without(at_border),
    "select_bordering_keep": without(lambda group, grid: not at_border(group, grid)),
    "select_boxlike_remove": without(solid),
    "select_even_remove": without(lambda group, grid: len(group) % 2 == 0),
    "keep_solid_objects": large_stay,
    "extract_symmetric": lambda a, b: bool((b == b[:, ::-1]).all()),
    "panels_symmetric_one": lambda a, b: bool((b == b[:, ::-1]).all()),
    "smallest_tile": lambda a, b: all(a[c] == b[c[0] % b.shape[0], c[1] % b.shape[1]] for c in np.ndindex(*a.shape)),
    "mark_fullest_row": lambda a, b: {int(r) for r, _ in np.argwhere(a != b)} == {int((a > 0).sum(axis=1).argmax())},
    "row_denoise": lambda a, b: all(len(g) == 1 for g in components((a > 0) & (b == 0))),
    "row_gravity": lambda a, b: [x for x in a[0].tolist() if x] == b[0].tolist()[: int((b > 0).sum())],
    "stack_by_size": lambda a, b: heights(b.T) == sorted(heights(b.T)) and (a > 0).sum() == (b > 0).sum(),
    "spiral_from_corner": spiral,
    "compact_objects": lambda a, b: bool(b.any(axis=0).all() and b.any(axis=1).all()) and as_many(a, b),
    "restore_covered_symmetry": lambda a, b: bool((b == b[:, ::-1]).all()),
    "symmetric_object_repair": lambda a, b: symmetric(bounding_box((b > 0).astype(int), 1)),
    "bouncing_ball": bounces,
    "move_by_own_width": lambda a, b: not ((a > 0) & (b > 0)).any() and as_many(a, b),
    "reflect_across_line": lambda a, b: bool(((b > 0) == (b > 0)[:, ::-1]).all()) or as_many(a, b),
    "objects_fall": lambda a, b: (a > 0).sum() == (b > 0).sum() and b[-1].any(),
}  # fmt: skip
"""What an output must have to its input, written without the families' own code, for families of every module."""


@pytest.mark.parametrize("name", CHECKS)
def test_outputs_follow_from_inputs_by_a_rule_written_anew(name):
    for number in range(3):
        for example in task_of(name, number).examples:
            assert CHECKS[name](example.input, example.output)


def test_objects_are_found_as_connected_cells_of_one_colour():
    grid = np.array([[1, 1, 0], [0, 2, 0], [3, 0, 2]], np.uint8)
    assert [(item.colour, item.size) for item in things_in(grid)] == [(1, 2), (2, 1), (3, 1), (2, 1)]
    assert [(item.colour, item.size) for item in things_in(grid, diagonal=True)] == [(1, 2), (2, 2), (3, 1)]
    assert len(things_in(grid, diagonal=True, many_colours=True)) == 1
