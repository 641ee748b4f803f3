"""Codes of new samples given the learned envelope: a lasso in a box, sample by sample.

The l1 + l_inf prior is not projective in the number of samples, but given the envelope t its samples are independent:
``min 1/2 ||x - r D||^2 + alpha1 ||r||_1`` over ``abs(r_k) <= t_k``, the norm being that of the observed entries.
"""

from functools import partial

import jax
import jax.numpy as jnp

from .._devices import over_samples
from . import box_tiles
from .atom_pass import BLOCK

TILE = 512


def _tiled(rows, tile):
    """Rows (N, P) as (tiles, P, n), zero padded."""
    rows = jnp.pad(rows, ((0, -len(rows) % tile), (0, 0)))
    return jnp.swapaxes(rows.reshape(-1, tile, rows.shape[1]), 1, 2)


def _descend(tol, max_sweeps, nonnegative, split, whole):
    """Codes (N, K) of the samples of one device and, once a sample, the number of sweeps of the slowest."""
    X, observed = split
    dictionary, envelope, alpha1 = whole
    n_samples = len(X)
    tile = min(TILE, -(-n_samples // BLOCK) * BLOCK)
    residual, seen = _tiled(X, tile), None if observed is None else _tiled(observed, tile)

    def sweep(carry):
        residual, codes, moving, count = carry
        done = box_tiles(residual, codes, dictionary, envelope, alpha1, seen, nonnegative=nonnegative)

        # A sample stops by itself, so that its codes do not depend on the others.
        residual = jnp.where(moving[:, None], done.residual, residual)
        codes = jnp.where(moving[:, None], done.codes, codes)
        return residual, codes, moving & (done.moved > tol * jnp.max(envelope)), count + 1

    def go_on(carry):
        return jnp.any(carry[2]) & (carry[3] < max_sweeps)

    codes = jnp.zeros((len(residual), len(dictionary), tile), X.dtype)
    start = (residual, codes, jnp.ones((len(residual), tile), bool), 0)
    _, codes, _, count = jax.lax.while_loop(go_on, sweep, start)
    return jnp.swapaxes(codes, 1, 2).reshape(-1, len(dictionary))[:n_samples], jnp.full(n_samples, count)


@partial(jax.jit, static_argnames=("tol", "max_sweeps", "nonnegative", "mesh"))
def box_lasso(
    X, dictionary, envelope, alpha1, tol, max_sweeps, *, observed=None, nonnegative=False, mesh=None
):
    """Coordinate descent, each sample until none of its codes moves by more than ``tol`` times the largest envelope.

    Parameters
    ----------
    X : array, shape (N, P)
    dictionary : array, shape (K, P)
        Unit-norm rows.
    envelope : array, shape (K,)
        Largest magnitude allowed.
    alpha1 : scalar
    tol : float
    max_sweeps : int
    observed : array, shape (N, P), optional
        1 where an entry was observed, 0 elsewhere; X is zero there.
    nonnegative : bool
    mesh : Mesh, optional
        Over whose devices the samples are spread.

    Returns
    -------
    codes : array, shape (N, K)
    n_sweeps : array of int, shape ()
    """
    n_atoms, pad = len(dictionary), -len(dictionary) % BLOCK
    whole = jnp.pad(dictionary, ((0, pad), (0, 0))), jnp.pad(envelope, (0, pad)), jnp.asarray(alpha1)
    solve = partial(_descend, tol, max_sweeps, nonnegative)
    codes, count = over_samples(mesh, solve)((X, observed), whole)
    return codes[:, :n_atoms], jnp.max(count)
