"""Refuse what cannot fit before any work is done."""

from contextlib import suppress
from pathlib import Path

from ._validation import check_scalar


def available_bytes():
    """Return how much memory can still be had, or None where the system does not tell (beyond Linux)."""
    found = []
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    with suppress(OSError, ValueError):
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found, default=None)


def check_fits(nbytes, what, remedy, *, limit=None):
    """Raise if ``nbytes`` exceed ``limit`` (default: the memory available).

    Parameters
    ----------
    nbytes : int
    what : str
        What needs the memory, to begin the message with.
    remedy : str
        What the caller can do about it.
    limit : int, optional

    Raises
    ------
    ValueError
        With both numbers and the remedy.
    """
    limit = available_bytes() if limit is None else check_scalar(limit, "max_bytes")
    if limit is not None and nbytes > limit:
        raise ValueError(
            f"{what} needs {nbytes / 2**30:.3g} GiB, {limit / 2**30:.3g} GiB are there: {remedy}"
        )
