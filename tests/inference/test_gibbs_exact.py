"""Gibbs sampling of problems that enumeration and quadrature solve exactly."""

import itertools
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from numpyro.diagnostics import effective_sample_size
from scipy import stats

from padl_bayes.inference.gibbs import sample_gibbs
from padl_bayes.models import Hyperpriors
from tests.oracles.tiny_gibbs import exact
from tests.oracles.tiny_gibbs_draws import functionals, log_likelihood, prior_draws

PRIORS = {
    "activation_rate": (1.0, 1.5),
    "usage": (1.0, 1.5),
    "rate": (3.0, 2.0),
    "rate_l1": (4.0, 4.0),
    "rate_linf": (4.0, 3.0),
    "noise_scale": 0.8,
}
SPACE = np.array([[1.1, -0.4, 0.3], [0.2, 0.9, -0.5], [-0.6, 0.1, 0.8]])
PLANE = np.array([[1.3, 0.5], [-0.2, 0.9], [0.9, 0.8]])
ATOMS = np.array([[0.8, 0.6, 0.0], [0.0, 0.8, 0.6], [0.6, 0.0, 0.8]])
GAPS = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 1]], bool)
TWO_LEVEL = ("bernoulli_laplace", "bernoulli_gaussian")


class Problem(NamedTuple):
    """Data, what is known (the rest is sampled), the number of atoms where the dictionary is unknown."""

    X: np.ndarray
    fixed: dict
    n_atoms: int | None = None
    mask: np.ndarray | None = None
    accuracy: dict | None = None


TWO_LEVEL_PROBLEMS = {
    "all known": Problem(
        SPACE, dict(dictionary=ATOMS, noise_scale=0.5, activation_rate=0.5, usage=0.5, rate=1.2)
    ),
    "usage and rate": Problem(SPACE, dict(dictionary=ATOMS[:2], noise_scale=0.5)),
    "noise": Problem(
        SPACE, dict(dictionary=ATOMS[:2], usage=np.array([0.4, 0.7]), rate=np.array([1.2, 0.8]))
    ),
    "missing entries": Problem(SPACE, dict(dictionary=ATOMS[:2], noise_scale=0.5, rate=1.2), None, GAPS),
    "everything": Problem(PLANE, {}, 1),
    "direction, missing entry": Problem(PLANE, dict(noise_scale=0.5, rate=1.2), 1, GAPS[:, :2]),
    "two directions": Problem(PLANE[:2], dict(noise_scale=0.5, rate=1.2), 2),
    "two sharp directions": Problem(PLANE, dict(noise_scale=0.4, rate=1.2, usage=0.6), 2),
}
RATES = dict(rate_l1=1.0, rate_linf=0.8)
DENSE_PROBLEMS = {
    "all known": Problem(
        SPACE[:2], dict(dictionary=ATOMS[:2], noise_scale=0.5, activation_rate=0.5, **RATES)
    ),
    "activation rate, missing entries": Problem(
        SPACE[:2], dict(dictionary=ATOMS[:2], noise_scale=0.5, **RATES), None, GAPS[:2]
    ),
    "rates": Problem(SPACE[:2], dict(dictionary=ATOMS[:1], noise_scale=0.5, activation_rate=0.5)),
    "noise": Problem(SPACE[:2], dict(dictionary=ATOMS[:1], **RATES)),
    "direction and noise": Problem(PLANE, RATES, 1),
    "two directions": Problem(
        PLANE[:2], dict(noise_scale=0.6, rate_l1=1.5, rate_linf=1.5), 2, accuracy=dict(angles=10, order=5)
    ),
}


@cache
def expected(slab, nonnegative, name):
    problem = problems(slab)[name]
    fixed, n_atoms, mask = problem.fixed, problem.n_atoms, problem.mask
    options = dict(n_atoms=n_atoms, nonnegative=nonnegative, mask=mask, **(problem.accuracy or {}))
    return exact(problem.X, slab, PRIORS, fixed, **options)


