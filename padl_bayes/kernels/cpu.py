"""The C++ kernels of ``csrc`` for a processor: found, loaded and registered with JAX when first asked for.

Where that fails, for whatever reason, the plain-JAX reference does the work. ``PADL_BAYES_KERNELS=off`` does without
them; ``PADL_BAYES_KERNELS=x86-64-v2`` (or v3, v4) picks a level of instruction sets, and the path of a library that
library.
"""

import functools
import platform
import sys
from pathlib import Path

from .handlers import FOLDER, VARIABLE, load, setting

# What each level adds, by the names that Linux has for it; best first.
LEVELS = {
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "x86-64-v3": {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"},
    "x86-64-v2": {"cx16", "popcnt", "sse4_1", "sse4_2", "ssse3"},
}
HANDLERS = ("box_sweep", "code_draw", "code_sweep", "newton", "row_sweep")


def processor_flags():
    """What Linux says the processor has."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()


def best_level(flags):
    """Name of the highest level that a processor with these flags has, or None."""
    needed, best = set(), None
    for level, added in reversed(LEVELS.items()):
        needed |= added
        if not needed <= flags:
            break
        best = level
    return best


@functools.cache
def level():
    """Level of the kernels in use, their handlers registered; None where the reference has to do."""
    asked = setting()
    if asked not in ("auto", "off", *LEVELS) and not Path(asked).is_file():
        raise ValueError(
            f"{VARIABLE} must be auto, off, one of {', '.join(LEVELS)}, or a library, found {asked!r}"
        )
    if asked == "off" or sys.platform != "linux" or platform.machine() != "x86_64" or not FOLDER.is_dir():
        return None
    chosen = best_level(processor_flags()) if asked == "auto" else asked
    if chosen is None:
        return None
    path = FOLDER / f"libpadl_{chosen}.so" if chosen in LEVELS else chosen
    return chosen if load(path, chosen, HANDLERS, "cpu") else None
