"""Signed permutation matching of dictionaries: fits against each other, draws against a reference.

A posterior over dictionaries does not change when atoms are permuted or when an atom and its codes change
sign together, so nothing that is indexed by atom can be averaged, nor its R-hat computed, before the draws
are aligned.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from padl_bayes._options import check_flag
from padl_bayes._validation import check_array, check_count, check_matrix, check_scalar


class Matching(NamedTuple):
    """Atoms of dictionary a in the order and with the signs of those of dictionary b.

    ``signs[:, None] * a[permutation]`` lines up with ``b``, ``signs * codes[:, permutation]`` with b's codes.

    Attributes
    ----------
    permutation : ndarray of int, shape (K_b,)
        Index of the atom of a that goes with each atom of b; -1 where a has too few atoms.
    signs : ndarray of int, shape (K_b,)
        +1 or -1; 0 where there is no partner.
    cosines : ndarray, shape (K_b,)
        Cosine of each pair after the sign is applied; 0 where there is no partner.
    """

    permutation: np.ndarray
    signs: np.ndarray
    cosines: np.ndarray


@dataclass(frozen=True)
class Alignment:
    """Draws of a dictionary with atom k meaning the same thing in each.

    Attributes
    ----------
    dictionary : ndarray, shape (..., K, P)
        Aligned draws.
    codes : ndarray, shape (..., N, K), or None
        Aligned codes, if codes were given.
    permutation : ndarray of int, shape (..., K)
        ``dictionary[k] = signs[k] * draws[permutation[k]]`` in each draw.
    signs : ndarray of int, shape (..., K)
        +1 or -1.
    cosines : ndarray, shape (..., K)
        Cosine of each aligned atom with the reference.
    reference : ndarray, shape (K, P)
        Unit-norm mean direction of each atom, zero for one that is never in use.
    n_iter : int
        Passes over the draws.
    converged : bool
        Whether the last pass changed no label and no sign.
    """

    dictionary: np.ndarray
    codes: np.ndarray | None
    permutation: np.ndarray
    signs: np.ndarray
    cosines: np.ndarray
    reference: np.ndarray
    n_iter: int
    converged: bool

    def apply(self, values, *, axis=-1, signed=False):
        """Return other draws with their atoms in the aligned order.

        Parameters
        ----------
        values : array_like, shape (..., K) or with more axes after the draws' own
            For example usage (..., K), codes (..., N, K) or dictionaries (..., K, P) with ``axis=-2``.
        axis : int
            The axis of the atoms.
        signed : bool
            Change signs too, as codes and dictionaries do.

        Returns
        -------
        ndarray
            Like ``values``.

        Raises
        ------
        ValueError
            ``values`` does not have the draws' leading axes or the atoms at ``axis``.
        """
        values = np.asarray(values)
        *lead, n_atoms = self.permutation.shape
        axis = axis % values.ndim if values.ndim else 0
        if list(values.shape[: len(lead)]) != lead or axis < len(lead) or values.shape[axis] != n_atoms:
            wanted = ", ".join(str(size) for size in (*lead, "..."))
            raise ValueError(
                f"values must have shape ({wanted}) with {n_atoms} atoms at axis {axis}, found {values.shape}"
            )
        shape = (*lead, *(n_atoms if i == axis else 1 for i in range(len(lead), values.ndim)))
        moved = np.take_along_axis(values, self.permutation.reshape(shape), axis)
        return moved * self.signs.reshape(shape).astype(moved.dtype) if signed else moved


def _unit_rows(dictionary):
    # squares of large entries would overflow; powers of two change no digit
    largest = np.abs(dictionary).max(axis=-1, keepdims=True, initial=0)
    dictionary = np.ldexp(dictionary, -np.frexp(largest)[1])
    norms = np.linalg.norm(dictionary, axis=-1, keepdims=True)
    return dictionary / np.where(norms > 0, norms, 1)


def _similarity(cosines, flip):
    return np.abs(cosines) if flip else cosines


def _sign(cosines, flip):
    return np.where(cosines < 0, -1, 1) if flip else np.ones(cosines.shape, int)


def match(dictionary_a, dictionary_b, *, flip=True):
    """Pair the atoms of two dictionaries one to one so that the sum of their absolute cosines is largest.

    Parameters
    ----------
    dictionary_a : array_like, shape (K_a, P)
    dictionary_b : array_like, shape (K_b, P)
        Rows of any norm; K_a and K_b may differ.
    flip : bool
        Let an atom change sign; False for nonnegative codes, where sign has a meaning.

    Returns
    -------
    Matching

    Raises
    ------
    TypeError, ValueError
        Not matrices of finite numbers, or of different feature counts.
    """
    a = check_matrix(dictionary_a, "dictionary_a")
    flip = check_flag(flip, "flip")
    b = check_matrix(dictionary_b, "dictionary_b", n_features=a.shape[1])
    cosines = _unit_rows(b) @ _unit_rows(a).T
    rows, columns = linear_sum_assignment(_similarity(cosines, flip), maximize=True)
    permutation = np.full(len(b), -1)
    signs = np.zeros(len(b), int)
    aligned = np.zeros(len(b), cosines.dtype)
    permutation[rows] = columns
    signs[rows] = _sign(cosines[rows, columns], flip)
    aligned[rows] = _similarity(cosines[rows, columns], flip)
    return Matching(permutation, signs, aligned)


def recovered(dictionary, truth, threshold=0.95, *, flip=True):
    """Count the true atoms that can be paired one to one with learned atoms of a larger absolute cosine.

    Parameters
    ----------
    dictionary : array_like, shape (K, P)
        Learned atoms; none at all, shape (0, P), recovers nothing.
    truth : array_like, shape (K_true, P)
    threshold : float
        Absolute cosine to exceed, in [0, 1].
    flip : bool
        Whether an atom and its negative are the same.

    Returns
    -------
    int

    Raises
    ------
    TypeError, ValueError
        As `match`, or ``threshold`` out of range.
    """
    threshold = check_scalar(threshold, "threshold", maximum=1.0)
    flip = check_flag(flip, "flip")
    truth = check_matrix(truth, "truth")
    if getattr(dictionary, "shape", None) == (0, truth.shape[1]):
        return 0
    dictionary = check_matrix(dictionary, "dictionary", n_features=truth.shape[1])
    close = _similarity(_unit_rows(truth) @ _unit_rows(dictionary).T, flip) > threshold
    # the number of close pairs, not the sum of cosines: one excellent pair must not cost two good ones
    return int(close[linear_sum_assignment(close, maximize=True)].sum())


def _first_reference(unit, weights, reference, flip):
    """Return one direction a label: those given, then those that active atoms found, zero where none did.

    Goes through the draws from the fullest on; an active atom within 45 degrees of a label joins it rather
    than found another one.
    """
    target = np.zeros(unit.shape[1:], unit.dtype)
    if reference is not None:
        target[: len(reference)] = _unit_rows(reference)
    empty = np.linalg.norm(target, axis=1) == 0
    for s in np.argsort(weights.sum(axis=1), kind="stable")[::-1]:
        if not empty.any():
            break
        score = np.where(empty[:, None], np.sqrt(0.5), _similarity(target @ unit[s].T, flip))
        columns = linear_sum_assignment(weights[s] * score, maximize=True)[1]
        founded = empty & (weights[s][columns] > 0)
        target[founded] = unit[s][columns[founded]]
        empty &= ~founded
    return target


def _assign(unit, weights, reference, flip):
    """Return the best labels of every draw, shape (S, K), their signs and their cosines."""
    permutation = np.empty(weights.shape, int)
    cosines = np.empty(weights.shape, unit.dtype)
    # atoms that are not in use only settle the labels that those in use leave open
    weights = weights + 1e-6 * (weights.max() or 1)
    for s, (atoms, weight) in enumerate(zip(unit, weights, strict=True)):
        products = reference @ atoms.T
        rows, columns = linear_sum_assignment(weight * _similarity(products, flip), maximize=True)
        permutation[s] = columns
        cosines[s] = products[rows, columns]
    return permutation, _sign(cosines, flip), _similarity(cosines, flip)


def _mean_directions(unit, weights, permutation, signs, reference):
    """Return the unit-norm weighted mean of each label, or the old direction where it was never in use."""
    moved = np.take_along_axis(unit, permutation[:, :, None], axis=1)
    weight = signs * np.take_along_axis(weights, permutation, axis=1)
    total = np.einsum("sk,skp->kp", weight, moved)
    known = np.linalg.norm(total, axis=1, keepdims=True) > 0
    return np.where(known, _unit_rows(total), reference).astype(unit.dtype)


def align(draws, reference=None, *, codes=None, active=None, flip=True, max_iter=50):
    """Relabel the atoms of every draw, and fix their signs, so that they agree across draws.

    Alternates between the best signed assignment of every draw to a reference and the reference's update to
    the mean direction of each label; neither step lowers the sum of cosines (Stephens, JRSS B 62(4), 2000,
    with the cosine as the loss).

    Parameters
    ----------
    draws : array_like, shape (..., K, P)
        Dictionaries, for example (chain, draw, K, P).
    reference : array_like, shape (K_ref, P), optional
        Where to start, for example a fit's dictionary, whose order is kept; K_ref is at most K, and the
        draws' other atoms get the labels after it. Default: the last of the draws with most active atoms,
        and the atoms that only other draws use.
    codes : array_like, shape (..., N, K), optional
        Codes to relabel along.
    active : array_like, shape (..., K), optional
        Weight of each atom, usually 1 where it is in use and 0 where it is not: an atom that is not in use
        has a direction without information and must not pull on a label.
    flip : bool
        Let an atom change sign; False for nonnegative codes.
    max_iter : int
        Most passes over the draws; 1 matches the draws to the reference as given.

    Returns
    -------
    Alignment

    Raises
    ------
    TypeError, ValueError
        Arrays that are not finite numbers or whose shapes do not fit together, or a reference with more
        atoms than the draws.
    """
    draws = check_array(draws, "draws", ("...", "K", "P"))
    *lead, n_atoms, n_features = draws.shape
    max_iter, flip = check_count(max_iter, "max_iter"), check_flag(flip, "flip")
    unit = _unit_rows(draws.reshape(-1, n_atoms, n_features))
    weights = np.ones(unit.shape[:2], unit.dtype)
    if active is not None:
        active = check_array(active, "active", (*lead, n_atoms))
        if active.min() < 0:
            raise ValueError(f"active must hold weights of at least 0, found {active.min():g}")
        weights = active.reshape(weights.shape).astype(unit.dtype)
    if reference is not None:
        reference = check_matrix(reference, "reference", n_features=n_features)
        if len(reference) > n_atoms:
            raise ValueError(f"reference has {len(reference)} atoms, expected at most the draws' {n_atoms}")
    if codes is not None:
        codes = check_array(codes, "codes", (*lead, "N", n_atoms))

    target = _first_reference(unit, weights, reference, flip)
    permutation, signs, cosines = _assign(unit, weights, target, flip)
    n_iter, converged = 1, False
    while n_iter < max_iter and not converged:
        target = _mean_directions(unit, weights, permutation, signs, target)
        before = permutation, signs
        permutation, signs, cosines = _assign(unit, weights, target, flip)
        n_iter += 1
        converged = np.array_equal(before, (permutation, signs))

    shape = (*lead, n_atoms)
    result = Alignment(
        dictionary=draws,
        codes=None,
        permutation=permutation.reshape(shape),
        signs=signs.reshape(shape),
        cosines=cosines.reshape(shape),
        reference=target,
        n_iter=n_iter,
        converged=converged,
    )
    aligned = result.apply(draws, axis=-2, signed=True)
    return replace(
        result, dictionary=aligned, codes=None if codes is None else result.apply(codes, signed=True)
    )
