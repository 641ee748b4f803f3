"""Wheel and source distribution are complete: the package works from them alone, without a compiler."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import padl_bayes

ROOT = Path(__file__).resolve().parents[1]
LEVELS = ("x86-64-v2", "x86-64-v3", "x86-64-v4")
FIT = """
import numpy as np, padl_bayes as pb
from padl_bayes.kernels import cpu
data = pb.datasets.bars(n_samples=40, seed=0)
est = pb.PADL(n_atoms=8, method="map", alpha=(1.0, 20.0), tol=1e-2).fit(data.X)
assert np.isfinite(est.transform(data.X)).all()
print(pb.__file__)
print(pb.__version__)
print(cpu.level())
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux" or shutil.which("g++") is None, reason="builds the C++ kernels"
    ),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The two distributions of a copy of the sources without anything compiled; the wheel is made from the other."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


def test_what_is_in_them(built):
    wheel, source = built
    assert f"-{padl_bayes.__version__}-py3-none-linux_x86_64" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for level in LEVELS:
        assert f"padl_bayes/kernels/lib/libpadl_{level}.so" in names
    tracked = subprocess.run(
        ["git", "ls-files", "padl_bayes"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert set(tracked) <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "csrc/"))]
    with tarfile.open(source) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert set(tracked) <= inside
    assert {"csrc/build.py", "hatch_build.py", "pyproject.toml", "tests/conftest.py"} <= inside


def test_the_wheel_works_in_a_bare_environment(built, tmp_path):
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    python = venv / "bin" / "python"
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PADL", "CC", "CXX"))
    }
    # neither a compiler nor this repository within reach
    environment = kept | {"PATH": str(venv / "bin")}

    def run(*command):
        return subprocess.run(
            command, env=environment, cwd=tmp_path, check=True, capture_output=True, text=True
        )

    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", built[0])
    place, version, level = run(python, "-W", "error", "-c", FIT).stdout.splitlines()
    assert Path(place).is_relative_to(venv)
    assert version == padl_bayes.__version__
    assert level in LEVELS
    for command in ([venv / "bin" / "padl"], [python, "-m", "padl_bayes"]):
        assert run(*command, "--version").stdout == f"padl, version {padl_bayes.__version__}\n"
    assert run(python, "-c", "import importlib.util as u; print(u.find_spec('sklearn'))").stdout == "None\n"
