"""Which GPUs this process may use: each job leases its own, on a machine that several jobs share.

Snakemake counts GPU slots and never says which device a job gets. So a job takes its devices
itself, in its own process and before torch is imported: one locked file for each device. The
kernel drops the locks when the process ends, however it ends.

All users of the machine share the folder of the locks, so what lies there is nobody's word: a lock counts because
the kernel has it, a file is written only if it is a plain one with one name, and what it says is shown, never obeyed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import random
import re
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

from arcfold.jobs.files import InputError, one_line

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_ORDER = "CUDA_DEVICE_ORDER"
_WAITING = ".waiting"

# File descriptors of the locks that this process holds.
_held: set[int] = set()
# What a process that does many jobs keeps of a lease from one to the next.
_keeper: Keeper | None = None


class Lease:
    """Devices that are this process's own until `release` or, without it, until the process ends.

    A context manager whose value is `devices`. Leave the block only when nothing of CUDA is used
    any more: torch keeps a device's memory until the process ends.
    """

    devices: tuple[str, ...]
    """The devices as CUDA_VISIBLE_DEVICES names them (indexes or uuids); empty means the CPU."""

    def __init__(
        self,
        devices: Iterable[str],
        locks: Iterable[int] = (),
        environment: Mapping[str, str | None] | None = None,
        names: Iterable[str] = (),
    ) -> None:
        self.devices = tuple(devices)
        self.locks = tuple(names)
        """The names of the lock files."""
        self._locks = tuple(locks)
        self._environment = environment or {}

    def release(self) -> None:
        """Gives the devices back and restores the environment as it was; a second call does nothing."""
        for lock in self._locks:
            _unlock(lock)
        _set_environment(self._environment)
        self._locks, self._environment = (), {}

    def __enter__(self) -> tuple[str, ...]:
        return self.devices

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lease(n: int, where: str | Path | None = None) -> Lease:
    """Takes `n` devices, all or none, waiting until they are free, and shows only these to CUDA.

    The pool is `visible_devices()`. Where it is empty the lease is empty too, and the same job runs
    on the CPU; `n=0` hides every device. Under SLURM nothing is leased and nothing changed: the job
    has what it was given. `where` is the folder of the lock files, which all jobs of the machine must
    share: by default `$ARCFOLD_LEASES`, else `arcfold-devices` in the temporary folder.

    Call it before torch is imported, once for a process. Raises InputError when `n` is more than a
    pool that is not empty, or when the locks cannot be used; RuntimeError when the process holds
    devices already (it would wait for itself).
    """
    if n < 0:
        raise ValueError(f"a lease of {n} devices: expected 0 or more")
    if _keeper is not None:
        return Lease(_keeper.devices_for(n, where))
    return _take_lease(n, where)


def _take_lease(n: int, where: str | Path | None) -> Lease:
    if _held:
        raise RuntimeError("this process holds devices already: lease all of them at once")
    pool = _pool()
    if n > len(pool) > 0:
        raise InputError(
            f"resources: gpu={n} asks for more devices than the {len(pool)} that {_giver()} "
            f"({', '.join(pool)}); expected gpu={len(pool)} or less"
        )
    if "SLURM_JOB_ID" in os.environ:
        return Lease(pool)
    locks = _wait_for(n, pool, _folder(where)) if n and pool else {}
    # Indexes are nvidia-smi's, in the order of the bus; CUDA's own order is fastest first.
    shown = {_VISIBLE: ",".join(locks), _ORDER: os.environ.get(_ORDER, "PCI_BUS_ID")}
    return Lease(locks, locks.values(), _set_environment(shown), [pool[name] for name in locks])


class Keeper:
    """Keeps one lease for all jobs that a process does: the first job that leases takes it."""

    def __init__(self, name: str, on_wait: Callable[[], None], on_taken: Callable[[], None]) -> None:
        """name: of the group of processes that do not count as waiting for each other

        on_wait is called when the devices are not free at once, on_taken when they are this process's own.
        """
        self.name = name
        self.on_wait, self.on_taken = on_wait, on_taken
        self.lease: Lease | None = None
        self._asked: int | None = None

    def devices_for(self, n: int, where: str | Path | None) -> tuple[str, ...]:
        """The devices of the lease, taken if need be; all jobs of a process ask for the same number."""
        if self.lease is None:
            self.lease, self._asked = _take_lease(n, where), n
            self.on_taken()
        if n != self._asked:
            raise RuntimeError(f"this process keeps a lease of {self._asked} devices and was asked for {n}")
        return self.lease.devices

    def somebody_waits(self, where: str | Path | None = None) -> bool:
        """Whether a process of another group waits for one of the devices."""
        if self.lease is None or not self.lease.locks:
            return False
        own = f".{self.name}"
        return any(
            _is_shared(Path(path))
            for lock in self.lease.locks
            for path in glob.glob(f"{glob.escape(str(_folder(where) / lock))}{_WAITING}.*")
            if not path.endswith(own)
        )


@contextlib.contextmanager
def kept_lease(keeper: Keeper) -> Iterator[None]:
    """In the block `lease` gives the keeper's devices.

    The process keeps them to its end, as torch keeps their memory.
    """
    global _keeper
    _keeper = keeper
    try:
        yield
    finally:
        _keeper = None


def visible_devices() -> tuple[str, ...]:
    """The devices that this process may use, as CUDA_VISIBLE_DEVICES names them, without asking torch.

    What CUDA_VISIBLE_DEVICES says where it is set (empty or -1: none), else what nvidia-smi lists
    (MIG instances in place of a divided card), else one index for each /dev/nvidiaN.
    """
    return tuple(_pool())


def count_devices() -> int:
    """The number of `visible_devices()`."""
    return len(_pool())


def _giver() -> str:
    if "SLURM_JOB_ID" in os.environ:
        return "SLURM gave this job"
    return f"{_VISIBLE} names" if _VISIBLE in os.environ else "this machine has"


# --- the pool ---------------------------------------------------------------------------------


def _pool() -> dict[str, str]:
    """The visible devices: what CUDA_VISIBLE_DEVICES calls each, and what its lock is called.

    The lock carries the card's uuid where nvidia-smi can tell, so that a job that calls the card 0
    and one that calls it by its uuid meet.
    """
    setting = os.environ.get(_VISIBLE)
    names = [] if setting is None else _named(setting)
    if setting is not None and not names:
        return {}
    cards = _cards()
    if setting is None:
        names = [name for index, (card, parts) in cards.items() for name in (parts or [index])]
        names = names or [str(index) for index in range(len(device_files()))]
    pool: dict[str, str] = {}
    for name in names:
        lock = _lock_name(name, cards)
        if lock not in pool.values():
            pool[name] = lock
    return pool


def _named(setting: str) -> list[str]:
    """The devices of a CUDA_VISIBLE_DEVICES; as CUDA does, it stops at the first that is none."""
    names: list[str] = []
    for name in (part.strip() for part in setting.split(",")):
        if not re.fullmatch(r"\d+|(GPU|MIG)-[\w/-]+", name):
            break
        names.append(name)
    return names


def _lock_name(name: str, cards: Mapping[str, tuple[str, list[str]]]) -> str:
    """The full uuid for an index or the beginning of a uuid, where that is one known card."""
    if name in cards:
        return cards[name][0]
    known = [uuid for card, parts in cards.values() for uuid in (card, *parts) if uuid.startswith(name)]
    return (known[0] if len(known) == 1 else name).replace("/", "_")


def _cards() -> dict[str, tuple[str, list[str]]]:
    """What nvidia-smi lists: index → (uuid, uuids of its MIG instances); empty where it cannot tell."""
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    cards: dict[str, tuple[str, list[str]]] = {}
    for line in listing.splitlines():
        if card := re.match(r"GPU (\d+): .*\(UUID: (GPU-[\w-]+)\)", line):
            parts: list[str] = []
            cards[card[1]] = (card[2], parts)
        elif cards and (part := re.match(r"\s+MIG .*\(UUID: (MIG-[\w/-]+)\)", line)):
            parts.append(part[1])
    return cards


def device_files() -> list[str]:
    """The files of NVIDIA devices, whether or not a driver answers."""
    return glob.glob("/dev/nvidia[0-9]*")


# --- the locks --------------------------------------------------------------------------------


def _folder(where: str | Path | None) -> Path:
    """The folder of the locks, made if need be, in which every user may add a file and remove only his own.

    Raises InputError for one that leads elsewhere by another user's link, or in which others may remove locks.
    """
    folder = Path(where or os.environ.get("ARCFOLD_LEASES") or Path(tempfile.gettempdir()) / "arcfold-devices")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _modes_as_given(), contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o1777)
        itself = folder.lstat()
        mode = folder.stat().st_mode
    except OSError as error:
        raise _unusable(folder, error.strerror) from None
    if stat.S_ISLNK(itself.st_mode) and itself.st_uid not in (0, os.getuid()):
        raise _unusable(folder, "a link of another user")
    if mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
        raise _unusable(folder, "without the sticky bit others could remove its locks: chmod +t")
    return folder


def _wait_for(n: int, pool: Mapping[str, str], folder: Path) -> dict[str, int]:
    """The file descriptors of `n` locks by device, once `n` were free at the same moment."""
    if locks := _take(n, pool, folder):
        return locks
    holders = "; ".join(f"{name}: {_holder(folder / lock)}" for name, lock in pool.items())
    print(f"waiting for {n} of {len(pool)} devices ({holders})", file=sys.stderr, flush=True)
    if _keeper is not None:
        _keeper.on_wait()
    with _seen_waiting(pool.values(), folder):
        while not (locks := _take(n, pool, folder)):
            # Jitter, from a generator of its own: two jobs that want two devices each must not keep
            # meeting half way, and the draws of an experiment must not depend on how long it waited.
            time.sleep(random.SystemRandom().uniform(0.1, 0.5))
    return locks


@contextlib.contextmanager
def _seen_waiting(locks: Iterable[str], folder: Path) -> Iterator[None]:
    """Lets those who keep the devices see that somebody waits: a shared lock on a file beside each one's."""
    group = "job" if _keeper is None else _keeper.name
    descriptors = []
    try:
        for lock in locks:
            path = folder / f"{lock}{_WAITING}.{group}"
            try:
                descriptors.append(_open(path))
                fcntl.flock(descriptors[-1], fcntl.LOCK_SH)
            except OSError as error:
                raise _unusable(path, error.strerror) from None
        yield
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _is_shared(path: Path) -> bool:
    """Whether a process holds a shared lock of a file."""
    try:
        descriptor = _open(path)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def _take(n: int, pool: Mapping[str, str], folder: Path) -> dict[str, int]:
    """The first `n` locks that are free, or none of them."""
    locks: dict[str, int] = {}
    for name, lock in pool.items():
        if (descriptor := _lock(folder / lock)) is not None:
            locks[name] = descriptor
            if len(locks) == n:
                return locks
    for descriptor in locks.values():
        _unlock(descriptor)
    return {}


