"""Comparisons of fits: exact predictions in the Gaussian case, the mode of MAP, and every kind of fit on one problem."""

import json
import warnings
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

import padl_bayes as pb
from padl_bayes.alignment import align
from padl_bayes.comparison.entries import HeldOut, hide, predict
from padl_bayes.comparison.views import view_of
from padl_bayes.inference import fit_em, fit_map, fit_svi, sample_gibbs, sample_nuts
from padl_bayes.inference.gibbs import GibbsDraws
from padl_bayes.inference.results import EmFit, MapFit
from tests.oracles import gaussian_entries as exact

M, K, P = 30, 3, 6
LEVELS = (0.5, 0.8, 0.95)


def unit_atoms(rng, n_atoms=K, n_features=P):
    D = rng.normal(size=(n_atoms, n_features))
    return D / np.linalg.norm(D, axis=1, keepdims=True)


def em_of(dictionary, usage, rate, noise_scale, slab="bernoulli_gaussian"):
    blank = dict(codes=None, probability=None, code_sd=None, activation_rate=0.5, elbo=0.0, evidence=0.0)
    return EmFit(
        dictionary=dictionary, usage=usage, rate=rate, noise_scale=noise_scale, slab=slab, nonnegative=False,
        activation_log_odds=np.linspace(1, 3, len(usage)), n_atoms=len(usage), data_scale=1.0, history={}, n_iter=1,
        converged=True, status="converged", wall_time=2.0, **blank,
    )  # fmt: skip


def gibbs_of(draws, chains):
    """`GibbsDraws` whose atoms are all active and used by all samples, with Gaussian codes."""
    D, rate, noise = (np.array(part) for part in zip(*draws, strict=True))
    shape = (chains, len(draws) // chains)
    on = np.ones((*shape, D.shape[1]))
    samples = dict(
        dictionary=D.reshape(*shape, *D.shape[1:]), noise_scale=noise.reshape(shape), rate=rate.reshape(on.shape),
        usage=on, active=on.astype(int), activation_prob=on, num_active=on.sum(-1).astype(int),
    )  # fmt: skip
    alignment = align(samples["dictionary"], active=on)
    return GibbsDraws(
        samples, {}, {}, alignment, None, 3.0, 0, dict(slab="bernoulli_gaussian", nonnegative=False, fixed=[])
    )


@pytest.fixture(scope="module")
def gaussian():
    """Four draws that differ enough for their weights to matter, and samples of the first."""
    rng = np.random.default_rng(0)
    first = unit_atoms(rng)
    draws = []
    for noise in (0.3, 0.9, 0.3, 0.2):
        atoms = first + 0.3 * len(draws) * rng.normal(size=first.shape) / np.sqrt(P)
        atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
        draws.append((atoms, rng.uniform(0.5, 2, K), noise))
    clean = rng.normal(size=(M, K)) / np.sqrt(draws[0][1]) @ first
    X = clean + 0.3 * rng.normal(size=(M, P))
    return draws, X, clean


def test_densities_are_those_of_the_mixture(gaussian):
    draws, X, _ = gaussian
    found = pb.compare(gibbs_of(draws, 2), X_held_out=X)
    wanted = np.array([exact.log_density(x, draws) for x in X])
    row = found["Gibbs"]
    # 600 codes a draw, whose weights are all but equal where everything is Gaussian
    np.testing.assert_allclose(found.log_density["Gibbs"], wanted, atol=0.02)
    assert row.log_density == pytest.approx(wanted.mean(), abs=0.005)
    assert row.n_draws == 4
    assert row.seconds == 3.0


def test_the_error_of_a_density_is_that_of_independent_draws(gaussian):
    draws, X, _ = gaussian
    found = pb.compare(gibbs_of(draws, 2), X_held_out=X)["Gibbs"]
    each = np.array([[exact.log_density(x, [draw]) for x in X] for draw in draws])
    wanted = np.array([exact.log_density(x, draws) for x in X])
    influence = np.exp(each - wanted).mean(axis=1)
    assert found.log_density_mcse == pytest.approx(influence.std(ddof=1) / 2, rel=0.05)


def test_entries_given_the_seen_ones_are_those_of_the_mixture(gaussian):
    draws, X, clean = gaussian
    hidden = hide(None, X.shape, 0.4, np.random.default_rng(1))
    held_out = HeldOut(X, None, hidden, clean)
    with jax.enable_x64(True):
        found = predict(view_of(gibbs_of(draws, 2), "g", 100), held_out, LEVELS, 1200, 0, False)
    mean, pit, width, clean_pit = [], [], [], []
    for x, seen, truth in zip(X, ~hidden, clean, strict=True):
        weights, means, clean_sd, sd = exact.given_seen(x, seen, draws)
        mean.append((weights @ means)[~seen])
        pit.append(exact.mixture_cdf(x, weights, means, sd)[~seen])
        clean_pit.append(exact.mixture_cdf(truth, weights, means, clean_sd))
        grid = np.linspace(-8, 8, 4001)
        for p in np.flatnonzero(~seen):
            cdf = [exact.mixture_cdf(value, weights, means, sd)[p] for value in grid[::20]]
            ends = np.interp([0.025, 0.975], cdf, grid[::20])
            width.append(ends[1] - ends[0])
    # the error of a weighted share is at most half of one over the root of the effective number
    error = 0.5 / np.sqrt(found.effective_codes)
    assert error.max() < 0.03
    row = np.nonzero(hidden)[0]
    assert (np.abs(found.pit - np.concatenate(pit)) < 5 * error[row]).all()
    assert (np.abs(found.clean_pit[1] - np.array(clean_pit)) < 5 * error[:, None]).all()
    np.testing.assert_array_equal(found.clean_pit[0], found.clean_pit[1])
    assert np.sqrt(np.mean((found.mean - np.concatenate(mean)) ** 2)) < 2 * error.mean()
    assert found.width[2] == pytest.approx(np.mean(width), rel=0.02)
