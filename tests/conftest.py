"""Fixtures shared by the suite, and ``--figures``: how close what was checked came to its bound."""

from collections import defaultdict

import jax
import pytest


@pytest.fixture
def x64():
    """Run a test with 64-bit JAX types."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def figure(record_property):
    """Record an error (of one name in one unit; larger is worse) for ``pytest --figures``, and return it."""

    def record(name, value):
        record_property(name, float(value))
        return value

    return record


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled_programs():
    """Thousands of them take gigabytes."""
    yield
    jax.clear_caches()


def pytest_addoption(parser):
    parser.addoption(
        "--figures", action="store_true", help="print the largest of each figure that tests record"
    )


def pytest_terminal_summary(terminalreporter, config):
    if not config.getoption("--figures"):
        return
    figures = defaultdict(list)
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            figures[name].append(value)
    terminalreporter.section("largest of each figure")
    for name, values in sorted(figures.items()):
        terminalreporter.write_line(f"{name}: {max(values):.3g} (of {len(values)})")