def _lock(path: Path) -> int | None:
    """The descriptor of the locked file, signed with this process; None if another process holds it."""
    try:
        descriptor = _open(path)
        _held.add(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Somebody may have cleaned the folder since: a lock on a file without a name locks nothing.
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()}, {Path(sys.argv[0]).name or 'python'}\n".encode())
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass
        except OSError:
            _unlock(descriptor)
            raise
        _unlock(descriptor)
        return None
    except OSError as error:
        raise _unusable(path, error.strerror) from None


def _open(path: Path) -> int:
    """Opens a lock file for every user. Never with O_CREAT on a file that is there: in a folder
    with the sticky bit, Linux refuses that for another user's file (fs.protected_regular).

    Raises OSError for what is no plain file, or has another name: its lock is signed, so that a link which another
    user laid there would write into the file that it leads to.
    """
    while True:
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            found = os.fstat(descriptor)
            # no name at all: cleaned away in this moment, which `_lock` looks at
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                os.close(descriptor)
                raise OSError(errno.EINVAL, "not a plain file with one name")
            return descriptor
        with _modes_as_given(), contextlib.suppress(FileExistsError):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)


def _unlock(descriptor: int) -> None:
    if descriptor in _held:
        _held.discard(descriptor)
        os.close(descriptor)


