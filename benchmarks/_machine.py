"""What a benchmark ran on."""

import datetime
import importlib.metadata
import os
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

PACKAGES = ("jax", "numpyro", "arviz", "numpy", "scikit-learn", "spams-bin")


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


def times_of(call, repeats):
    """Result of ``call``, and seconds of each repeat after one that compiles."""
    call()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - started)
    return result, seconds


def alone(function, *arguments):
    """``function(*arguments)`` in a process of its own: memory and threads of one do not touch the other."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
