"""One transition of one chain: a sweep over the atoms, moves on their number, and everything they share."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from numpyro.infer.util import log_density

from padl_bayes.kernels.slabs import SLABS
from padl_bayes.models import Hyperpriors, padl

from . import enveloped, two_level
from .birth_death import birth_death, draw_spare_atoms, make_proposal
from .split_merge import split_merge
from .start import scattered_start
from .sweep import draw_activation_rate, draw_noise_scale, residual_of, sweep_atoms


class Config(NamedTuple):
    """What is compiled in: the program's variant, the number of places, and how many moves a sweep tries."""

    slab: str
    nonnegative: bool
    n_atoms: int
    n_moves: int


class Data(NamedTuple):
    """What is given: data (N, P), zero where unobserved, the mask or None, the priors and the sites that are fixed."""

    X: jax.Array
    mask: Any
    priors: Hyperpriors
    fixed: dict


class GibbsState(NamedTuple):
    """State of one chain.

    Attributes
    ----------
    i : int
        Sweeps made.
    z : dict
        Values of the program's sites that are sampled, and ``activation_prob`` (K,): the probability that each atom
        is active given all else but its own codes, when it was last updated.
    lp : float
        Log joint density of the program at ``z``.
    move_acceptance : float
        Share of this sweep's moves on the number of atoms that were accepted.
    rng_key : PRNG key
    """

    i: Any
    z: Any
    lp: Any
    move_acceptance: Any
    rng_key: Any


def log_joint(config, data, z):
    """Log joint density of the program at the sites ``z``."""
    X, mask, priors, fixed = data
    given = dict(slab=config.slab, nonnegative=config.nonnegative, mask=mask, hyperpriors=priors, **fixed)
    sites = {name: value for name, value in z.items() if name != "activation_prob"}
    return log_density(padl, (X, config.n_atoms), given, sites)[0]


def first_state(config, data, key, init):
    """State with the sites in ``init``, the others at random."""
    key, key_start = jax.random.split(key)
    z = scattered_start(key_start, data.X, data.mask, config.n_atoms, config.slab, data.fixed)
    z |= {name: jnp.asarray(value, z[name].dtype) for name, value in (init or {}).items()}
    z = {name: value for name, value in z.items() if name not in data.fixed}
    zero = jnp.zeros((), data.X.dtype)
    return GibbsState(jnp.zeros((), int), z, log_joint(config, data, z), zero, key)


def _rules(config, data):
    if config.slab == "l1linf":
        return enveloped.rules(config.nonnegative, data.priors, data.fixed, len(data.X))
    return two_level.rules(config.slab, config.nonnegative, data.priors, data.fixed)


def _move(config, key, rules, residual, z):
    """Try births, deaths, splits and merges; also the share that was accepted."""
    proposal = make_proposal(residual.shape[1])
    two_sided = not config.nonnegative
    law = SLABS.get((config.slab, config.nonnegative))
    key_spare, key_moves = jax.random.split(key)
    spare = draw_spare_atoms(key_spare, 2 * config.n_moves, rules, z)
    spare = jax.tree.map(lambda a: a.reshape(config.n_moves, 2, *a.shape[1:]), spare)

    def step(carry, inputs):
        key, spare = inputs
        key_birth, key_split = jax.random.split(key)
        one, two = (jax.tree.map(lambda a, i=i: a[i], spare) for i in (0, 1))
        residual, z, accepted = birth_death(key_birth, one, rules, proposal, two_sided, *carry)
        if law is None:
            return (residual, z), accepted[None]
        residual, z, also = split_merge(key_split, two, law, rules, proposal, two_sided, residual, z)
        return (residual, z), jnp.stack([accepted, also])

    keys = jax.random.split(key_moves, config.n_moves)
    (residual, z), accepted = jax.lax.scan(step, (residual, z), (keys, spare))
    return residual, z, jnp.mean(accepted.astype(residual.dtype))


def transition(config, data, state):
    """Missing entries, all atoms, moves on their number, shared rates, rate of activation, noise scale.

    Parameters
    ----------
    config : Config
    data : Data
    state : GibbsState

    Returns
    -------
    GibbsState
    """
    X, mask, priors, fixed = data
    rules = _rules(config, data)
    key, *keys = jax.random.split(state.rng_key, 7)
    z = state.z | fixed
    residual = residual_of(keys[0], X, mask, z)
    residual, z = sweep_atoms(keys[1], rules, fixed, residual, z)
    share = jnp.zeros((), X.dtype)
    if config.n_moves:
        residual, z, share = _move(config, keys[2], rules, residual, z)
    z = rules.draw_shared(keys[3], z)
    z = draw_activation_rate(keys[4], priors, fixed, z)
    z = draw_noise_scale(keys[5], priors, fixed, residual, z)
    z = {name: z[name] for name in state.z}
    return GibbsState(state.i + 1, z, log_joint(config, data, z), share, key)
