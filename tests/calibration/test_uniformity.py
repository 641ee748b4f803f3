"""The test of uniform ranks against enumeration, and what it sees."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.calibration.report import BINS
from tests.calibration.simulation import Size, rank_among
from tests.calibration.uniformity import SIMULATIONS, band, chi_square, family_p_value, gamma, p_value


def tail(total, below, share):
    """Smaller tail of a binomial count, by summing its probabilities."""
    law = [stats.binom.pmf(k, total, share) for k in range(total + 1)]
    return min(sum(law[: below + 1]), sum(law[below:]))


def enumerated():
    """Every outcome of 5 ranks in 0..3: its counts, probability and statistic."""
    for counts in itertools.product(range(6), repeat=4):
        if sum(counts) == 5:
            below = np.cumsum(counts)[:-1]
            statistic = 2 * min(tail(5, int(b), (i + 1) / 4) for i, b in enumerate(below))
            yield counts, stats.multinomial.pmf(counts, 5, [0.25] * 4), statistic


def test_p_values_are_those_of_enumeration():
    outcomes = list(enumerated())
    counts, probability, statistic = (np.array(column) for column in zip(*outcomes, strict=True))
    np.testing.assert_allclose(gamma(counts), statistic, rtol=1e-9)
    for one, own in zip(counts, statistic, strict=True):
        exact = probability[statistic <= own * (1 + 1e-9)].sum()
        error = np.sqrt(exact * (1 - exact) / SIMULATIONS)
        assert abs(p_value(one) - exact) < 4.5 * error + 2 / SIMULATIONS


def test_uniform_ranks_stay_in_the_band_as_often_as_it_says():
    counts = np.random.default_rng(1).multinomial(300, np.full(64, 1 / 64), size=2000)
    low, high = band(300, 64, 0.05)
    off = np.cumsum(counts, axis=1)[:, :-1] / 300 - np.arange(1, 64) / 64
    inside = np.all((off >= low - 1e-9) & (off <= high + 1e-9), axis=1).mean()
    assert abs(inside - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 2000)


def ranks_of(truth, draws, seed=0):
    uniform = np.random.default_rng(seed).random(len(truth))
    return np.asarray(jax.vmap(rank_among)(jnp.asarray(uniform), jnp.asarray(truth), jnp.asarray(draws)))


@pytest.mark.parametrize(("shift", "spread", "fails"), [(0, 1, False), (0.3, 1, True), (0, 0.75, True)])
def test_a_shifted_or_narrow_posterior_fails(shift, spread, fails):
    rng = np.random.default_rng(2)
    ranks = ranks_of(rng.normal(size=300), shift + spread * rng.normal(size=(300, 63)))
    counts = np.bincount(ranks, minlength=64)
    assert counts.sum() == 300
    found = family_p_value([counts] * 10), chi_square(counts, BINS)
    assert (found[0] < 0.01) == fails
    assert fails or found[1] > 0.01


def test_ranks_among_ties_are_uniform():
    rng = np.random.default_rng(3)
    ranks = ranks_of(rng.integers(0, 3, 5000), rng.integers(0, 3, (5000, 7)))
    assert chi_square(np.bincount(ranks, minlength=8), 8) > 0.001


def test_bins_must_divide_the_ranks():
    assert (Size().draws + 1) % BINS == 0
    with pytest.raises(ValueError, match="bins must divide"):
        chi_square([1, 2, 3], 2)
