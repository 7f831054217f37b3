"""The cores that a container's quota leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from arcfold.jobs.quota import cores_within_quota


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "250000 100000"}, 3),
        ("0::/\n", {"cpu.max": "max 100000"}, 16),
        ("0::/\n", {"cpu.max": "20000 100000"}, 1),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2),
        ("0::/outside/the/container\n", {"cpu.max": "400000 100000"}, 4),
        ("4:memory:/\n1:cpu:/x\n0::/\n", {"cpu/x/cpu.cfs_quota_us": "150000", "cpu/x/cpu.cfs_period_us": "50000"}, 3),
        ("3:cpu,cpuacct:/\n", {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 16),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "9900000", "cpu/cpu.cfs_period_us": "100000"}, 16),
        ("0::/\n", {"cpu.max": "broken"}, 16),
        ("", {}, 16),
    ],
)
def test_the_smallest_quota_around_a_process_counts(
    tmp_path: Path, own: str, files: dict[str, str], cores: int
) -> None:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    assert cores_within_quota(16, tmp_path / "cgroup", tmp_path / "own") == cores


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert cores_within_quota(8, tmp_path / "none", tmp_path / "none") == 8
