"""Every implementation of a pass that this machine can run."""

import os
import platform
import sys

import pytest

from padl_bayes.kernels import cpu

LEVELS = ["x86-64-v2", "x86-64-v3", "x86-64-v4"]
# `make sanitize` has them tested in a library of its own.
GIVEN = os.environ.get(cpu.VARIABLE, "")
BEST = cpu.best_level(cpu.processor_flags()) if sys.platform == "linux" else None
TESTED = [
    level if level == (BEST or LEVELS[0]) else pytest.param(level, marks=pytest.mark.slow) for level in LEVELS
]
if GIVEN.endswith(".so"):
    TESTED = [GIVEN]


def use(level, monkeypatch):
    """Make the kernels of this level the ones in use, for one test; skip it where they cannot be."""
    if level in LEVELS:
        if sys.platform != "linux" or platform.machine() != "x86_64":
            pytest.skip("there are C++ kernels for Linux on x86-64")
        if BEST is None or LEVELS.index(level) > LEVELS.index(BEST):
            pytest.skip(f"this processor is below {level}")
    monkeypatch.setenv(cpu.VARIABLE, level)
    cpu.level.cache_clear()
    assert cpu.level() == (None if level == "off" else level), "reinstall the package to compile its kernels"


@pytest.fixture
def forget_level():
    """Have the level decided anew in a test, and again after it."""
    cpu.level.cache_clear()
    yield
    cpu.level.cache_clear()


@pytest.fixture(params=["off", *TESTED])
def implementation(request, monkeypatch, forget_level):
    """The plain-JAX pass, and the C++ kernels of each level."""
    use(request.param, monkeypatch)


@pytest.fixture(params=TESTED)
def kernel(request, monkeypatch, forget_level):
    """The C++ kernels of each level."""
    use(request.param, monkeypatch)


@pytest.fixture
def best_kernel(monkeypatch, forget_level):
    """The C++ kernels of the best level that the processor has."""
    use(TESTED[0] if len(TESTED) == 1 else BEST or LEVELS[0], monkeypatch)
