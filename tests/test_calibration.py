"""The null law of one atom: closed form, simulation, and what it is for."""

import jax
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from padl_bayes.calibration import calibrate_alpha, climb, estimate_noise_scale, null_excess
from padl_bayes.datasets import pure_noise, synthetic_a
from padl_bayes.inference import fit_map


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize(("alpha1", "sigma"), [(0.0, 1.0), (1.0, 1.0), (0.7, 0.2), (3.0, 2.0)])
def test_null_excess_against_quadrature(alpha1, sigma, nonnegative):
    tail, _ = quad(
        lambda c: (c - alpha1) * norm.pdf(c, scale=sigma), alpha1, alpha1 + 40 * sigma, epsabs=0, epsrel=1e-10
    )
    expected = tail if nonnegative else 2 * tail
    assert null_excess(alpha1, sigma, nonnegative=nonnegative) == pytest.approx(expected, rel=1e-8)


def test_climbing_never_lowers_the_level():
    rng = np.random.default_rng(0)
    E, starts = rng.normal(size=(40, 6)).astype(np.float32), rng.normal(size=(5, 6)).astype(np.float32)
    starts /= np.linalg.norm(starts, axis=1, keepdims=True)
    for nonnegative in (False, True):
        levels = [np.asarray(climb(E, starts, 0.8, n, nonnegative=nonnegative)[1]) for n in range(8)]
        assert np.all(np.diff(levels, axis=0) >= -1e-5)
        assert levels[-1].min() > levels[0].min()


def test_the_simulated_supremum_is_the_one_on_a_grid_of_directions():
    found = calibrate_alpha(shape=(50, 2), noise_scale=2.0, n_simulations=3, delta=0.5, random_state=4)
    angles = np.linspace(0, np.pi, 20001)
    grid = np.stack([np.cos(angles), np.sin(angles)])
    levels = [
        np.maximum(np.abs(2 * np.asarray(jax.random.normal(key, (50, 2))) @ grid) - 2, 0).sum(axis=0).max()
        for key in jax.random.split(jax.random.key(4), 3)
    ]
    # 50 samples of norm below 8 bound the slope of the level by 400; the grid is at most half a spacing off.
    np.testing.assert_allclose(found.null_levels, np.sort(levels), atol=400 * np.pi / 40000)
    assert found.alpha2 == found.null_levels[1]
    assert found.alpha1 == 2.0


@pytest.mark.parametrize("nonnegative", [False, True])
def test_family_wise_rate(nonnegative):
    delta, n = 0.1, 399
    found = calibrate_alpha(
        shape=(40, 4), noise_scale=1.0, delta=delta, n_simulations=n, nonnegative=nonnegative
    )
    fresh = calibrate_alpha(
        shape=(40, 4), noise_scale=1.0, n_simulations=n, nonnegative=nonnegative, random_state=1
    )
    rate = np.mean(fresh.null_levels > found.alpha2)
    # The rate given the calibration is Beta(40, 360); the fresh draws add a binomial error of the same size.
    assert abs(rate - delta) < 4 * np.sqrt(2 * delta * (1 - delta) / n)


@pytest.mark.parametrize("shape", [(20, 20), (1500, 48)])
def test_map_wakes_where_the_calibration_says(shape):
    n = 30
    found = calibrate_alpha(shape=shape, noise_scale=1.0, delta=0.4, n_simulations=n, random_state=5)
    draws = [np.asarray(jax.random.normal(key, shape)) for key in jax.random.split(jax.random.key(5), n)]
    fits = [fit_map(E, 3, alpha=found[:2], max_iter=20, gap_tol=1e-3) for E in draws]
    woken = sum(len(fit.dictionary) > 0 for fit in fits)
    above = int(np.sum(found.null_levels > found.alpha2))
    # the same draws: all that are above, and those in which MAP happens to find a higher place
    assert above <= woken <= above + 2


def test_weights_scale_with_the_noise():
    one = calibrate_alpha(shape=(30, 5), noise_scale=1.0)
    ten = calibrate_alpha(shape=(30, 5), noise_scale=10.0)
    assert ten.alpha1 == pytest.approx(10 * one.alpha1)
    assert ten.alpha2 == pytest.approx(10 * one.alpha2)
    assert one.alpha2 > 30 * null_excess(1.0)
    assert len(one.null_levels) == 19


def test_same_seed_same_weights():
    X = pure_noise(50, 6, seed=0)
    X = getattr(X, "X", X)
    first, second, other = (calibrate_alpha(X, random_state=seed) for seed in (3, 3, 4))
    assert first[:3] == second[:3]
    assert first.alpha2 != other.alpha2


@pytest.mark.parametrize("shape", [(2000, 32), (32, 2000), (300, 200)])
def test_noise_scale_of_pure_noise(shape):
    X = 0.7 * np.random.default_rng(0).normal(size=shape)
    # Standard error of a mean of N P squares, halved for the root; the lower quartile of the law that
    # eigenvalues follow lies below their mean, so it does not interfere.
    assert estimate_noise_scale(X) == pytest.approx(0.7, rel=4 / np.sqrt(2 * X.size))


def test_noise_scale_under_few_signals_is_as_sharp_as_without():
    rng = np.random.default_rng(0)
    X = 0.7 * rng.normal(size=(2000, 32)) + 3 * rng.normal(size=(2000, 3)) @ rng.normal(size=(3, 32))
    # Four standard errors of the mean of 2000 x 29 squares; the lower quartile would be 5% too low.
    assert estimate_noise_scale(X) == pytest.approx(0.7, rel=4 / np.sqrt(2 * 2000 * 29))


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_noise_scale_under_signals_that_leave_dimensions_free(noise):
    X = synthetic_a(noise, seed=0).X
    # 12 of 32 dimensions are free: a standard error of 0.5%. The rest of 5% is for signals too weak to tell.
    assert estimate_noise_scale(X) == pytest.approx(noise, rel=0.05)


def test_noise_scale_follows_scale_sign_and_order_of_features():
    X = synthetic_a(0.1, seed=1, n_samples=300).X
    sigma = estimate_noise_scale(X)
    assert estimate_noise_scale(-3 * X) == pytest.approx(3 * sigma, rel=1e-10)
    assert estimate_noise_scale(X[:, ::-1]) == pytest.approx(sigma, rel=1e-10)


def test_directions_without_energy_do_not_count_as_noise():
    X = np.random.default_rng(0).normal(size=(500, 10))
    centred = X - X.mean(axis=1, keepdims=True)
    padded = np.hstack([X, np.zeros((500, 5))])
    # The lower quartile of few eigenvalues is a biased fallback only; both figures stay near one.
    assert estimate_noise_scale(centred) == pytest.approx(1.0, rel=0.06)
    assert estimate_noise_scale(padded) == pytest.approx(1.0, rel=0.06)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "X must be given"),
        ({"shape": (10, 3)}, "X must be given"),
        ({"shape": (10, 3), "noise_scale": 0.0}, "noise_scale"),
        ({"shape": (10, 3), "noise_scale": 1.0, "delta": 0.0}, "delta"),
        ({"shape": (10, 3), "noise_scale": 1.0, "n_simulations": 5}, "n_simulations must be at least 19"),
        ({"shape": (10, 3), "noise_scale": 1.0, "l1_scale": -1.0}, "l1_scale"),
        ({"shape": (10, 3), "X": np.eye(4)}, "contradicts"),
    ],
)
def test_bad_input_is_named(options, match):
    with pytest.raises(ValueError, match=match):
        calibrate_alpha(**options)
