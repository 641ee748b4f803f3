"""Simulation-based calibration of the Gibbs sampler: uniform ranks, and errors that it must see."""

from functools import partial

import jax
import numpy as np
import pytest

from tests.calibration import report, sbc, simulation
from tests.calibration.simulation import Case, Size, simulate_ranks
from tests.calibration.uniformity import family_p_value
from tests.inference.planted import learning_while_off, wrong_noise_power

SIMULATIONS = 300
# Envelopes cost: a sweep takes forty times as long as with a two-level slab.
SMALLER = Size(n_samples=8, n_features=4, n_atoms=3, warmup=200, thinning=12)
TINY = Size(n_samples=3, n_features=2, n_atoms=2, warmup=2, thinning=1, draws=15)


def found(case):
    size = SMALLER if case.slab == "l1linf" else Size()
    *_, record = sbc.calibrate(case, size, simulations=SIMULATIONS, chunk=50)
    assert record["simulations"] == SIMULATIONS
    return record


def family(record):
    return family_p_value(report.counts_of(record).values())


@pytest.mark.slow
@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("slab", ["bernoulli_laplace", "bernoulli_gaussian", "l1linf"])
def test_ranks_are_uniform(slab, nonnegative):
    record = found(Case(slab, nonnegative))
    assert len(record["quantities"]) == 10
    assert family(record) > 0.01, report.table({slab: record})
    # Draws that hang together make ranks uneven by themselves.
    assert min(one["effective"] for one in record["quantities"].values()) > 0.6


@pytest.fixture
def traced_anew():
    """Compile with what a test plants, and leave nothing of it behind."""
    jax.clear_caches()
    simulation.ranks_and_draws.cache_clear()
    yield
    jax.clear_caches()
    simulation.ranks_and_draws.cache_clear()


@pytest.mark.slow
@pytest.mark.usefixtures("traced_anew")
@pytest.mark.parametrize("plant", [learning_while_off, partial(wrong_noise_power, powers=Size().n_features)])
def test_a_wrong_conditional_is_found(plant, monkeypatch):
    plant(monkeypatch)
    assert family(found(Case("bernoulli_laplace"))) < 0.001


@pytest.mark.slow
def test_runs_do_not_depend_on_chunks_and_can_be_resumed(tmp_path):
    sizes = [f"--{name.replace('_', '-')}={value}" for name, value in TINY._asdict().items()]
    options = ["--slab", "bernoulli_gaussian", "--sign", "two-sided", *sizes, "--out", str(tmp_path)]
    sbc.main(["--simulations", "4", "--chunk", "2", *options])
    sbc.main(["--simulations", "7", "--chunk", "3", "--resume", *options])
    case = Case("bernoulli_gaussian")
    record = report.read(tmp_path)[str(case)]
    once = report.add(report.new_record(record["settings"]), simulate_ranks(case, TINY, 0, 0, 7), 16)
    assert record["simulations"] == once["simulations"] == 7
    for name, counts in report.counts_of(once).items():
        np.testing.assert_array_equal(counts, report.counts_of(record)[name])
    assert str(case) in (tmp_path / report.TABLE).read_text()
    assert (tmp_path / report.FIGURE).read_bytes().startswith(b"\x89PNG")
    other = {str(case): record, "another": record}
    report.write(tmp_path, other)
    assert report.read(tmp_path) == other
