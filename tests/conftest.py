"""Fixtures shared by the suite."""

import jax
import pytest


@pytest.fixture
def x64():
    """Run a test with 64-bit JAX types."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled_programs():
    """Thousands of them take gigabytes."""
    yield
    jax.clear_caches()
