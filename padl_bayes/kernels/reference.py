"""The proximal operator of the PADL penalty, the plain-JAX truth that every fast version must agree with."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax


def shrink(V, alpha1, *, nonnegative=False):
    """Magnitudes ``(|V| - alpha1)_+`` left by the l1 part, or ``(V - alpha1)_+`` for nonnegative codes."""
    return jnp.maximum((V if nonnegative else jnp.abs(V)) - alpha1, 0)


def row_sums(U):
    """Sums over the last axis, as a product with ones: on a CPU XLA vectorises that, not a reduction."""
    return jnp.matmul(U, jnp.ones(U.shape[-1:], U.dtype), precision=lax.Precision.HIGHEST)


def clip_level(U, alpha2, warm_start):
    """Root ``theta`` of ``sum_n (U_n - theta)_+ = alpha2`` along the last axis, by Newton's method.

    The function is convex, decreasing and piecewise linear, so one step from anywhere lands at or below the
    root, from below the iterates only rise, and the root is reached exactly when a step leaves the set
    ``{U > theta}`` unchanged. Those sets are nested, so their size decides, in float32 as in float64.

    Parameters
    ----------
    U : Array, shape (..., N)
        Nonnegative magnitudes with ``sum_n U_n > alpha2 > 0``; other rows end at once with some finite value.
    alpha2 : Array, shape (...) or ()
        Mass to be clipped off.
    warm_start : Array, shape (...)
        A guess; any value is safe.

    Returns
    -------
    Array, shape (...)
    """

    def step(theta):
        above = (theta[..., None] < U).astype(U.dtype)
        count = row_sums(above)
        mass = jnp.einsum("...n,...n->...", above, U, precision=lax.Precision.HIGHEST)
        return (mass - alpha2) / jnp.maximum(count, 1), count

    def rise(state):
        theta, _, count = state
        proposal, smaller = step(theta)
        return jnp.maximum(proposal, theta), count, smaller

    # A guess above every entry gives a negative level in the first step, that is, a start from zero.
    theta, _ = step(jnp.maximum(warm_start, 0))
    theta = jnp.maximum(theta, 0)
    proposal, count = step(theta)
    state = (jnp.maximum(proposal, theta), jnp.full_like(count, jnp.inf), count)
    theta, _, _ = lax.while_loop(lambda s: jnp.any((s[2] < s[1]) & (alpha2 > 0)), rise, state)
    return theta


@partial(jax.jit, static_argnames="nonnegative")
def prox_l1linf(V, alpha1, alpha2, warm_start=None, *, nonnegative=False):
    """Proximal operator of ``alpha1 ||r||_1 + alpha2 ||r||_inf``, row by row and without a sort.

    Soft-threshold by ``alpha1``, then clip the magnitudes at the level that takes ``alpha2`` off their sum; a
    row whose thresholded magnitudes sum to at most ``alpha2`` becomes zero.

    Parameters
    ----------
    V : Array, shape (..., N)
        One row per atom, coupled over its N samples.
    alpha1, alpha2 : float or Array, shape (...)
        Nonnegative weights of the two norms.
    warm_start : Array, shape (...), optional
        Clip levels of a nearby problem: two or three passes over V instead of five to ten.
    nonnegative : bool
        Restrict the result to nonnegative values.

    Returns
    -------
    R : Array, shape (..., N)
        The minimiser of ``1/2 ||r - v||^2 + alpha1 ||r||_1 + alpha2 ||r||_inf`` for every row v. A row that
        holds NaN comes back as NaN.
    theta : Array, shape (...)
        Clip levels: ``||r||_inf`` where alpha2 > 0, infinity where alpha2 = 0.

    References
    ----------
    Prox by Moreau's identity and projection on the l1 ball: Parikh & Boyd, Proximal Algorithms, 2014, 6.5;
    composition with soft-thresholding: Jenatton, Mairal, Obozinski & Bach, JMLR 2011.
    """
    V = jnp.asarray(V)
    alpha1, alpha2 = (jnp.asarray(a, V.dtype) for a in (alpha1, alpha2))
    U = shrink(V, alpha1[..., None], nonnegative=nonnegative)
    if warm_start is None:
        warm_start = jnp.zeros(V.shape[:-1], V.dtype)
    return clip_rows(V, U, row_sums(U), alpha2, warm_start)


def clip_rows(V, U, total, alpha2, warm_start):
    """Second half of `prox_l1linf`, from the magnitudes ``U = shrink(V, alpha1)`` and their row sums."""
    theta = jnp.where(alpha2 > 0, clip_level(U, alpha2, warm_start), jnp.inf)
    theta = jnp.where(total <= alpha2, jnp.zeros_like(theta), theta)
    theta = jnp.where(jnp.isnan(total), jnp.nan, theta)
    return jnp.sign(V) * jnp.minimum(U, theta[..., None]), theta
