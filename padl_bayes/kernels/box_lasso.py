"""Codes of new samples given the learned envelope: a lasso in a box, sample by sample.

The l1 + l_inf prior is not projective in the number of samples, but given the envelope t its samples are independent:
``min 1/2 ||x - r D||^2 + alpha1 ||r||_1`` over ``abs(r_k) <= t_k``, the norm being that of the observed entries.
"""

from functools import partial

import jax
import jax.numpy as jnp


@partial(jax.jit, static_argnames="nonnegative")
def box_lasso(X, dictionary, envelope, alpha1, tol, max_sweeps, *, observed=None, nonnegative=False):
    """Coordinate descent until no code moves by more than ``tol`` times the largest envelope.

    Parameters
    ----------
    X : array, shape (N, P)
    dictionary : array, shape (K, P)
        Unit-norm rows.
    envelope : array, shape (K,)
        Largest magnitude allowed.
    alpha1, tol : scalar
    max_sweeps : int
    observed : array, shape (N, P), optional
        1 where an entry was observed, 0 elsewhere; X is zero there.
    nonnegative : bool

    Returns
    -------
    codes : array, shape (N, K)
    n_sweeps : array of int, shape ()
    """

    seen = None if observed is None else observed.T

    def update(residual, one):
        atom, top, code = one
        square = 1.0 if seen is None else seen.T @ jnp.square(atom)
        target = residual.T @ atom + square * code
        shrunk = jnp.sign(target) * jnp.maximum(jnp.abs(target) - alpha1, 0)
        new = jnp.clip(
            shrunk / jnp.maximum(square, jnp.finfo(residual.dtype).tiny), 0 if nonnegative else -top, top
        )
        change = jnp.outer(atom, new - code)
        change = change if seen is None else seen * change
        return residual - change, (new, jnp.max(jnp.abs(new - code)))

    def sweep(carry):
        residual, codes, _, count = carry
        residual, (codes, moved) = jax.lax.scan(update, residual, (dictionary, envelope, codes))
        return residual, codes, jnp.max(moved), count + 1

    def go_on(carry):
        return (carry[2] > tol * jnp.max(envelope)) & (carry[3] < max_sweeps)

    start = (X.T, jnp.zeros((len(dictionary), len(X)), X.dtype), jnp.asarray(jnp.inf, X.dtype), 0)
    _, codes, _, count = jax.lax.while_loop(go_on, sweep, start)
    return codes.T, count
