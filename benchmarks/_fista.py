"""Rivals for sparse coding: FISTA in plain JAX, its prox by sorting or by Newton's method.

Beck & Teboulle, SIAM Journal on Imaging Sciences 2, 2009, with the constant step 1/L and the restart of O'Donoghue &
Candes, Foundations of Computational Mathematics 15, 2015. Every iteration is over all atoms.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from padl_bayes.kernels.reference import prox_l1linf


def prox_by_sorting(V, alpha1, alpha2, warm_start=None):
    """`padl_bayes.kernels.reference.prox_l1linf` of rows, with clip levels from sorted magnitudes."""
    U = jnp.maximum(jnp.abs(V) - alpha1, 0)
    largest = jnp.sort(U, axis=-1, descending=True)
    mass = jnp.cumsum(largest, axis=-1) - alpha2
    count = jnp.arange(1, V.shape[-1] + 1, dtype=V.dtype)
    # Those above the level come first: the n-th is one of them if the level of the first n alone is below it.
    above = jnp.maximum(jnp.sum(largest * count > mass, axis=-1, keepdims=True), 1)
    level = jnp.maximum(jnp.take_along_axis(mass, above - 1, axis=-1) / above, 0)
    return jnp.sign(V) * jnp.minimum(U, level), level[..., 0]


PROXES = {"sorted": prox_by_sorting, "Newton": prox_l1linf}


@partial(jax.jit, static_argnames="prox")
def _iterate(X, dictionary, alpha1, alpha2, step, count, *, prox):
    """Codes (K, N) after ``count`` iterations from zero; X is (P, N)."""

    def iteration(_, state):
        codes, point, momentum, level = state
        residual = X - dictionary.T @ point
        new, level = prox(point + step * (dictionary @ residual), step * alpha1, step * alpha2, level)
        uphill = jnp.sum((point - new) * (new - codes)) > 0
        momentum = jnp.where(uphill, 1, momentum)
        larger = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        point = new + jnp.where(uphill, 0, (momentum - 1) / larger) * (new - codes)
        return new, point, larger, level

    zero = jnp.zeros((dictionary.shape[0], X.shape[1]), X.dtype)
    start = zero, zero, jnp.ones((), X.dtype), jnp.zeros(len(zero), X.dtype)
    return jax.lax.fori_loop(0, count, iteration, start)[0]


def code(X, dictionary, alpha1, alpha2, count, prox):
    """Codes (N, K) after so many iterations from zero, with the prox of that name, in X's precision."""
    with jax.enable_x64(X.dtype == np.float64):
        step = 1 / np.linalg.norm(dictionary, 2) ** 2
        arguments = (jnp.asarray(a, X.dtype) for a in (X.T, dictionary, alpha1, alpha2, step))
        return np.asarray(_iterate(*arguments, int(count), prox=PROXES[prox])).T