def _close_in_child() -> None:
    """A lock lasts as long as any copy of its descriptor, so a forked child must not keep one: it
    could outlive the job. (It can do nothing with CUDA after a fork; programs that it starts do not
    inherit descriptors at all.) Closing a copy leaves the parent's lock as it is."""
    for descriptor in tuple(_held):
        _unlock(descriptor)


os.register_at_fork(after_in_child=_close_in_child)


def _holder(path: Path) -> str:
    """Who signed the lock last, in a few printable words; it may be free again by now."""
    try:
        descriptor = _open(path)
    except OSError:
        return "unknown"
    with open(descriptor, "rb") as file:
        return one_line(file.read(200).decode("utf-8", "replace"), 80) or "unknown"


def _unusable(path: Path, problem: str | None) -> InputError:
    return InputError(
        f"{path}: cannot be used for the leases of devices ({problem}); "
        "expected a local folder that every user may write: set ARCFOLD_LEASES to one"
    )


@contextlib.contextmanager
def _modes_as_given() -> Iterator[None]:
    """Files made in the block have just the mode that they are made with, from the first moment on."""
    mask = os.umask(0)
    try:
        yield
    finally:
        os.umask(mask)


def _set_environment(values: Mapping[str, str | None]) -> dict[str, str | None]:
    """Sets (or, for None, removes) variables of this process; returns what they were."""
    before = {name: os.environ.get(name) for name in values}
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    return before
