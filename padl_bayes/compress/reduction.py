"""Fewer tokens: which patches share one, what it holds, and how its way through the network goes back to each patch.

A reduction is an array of labels, one a patch token. Rules: the atom that a token uses most; groups split along the
atoms in which their tokens differ most; bipartite matching by similarity (Bolya et al., Token Merging, ICLR 2023); and
dropping at random. Correlations with atoms stand in for codes, whose posterior costs more than the network's layers.
"""

import heapq
from typing import NamedTuple

import numpy as np

from padl_bayes._validation import check_array, check_count, check_matrix


class Merged(NamedTuple):
    """Tokens that stand for several."""

    tokens: np.ndarray
    """(m, P)"""
    sizes: np.ndarray
    """(m,) how many each stands for in attention."""
    labels: np.ndarray
    """(n,) which of them each token went to."""


def _numbered(labels):
    """Labels as numbers 0, 1, ... without gaps."""
    return np.unique(labels, return_inverse=True)[1]


def _unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(rows.dtype).tiny)


def _check_target(n_groups, n_tokens):
    n_groups = check_count(n_groups, "n_groups")
    if n_groups > n_tokens:
        raise ValueError(f"n_groups must be at most the {n_tokens} tokens, found {n_groups}")
    return n_groups


def _along_atoms(tokens, dictionary, mean, n_groups):
    """Inner products of centred tokens with atoms (n, K), and the number of groups, all checked."""
    tokens = check_matrix(tokens, "tokens")
    dictionary = check_matrix(dictionary, "dictionary", n_features=tokens.shape[1])
    mean = check_array(mean, "mean", (tokens.shape[1],))
    return (tokens - mean) @ dictionary.T, _check_target(n_groups, len(tokens))


def by_leading_atom(tokens, dictionary, mean, n_groups):
    """Group tokens by the atom, and its sign, that each uses most, among those the image uses most.

    The largest correlation decides, the first step of matching pursuit.

    Parameters
    ----------
    tokens : array_like, shape (n, P)
        Of one image.
    dictionary : array_like, shape (K, P)
    mean : array_like, shape (P,)
        That was taken from the tokens to which the dictionary was fitted.
    n_groups : int
        At most so many, and no more than twice the atoms.

    Returns
    -------
    ndarray of int, shape (n,)

    Raises
    ------
    TypeError, ValueError
        Bad input, or widths that differ.
    """
    correlation, n_groups = _along_atoms(tokens, dictionary, mean, n_groups)
    n_atoms = correlation.shape[1]
    best = np.abs(correlation).argmax(axis=1)
    most = np.take_along_axis(correlation, best[:, None], axis=1)[:, 0]
    chosen = best + n_atoms * (most < 0)
    energy = np.bincount(chosen, most**2, 2 * n_atoms)
    kept = np.argsort(-energy, kind="stable")[: min(n_groups, np.count_nonzero(energy))]
    if len(kept) == 0:
        return np.zeros(len(tokens), int)
    signed = correlation[:, kept % n_atoms] * np.where(kept < n_atoms, 1, -1)
    return _numbered(signed.argmax(axis=1))


def by_atoms(tokens, dictionary, mean, n_groups):
    """Split tokens in two, again and again, along the atom in which the tokens of a group differ most.

    The group and atom of largest sum of squared deviations go first; those above the mean part from the others.

    Parameters
    ----------
    tokens, dictionary, mean, n_groups
        As for `by_leading_atom`; there are ``n_groups`` unless tokens are equal along all atoms.

    Returns
    -------
    ndarray of int, shape (n,)

    Raises
    ------
    TypeError, ValueError
        Bad input, or widths that differ.
    """
    correlation, n_groups = _along_atoms(tokens, dictionary, mean, n_groups)
    groups = [np.arange(len(correlation))]

    def entry(i):
        some = correlation[groups[i]]
        deviation = np.square(some - some.mean(axis=0)).sum(axis=0)
        return -float(deviation.max()), i, int(deviation.argmax())

    heap = [entry(0)]
    while len(groups) < n_groups:
        deviation, i, atom = heapq.heappop(heap)
        along = correlation[groups[i], atom]
        above = along > along.mean()
        if deviation == 0 or not above.any():
            break
        groups.append(groups[i][~above])
        groups[i] = groups[i][above]
        heapq.heappush(heap, entry(i))
        heapq.heappush(heap, entry(len(groups) - 1))
    labels = np.empty(len(tokens), int)
    for i, group in enumerate(groups):
        labels[group] = i
    return labels


