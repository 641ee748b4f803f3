"""Ranks of simulation-based calibration (Talts, Betancourt, Simpson, Vehtari, Gelman, arXiv 1804.06788).

Parameters from the prior, data given parameters, a chain given data that starts far from those parameters: their rank
among draws of the posterior is uniform if the sampler samples it, has forgotten its start, and draws are independent.
"""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.diagnostics import effective_sample_size
from numpyro.handlers import seed, trace

from padl_bayes.inference.gibbs import Gibbs
from padl_bayes.inference.gibbs.transition import first_state, log_joint, transition
from padl_bayes.models import padl
from tests.inference.prior_simulation import PRIORS

SHARED = ("activation_rate", "noise_scale", "dictionary", "active", "codes")
HELD_OUT = (0, 0)


class Case(NamedTuple):
    """A variant of the program."""

    slab: str
    nonnegative: bool = False

    def __str__(self):
        return f"{self.slab}, {'nonnegative' if self.nonnegative else 'two-sided'}"


class Size(NamedTuple):
    """Samples, features and places for atoms; sweeps before the first draw and between draws; draws."""

    n_samples: int = 20
    n_features: int = 6
    n_atoms: int = 5
    warmup: int = 400
    thinning: int = 10
    draws: int = 63


class Ranks(NamedTuple):
    """By name of a quantity: ranks (simulation,) in 0..draws, effective numbers of draws (nan if all are equal)."""

    ranks: dict
    ess: dict


def _of_atoms(z, on, case):
    """Quantities of the slab."""

    def mean(values):
        return jnp.sum(values * on) / jnp.maximum(jnp.sum(on), 1)

    if case.slab == "l1linf":
        rates = {name: z[name] for name in ("rate_l1", "rate_linf")}
        return rates | {"log envelope": mean(jnp.log(z["envelope"]))}
    used = jnp.sum(z["codes"] != 0)
    return {"usage": mean(z["usage"]), "log rate": mean(jnp.log(z["rate"])), "codes used": used}


def quantities(z, entry, case, config, data):
    """Scalars by name that no order and no sign of atoms changes; ``entry`` is the held-out one with its noise."""
    on = z["active"]
    mean = z["codes"] @ z["dictionary"]
    fit = jax.scipy.stats.norm.logpdf(data.X, mean, z["noise_scale"])
    return {
        "noise scale": z["noise_scale"],
        "atoms active": jnp.sum(on),
        "activation rate": z["activation_rate"],
        **_of_atoms(z, on, case),
        "held-out mean": mean[HELD_OUT],
        "held-out entry": entry,
        "log likelihood": jnp.sum(fit, where=data.mask),
        "log joint": log_joint(config, data, z),
    }


def _simulate(key, case, size):
    """Sites and data of the program."""
    sites = trace(seed(padl, key)).get_trace(
        None,
        size.n_atoms,
        slab=case.slab,
        nonnegative=case.nonnegative,
        n_samples=size.n_samples,
        n_features=size.n_features,
        hyperpriors=PRIORS,
    )
    own = ("rate_l1", "rate_linf", "envelope") if case.slab == "l1linf" else ("usage", "rate")
    return {name: sites[name]["value"] for name in (*SHARED, *own)}, sites["X"]["value"]


def rank_among(uniform, truth, draws):
    """Number of draws below the truth; a place among those equal to it is chosen by ``uniform`` in [0, 1)."""
    ties = jnp.sum(draws == truth)
    return jnp.sum(draws < truth) + jnp.floor(uniform * (ties + 1)).astype(int)


def _one(case, size, key):
    """Ranks of one simulation and its draws."""
    keys = jax.random.split(key, 5)
    truth, X = _simulate(keys[0], case, size)
    mask = jnp.ones(X.shape, bool).at[HELD_OUT].set(False)
    kernel = Gibbs(size.n_atoms, slab=case.slab, nonnegative=case.nonnegative, hyperpriors=PRIORS)
    config, data = kernel.config, kernel.data(X, mask)

    def draw(state, inputs):
        key, sweeps = inputs
        state = jax.lax.fori_loop(0, sweeps, lambda _, state: transition(config, data, state), state)
        mean = (state.z["codes"] @ state.z["dictionary"])[HELD_OUT]
        entry = mean + state.z["noise_scale"] * jax.random.normal(key, (), X.dtype)
        return state, quantities(state.z, entry, case, config, data)

    # The warm-up is the way to the first draw, so that the transition is compiled once.
    sweeps = jnp.full(size.draws, size.thinning).at[0].add(size.warmup)
    start = first_state(config, data, keys[1], None)
    _, draws = jax.lax.scan(draw, start, (jax.random.split(keys[2], size.draws), sweeps))
    truths = quantities(truth, X[HELD_OUT], case, config, data)
    uniforms = jax.random.uniform(keys[3], (len(truths),))
    ranks = {
        name: rank_among(uniform, truths[name], draws[name])
        for name, uniform in zip(truths, uniforms, strict=True)
    }
    return ranks, draws


@cache
def ranks_and_draws(case, size):
    """Compiled function of keys (simulation,) to ranks (simulation,) and draws (simulation, draw) by quantity."""
    return jax.jit(jax.vmap(partial(_one, case, size)))


def simulate_ranks(case, size, random_state, first, count):
    """Ranks of simulations ``first`` to ``first + count - 1``, which do not depend on how they are cut into calls.

    Parameters
    ----------
    case : Case
    size : Size
    random_state, first, count : int

    Returns
    -------
    Ranks
    """
    with jax.enable_x64(True):
        root = jax.random.key(random_state)
        keys = jax.vmap(partial(jax.random.fold_in, root))(jnp.arange(first, first + count))
        ranks, draws = jax.device_get(ranks_and_draws(case, size)(keys))
    return Ranks(ranks, {name: _ess(values.astype(float)) for name, values in draws.items()})


def _ess(draws):
    """Effective sizes (simulation,) of draws (simulation, draw)."""
    ess = np.full(len(draws), np.nan)
    moving = np.ptp(draws, axis=1) > 0
    if moving.any():
        ess[moving] = np.clip(effective_sample_size(draws[moving].T[None]), 1, draws.shape[1])
    return ess
