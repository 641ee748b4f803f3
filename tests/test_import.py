"""Importing the package is silent and allocates no array."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run_python(code, cwd=None):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=cwd
    )


def test_import_is_silent_and_allocates_nothing():
    code = "import padl_bayes, jax; assert not jax.live_arrays(), jax.live_arrays(); print('ok')"
    done = run_python(code)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "ok", "")


def test_plots_are_imported_when_they_are_asked_for():
    code = (
        "import sys, padl_bayes as pb; assert 'padl_bayes.plots' not in sys.modules; "
        "print(pb.plots.usage.__name__, hasattr(pb, 'plot'))"
    )
    done = run_python(code)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "usage False", "")


def test_stray_import_of_the_links_says_what_to_write():
    for name in ("models", "inference"):
        done = run_python(f"import {name}", cwd=ROOT)
        assert done.returncode != 0
        assert f"import padl_bayes.{name}" in done.stderr
