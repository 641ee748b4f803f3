"""Codes of a fixed dictionary with a given mean number of nonzeros a sample."""

import math
import warnings

import numpy as np

from ._validation import check_choice

CODE_TOL = 0.005
MOST_CODINGS = 25
LARGEST_STEP = 1e6
ROUGH_ROWS = 256
RULES = ("lasso", "omp", "omp_residual")


def mean_nonzeros(codes):
    """Return the mean number of nonzero codes of a sample."""
    return float(np.count_nonzero(codes) / len(codes))


def match(count, target, start, *, tol, most, step=2.0):
    """Find the argument at which a decreasing function of a positive number is ``target``.

    Multiplies or divides ``start`` by ``step`` until ``target`` is bracketed, then follows chords on the logarithm
    (regula falsi with the Illinois rule, which halves the weight of an end that stays).

    Parameters
    ----------
    count : callable
        Takes a positive float, returns ``(value, result)``.
    target, start : float
    tol : float
        Stop when the value is within ``tol`` times ``target``.
    most : int
        Most evaluations.
    step : float

    Returns
    -------
    float, object
        The argument whose value came nearest, and its result.
    """
    best: tuple = (math.inf, math.nan, None)
    ends: dict[bool, tuple[float, float]] = {}
    last = None
    at = math.log(start)
    for _ in range(most):
        value, result = count(math.exp(at))
        miss = value - target
        if abs(miss) < best[0]:
            best = (abs(miss), math.exp(at), result)
        if abs(miss) <= tol * target:
            break
        above = miss > 0
        if above == last and (not above) in ends:
            x, y = ends[not above]
            ends[not above] = (x, y / 2)
        ends[above], last = (at, miss), above
        if len(ends) < 2:
            at += math.log(step) if above else -math.log(step)
            step = min(step**2, LARGEST_STEP)
            continue
        (x0, y0), (x1, y1) = ends[True], ends[False]
        if abs(x1 - x0) < 1e-9:
            break
        at = (x0 * y1 - x1 * y0) / (y1 - y0)
    return best[1], best[2]


def refit_support(X, dictionary, codes):
    """Codes (N, K) of least squares on the nonzeros of ``codes``: what shrinkage costs, undone."""
    X, dictionary = np.asarray(X, np.float64), np.asarray(dictionary, np.float64)
    refitted = np.zeros(codes.shape)
    for x, row, out in zip(X, codes, refitted, strict=True):
        used = np.flatnonzero(row)
        out[used] = np.linalg.lstsq(dictionary[used].T, x, rcond=None)[0]
    return refitted


def code_lasso(X, dictionary, penalty, start=None):
    """Codes (N, K) that minimise ``1/2 ||x - r D||^2 + penalty ||r||_1``, by scikit-learn's coordinate descent."""
    from sklearn.decomposition import sparse_encode

    with warnings.catch_warnings():
        # small penalties end at its iteration limit
        warnings.filterwarnings("ignore", message="Objective did not converge")
        return sparse_encode(X, dictionary, algorithm="lasso_cd", alpha=penalty, init=start)


def code_omp(X, dictionary, n_nonzero=None, residual=None):
    """Codes (N, K) by scikit-learn's OMP: ``n_nonzero`` atoms, or until ``||x - r D||^2`` is at most ``residual``."""
    from sklearn.linear_model import orthogonal_mp_gram

    norms = np.linalg.norm(dictionary, axis=1)
    atoms = dictionary / np.where(norms > 0, norms, 1)[:, None]
    with warnings.catch_warnings():
        # it stops early at a sample that is explained exactly
        warnings.filterwarnings("ignore", message=".*Orthogonal matching pursuit ended prematurely")
        codes = orthogonal_mp_gram(
            atoms @ atoms.T,
            atoms @ X.T,
            n_nonzero_coefs=n_nonzero,
            tol=residual,
            norms_squared=None if residual is None else np.sum(X**2, axis=1),
        )
    # it drops the axis of a single atom or sample
    return codes.reshape(len(atoms), len(X)).T / np.where(norms > 0, norms, 1)


def code_at(X, dictionary, nonzeros, rule, start):
    """Codes with a mean of ``nonzeros`` a sample.

    Parameters
    ----------
    X : ndarray, shape (N, P)
    dictionary : ndarray, shape (K, P)
    nonzeros : float
    rule : {"lasso", "omp", "omp_residual"}
        "omp" gives every sample the next higher whole number, which favours it; "omp_residual" stops at one
        squared residual for all.
    start : float
        A penalty to start the search from.
    """
    check_choice(rule, "rule", RULES)
    if rule == "omp":
        return code_omp(X, dictionary, n_nonzero=min(math.ceil(nonzeros), *dictionary.shape))
    if rule == "omp_residual":
        start = 0.05 * float(np.mean(np.sum(X**2, axis=1)))
    if len(X) > 2 * ROUGH_ROWS:
        some = X[:: len(X) // ROUGH_ROWS]
        start = _search(some, dictionary, nonzeros, rule, start, step=2.0)[0]
        return _search(X, dictionary, nonzeros, rule, start, step=1.05)[1]
    return _search(X, dictionary, nonzeros, rule, start, step=2.0)[1]


def _search(X, dictionary, nonzeros, rule, start, step):
    """Return the penalty or squared residual at which codes have ``nonzeros`` a sample, and the codes."""
    warm = None

    def count(strength):
        nonlocal warm
        if rule == "omp_residual":
            codes = code_omp(X, dictionary, residual=strength)
        else:
            codes = warm = code_lasso(X, dictionary, strength, warm)
        return mean_nonzeros(codes), codes

    return match(count, nonzeros, start, tol=CODE_TOL, most=MOST_CODINGS, step=step)
