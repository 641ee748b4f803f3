"""Moments of codes by draws against the exact posterior: subsets of atoms enumerated, Gaussians given each."""

import itertools

import numpy as np
import pytest

from padl_bayes.inference.drawn_codes import moments_by_draws
from padl_bayes.inference.fixed_size import Learned

COPIES, SWEEPS = 600, 40


def learned_for(dtype, slab="bernoulli_gaussian"):
    """Eight atoms of which four are used at all, two of them much alike."""
    rng = np.random.default_rng(0)
    atoms = rng.standard_normal((8, 5))
    atoms[1] = atoms[0] + 0.6 * rng.standard_normal(5)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    usage = np.array([0.3, 0.4, 0.5, 0.2, 0, 0, 0, 0])
    return Learned(atoms.astype(dtype), usage, np.linspace(0.4, 1, 8), 0.7, 0.7, 2.0, slab)


def exact(x, observed, learned, outputs):
    """Mean and variance of ``codes @ outputs`` and P(used), float64."""
    atoms, precision = learned.dictionary[:4].astype(float), learned.noise_scale**-2
    logs, means, covariances, used = [], [], [], []
    for subset in itertools.product([False, True], repeat=4):
        S = np.flatnonzero(subset)
        A = atoms[S][:, observed]
        prior = np.diag(1 / learned.rate[S])
        C = A.T @ prior @ A + np.eye(observed.sum()) / precision
        inverse = np.linalg.inv(C)
        seen = x[observed]
        log_odds = np.log(np.where(subset, learned.usage[:4], 1 - learned.usage[:4])).sum()
        logs.append(log_odds - 0.5 * seen @ inverse @ seen - 0.5 * np.linalg.slogdet(C)[1])
        gain, mean, covariance = prior @ A @ inverse, np.zeros(4), np.zeros((4, 4))
        mean[S] = gain @ seen
        covariance[np.ix_(S, S)] = prior - gain @ A.T @ prior
        means.append(mean)
        covariances.append(covariance)
        used.append(subset)
    weights = np.exp(logs - np.max(logs))
    weights /= weights.sum()
    second = np.einsum("s,sij->ij", weights, np.array(covariances) + np.einsum("si,sj->sij", means, means))
    mean, out = weights @ np.array(means), outputs[:4].astype(float)
    variance = np.einsum("im,ij,jm->m", out, second - np.outer(mean, mean), out)
    return mean @ out, variance, weights @ np.array(used)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("masked", [False, True])
def test_moments_are_those_of_the_exact_posterior(dtype, masked, figure):
    learned = learned_for(dtype)
    rng = np.random.default_rng(1)
    x, outputs = 1.5 * rng.standard_normal(5), rng.standard_normal((8, 3)).astype(dtype)
    observed = np.array([True, True, not masked, True, True])
    X = np.tile(np.where(observed, x, 0), (COPIES, 1)).astype(dtype)
    mask = np.tile(observed, (COPIES, 1)) if masked else None
    found = moments_by_draws(X, learned, outputs, mask=mask, n_sweeps=SWEEPS, random_state=2)
    assert found.mean.dtype == dtype
    mean, variance, used = exact(x, observed, learned, outputs)
    # Samples are independent: their spread says how far their mean may be.
    for name, rows, truth in (("mean", found.mean, mean), ("used", found.probability[:, :4], used)):
        error = rows.std(axis=0, ddof=1) / np.sqrt(COPIES)
        assert (
            figure(f"{name} by draws, standard errors", np.abs((rows.mean(axis=0) - truth) / error).max()) < 4
        )
    # Sweeps are correlated: what each sample's mean strays by is missing from the variance within.
    total = found.variance * (SWEEPS - 1) / SWEEPS + (found.mean - mean) ** 2
    error = total.std(axis=0, ddof=1) / np.sqrt(COPIES)
    assert np.abs((total.mean(axis=0) - variance) / error).max() < 4
    assert (found.probability[:, 4:] == 0).all()


@pytest.mark.parametrize("slab", ["bernoulli_laplace", "bernoulli_gaussian"])
def test_draws_of_a_sample_do_not_depend_on_the_others(slab):
    learned, rng = learned_for(np.float64, slab), np.random.default_rng(3)
    X = rng.standard_normal((700, 5))
    all_of_them = moments_by_draws(X, learned, np.eye(8), random_state=4)
    some = moments_by_draws(X[:600], learned, np.eye(8), random_state=4)
    np.testing.assert_allclose(some.mean, all_of_them.mean[:600], rtol=1e-12, atol=1e-12)
    other = moments_by_draws(X[:600], learned, np.eye(8), random_state=5)
    assert not np.allclose(other.mean, some.mean)
