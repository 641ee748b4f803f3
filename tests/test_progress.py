"""Bars on the terminal: over all there is to do, with the time left where that is known; silent when asked to be."""

import io
import time
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
from rich.console import Console

import padl_bayes as pb
from padl_bayes import PADL, progress
from padl_bayes.arviz_io import to_netcdf
from padl_bayes.exceptions import PadlWarning
from padl_bayes.inference import _rows
from padl_bayes.inference.results import MapFit
from padl_bayes.persistence import load, save
from padl_bayes.tradeoff import frontier
from tests.cli.commands import planted_posterior, run
from tests.made_fits import em_of, gibbs_of, unit_atoms

safetensors = pytest.importorskip("safetensors.numpy")
M, K, P = 30, 3, 6


class Clock:
    """Seconds, as many as it is told."""

    seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def terminal(monkeypatch, clock):
    """What bars write to a terminal."""
    written = io.StringIO()
    made = Console(file=written, force_terminal=True, width=200, color_system=None, get_time=clock)
    monkeypatch.setattr(progress, "Console", lambda stderr: made)
    return written


def _wait_for(text, terminal):
    """Until the bar is drawn again, ten times a second."""
    for _ in range(200):
        if text in terminal.getvalue():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(("bound", "left"), [(None, "0:00:03 \n"), (1000, "0:00:03 at most 0:16:37")])
def test_the_time_left_of_a_fit_is_a_bound_and_only_where_one_was_set(terminal, clock, bound, left):
    with progress.pass_progress(True, em=bound) as callback:
        for n in range(1, 4):
            clock.seconds += 1
            callback("settle", n, -1.0, 0.1, 5)
        assert _wait_for("settle: pass 3, elbo -1, noise 0.1, 5 atoms", terminal)
        assert _wait_for(left.strip(), terminal)
        assert ("at most" in terminal.getvalue()) == (bound is not None)
    # what is left on the terminal is a full bar, and no time left
    last = terminal.getvalue().splitlines()[-1]
    assert "at most" not in last.split("\r")[-1]


def test_the_bar_of_a_loop_has_the_time_left(terminal, clock):
    with progress.work_progress(True, "working") as show:
        for n in range(1, 4):
            clock.seconds += 1
            show(n, 300, f"part {n}")
    assert "0:00:03 0:04:57" in terminal.getvalue().split("part 3")[-1]


@pytest.fixture
def calls(monkeypatch):
    """Calls of the bars of `compare`, and whether they were asked for."""
    found = []

    @contextmanager
    def recorder(enabled, text):
        found.append(enabled)
        yield lambda done, total, text=None: found.append((done, total, text))

    monkeypatch.setattr("padl_bayes.comparison.run.work_progress", recorder)
    return found


def test_one_bar_goes_over_all_that_a_comparison_computes(calls, monkeypatch):
    monkeypatch.setattr(_rows, "_WORK_BYTES", 2**17)
    rng = np.random.default_rng(0)
    D, rate = unit_atoms(rng, K, P), np.ones(K)
    X, codes = rng.normal(size=(M, P)), rng.normal(size=(M, K))
    mode = MapFit(D, codes, 1.0, 0.0, (0.1, 0.1), 0.3, np.ones(K), np.ones(1), 1, "converged", 1.0)
    fits = {
        "one": em_of(D, np.full(K, 0.9), rate, 0.3),
        "mode": mode,
        "many": gibbs_of([(D, rate, 0.3)] * 4, 2),
    }
    found = pb.compare(fits, X_held_out=X, progress=True)
    enabled, *steps = calls
    done, totals, texts = zip(*steps, strict=True)
    assert enabled
    assert set(totals) == {len(steps)}
    assert list(done) == list(range(1, len(steps) + 1))
    assert list(dict.fromkeys(texts)) == [
        f"{name}: {part}" for name in fits for part in ("density", "hidden entries")
    ]
    # samples do not fit in one batch, nor do the draws
    assert len(steps) > 12
    assert repr(found) == repr(pb.compare(fits, X_held_out=X))
    assert calls[len(steps) + 1] is False


def test_a_path_and_a_frontier_say_how_far_they_are(folder):
    alpha, seen = [(0.1, 0.1), (0.2, 0.0), (0.3, 0.2)], []
    fit, X = load(folder / "fit.padl"), np.load(folder / "X.npy")
    for method in ("sampled", "interference"):
        frontier(fit, X=X, alpha=alpha, method=method, callback=lambda *step: seen.append(step))
    assert seen == 2 * [(1, 3), (2, 3), (3, 3)]
    pb.sparse_code_path(
        X, fit.components_, [(0.0, 0.0), (0.1, 0.0)], callback=lambda *step: seen.append(step)
    )
    assert seen[6:] == [(1, 2), (2, 2)]
    with pytest.raises(TypeError, match="callback must be callable or None"):
        frontier(fit, callback=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the commands read."""
    folder = tmp_path_factory.mktemp("progress")
    X = pb.datasets.bars(n_samples=40, seed=0).X
    np.save(folder / "X.npy", X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PadlWarning)
        save(PADL(6, max_iter=20, tol=1e-2).fit(X), folder / "fit.padl")
    to_netcdf(planted_posterior(None, 0, None, None)[2], folder / "draws.nc")
    # ever the same weight: a network of two layers
    safetensors.save_file(
        {f"{i}.weight": np.outer(X[0], X[1]).astype(np.float32) for i in (1, 2)}, folder / "n.safetensors"
    )
    return folder


COMMANDS = {
    "fit": (["X.npy", "--n-atoms", "6", "--max-iter", "9"], "writing the report"),
    "transform": (["fit.padl", "X.npy"], "coding 40 samples"),
    "report": (["draws.nc"], "writing the report"),
    "compress": (["X.npy", "--n-atoms", "6", "--max-iter", "9"], "rounding and coding"),
    "compress a network": (
        ["n.safetensors", "--layers", "*", "--method", "rounding", "--bytes", "0.5"],
        "2 weights",
    ),
    "tradeoff": (["fit.padl", "--target", "nonzeros=2"], "searching around the best"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_show_bars_unless_they_are_to_be_quiet(command, folder, tmp_path, terminal):
    (source, *options), said = COMMANDS[command]
    arguments = [command.split()[0], folder / source, *options]
    arguments[1:3] = [folder / name if str(name).endswith(".npy") else name for name in arguments[1:3]]
    out = tmp_path / ("out.npy" if command == "transform" else "out")
    for silent in ("--json", "--quiet"):
        done = run(*arguments, "--out", out, silent, "--overwrite")
        assert done.exit_code == 0, done.output
        assert terminal.getvalue() == ""
    done = run(*arguments, "--out", out, "--overwrite")
    assert done.exit_code == 0, done.output
    assert said in terminal.getvalue()
    assert done.stdout == f"{out / 'report.html' if out.is_dir() else out}\n"
