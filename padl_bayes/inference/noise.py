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

from .._devices import mesh_of
from .drawn_codes import draw_codes
from .variational import precision_ceiling, residuals, slack_of

SWEEPS = 20
MOST_CHUNKS = 10
TOLERANCE = 1e-3


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
        done = draw_codes(slab, problem, state.atoms, state.precision, state.codes, residual, key, mesh)
        missed = jnp.sum(done.residual**2)
        energy = weight * jnp.sum(done.sums.square, axis=0)
        spread = energy / (state.precision * energy + slack_of(n_features))
        variance = (weight * missed + (n_features - 1) * jnp.sum(spread)) / problem.n_observed
        state = state._replace(codes=done.codes, precision=jnp.minimum(1 / variance, cap))
        return (state, done.residual), variance

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
