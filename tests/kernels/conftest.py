"""Every implementation of a pass that this machine can run."""

import functools
import hashlib
import importlib.util
import os
import platform
import sys
from pathlib import Path

import pytest

from padl_bayes.kernels import cpu, cuda

ROOT = Path(__file__).parents[2]

LEVELS = ["x86-64-v2", "x86-64-v3", "x86-64-v4"]
# `make sanitize` has them tested in a library of its own.
GIVEN = os.environ.get(cpu.VARIABLE, "")
BEST = cpu.best_level(cpu.processor_flags()) if sys.platform == "linux" else None
TESTED = [
    level if level in (BEST, LEVELS[0]) else pytest.param(level, marks=pytest.mark.slow) for level in LEVELS
]
if GIVEN.endswith(".so"):
    TESTED = [GIVEN]


EMULATED = "emulated CUDA"


@functools.cache
def builder():
    """The module that compiles the kernels."""
    spec = importlib.util.spec_from_file_location("padl_build", ROOT / "csrc" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def emulated_library():
    """The CUDA kernels, compiled for the processor once for what the sources are now."""
    sources = sorted(path for path in (ROOT / "csrc").rglob("*") if path.suffix in {".h", ".cu", ".py"})
    state = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    path = ROOT / "build" / "emulated" / f"libpadl_{state}.so"
    return path if path.is_file() else builder().build_emulation(path)


def use_emulated(monkeypatch):
    """Have the CUDA kernels in the place of the processor's, for one test."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("the emulation of CUDA is for Linux on x86-64")
    try:
        builder().compiler()
    except builder().BuildError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(cpu, "HANDLERS", cuda.HANDLERS)
    monkeypatch.setenv(cpu.VARIABLE, str(emulated_library()))
    cpu.level.cache_clear()
    assert cpu.level() == str(emulated_library())


def use(level, monkeypatch):
    """Make the kernels of this level the ones in use, for one test; skip it where they cannot be."""
    if level == EMULATED:
        use_emulated(monkeypatch)
        return
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


@pytest.fixture(params=["off", *TESTED, EMULATED])
def implementation(request, monkeypatch, forget_level):
    """The plain-JAX pass, the C++ kernels of each level, and the CUDA kernels on a processor."""
    use(request.param, monkeypatch)


@pytest.fixture(params=[*TESTED, EMULATED])
def kernel(request, monkeypatch, forget_level):
    """The C++ kernels of each level, and the CUDA kernels on a processor."""
    use(request.param, monkeypatch)


@pytest.fixture(params=TESTED)
def processor_kernel(request, monkeypatch, forget_level):
    """The C++ kernels of each level."""
    use(request.param, monkeypatch)


@pytest.fixture
def emulated(monkeypatch, forget_level):
    """The CUDA kernels on a processor."""
    use_emulated(monkeypatch)


@pytest.fixture
def best_kernel(monkeypatch, forget_level):
    """The C++ kernels of the best level that the processor has."""
    use(TESTED[0] if len(TESTED) == 1 else BEST or LEVELS[0], monkeypatch)


@pytest.fixture(params=["best", EMULATED])
def any_kernel(request, monkeypatch, forget_level):
    """The C++ kernels of the best level that the processor has, and the CUDA kernels on a processor."""
    best = TESTED[0] if len(TESTED) == 1 else BEST or LEVELS[0]
    use(best if request.param == "best" else request.param, monkeypatch)
