"""Gibbs against NUTS on one posterior, where it is continuous: every atom active and no code exactly zero.

Where the dictionary is not known, only functionals that no permutation of atoms and no flip of signs changes.
"""

from functools import cache
from typing import NamedTuple

import jax
import numpy as np
import pytest
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
from numpyro.infer import MCMC

from padl_bayes.inference.gibbs import Gibbs, enveloped
from padl_bayes.inference.nuts import sample_nuts
from padl_bayes.models import Hyperpriors
from tests.inference.planted import wrong_noise_power

PRIORS = Hyperpriors(rate=(4.0, 3.0), rate_l1=(4.0, 3.0), rate_linf=(4.0, 3.0), noise_scale=0.7)
ATOMS = np.array([[0.8, 0.6, 0.0, 0.0], [0.0, 0.5, -0.5, 0.5**0.5]])
CODES = np.array([[1.4, -0.2], [-0.7, 1.1], [0.3, 0.5], [-1.9, -0.6], [0.1, -1.5], [0.9, 0.8]])
NOISE = 0.4 * np.array(
    [
        [0.6, -1.1, 0.2, 0.4],
        [1.3, 0.4, -0.5, -0.8],
        [-0.9, 0.1, 1.2, 0.7],
        [0.3, 0.8, -0.4, -1.0],
        [-0.2, -0.7, 0.5, 1.1],
        [1.0, -0.3, 0.9, -0.6],
    ]
)
GAPS = np.ones((6, 4), bool)
GAPS[[0, 2, 5], [1, 0, 2]] = False
# Codes of the two-level slabs are zero with probability 1 - usage: never, in as many draws as are made here.
ALWAYS = 1 - 1e-12


class Problem(NamedTuple):
    """A posterior that both samplers can draw from."""

    slab: str
    known: dict
    nonnegative: bool = False
    n_atoms: int = 2
    mask: np.ndarray | None = None


class Size(NamedTuple):
    """Chains and draws of the two samplers, and the least effective sample of a mean or a standard deviation."""

    gibbs: tuple[int, int, int]
    nuts: tuple[int, int, int]
    ess: int


PROBLEMS = {
    "known atoms": Problem("l1linf", {"dictionary": ATOMS}),
    "unknown atoms": Problem("l1linf", {}),
    "nonnegative, missing entries": Problem("l1linf", {}, True, mask=GAPS),
    "Laplace, unknown atoms": Problem("bernoulli_laplace", {"rate": 1.2}),
    "Laplace, one atom, unknown rate": Problem("bernoulli_laplace", {}, n_atoms=1),
    "exponential, missing entries": Problem("bernoulli_laplace", {"rate": 1.2}, True, mask=GAPS),
}


def data_of(problem):
    codes = np.abs(CODES) if problem.nonnegative else CODES
    return codes @ ATOMS + NOISE


@cache
def nuts_draws(name, chains, warmup, draws):
    problem = PROBLEMS[name]
    drawn = sample_nuts(
        data_of(problem),
        problem.n_atoms,
        model="l1linf" if problem.slab == "l1linf" else "laplace",
        nonnegative=problem.nonnegative,
        mask=problem.mask,
        fixed=problem.known,
        hyperpriors=PRIORS,
        num_warmup=warmup,
        num_samples=draws,
        num_chains=chains,
        chain_method="vectorized",
        # the bound of a code is sharp where its envelope is small
        target_accept=0.99 if problem.slab == "l1linf" else 0.95,
        random_state=1,
    )
    assert drawn.sample_stats["diverging"].mean() < 1e-3
    return drawn.samples


def gibbs_draws(name, chains, warmup, draws):
    problem = PROBLEMS[name]
    usage = {} if problem.slab == "l1linf" else {"usage": ALWAYS}
    kernel = Gibbs(
        problem.n_atoms,
        slab=problem.slab,
        nonnegative=problem.nonnegative,
        fixed=problem.known | usage | {"activation_rate": 1.0},
        hyperpriors=PRIORS,
        n_moves=0,
    )
    run = dict(num_warmup=warmup, num_samples=draws, num_chains=chains, chain_method="vectorized")
    with jax.enable_x64(True):
        mcmc = MCMC(kernel, progress_bar=False, **run)
        mcmc.run(jax.random.key(2), data_of(problem), mask=problem.mask)
        samples = jax.device_get(mcmc.get_samples(group_by_chain=True))
    assert np.all(samples["active"] == 1)
    assert np.all(samples["codes"] != 0)
    return samples