def by_similarity(keys, n_groups):
    """Group tokens by ToMe's bipartite soft matching, again and again until there are ``n_groups``.

    Tokens at even places each choose the most similar one at an odd place; the most similar pairs are joined, and a
    joined pair has the mean of its keys. A round takes away at most half.

    Parameters
    ----------
    keys : array_like, shape (n, P)
        What similarity is of: ToMe takes the keys of attention, averaged over heads.
    n_groups : int

    Returns
    -------
    ndarray of int, shape (n,)
    """
    keys = check_matrix(keys, "keys")
    n_groups = _check_target(n_groups, len(keys))
    labels, now, sizes = np.arange(len(keys)), keys, np.ones(len(keys), keys.dtype)
    while len(now) > n_groups:
        unit = _unit(now)
        scores = unit[::2] @ unit[1::2].T
        best, similarity = scores.argmax(axis=1), scores.max(axis=1)
        joined = np.argsort(-similarity, kind="stable")[: len(now) - n_groups]
        target = np.arange(len(now))
        target[2 * joined] = 2 * best[joined] + 1
        target = _numbered(target)
        labels = target[labels]
        weight = np.bincount(target, sizes).astype(keys.dtype)
        now = _sums(now * sizes[:, None], target) / weight[:, None]
        sizes = weight
    return labels


def _sums(rows, labels):
    """Sum of the rows of each label."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(labels.max() + 1))
    return np.add.reduceat(rows[order], starts, axis=0)


def merge(tokens, labels, sizes=None):
    """One token a group: the mean, which counts in attention for as many as it stands for.

    Parameters
    ----------
    tokens : ndarray, shape (n, P)
    labels : ndarray of int, shape (n,)
        Every number from 0 to the largest occurs.
    sizes : ndarray of int, shape (n,), optional
        How many each token stands for already, 1 by default.

    Returns
    -------
    Merged
    """
    if sizes is None:
        total, rows = np.bincount(labels), tokens
    else:
        total = np.bincount(labels, sizes).astype(int)
        rows = tokens * sizes[:, None].astype(tokens.dtype)
    return Merged(_sums(rows, labels) / total[:, None].astype(tokens.dtype), total, labels)


def drop(tokens, n_groups, rng):
    """Keep tokens at random; each that is dropped gets back what becomes of the most similar one that is kept.

    Parameters
    ----------
    tokens : ndarray, shape (n, P)
    n_groups : int
    rng : numpy.random.Generator

    Returns
    -------
    Merged
        A token counts in attention for one.
    """
    kept = np.sort(rng.permutation(len(tokens))[: _check_target(n_groups, len(tokens))])
    unit = _unit(tokens)
    labels = (unit @ unit[kept].T).argmax(axis=1)
    labels[kept] = np.arange(len(kept))
    return Merged(tokens[kept], np.ones(len(kept), int), labels)


def scatter(through, merged, tokens):
    """What becomes of every patch: what the network added to its group's token, added to its own.

    The network adds to tokens (residual connections), so a patch keeps its difference from its group at no cost.

    Parameters
    ----------
    through : ndarray, shape (m, P)
        Merged tokens after the network's other blocks.
    merged : Merged
    tokens : ndarray, shape (n, P)
        Before merging.

    Returns
    -------
    ndarray, shape (n, P)
    """
    return tokens + (through - merged.tokens)[merged.labels]
