"""What an ensemble's name means: members, seeds, folders of the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from arcfold.jobs.files import InputError
from arcfold.runs.ensembles import OWN_STAGES, AnyRun, members_of, resolve, store_of
from arcfold.runs.runs import Run, keep_keys, resolve_run, settings_of_key


def made(config: Any, name: str, members: list[str], **entry: Any) -> AnyRun:
    config["runs"]["both"] = {"ensemble": members, **entry}
    return resolve(config, name, lambda _: 400)


@pytest.mark.parametrize(
    ("name", "members", "expected"),
    [
        ("both", ["8folds", "4folds"], ["8folds", "4folds"]),
        ("both", ["8folds", "8folds-seed100"], ["8folds", "8folds-seed100"]),
        ("both-seed3", ["8folds", "8folds-seed100"], ["8folds-seed3", "8folds-seed103"]),
        ("arc2_evaluation_both-seed3", ["8folds", "4folds_rank8"],
         ["arc2_evaluation_8folds-seed3", "arc2_evaluation_4folds_rank8-seed3"]),
    ],
)  # fmt: skip
def test_members_are_those_of_the_entry_on_its_dataset_with_its_seed(
    config: Any, name: str, members: list[str], expected: list[str]
) -> None:
    found = made(config, name, members)
    assert [member.name for member in found.members] == expected
    for member in found.members:
        assert member == resolve_run(config, member.name, lambda _: 400)
    assert found.dataset == found.members[0].dataset
    assert found.folds == 8
    assert found.store("folds") == found.members[0].store("folds")


@pytest.mark.parametrize(
    ("name", "members", "said"),
    [
        (
            "both",
            ["8folds", "arc2_evaluation_8folds"],
            "its member arc2_evaluation_8folds is a run on arc2_evaluation, exp",
        ),
        (
            "both",
            ["8folds", "8folds-seed0"],
            "its members 8folds and 8folds-seed0 are one run, expected different ones",
        ),
        ("both", ["8folds", "8folds_rank32"], "are one run"),
        ("both_rank4", ["8folds", "4folds"], "run both_rank4: rank is its members' affair"),
        (
            "both-seed4294967295",
            ["8folds", "8folds-seed1"],
            "seed 4294967296 of its member 8folds-seed1, expected at mo",
        ),
    ],
)
def test_members_that_cannot_answer_together_are_one_line(
    config: Any, name: str, members: list[str], said: str
) -> None:
    with pytest.raises(InputError) as error:
        made(config, name, members)
    assert said in str(error.value)


def test_its_selection_is_its_own(config: Any) -> None:
    settings = {"selection": {"method": "sum_2024"}}
    assert made(config, "both", ["8folds", "4folds"], settings=settings).settings == settings
    assert (
        made(config, "both_methodcount_and_mean", ["8folds", "4folds"]).settings["selection"]["method"]
        == "count_and_mean"
    )


def test_it_is_no_run_with_adapters_of_its_own(config: Any) -> None:
    found = made(config, "both", ["8folds", "4folds"])
    with pytest.raises(InputError, match="no candidates of its own, expected those of 8folds or 4folds"):
        found.store("candidates")
    with pytest.raises(InputError, match="run both: an ensemble"):
        resolve_run(config, "both", lambda _: 400)


def test_its_folders_are_others_as_soon_as_a_member_is_and_the_same_with_another_selection(config: Any) -> None:
    first = made(config, "both", ["8folds", "4folds"])
    same = made(config, "both", ["8folds", "4folds"], settings={"selection": {"method": "sum_2024"}})
    assert (first.store("rescored"), first.scorings()) == (same.store("rescored"), same.scorings())
    for members in (["8folds", "4folds_rescoring_views9"], ["4folds", "8folds"], ["8folds", "4folds-seed1"]):
        other = made(config, "both", members)
        assert not set(first.scorings()[12:]) & set(other.scorings()[12:])
        assert first.store("rescored") != other.store("rescored")


def test_a_job_finds_the_members_by_a_folder_of_the_store(config: Any, tmp_path: Path) -> None:
    found = made(config, "both-seed2", ["8folds", "4folds-seed5"])
    keep_keys(found.keyed(), tmp_path)
    *_, key = found.store("rescored").split("/")
    content = settings_of_key(config, "ensembles", key, tmp_path)
    members = members_of(content, "quick")
    for member, expected in zip(members, found.members, strict=True):
        assert isinstance(member, Run)
        for stage in ("folds", "adapters", "candidates", "rescored"):
            assert member.store(stage) == expected.store(stage)
    folders = {path.rpartition("/")[0] for path in found.scorings()} - {each.store("rescored") for each in members}
    assert folders == {store_of("others_rescored", content, "quick", number) for number in (0, 1)}
    for number in (0, 1):
        folder = store_of("others_rescored", content, "quick", number)
        inside = settings_of_key(config, "others_rescored", folder.rpartition("/")[2], tmp_path)
        assert inside["of"] == number
        assert store_of("others", inside, "quick", number) == store_of("others", content, "quick", number)
    assert {content["stage"] for content in found.keyed().values() if "stage" in content} == set(OWN_STAGES)
