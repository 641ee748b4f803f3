"""Sparse coding with a fixed dictionary, with a duality gap.

The problem and its dual are stated in `padl_bayes.objective`, how it is solved in `padl_bayes.working_set`.
"""

from typing import NamedTuple

import numpy as np

from padl_bayes._devices import gathered, mesh_over
from padl_bayes._options import check_callback, check_flag
from padl_bayes._precision import precision_of
from padl_bayes._validation import check_array, check_count, check_dictionary, check_matrix, check_scalar
from padl_bayes.diagnostics import warn_of_gap
from padl_bayes.objective import relative_gap
from padl_bayes.working_set import problem_of, solve


class SparseCode(NamedTuple):
    """Codes of samples for a fixed dictionary."""

    codes: np.ndarray
    """(N, K)"""
    objective: float
    """``1/2 ||X - R D||_F^2 + alpha1 ||R||_1 + alpha2 sum_k ||r_k||_inf``, computed in float64."""
    gap: float
    """Duality gap over ``1/2 ||X||_F^2``: at least how far the objective can be from its minimum."""
    n_iter: int
    """Sweeps over the working set."""
    status: str
    """Why the solver stopped."""


def _least_squares(X, dictionary):
    """Codes of least norm when both weights are zero; the gap is the energy left in the atoms' span."""
    X, dictionary = X.astype(np.float64), dictionary.astype(np.float64)
    codes = np.linalg.lstsq(dictionary.T, X.T, rcond=None)[0].T
    residual = X - codes @ dictionary
    _, singular, basis = np.linalg.svd(dictionary, full_matrices=False)
    span = basis[singular > singular[0] * max(dictionary.shape) * np.finfo(np.float64).eps]
    objective = 0.5 * np.sum(residual**2)
    bound = objective - 0.5 * np.sum((residual @ span.T) ** 2)
    return codes, objective, relative_gap(objective, bound, 0.5 * np.sum(X**2))


def sparse_code(
    X,
    dictionary,
    alpha1,
    alpha2,
    *,
    tol=1e-6,
    max_iter=10_000,
    codes_init=None,
    nonnegative=False,
    devices=None,
):
    """Sparse codes of ``X`` for a fixed dictionary, with a certificate.

    Minimises ``1/2 ||X - R D||_F^2 + alpha1 ||R||_1 + alpha2 sum_k ||r_k||_inf`` over R, a convex problem.
    The l1 norm makes single codes zero, the l_inf norm whole atoms.

    Parameters
    ----------
    X : array_like, shape (N, P)
        Samples. float64 data are coded in float64, float32 in float32; the gap is computed in float64.
    dictionary : array_like, shape (K, P)
        Atoms, unit-norm rows.
    alpha1, alpha2 : float
        Weights of the two norms, in units of X for alpha1 and of N times X for alpha2.
    tol : float
        Stop when the duality gap over ``1/2 ||X||_F^2`` is at most this.
    max_iter : int
        Most sweeps over the working set.
    codes_init : array_like, shape (N, K), optional
        A warm start.
    nonnegative : bool
        Restrict the codes to be nonnegative.
    devices : "all", int or sequence of Device, optional
        Samples are divided over them (a number: the first ones), and plain JAX codes them, to the same tolerance as the
        C++ kernels; codes do not depend on how many there are, but for rounding. Under `jax.distributed` every process
        makes the same call, with devices of all. JAX's default device if not given.

    Returns
    -------
    SparseCode

    Raises
    ------
    ValueError, TypeError
        Bad input. Nonnegative codes need one positive weight: without any the gap certifies nothing.

    Notes
    -----
    With both weights zero: the codes of least squares, of least norm where that leaves a choice.
    """
    alpha = check_scalar(alpha1, "alpha1"), check_scalar(alpha2, "alpha2")
    X, dictionary = _check_data(X, dictionary)
    shape = (X.shape[0], dictionary.shape[0])
    dtype = np.result_type(X, dictionary)
    if codes_init is not None:
        codes_init = check_matrix(codes_init, "codes_init", n_features=shape[1]).astype(dtype)
        if codes_init.shape != shape:
            raise ValueError(f"codes_init must have shape {shape}, found {codes_init.shape}")
        nonnegative = check_flag(nonnegative, "nonnegative")
        codes_init = (np.maximum(codes_init, 0) if nonnegative else codes_init).T
    return _follow(X, dictionary, [alpha], codes_init, tol, max_iter, nonnegative, devices)[0]


