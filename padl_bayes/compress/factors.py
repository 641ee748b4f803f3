r"""A weight as sparse codes times a dictionary, rounded.

Rows coded: ``What = S D`` costs ``||(W - S D) L||_F^2 = ||V - S A||_F^2`` with ``V = W L`` and ``A = D L`` (L of
`.calibration`): PADL is fitted to the rows of V, and ``D = A L^-1`` is what is stored. Its rounding is fed back along
L, then the codes are refitted on their supports and rounded.

Columns coded (for layers with more inputs than outputs, whose dictionary would be too wide): ``What' = S D`` costs
``||L' (W' - S D)||_F^2``, in which codes of different rows meet. PADL is fitted to the rows of W' times the root of the
diagonal of M, as if inputs were uncorrelated; then D is the one of least error for the rounded codes under all of M,
``(S' M S) D = S' M W'``, and its rounding is fed back along the root of ``S' M S``.

A step serves the codes; an atom's entries have the step at which an error costs as much as in a code.
"""

import numpy as np
from scipy.linalg import solve_triangular

from padl_bayes.compress.packing import Packed, exponents_of, steps_of
from padl_bayes.compress.rounding import with_feedback
from padl_bayes.tradeoff.storage import refit_on_support

TINY = 1e-9


def codes_columns(weight):
    """Whether columns of a weight (out, in) are coded rather than rows: the longer side, so that atoms are short."""
    return weight.shape[1] > weight.shape[0]


def coded_matrix(weight, root, columns):
    """What PADL is fitted to: rows of V, or of the transposed weight times the root of the moment's diagonal.

    Parameters
    ----------
    weight : ndarray, shape (out, in)
    root : ndarray, shape (in, in)
    columns : bool
        Whether columns are coded.

    Returns
    -------
    ndarray, shape (out, in) or (in, out)
    """
    if columns:
        return np.linalg.norm(root, axis=1)[:, None] * weight.T.astype(np.float64)
    return weight.astype(np.float64) @ root


def principal_factors(matrix):
    """Codes and atoms of the singular value decomposition."""
    left, sizes, atoms = np.linalg.svd(matrix, full_matrices=False)
    return left * sizes, atoms


def pack_factors(weight, root, codes, atoms, exponent, *, columns):
    """Round codes and atoms of `coded_matrix`.

    Parameters
    ----------
    weight : ndarray, shape (out, in)
    root : ndarray, shape (in, in)
    codes : ndarray, shape (N, K)
    atoms : ndarray, shape (K, P)
    exponent : int
        Of the step of codes, in units of the output, in quarters of octaves.
    columns : bool
        Whether columns are coded.

    Returns
    -------
    Packed
        Of the atoms whose codes do not all round to zero.
    """
    used = np.abs(codes).max(axis=0, initial=0) > 0.5 * steps_of(exponent)
    codes, atoms = codes[:, used].astype(np.float64), atoms[used].astype(np.float64)
    if not used.any():
        size = weight.shape[::-1] if columns else weight.shape
        none = np.zeros((size[0], 1), np.int32), np.zeros((1, size[1]), np.int32)
        return Packed(none, (np.zeros(1, np.int32),) * 2, columns)
    pack = _pack_columns if columns else _pack_rows
    return pack(weight.astype(np.float64), root, codes, atoms, exponent)


def _feedback_codes(codes, step, gram):
    """Round codes on their supports, errors fed back along the atoms' products."""
    ridge = 1e-6 * np.mean(np.diag(gram)) * np.eye(len(gram))
    return with_feedback(codes, step, np.linalg.cholesky(gram + ridge), keep=codes != 0)


def _pack_rows(weight, root, codes, atoms, exponent):
    dictionary = solve_triangular(root, atoms.T, trans="T", lower=True).T
    sizes = np.linalg.norm(codes, axis=0) * np.sqrt(np.mean(np.diag(root) ** 2))
    exponents = exponents_of(steps_of(exponent) / sizes)
    entries = with_feedback(dictionary, steps_of(exponents)[:, None], root)
    atoms = (steps_of(exponents)[:, None] * entries) @ root
    V = weight @ root
    full = bool(np.all(codes != 0))
    codes = np.linalg.lstsq(atoms.T, V.T, rcond=None)[0].T if full else refit_on_support(V, codes, atoms)
    levels = _feedback_codes(codes, steps_of(exponent), atoms @ atoms.T)
    return Packed((levels, entries), (np.array([exponent], np.int32), exponents))


def _pack_columns(weight, root, codes, atoms, exponent):
    sizes = np.linalg.norm(root, axis=1)
    rows = exponents_of(steps_of(exponent) / sizes)
    gram = atoms @ atoms.T
    levels = _feedback_codes(codes, (steps_of(rows) * sizes)[:, None], gram)
    kept = np.any(levels != 0, axis=0)
    levels = levels[:, kept]
    given = root.T @ (steps_of(rows)[:, None] * levels)
    moment = given.T @ given
    inner = np.linalg.cholesky(moment + TINY * np.mean(np.diag(moment)) * np.eye(len(moment)))
    right = solve_triangular(inner, given.T @ (root.T @ weight.T), lower=True)
    dictionary = solve_triangular(inner, right, lower=True, trans="T")
    exponents = exponents_of(steps_of(exponent) / np.diag(inner))
    entries = with_feedback(dictionary.T, steps_of(exponents), inner).T
    return Packed((levels, np.ascontiguousarray(entries)), (rows, exponents), True)
