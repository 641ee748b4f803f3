"""One transition of one chain: a sweep over the atoms, moves on their number, and everything they share."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from numpyro.infer.util import log_density
from numpyro.util import is_prng_key

from padl_bayes.kernels.slabs import SLABS
from padl_bayes.kernels.uniforms import draw_uniforms
from padl_bayes.kernels.von_mises_fisher import draw_turns
from padl_bayes.models import Hyperpriors, padl

from . import birth_death, enveloped, split_merge, two_level
from .annealing import bonus, prune
from .exchange import exchange
from .probability import logit
from .start import scattered_start
from .sweep import draw_activation_rate, draw_noise_scale, residual_of, sweep_atoms
from .tempering import temper_codes

COLLAPSE_EVERY = 8


class Config(NamedTuple):
    """What is compiled in: the program's variant, the number of places, how many moves are tried how often.

    ``settled``: which atoms are active is given, by an activation rate of 0 or 1. ``every_code``: so is, by a usage
    of 1 but for rounding, that every sample uses every atom. ``divided``: samples lie on several devices.
    """

    slab: str
    nonnegative: bool
    n_atoms: int
    n_moves: int
    temper_every: int
    settled: bool
    every_code: bool
    divided: bool = False


class Data(NamedTuple):
    """What is given.

    Attributes
    ----------
    X : array, shape (N, P)
        Zero where unobserved.
    mask : array of bool, shape (N, P), or None
    priors : Hyperpriors
    fixed : dict
        Sites that are not sampled.
    n_anneal : int
        How many sweeps of the warm-up are annealed, see `.annealing`; the warm-up is at least twice as long.
    """

    X: jax.Array
    mask: Any
    priors: Hyperpriors
    fixed: dict
    n_anneal: Any


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
    X, mask, priors, fixed, _ = data
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


def _flip_as_given(uniforms, linear, tau, atom, active, shared):
    """The flip of `Rules` where the prior alone decides: the evidence, which takes most of the time, has no say."""
    return atom, jnp.zeros((), linear.dtype), jnp.zeros((), linear.dtype)


def _rules(config, data):
    sizes = (data.priors, data.fixed, len(data.X))
    if config.slab == "l1linf":
        rules = enveloped.rules(config.nonnegative, *sizes)
    else:
        rules = two_level.rules(config.slab, config.nonnegative, *sizes, config.every_code)
    return rules._replace(flip=_flip_as_given, n_flip=0) if config.settled else rules


def _law_of(config):
    """Law of a code under a two-level slab, or None."""
    return SLABS.get((config.slab, config.nonnegative))


def _move(config, key, rules, spare, residual, z):
    """Try births, deaths, splits and merges, each with two spare atoms; also the share that was accepted."""
    proposal = birth_death.make_proposal(residual.shape[1])
    two_sided = not config.nonnegative
    law = _law_of(config)
    spare = jax.tree.map(lambda a: a.reshape(config.n_moves, 2, *a.shape[1:]), spare)
    (n_samples, n_features), dtype = residual.shape, residual.dtype
    moves = [(birth_death.birth_death, birth_death.uniforms_of(rules, n_samples, config.n_atoms))]
    if law is not None:
        move = partial(split_merge.split_merge, law=law)
        moves.append((move, split_merge.uniforms_of(rules, n_samples, config.n_atoms)))
    key_turns, *keys = jax.random.split(key, 1 + len(moves))
    turns = draw_turns(key_turns, (config.n_moves, len(moves)), n_features, dtype)
    uniforms = [
        draw_uniforms(key, shapes, (config.n_moves,), dtype, divided=config.divided)
        for key, (_, shapes) in zip(keys, moves, strict=True)
    ]

    def step(carry, inputs):
        uniforms, *each = inputs
        accepted = []
        for i, (move, _) in enumerate(moves):
            turns, atom = jax.tree.map(lambda a, i=i: a[i], each)
            *carry, yes = move(uniforms[i], turns, atom, rules, proposal, two_sided, *carry)
            accepted.append(yes)
        return tuple(carry), jnp.stack(accepted)

    (residual, z), accepted = jax.lax.scan(step, (residual, z), (uniforms, turns, spare))
    return residual, z, jnp.mean(accepted.astype(dtype))


def _exchange(config, key, annealed, residual, z):
    """Samples go from one atom to another, where there are supports to be caught in, but for annealed sweeps.

    There, copies are what true atoms that have not been found yet are made from.
    """
    law = _law_of(config)
    if law is None or config.every_code or not config.n_moves:
        return residual, z
    step = partial(exchange, key, law, config.n_moves, divided=config.divided)
    return jax.lax.cond(annealed, lambda *at: at, step, residual, z)


def _temper(config, key, due, residual, z):
    """Tempered transition of all codes, where it is due and there are supports to be caught in."""
    law = _law_of(config)
    if law is None or config.every_code or not config.temper_every:
        return residual, z
    return jax.lax.cond(due, lambda at: temper_codes(key, law, *at)[:2], lambda at: at, (residual, z))


def _transition(config, data, state, due, collapsed, annealed):
    """Missing entries, all atoms, moves on their number, codes, shared rates, rate of activation, noise scale.

    Parameters
    ----------
    config : Config
    data : Data
    state : GibbsState
        Of one chain.
    due : bool
        Whether codes are tempered, too.
    collapsed : bool
        Whether envelopes are drawn with the codes integrated out.
    annealed : bool
        Whether active atoms come cheap.

    Returns
    -------
    GibbsState
    """
    X, mask, priors, fixed, _ = data
    rules = _rules(config, data)
    key, *keys = jax.random.split(state.rng_key, 9)
    z = prune(data.n_anneal, state.i, state.z | fixed)
    z["activation_log_odds"] = logit(z["activation_rate"]) + bonus(data.n_anneal, state.i, X)
    z["collapsed"] = collapsed
    residual = residual_of(keys[0], X, mask, z)
    n_spare = 2 * config.n_moves
    residual, z, spare = sweep_atoms(keys[1], rules, fixed, residual, z, n_spare, divided=config.divided)
    share = jnp.zeros((), X.dtype)
    if config.n_moves:
        residual, z, share = _move(config, keys[2], rules, spare, residual, z)
    residual, z = _exchange(config, keys[7], annealed, residual, z)
    residual, z = _temper(config, keys[6], due, residual, z)
    z = rules.draw_shared(keys[3], z)
    z = draw_activation_rate(keys[4], priors, fixed, z)
    z = draw_noise_scale(keys[5], priors, fixed, residual, z)
    z = {name: z[name] for name in state.z}
    return GibbsState(state.i + 1, z, log_joint(config, data, z), share, key)


def transition(config, data, states):
    """One transition of a chain, or of several that have made as many sweeps.

    Parameters
    ----------
    config : Config
    data : Data
    states : GibbsState
        With a leading axis where it is of several chains.

    Returns
    -------
    GibbsState
    """
    # Outside of vmap, which would compute both branches.
    i = jnp.ravel(states.i)[0] + 1
    due = i % max(config.temper_every, 1) == 0
    # Beside the flips, which are collapsed too, it costs little.
    collapsed = i % (COLLAPSE_EVERY if config.settled else 1) == 0
    one = partial(_transition, config, data, due=due, collapsed=collapsed, annealed=i <= data.n_anneal)
    return one(states) if is_prng_key(states.rng_key) else jax.vmap(one)(states)
