"""What a benchmark ran on."""

import datetime
import importlib.metadata
import os
import platform
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

PACKAGES = ("jax", "numpyro", "arviz", "numpy", "scikit-learn", "spams-bin", "numba")


def processor():
    """Model name of the processor, as far as the system tells."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def describe():
    """One line: processor, usable cores, load, versions, day."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    load = os.getloadavg()[0]
    day = datetime.datetime.now(datetime.UTC).date()
    return (
        f"{processor()}, {cores} cores (load {load:.1f}), Python {platform.python_version()}, "
        f"{', '.join(versions)}, {day}"
    )


def times_of(call, repeats, *, warm=False):
    """Result of ``call``, and seconds of each repeat after one that compiles, unless all is ``warm`` already."""
    if not warm:
        call()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - started)
    return result, seconds


def alone(function, *arguments, environment=None):
    """``function(*arguments)`` in a process of its own: memory and threads of one do not touch the other.

    ``environment`` is a dictionary of environment variables of that process only.
    """
    with _environment(environment or {}), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


@contextmanager
def _environment(changes):
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def memory():
    """Gibibytes that this process holds now, and held at most.

    Linux hands the peak of ``getrusage`` down to every process started, so that a small one has its parent's.
    """
    status = Path("/proc/self/status")
    if not status.is_file():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        return peak, peak
    found = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
    return tuple(int(found[name].split()[0]) / 2**20 for name in ("VmRSS", "VmHWM"))
