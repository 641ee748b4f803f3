"""Which atoms of a weight's dictionary may go: what the posterior says, and magnitudes."""

import numpy as np
from scipy.linalg import solve_triangular

from padl_bayes.inference.recoding import sparse_codes
from padl_bayes.tradeoff.storage import refit_on_support

CHUNK = 128


def deletion_errors(codes, atoms):
    """How much the squared error rises if an atom goes and the other codes are refitted on their supports.

    Parameters
    ----------
    codes : ndarray, shape (N, K)
        Of least squares on their supports.
    atoms : ndarray, shape (K, P)

    Returns
    -------
    ndarray, shape (K,)

    Notes
    -----
    Of one row it is ``r_k^2 / [G^-1]_kk`` with G the products of the atoms that the row uses: the rule of optimal brain
    surgeons (Hassibi, Stork, NIPS 1992), here with nothing neglected.
    """
    gram, total = atoms @ atoms.T, np.zeros(len(atoms))
    for rows in np.split(codes, range(CHUNK, len(codes), CHUNK)):
        used = rows != 0
        both = np.where(used[:, :, None] & used[:, None, :], gram, 0)
        diagonal = np.arange(len(atoms))
        both[:, diagonal, diagonal] += np.where(used, 1e-10, 1)
        inverse = np.linalg.inv(both)[:, diagonal, diagonal]
        total += np.sum(np.where(used, rows**2 / inverse, 0), axis=0)
    return total


def magnitudes(codes, atoms, root):
    """Mean size of an atom's codes times its norm in the weight, and times its norm in the output.

    Parameters
    ----------
    codes : ndarray, shape (N, K)
    atoms : ndarray, shape (K, in)
        Of ``V = W L``.
    root : ndarray, shape (in, in)

    Returns
    -------
    tuple of ndarray, shape (K,)
    """
    plain = np.linalg.norm(solve_triangular(root, atoms.T, trans="T", lower=True), axis=0)
    size = np.abs(codes).mean(axis=0)
    return size * plain, size * np.linalg.norm(atoms, axis=1)


def atom_scores(fit, matrix, root):
    """Scores by which atoms may be kept, largest first.

    Parameters
    ----------
    fit : EmFit
        Of ``matrix``.
    matrix : ndarray, shape (out, in)
        ``V = W L``.
    root : ndarray, shape (in, in)

    Returns
    -------
    dict of str to ndarray, shape (K,)
        ``log odds`` that an atom is active, the evidence that its deletion loses; ``P(used)``, its sum over rows;
        ``magnitude``, the mean size of its codes times its norm in the weight; ``calibrated magnitude``, times its norm
        in the output; ``deletion error``, see `deletion_errors`.
    """
    codes, atoms = sparse_codes(fit).astype(np.float64), fit.dictionary.astype(np.float64)
    plain, calibrated = magnitudes(codes, atoms, root)
    return {
        "log odds": np.asarray(fit.activation_log_odds, np.float64),
        "P(used)": fit.probability.sum(axis=0, dtype=np.float64),
        "magnitude": plain,
        "calibrated magnitude": calibrated,
        "deletion error": deletion_errors(refit_on_support(matrix, codes, atoms), atoms),
    }


def pruned_weight(fit, matrix, root, kept):
    """The weight (out, in) by some of the atoms, codes refitted on their supports.

    Parameters
    ----------
    fit : EmFit
    matrix : ndarray, shape (out, in)
    root : ndarray, shape (in, in)
    kept : array_like of int
        Atoms.

    Returns
    -------
    ndarray, shape (out, in)
    """
    codes, atoms = sparse_codes(fit)[:, kept].astype(np.float64), fit.dictionary[kept].astype(np.float64)
    fitted = refit_on_support(matrix, codes, atoms) @ atoms
    return solve_triangular(root, fitted.T, trans="T", lower=True).T
