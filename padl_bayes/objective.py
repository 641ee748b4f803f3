r"""PADL's energy, its dual and what certifies a solution.

For a fixed dictionary D with rows d_k the problem is convex in the codes R,

.. math:: \min_R \tfrac12 \|X - RD\|_F^2 + \alpha_1 \|R\|_1 + \alpha_2 \sum_k \|r_k\|_\infty ,

and its Fenchel dual is

.. math:: \max_F \tfrac12\|X\|_F^2 - \tfrac12\|X - F\|_F^2 \quad\text{subject to, for every k,}\quad
          \sum_n (|\langle f_n, d_k\rangle| - \alpha_1)_+ \le \alpha_2 ,

without the absolute value for nonnegative codes. Any feasible F bounds the optimum from below.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from padl_bayes._validation import check_dictionary, check_matrix, check_scalar
from padl_bayes.kernels.dual_bound import dual_bound, feasibility_sweep
from padl_bayes.kernels.newton import newton_step
from padl_bayes.kernels.reference import prox_l1linf
from padl_bayes.kernels.row_sweep import matmul, pad_rows, penalty


def padl_energy(X, codes, dictionary, alpha1, alpha2):
    """PADL's objective ``1/2 ||X - R D||_F^2 + alpha1 ||R||_1 + alpha2 sum_k ||r_k||_inf``.

    Minus the log joint density of the model with the l1 + l_inf slab, times the noise variance, up to a
    constant, when the activations and envelopes sit at their maximisers and all atoms have even odds.

    Parameters
    ----------
    X : array_like, shape (N, P)
    codes : array_like, shape (N, K)
    dictionary : array_like, shape (K, P)
    alpha1, alpha2 : float
        Noise variance times the rates of the two norms.

    Returns
    -------
    Array, shape ()
        In the precision that JAX is set to.
    """
    X, codes, dictionary = (jnp.asarray(a) for a in (X, codes, dictionary))
    residual = X - matmul(codes, dictionary)
    envelope = jnp.max(jnp.abs(codes), axis=0)
    return 0.5 * jnp.sum(residual**2) + alpha1 * jnp.sum(jnp.abs(codes)) + alpha2 * jnp.sum(envelope)


class Certificate(NamedTuple):
    """What is known about codes for a fixed dictionary."""

    objective: float
    bound: float
    """A value that no codes can go below."""
    gap: float
    """``objective - bound`` over ``1/2 ||X||_F^2``: at least the relative suboptimality."""


@partial(jax.jit, static_argnames=("nonnegative", "lasso"))
def _certify(X, codes, dictionary, alpha1, alpha2, *, nonnegative, lasso):
    residual = X - matmul(dictionary.T, codes)
    rows = pad_rows(dictionary, alpha1, alpha2)
    codes_of_rows = jnp.pad(codes, ((0, rows.atoms.shape[0] - codes.shape[0]), (0, 0)))
    change = newton_step(rows, matmul(rows.atoms, residual), codes_of_rows)
    settled = residual - matmul(rows.atoms.T, change)
    projected = (feasibility_sweep(rows, F, nonnegative=nonnegative) for F in (residual, settled))
    bounds = [
        dual_bound(X, F, rows, nonnegative=nonnegative, lasso=lasso).bound for F in (residual, *projected)
    ]
    objective = 0.5 * jnp.sum(residual**2) + penalty(codes, alpha1, alpha2)
    return objective, jnp.max(jnp.stack(bounds))


def relative_gap(objective, bound, energy):
    """Gap over ``energy = 1/2 ||X||_F^2``, never below what float64 rounding hides; zero for zero data."""
    return max(objective - bound, 16 * np.finfo(np.float64).eps * energy) / energy if energy > 0 else 0.0


def _check_problem(X, dictionary, alpha1, alpha2):
    dictionary = check_dictionary(dictionary)
    X = check_matrix(X, n_features=dictionary.shape[1])
    return X, dictionary, check_scalar(alpha1, "alpha1"), check_scalar(alpha2, "alpha2")


def duality_gap(X, codes, dictionary, alpha1, alpha2, *, nonnegative=False):
    """Certify codes: how far they can be from optimal, whatever produced them. Computed in float64.

    Parameters
    ----------
    X : array_like, shape (N, P)
    codes : array_like, shape (N, K)
    dictionary : array_like, shape (K, P)
        Unit-norm rows.
    alpha1, alpha2 : float
        Weights of the two norms, not both zero.
    nonnegative : bool
        Whether codes are restricted to be nonnegative.

    Returns
    -------
    Certificate

    Raises
    ------
    ValueError, TypeError
        Bad input; nonnegative is asked for and ``codes`` has negative entries; both weights zero.
    """
    X, dictionary, alpha1, alpha2 = _check_problem(X, dictionary, alpha1, alpha2)
    codes = check_matrix(codes, "codes", n_features=dictionary.shape[0])
    if codes.shape[0] != X.shape[0]:
        raise ValueError(f"codes has {codes.shape[0]} rows, expected one per sample of X, {X.shape[0]}")
    if nonnegative and codes.min() < 0:
        raise ValueError(f"codes has negative entries (least {codes.min():.3g}) but nonnegative=True")
    if alpha1 == alpha2 == 0:
        raise ValueError("alpha1 and alpha2 are both zero: a scaled residual bounds nothing then")
    with jax.enable_x64(True):
        X, codes, dictionary = (jnp.asarray(a, jnp.float64) for a in (X.T, codes.T, dictionary))
        objective, bound = _certify(
            X, codes, dictionary, alpha1, alpha2, nonnegative=nonnegative, lasso=alpha2 == 0
        )
        objective, bound, energy = (float(a) for a in (objective, bound, 0.5 * jnp.sum(X**2)))
    return Certificate(objective, bound, relative_gap(objective, bound, energy))


def kkt_residuals(X, codes, dictionary, alpha1, alpha2, *, nonnegative=False):
    """Largest change of each atom's codes under its own update; all zero exactly at the optimum.

    Parameters
    ----------
    X : array_like, shape (N, P)
    codes : array_like, shape (N, K)
    dictionary : array_like, shape (K, P)
    alpha1, alpha2 : float
    nonnegative : bool

    Returns
    -------
    ndarray, shape (K,), float64
    """
    X, dictionary, alpha1, alpha2 = _check_problem(X, dictionary, alpha1, alpha2)
    codes = check_matrix(codes, "codes", n_features=dictionary.shape[0])
    with jax.enable_x64(True):
        X, codes, dictionary = (jnp.asarray(a, jnp.float64) for a in (X, codes, dictionary))
        target = matmul(dictionary, (X - matmul(codes, dictionary)).T) + codes.T
        best, _ = prox_l1linf(target, alpha1, alpha2, nonnegative=nonnegative)
        return np.asarray(jnp.max(jnp.abs(best - codes.T), axis=1))


def alpha2_max(X, dictionary, alpha1=0.0, *, nonnegative=False):
    """Least ``alpha2`` at which every code is zero, ``max_k sum_n (|<x_n, d_k>| - alpha1)_+``.

    Parameters
    ----------
    X : array_like, shape (N, P)
    dictionary : array_like, shape (K, P)
    alpha1 : float
    nonnegative : bool

    Returns
    -------
    float
    """
    X, dictionary, alpha1, _ = _check_problem(X, dictionary, alpha1, 0.0)
    inner = dictionary.astype(np.float64) @ X.T.astype(np.float64)
    excess = np.maximum((inner if nonnegative else np.abs(inner)) - alpha1, 0)
    return float(excess.sum(axis=1).max())


def alpha1_max(X, dictionary, *, nonnegative=False):
    """Least ``alpha1`` at which every code is zero when ``alpha2`` is zero, ``max_nk |<x_n, d_k>|``.

    Parameters
    ----------
    X : array_like, shape (N, P)
    dictionary : array_like, shape (K, P)
    nonnegative : bool

    Returns
    -------
    float
    """
    X, dictionary, _, _ = _check_problem(X, dictionary, 0.0, 0.0)
    inner = dictionary.astype(np.float64) @ X.T.astype(np.float64)
    return float(max(inner.max() if nonnegative else np.abs(inner).max(), 0))
