import base64
import gzip
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcfold.reports.packing import BEND, FINENESS, NOT_THERE, describe, levels, pack, pack_tasks


def unpacked(text):
    content = gzip.decompress(base64.b64decode(text))
    length = int.from_bytes(content[:4], "little")
    return json.loads(content[4 : 4 + length]), content[4 + length :]


def logarithm(level):
    return -(math.exp(level / FINENESS) - 1) / BEND


@given(st.floats(0, 60))
def test_a_probability_is_told_to_some_percent_of_itself(nats):
    (level,) = levels(np.array([-nats]))
    assert level < NOT_THERE
    # half a level: a hundredth of a probability near one, a tenth at a hundredth
    room = (1 + BEND * nats) / (FINENESS * BEND) / 2 * 1.05
    assert logarithm(level) == pytest.approx(-nats, abs=room)
    if nats < 2.3:
        assert math.exp(logarithm(level)) == pytest.approx(math.exp(-nats), rel=0.035)


def test_nothing_is_a_level_of_its_own_and_the_impossible_ends_the_scale():
    assert list(levels(np.array([np.nan, 0.0, 1e-5, -1e9]))) == [NOT_THERE, 0, 0, NOT_THERE - 1]


def test_a_task_is_unpacked_as_it_was(study, found):
    packed = pack_tasks(found)
    assert list(packed) == [task.id for task in study.tasks]
    for task in study.tasks:
        text, values = unpacked(packed[task.id])
        assert text["id"] == task.id
        assert [len(pair) for pair in text["train"]] == [2] * len(task.train)
        place = 0
        for test, pair, output in zip(text["test"], task.test, found.by_task[task.id].outputs, strict=True):
            assert cells(test["input"]) == pair.input
            assert cells(test["output"]) == pair.output
            assert test["more"] + len(test["candidates"]) == len(output.findings)
            for run, candidate, rank, value, searched, scored in test["findings"]:
                finding = output.findings[cells(test["candidates"][candidate])][run]
                assert (finding.rank, len(finding.found), len(finding.scored)) == (rank, searched, scored)
                assert value == pytest.approx(finding.value, abs=1e-3)
                for expected in (*finding.found, *finding.scored):
                    level = values[place]
                    place += 1
                    if math.isnan(expected):
                        assert level == NOT_THERE
                    elif expected > -40:
                        assert logarithm(level) == pytest.approx(expected, abs=0.01 + 0.02 * abs(expected))
        assert place == len(values)


def cells(text):
    return tuple(tuple(map(int, row)) for row in text.split("/"))


def test_equal_data_gives_equal_bytes(study, found):
    name = study.tasks[0].id
    assert pack(*describe(found, name)) == pack(*describe(found, name))
