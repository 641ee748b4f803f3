"""The noise scale with codes and directions integrated out: Monte Carlo EM for one number, all else held.

Mean field takes the codes of a sample to be independent given the data. Where many atoms are used at once they are not,
its variances are too small to explain the residuals, and the noise comes out too large. Codes drawn from their exact
conditionals (Gibbs sweeps over the atoms) do not have that bias. That the dictionary was fitted to the data makes
residuals too small instead: integrating each direction by Laplace's method, as the evidence does, adds
``(P - 1) E / (tau E + P / e)`` to their expected energy, E the energy of the atom's codes.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from .._devices import mesh_of, over_samples
from ..kernels import draw_tiles
from ..kernels.code_draw import keys_of_samples
from ..kernels.code_sweep import Tile
from ..kernels.slabs import SLABS
from .variational import precision_ceiling, residuals, slack_of

SWEEPS = 20
MOST_CHUNKS = 10
TOLERANCE = 1e-3


def _draw_codes(slab, mesh, problem, state, residual, key):
    """One sweep of draws: codes, residual, its energy and the energy of each atom's codes (K,)."""

    def each(split, whole):
        residual, codes, valid, observed, keys = split
        atoms, precision = whole
        return draw_tiles(SLABS[slab], residual, codes, atoms, precision, Tile(valid, observed, keys=keys))

    keys = keys_of_samples(key, len(problem.x), problem.x.shape[2])
    split = (residual, state.codes, problem.valid, problem.observed, keys)
    done = over_samples(mesh, each)(split, (state.atoms, state.precision))
    return done.codes, done.residual, jnp.sum(done.residual**2), jnp.sum(done.sums.square, axis=0)


def _weight(problem):
    """How many samples each one stands for: more than one in a batch of the data."""
    return problem.n_samples / jnp.sum(problem.valid)


@partial(jax.jit, static_argnums=(0, 1))
def _run_sweeps(slab, mesh, problem, state, key, cap):
    """`SWEEPS` sweeps of draws, each followed by the M-step of the noise; their mean noise variance comes too."""
    n_features = problem.x.shape[1]
    weight = _weight(problem)

    def sweep(carry, key):
        state, residual = carry
        codes, residual, missed, energy = _draw_codes(slab, mesh, problem, state, residual, key)
        energy *= weight
        spread = energy / (state.precision * energy + slack_of(n_features))
        variance = (weight * missed + (n_features - 1) * jnp.sum(spread)) / problem.n_observed
        return (state._replace(codes=codes, precision=jnp.minimum(1 / variance, cap)), residual), variance

    start: Any = (state, residuals(problem, state, mesh))
    (state, _), variance = jax.lax.scan(sweep, start, jax.random.split(key, SWEEPS))
    return state, jnp.mean(variance)


def noise_scale_of(slab, problem, state, key):
    """Noise scale that maximises the likelihood with codes and directions integrated out, but for Monte Carlo error.

    After `SWEEPS` for warm-up they go on until the means of two successive `SWEEPS` differ by less than a quarter of
    the standard error that so many observations allow, or by less than `TOLERANCE`, but no more than `MOST_CHUNKS`
    times. Where codes mix slowly, as on natural images, the answer lies between that of mean field, from which it
    starts, and the maximiser.

    Parameters
    ----------
    slab : tuple (str, bool)
        Key of `SLABS`.
    problem : Problem
        All samples, or some of them with the scalars of all.
    state : State
        Its dictionary, usages and rates are held; its codes and precision are where the sweeps start.
    key : PRNG key

    Returns
    -------
    float
    """
    ceiling = precision_ceiling(problem)
    cap = jnp.asarray(ceiling, state.codes.dtype)
    tolerance = max(TOLERANCE, 0.25 / math.sqrt(2 * float(problem.n_observed / _weight(problem))))
    warmup, *keys = jax.random.split(key, MOST_CHUNKS + 1)
    run = partial(_run_sweeps, slab, mesh_of(problem.x), problem)
    state, _ = run(state, warmup, cap)
    before = 0.0
    for one in keys:
        state, variance = run(state, one, cap)
        scale = math.sqrt(variance)
        if abs(scale - before) < tolerance * scale:
            scale = (scale + before) / 2
            break
        before = scale
    return max(scale, ceiling**-0.5)