def problems(slab):
    return DENSE_PROBLEMS if slab == "l1linf" else TWO_LEVEL_PROBLEMS


def discrepancies(draws, means, min_ess):
    """Functionals whose mean is more than 4 standard errors off, or whose effective sample is too small.

    Draws that alternate beat independent ones: an effective size above their number, or estimated to be negative,
    counts as their number.
    """
    found = []
    for name, values in draws.items():
        values = np.asarray(values, np.float64)
        values = values.reshape(*values.shape[:2], -1)
        size, spread = values.shape[0] * values.shape[1], values.std((0, 1))
        moving = spread > 1e-12
        ess = np.full(moving.shape, float(size))
        if moving.any():
            estimate = effective_sample_size(values[..., moving])
            ess[moving] = np.where(estimate < 0, size, np.minimum(estimate, size))
        error = spread / np.sqrt(ess)
        off = np.abs(values.mean((0, 1)) - np.ravel(means[name]))
        right = (off < 4 * error + 1e-4 * np.maximum(spread, 0.1)) & (ess > min_ess)
        found += [
            f"{name}[{i}]: off by {off[i]:.2g}, error {error[i]:.2g}, ESS {ess[i]:.0f}"
            for i in np.flatnonzero(~right)
        ]
    return found


def check_draws(samples, fixed):
    """What every draw obeys: exact zeros, unit atoms, codes below their envelope."""
    active, codes = samples["active"], samples["codes"]
    assert np.array_equal(samples["num_active"], active.sum(-1))
    unused = np.broadcast_to(active[..., None, :] == 0, codes.shape)
    assert not codes[unused].any()
    assert not set(fixed) & set(samples)
    tight = 10 * np.finfo(codes.dtype).eps
    if "dictionary" in samples:
        np.testing.assert_allclose(np.linalg.norm(samples["dictionary"], axis=-1), 1, atol=tight)
    if "envelope" in samples:
        assert np.all(np.abs(codes) <= samples["envelope"][..., None, :] * (1 + tight))


def check_sampler(slab, nonnegative, name, dtype=np.float64, *, chains, draws, min_ess, warmup=100):
    """Run, drop the first ``warmup`` draws (asked for as draws: one program to compile), and compare."""
    problem = problems(slab)[name]
    samples = sample_gibbs(
        problem.X.astype(dtype),
        problem.n_atoms,
        slab=slab,
        nonnegative=nonnegative,
        mask=problem.mask,
        fixed=problem.fixed,
        hyperpriors=Hyperpriors(**PRIORS),
        num_warmup=0,
        num_samples=warmup + draws,
        num_chains=chains,
        keep_codes="draws",
        random_state=5,
    ).samples
    assert samples["codes"].dtype == dtype
    assert samples["codes"].shape == (
        chains,
        warmup + draws,
        *problem.X.shape[:1],
        samples["active"].shape[-1],
    )
    check_draws(samples, problem.fixed)
    samples = {site: values[:, warmup:] for site, values in samples.items()}
    means = expected(slab, nonnegative, name)
    found = functionals(samples, problem.fixed, nonnegative=nonnegative)
    found["activation_prob"] = samples["activation_prob"]
    wrong = discrepancies(found, means | {"activation_prob": means["active"]}, min_ess)
    assert not wrong, "\n".join(wrong)


FAST = [("bernoulli_gaussian", False, "two directions", np.float32)]
SLOW = [
    (slab, nonnegative, name)
    for slab in (*TWO_LEVEL, "l1linf")
    for nonnegative in (False, True)
    for name in problems(slab)
]


@pytest.mark.parametrize(("slab", "nonnegative", "name", "dtype"), FAST)
def test_gibbs_matches_the_exact_posterior(slab, nonnegative, name, dtype):
    check_sampler(slab, nonnegative, name, dtype, chains=20, draws=400, min_ess=1e3)


@pytest.mark.slow
@pytest.mark.parametrize(("slab", "nonnegative", "name"), SLOW)
def test_gibbs_matches_the_exact_posterior_closely(slab, nonnegative, name):
    check_sampler(slab, nonnegative, name, chains=100, draws=1000, min_ess=1e4)


