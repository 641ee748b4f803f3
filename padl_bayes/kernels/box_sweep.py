"""One pass of coordinate descent on a lasso whose codes are bounded in magnitude, sample by sample."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from .atom_pass import through_atoms


class BoxSweep(NamedTuple):
    """What a pass leaves behind: residual (P, n), codes (K, n), and by how much a sample's codes moved at most (n,)."""

    residual: jax.Array
    codes: jax.Array
    moved: jax.Array


def _clip(alpha1, nonnegative, moved, index, own, old, row, weight):
    _, top = own
    target = row + weight * old
    shrunk = jnp.sign(target) * jnp.maximum(jnp.abs(target) - alpha1, 0)
    new = jnp.clip(shrunk / weight, 0 if nonnegative else -top, top)
    return jnp.maximum(moved, jnp.abs(new - old)), new, None


def box_tile(residual, codes, dictionary, envelope, alpha1, observed=None, *, nonnegative):
    """Minimise ``1/2 ||x - r D||^2 + alpha1 ||r||_1`` over each code in turn, ``abs(r_k) <= envelope_k``.

    Parameters
    ----------
    residual : array, shape (P, n)
        ``X.T - dictionary.T @ codes``, zero where unobserved.
    codes : array, shape (K, n)
        K must be a multiple of `padl_bayes.kernels.atom_pass.BLOCK`.
    dictionary : array, shape (K, P)
        Unit-norm rows, or rows of zeros.
    envelope : array, shape (K,)
    alpha1 : scalar
    observed : array, shape (P, n), optional
        1.0 where an entry was observed; the norm is that of these.
    nonnegative : bool

    Returns
    -------
    BoxSweep
    """
    rule = partial(_clip, alpha1, nonnegative)
    moved = jnp.zeros(codes.shape[1], residual.dtype)
    residual, moved, codes, _ = through_atoms(rule, moved, residual, codes, (dictionary, envelope), observed)
    return BoxSweep(residual, codes, moved)
