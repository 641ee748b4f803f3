"""Runs that are killed at any moment, or interrupted: what is left can be read, and the run goes on to the bit."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from jax.experimental.compilation_cache import compilation_cache

import padl_bayes
from padl_bayes.arviz_io import from_netcdf
from padl_bayes.cli import main
from padl_bayes.datasets import synthetic_a
from padl_bayes.inference.gibbs.checkpoint import sweeps_in
from padl_bayes.runs.posterior import checkpoint_of
from tests.runs.killed import CHUNK

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20
SIZES = ["--n-atoms", "4", "--quiet", "--num-warmup", "30", "--num-samples", "80", "--num-chains", "2"]
FITTED = ["--n-atoms", "4", "--quiet"]
WARM_UP, SWEEPS = 30, 110
GROUPS = ("posterior", "sample_stats", "codes_moments", "observed_data")


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory):
    """This process and those that it starts compile nothing twice; the environment of the latter."""
    folder = str(tmp_path_factory.mktemp("compiled"))
    settings = {"jax_compilation_cache_dir": folder, "jax_persistent_cache_min_compile_time_secs": 0}
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield os.environ | {"PYTHONPATH": str(ROOT)} | {name.upper(): str(v) for name, v in settings.items()}
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.npy"
    np.save(path, synthetic_a(0.1, n_samples=20, n_features=5, n_atoms=3, usage=0.5, seed=0).X)
    return path


@pytest.fixture
def run(monkeypatch, data):
    """``padl sample`` in this process, with parts of the size of the other's."""
    for module in ("run", "chains"):
        monkeypatch.setattr(f"padl_bayes.inference.gibbs.{module}.CHUNK", CHUNK)

    def sample(out, *more):
        done = CliRunner().invoke(main, ["sample", str(data), "--out", str(out), *SIZES, *more])
        assert done.exit_code == 0, done.output

    return sample


@pytest.fixture
def padl(compiled, data):
    """Run ``padl`` in a process that sends itself a signal; return that process, completed."""
    return partial(_padl, compiled, data)


def _padl(environment, data, command, out, *more, number=signal.SIGKILL, moment=-1, delay=0.0):
    arguments = [command, data, "--out", out, *(SIZES if command == "sample" else FITTED), *more]
    return subprocess.run(
        [sys.executable, "-m", "tests.runs.killed", *map(str, (int(number), moment, delay, *arguments))],
        cwd=ROOT, env=environment, text=True, capture_output=True, timeout=300,
    )  # fmt: skip


def moments_of(done):
    """How many moments a run had that ended by itself."""
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


def check_loadable(out):
    """Whatever is there under its own name is whole; return whether there is a checkpoint."""
    kept = checkpoint_of(out)
    if (kept / "fit.padl").exists():
        padl_bayes.load(kept / "fit.padl")
    assert sweeps_in(kept / "gibbs") in range(0, SWEEPS + 1, CHUNK)
    if out.exists():
        from_netcdf(out / "posterior.nc")
        padl_bayes.load(out / "fit.padl")
    return kept.exists()


def check_same(out, whole):
    found, wanted = (from_netcdf(folder / "posterior.nc") for folder in (out, whole))
    for group in GROUPS:
        assert set(found[group].data_vars) == set(wanted[group].data_vars) != set()
        for name, drawn in wanted[group].data_vars.items():
            np.testing.assert_array_equal(found[group][name].values, drawn.values, err_msg=name)
    ours, theirs = (padl_bayes.load(folder / "fit.padl") for folder in (out, whole))
    np.testing.assert_array_equal(ours.components_, theirs.components_)
    assert [path.name for path in out.parent.iterdir() if not path.name.startswith(".")] == [out.name]


def finish(run, out, whole):
    """Go on as a user would: with --resume if there is a checkpoint, from the start if there is nothing."""
    if check_loadable(out):
        run(out, "--resume")
    elif not out.exists():
        run(out)
    check_same(out, whole)


@pytest.fixture
def whole(run, tmp_path):
    folder = tmp_path / "whole"
    folder.mkdir()
    run(folder / "out")
    return folder / "out"


def test_a_killed_run_and_an_interrupted_one_go_on_to_the_bit(run, padl, whole, tmp_path):
    out = tmp_path / "runs" / "out"
    out.parent.mkdir()
    assert padl("sample", out, moment=60).returncode == -signal.SIGKILL
    before = sweeps_in(checkpoint_of(out) / "gibbs")
    done = padl("sample", out, "--resume", number=signal.SIGINT, moment=30)
    assert done.returncode == 130, done.stderr
    held = sweeps_in(checkpoint_of(out) / "gibbs")
    assert WARM_UP < before < held < SWEEPS
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"Interrupted: checkpoint {str(checkpoint_of(out))!r} holds {held} sweeps")
    finish(run, out, whole)


@pytest.mark.slow
def test_twenty_kills_at_random(run, padl, whole, tmp_path):
    """Moments are random, one in each twentieth of a run; half of them are while something is written."""

    def new(name):
        (tmp_path / name).mkdir()
        return tmp_path / name / "out"

    n_moments = moments_of(padl("sample", new("timed")))
    check_same(tmp_path / "timed" / "out", whole)
    rng, killed, held = np.random.default_rng(0), 0, set()
    for i in range(KILLS):
        out = new(f"{i}")
        moment, delay = int(n_moments * (i + rng.random()) / KILLS), 0.2 * rng.random() * (i % 2)
        killed += padl("sample", out, moment=moment, delay=delay).returncode == -signal.SIGKILL
        held.add(sweeps_in(checkpoint_of(out) / "gibbs"))
        finish(run, out, whole)
    assert killed >= KILLS - 2
    assert len(held) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("command", ["fit", "tradeoff"])
def test_runs_without_checkpoints_leave_all_or_nothing(command, padl, tmp_path):
    whole = tmp_path / "whole" / "out"
    whole.parent.mkdir()
    n_moments, names = moments_of(padl(command, whole)), sorted(os.listdir(whole))
    for i, moment in enumerate(np.random.default_rng(0).integers(n_moments, size=5)):
        out = tmp_path / f"{i}" / "out"
        out.parent.mkdir()
        assert padl(command, out, moment=moment).returncode == -signal.SIGKILL
        assert not out.exists() or sorted(os.listdir(out)) == names
        assert [name for name in os.listdir(out.parent) if not name.startswith(".")] == ["out"] * out.exists()
    out.parent.joinpath("new").mkdir()
    done = padl(command, out.parent / "new" / "out", number=signal.SIGINT, moment=0)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (130, "Interrupted: nothing was written")
    assert os.listdir(out.parent / "new") == []
