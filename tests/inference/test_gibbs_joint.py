"""Every conditional of the Gibbs sampler at once: data and parameters drawn in turn leave the prior as it is."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from padl_bayes.inference.gibbs import Gibbs, birth_death, enveloped, split_merge, tempering
from tests.inference.planted import learning_while_off, wrong_noise_power
from tests.inference.prior_simulation import PRIORS, K, N, P, after_rounds, prior_draws, z_scores

CHAINS = 4000
ROUNDS = 20


@cache
def reference(slab, nonnegative):
    return prior_draws(1, 4 * CHAINS, slab=slab, nonnegative=nonnegative)


def worst(slab, nonnegative=False, *, chains=CHAINS, rounds=ROUNDS, masked=False):
    """Largest z statistic of about thirty functionals, and its name."""
    start = prior_draws(0, chains, slab=slab, nonnegative=nonnegative)
    mask = jnp.asarray(np.random.default_rng(0).random((N, P)) < 0.7) if masked else None
    kernel = Gibbs(K, slab=slab, nonnegative=nonnegative, hyperpriors=PRIORS, temper_every=1)
    scores = z_scores(after_rounds(kernel, start, 2, rounds, mask), reference(slab, nonnegative))
    assert len(scores) > 25
    return max((abs(score), name) for name, score in scores.items())


def test_sweeps_leave_the_prior_as_it_is():
    assert worst("bernoulli_laplace", chains=1000, rounds=4)[0] < 4


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("slab", ["bernoulli_laplace", "bernoulli_gaussian", "l1linf"])
def test_sweeps_of_every_slab_leave_the_prior_as_it_is(slab, nonnegative, masked):
    score, name = worst(slab, nonnegative, masked=masked)
    assert score < 4, name


def _wrong_birth_density(monkeypatch):
    """The proposal's density of a direction left out of the acceptance ratio of births and deaths."""
    monkeypatch.setattr(
        birth_death, "log_density_of", lambda direction, proposal, *_: jnp.asarray(proposal.log_uniform)
    )


def _wrong_split_density(monkeypatch):
    """The density of the codes drawn in a split left out of its acceptance ratio."""
    monkeypatch.setattr(split_merge, "_log_density", lambda law, codes, *_: jnp.zeros_like(codes))


def _wrong_envelope_weight(monkeypatch):
    """The density of a proposed envelope left out."""
    monkeypatch.setattr(enveloped, "_log_interpolated", lambda v, nodes: jnp.zeros_like(v))


def _everything_accepted(monkeypatch):
    """Tempered transitions of the codes accepted whatever they cost."""
    monkeypatch.setattr(tempering, "_work", lambda precision, residual: jnp.zeros_like(residual[:, 0]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "slab"),
    [
        (learning_while_off, "bernoulli_laplace"),
        (wrong_noise_power, "bernoulli_laplace"),
        (_wrong_birth_density, "bernoulli_laplace"),
        (_wrong_split_density, "bernoulli_gaussian"),
        (_wrong_envelope_weight, "l1linf"),
        (_everything_accepted, "bernoulli_laplace"),
    ],
)
def test_a_wrong_conditional_is_found(plant, slab, monkeypatch):
    jax.clear_caches()
    plant(monkeypatch)
    assert worst(slab)[0] > 5