def sparse_code_path(
    X, dictionary, alphas, *, tol=1e-6, max_iter=10_000, nonnegative=False, devices=None, callback=None
):
    """`sparse_code` for several pairs of weights, each started from the codes of the pair before.

    Parameters
    ----------
    X : array_like, shape (N, P)
    dictionary : array_like, shape (K, P)
    alphas : array_like, shape (L, 2)
        Pairs ``(alpha1, alpha2)``, taken in their order: from large to small is fastest.
    tol, max_iter, nonnegative, devices
        As in `sparse_code`, for each pair.
    callback : callable, optional
        Called after each pair as ``callback(done, total)``.

    Returns
    -------
    list of SparseCode
        One a pair, in their order.

    Raises
    ------
    ValueError, TypeError
        As `sparse_code`.

    Examples
    --------
    >>> import numpy as np, padl_bayes as pb
    >>> data = pb.datasets.bars(n_samples=200, seed=0)
    >>> largest = pb.objective.alpha2_max(data.X, data.dictionary)
    >>> path = pb.sparse_code_path(data.X, data.dictionary, [(0, a) for a in largest * np.array([1, 0.5, 0.1])])
    >>> [int((found.codes != 0).any(axis=0).sum()) for found in path]
    [0, 10, 10]
    """
    alphas = check_array(alphas, "alphas", ("n_pairs", 2))
    pairs = [
        (check_scalar(float(a), f"alphas[{i}, 0]"), check_scalar(float(b), f"alphas[{i}, 1]"))
        for i, (a, b) in enumerate(alphas)
    ]
    X, dictionary = _check_data(X, dictionary)
    return _follow(X, dictionary, pairs, None, tol, max_iter, nonnegative, devices, check_callback(callback))


def _check_data(X, dictionary):
    dictionary = check_dictionary(dictionary)
    return check_matrix(X, n_features=dictionary.shape[1]), dictionary


def _follow(X, dictionary, alphas, codes, tol, max_iter, nonnegative, devices, callback=None):
    """`SparseCode` of each pair of weights in turn, from ``codes`` (K, N), zero if None."""
    tol, max_iter = check_scalar(tol, "tol"), check_count(max_iter, "max_iter")
    nonnegative, mesh = check_flag(nonnegative, "nonnegative"), mesh_over(devices)
    if nonnegative and (0, 0) in alphas:
        raise ValueError("alpha1 or alpha2 must be positive for nonnegative codes, found both zero")
    dtype, results = np.result_type(X, dictionary), []
    energy = 0.5 * float(np.sum(np.square(X, dtype=np.float64)))
    with precision_of(X, dictionary):
        first, codes = problem_of(X, dictionary, codes, (0.0, 0.0), nonnegative, mesh)
        for done, alpha in enumerate(alphas, 1):
            if alpha == (0, 0):
                least, objective, gap = _least_squares(X, dictionary)
                status = "converged: least squares, no penalty"
                results.append(SparseCode(least.astype(dtype), objective, gap, 1, status))
            else:
                problem = first._replace(alpha1=alpha[0], alpha2=alpha[1])
                found = solve(problem, codes, tol=tol, max_sweeps=max_iter, energy=energy)
                codes, rows = found.codes, np.array(gathered(found.codes.T)[: len(X)])
                status = _describe(found, tol)
                results.append(SparseCode(rows, found.objective, found.gap, found.n_sweeps, status))
                warn_of_gap(results[-1], tol, dtype)
            if callback is not None:
                callback(done, len(alphas))
    return results


def _describe(found, tol):
    if found.converged:
        return f"converged: gap {found.gap:.2g} is within tol {tol:.2g}"
    if found.stalled:
        return f"stalled: gap {found.gap:.2g} is what this precision allows, tol is {tol:.2g}"
    return f"stopped after max_iter sweeps: gap {found.gap:.2g} is above tol {tol:.2g}"
