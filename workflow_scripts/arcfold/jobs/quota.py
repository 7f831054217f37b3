"""How many processors this process may keep busy: a container's quota is no set of processors, and easily overseen."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def cores_within_quota(cores: int, cgroups: Path = CGROUPS, own: Path = OWN) -> int:
    """The cores of a machine that the quotas of this process's control groups leave, at least one."""
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas(cgroups, own))]))


def _quotas(cgroups: Path, own: Path) -> Iterator[float]:
    """The quotas, in processors, of the groups that this process is in: its own and those around it, v1 and v2."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # v2
            mounts = [cgroups, cgroups / "unified"]
        elif "cpu" in controllers.split(","):
            mounts = [cgroups / "cpu", cgroups / controllers]
        else:
            continue
        group = Path(path.lstrip("/"))
        for mount in mounts:
            # a container may see the path that the group has outside, and its files at the mount itself
            for folder in (mount / group, *(mount / parent for parent in group.parents)):
                with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
                    quota, period = _quota_in(folder)
                    if quota > 0:
                        yield quota / period


def _quota_in(folder: Path) -> tuple[float, float]:
    """Microseconds of processor time in each period, and those of the period. Raises ValueError for `max`."""
    if (folder / "cpu.max").is_file():
        quota, period = (folder / "cpu.max").read_text().split()
        return float(quota), float(period)
    return tuple(float((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))  # type: ignore[return-value]
