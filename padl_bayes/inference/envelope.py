"""Codes of samples given the envelopes of a fit of PADL's own objective."""

import jax.numpy as jnp
import numpy as np

from .._devices import gathered, mesh_over, spread
from .._precision import precision_of
from ..kernels.box_lasso import box_lasso

MOST_SWEEPS = 10_000


def codes_in_envelope(
    X, dictionary, envelope, alpha1, *, tol=1e-6, observed=None, nonnegative=False, devices=None
):
    """Minimise ``1/2 ||x - r D||^2 + alpha1 ||r||_1`` over ``abs(r_k) <= envelope_k``, sample by sample.

    Parameters
    ----------
    X : ndarray, shape (N, P)
        Zero where unobserved.
    dictionary : ndarray, shape (K, P)
        Unit-norm rows.
    envelope : ndarray, shape (K,)
        Largest magnitudes.
    alpha1 : float
    tol : float
        Sweeps end when no code moves by more than this times the largest envelope.
    observed : ndarray, shape (N, P), optional
        1.0 where an entry was observed.
    nonnegative : bool
    devices : "all", int or sequence of Device, optional
        Over which samples are divided.

    Returns
    -------
    codes : ndarray, shape (N, K)
    converged : bool
    """
    if not len(dictionary):
        return np.zeros((len(X), 0), X.dtype), True
    mesh = mesh_over(devices)
    with precision_of(X):
        of_all = jnp.asarray(dictionary), jnp.asarray(envelope), jnp.asarray(alpha1, X.dtype)
        seen = None if observed is None else spread(mesh, np.asarray(observed, X.dtype))
        options = {"observed": seen, "nonnegative": bool(nonnegative), "mesh": mesh}
        codes, count = box_lasso(spread(mesh, X), *of_all, tol, MOST_SWEEPS, **options)
    return gathered(codes)[: len(X)], int(count) < MOST_SWEEPS