def functionals(samples, problem):
    """Functionals (chain, draw, ...) without regard to the order and the signs of atoms."""
    codes = samples["codes"]
    d = samples.get("dictionary", problem.known.get("dictionary"))
    sizes = np.abs(codes)
    mean = codes @ d
    seen = True if problem.mask is None else problem.mask
    noise = samples["noise_scale"]
    loss = np.square(mean - data_of(problem)).sum((-1, -2), where=seen)
    found = {
        "reconstruction": mean,
        "squares of the reconstruction": np.square(mean),
        "noise": noise,
        "log noise": np.log(noise),
        "loss": loss,
        "log likelihood": -np.sum(np.broadcast_to(seen, mean.shape[-2:])) * np.log(noise)
        - loss / noise**2 / 2,
        "l1 of a sample": sizes.sum(-1),
        "linf of a sample": sizes.max(-1),
        "l2 of a sample": np.linalg.norm(codes, axis=-1),
        "l1": sizes.sum((-1, -2)),
        "linf of the atoms": sizes.max(-2).sum(-1),
        "l2 of the atoms": np.linalg.norm(codes, axis=-2).sum(-1),
    }
    if "dictionary" in samples:
        basis = np.linalg.qr(np.swapaxes(d, -1, -2))[0]
        upper = np.triu_indices(d.shape[-1])
        found["projection"] = (basis @ np.swapaxes(basis, -1, -2))[..., *upper]
        found["sum of dd'"] = (np.swapaxes(d, -1, -2) @ d)[..., *upper]
        found["squared cosines"] = np.square(d @ np.swapaxes(d, -1, -2)).sum((-1, -2))
    for rate in {"rate", "rate_l1", "rate_linf"} & set(samples):
        value = samples[rate] if samples[rate].ndim == 2 else samples[rate][..., 0]
        found |= {rate: value, f"log {rate}": np.log(value)}
    if problem.slab == "l1linf":
        found["log envelopes"] = np.log(samples["envelope"]).sum(-1)
    return found


def mean_and_error(values):
    """Mean (M,), its Monte-Carlo standard error, and the effective sizes of functionals (chain, draw, M)."""
    size = values.shape[0] * values.shape[1]
    ess = effective_sample_size(values)
    ess = np.where(ess > 0, np.minimum(ess, size), size)
    return values.mean((0, 1)), values.std((0, 1)) / np.sqrt(ess), ess


def summary(values):
    """Mean and standard deviation with their errors (2, M), and the least effective size.

    The error of sd = sqrt(v) is that of v, the mean of the squared deviations, over 2 sd.
    """
    mean, error, ess = mean_and_error(values)
    variance, variance_error, variance_ess = mean_and_error(np.square(values - mean))
    sd = np.sqrt(variance)
    return (
        np.stack([mean, sd]),
        np.stack([error, variance_error / (2 * sd)]),
        min(ess.min(), variance_ess.min()),
    )


def compare(name, size):
    """Largest z statistic of means and sds with its name, least effective size, largest R-hat, their number."""
    problem = PROBLEMS[name]
    both = [
        functionals(samples, problem)
        for samples in (gibbs_draws(name, *size.gibbs), nuts_draws(name, *size.nuts))
    ]
    assert both[0].keys() == both[1].keys()
    worst, least, largest, count = (0.0, ""), np.inf, 0.0, 0
    for key in both[0]:
        values = [one[key].astype(np.float64).reshape(*one[key].shape[:2], -1) for one in both]
        moving = values[0].std((0, 1)) > 1e-9
        values = [one[..., moving] for one in values]
        count += moving.sum()
        if not moving.any():
            continue
        (a, error_a, ess_a), (b, error_b, ess_b) = map(summary, values)
        z = np.abs(a - b) / np.hypot(error_a, error_b)
        worst = max(worst, (float(z.max()), f"{('mean', 'sd')[int(z.max(1).argmax())]} of {key}"))
        least = min(least, ess_a, ess_b)
        largest = max(largest, *(split_gelman_rubin(one).max() for one in values))
    return worst, least, largest, count


def check(name, size):
    (score, which), ess, rhat, count = compare(name, size)
    assert count >= 24
    assert ess > size.ess
    assert rhat < 1.03
    assert score < 4, which


QUICK = Size(gibbs=(16, 50, 1000), nuts=(4, 400, 1500), ess=300)
LONG = Size(gibbs=(60, 100, 800), nuts=(4, 1000, 6000), ess=1000)


def test_gibbs_agrees_with_nuts():
    check("Laplace, unknown atoms", QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
def test_gibbs_agrees_with_nuts_closely(name):
    check(name, LONG)


def _wrong_power_of_the_rates(monkeypatch):
    """A code of each atom forgotten in the slab's normaliser."""
    log_normaliser = enveloped.log_normaliser
    monkeypatch.setattr(
        enveloped, "log_normaliser", lambda a, b, n, *rest: log_normaliser(a, b, n - 1, *rest)
    )


@pytest.fixture
def traced_anew():
    """Compile with what a test plants, and leave nothing of it behind."""
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.mark.slow
@pytest.mark.usefixtures("traced_anew")
@pytest.mark.parametrize("plant", [wrong_noise_power, _wrong_power_of_the_rates])
def test_a_wrong_conditional_is_found(plant, monkeypatch):
    plant(monkeypatch)
    assert compare("known atoms", LONG)[0][0] > 5
