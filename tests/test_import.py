"""Importing the package is silent and allocates no array; what is heavy comes when it is asked for."""

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import padl_bayes as pb

ROOT = Path(__file__).resolve().parents[1]


def run_python(code, cwd=None):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=cwd
    )


def test_import_is_silent_and_allocates_nothing():
    code = (
        "import padl_bayes as pb, jax; [getattr(pb, name) for name in dir(pb)]; "
        "assert not jax.live_arrays(), jax.live_arrays(); print('ok')"
    )
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


def test_every_public_name_is_there_without_asking_for_it_first():
    """Type checkers, which read the imports, see what users do."""
    (block,) = (node for node in ast.parse(Path(pb.__file__).read_text()).body if isinstance(node, ast.If))
    seen = {alias.asname for node in block.body for alias in node.names}
    assert seen == set(pb.__all__) <= set(dir(pb))
    assert "PADL" in seen
    code = (
        "import sys, padl_bayes as pb; assert not {'jax', 'numpy'} & set(sys.modules); "
        "from padl_bayes import *; print(PADL is pb.PADL, callable(compare), pb.estimator.PADL is PADL)"
    )
    done = run_python(code)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "True True True", "")


def test_no_module_takes_the_name_of_a_function():
    """Python sets a package's attribute when a module of it is imported, whoever does."""
    functions = [
        name for name in pb.__all__ if getattr(pb, name) is not sys.modules.get(f"padl_bayes.{name}")
    ]
    assert "reliability" in functions
    assert [name for name in functions if find_spec(f"padl_bayes.{name}")] == []