@pytest.mark.parametrize(
    ("slab", "nonnegative", "name"),
    [
        ("bernoulli_laplace", False, "usage and rate"),
        ("bernoulli_laplace", False, "two directions"),
        ("bernoulli_gaussian", True, "noise"),
        ("bernoulli_gaussian", False, "direction, missing entry"),
        ("l1linf", False, "all known"),
        ("l1linf", False, "rates"),
        ("l1linf", True, "noise"),
    ],
)
def test_the_oracle_matches_weighted_draws_of_the_prior(slab, nonnegative, name):
    problem, size = problems(slab)[name], 200_000
    draws = prior_draws(
        size, problem.X.shape, slab, PRIORS, problem.fixed, n_atoms=problem.n_atoms, nonnegative=nonnegative
    )
    log_weight = log_likelihood(draws, problem.X, problem.mask)
    means = dict(expected(slab, nonnegative, name))
    weight = np.exp(log_weight - means.pop("log_evidence"))
    assert abs(weight.mean() - 1) < 4 * weight.std() / np.sqrt(size)
    weight /= weight.sum()
    found = functionals(draws, problem.fixed, nonnegative=nonnegative)
    assert found.keys() == means.keys()
    for key, values in found.items():
        mean = np.tensordot(weight, values, 1)
        error = np.sqrt(np.tensordot(weight**2, (values - mean) ** 2, 1))
        assert np.all(np.abs(mean - means[key]) < 4 * error + 1e-12), key


def evidence_of_used_atoms(x, atoms, noise_scale, rate, slab):
    """Density of one sample whose codes are all drawn from the slab, summed out in closed form."""
    m, p = atoms.shape
    if slab == "bernoulli_gaussian":
        return stats.multivariate_normal(
            np.zeros(p), noise_scale**2 * np.eye(p) + atoms.T @ atoms / rate
        ).pdf(x)
    if m == 0:
        return stats.norm(0, noise_scale).pdf(x).prod()
    covariance = noise_scale**2 * np.linalg.inv(atoms @ atoms.T)
    total = 0.0
    for signs in itertools.product((-1, 1), repeat=m):
        linear = atoms @ x / noise_scale**2 - rate * np.array(signs)
        mean = covariance @ linear
        orthant = stats.multivariate_normal(np.zeros(m), np.outer(signs, signs) * covariance).cdf(
            signs * mean
        )
        total += np.exp(linear @ mean / 2 - x @ x / (2 * noise_scale**2)) * orthant
    volume = np.sqrt(np.linalg.det(2 * np.pi * covariance))
    return (rate / 2) ** m * (2 * np.pi * noise_scale**2) ** (-p / 2) * volume * total


@pytest.mark.parametrize("slab", TWO_LEVEL)
def test_the_oracle_matches_closed_form_evidence(slab):
    problem = TWO_LEVEL_PROBLEMS["all known"]
    noise_scale, usage, rate = (problem.fixed[name] for name in ("noise_scale", "usage", "rate"))
    density = {
        used: [evidence_of_used_atoms(x, ATOMS[list(used)], noise_scale, rate, slab) for x in SPACE]
        for size in range(4)
        for used in itertools.combinations(range(3), size)
    }
    by_pattern = np.zeros(8)
    for z in density:
        subsets = [used for used in density if set(used) <= set(z)]
        prior = [usage ** len(used) * (1 - usage) ** (len(z) - len(used)) for used in subsets]
        evidence = np.prod(np.array(prior) @ np.array([density[used] for used in subsets]))
        by_pattern[sum(2**k for k in z)] = evidence / 8
    means = expected(slab, False, "all known")
    np.testing.assert_allclose(np.log(by_pattern.sum()), means["log_evidence"], atol=1e-6)
    np.testing.assert_allclose(by_pattern / by_pattern.sum(), means["pattern"], atol=1e-6)
