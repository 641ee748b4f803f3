"""Other ways to store tokens, at equal bytes and at equal nonzeros: PCA, k-means, top-k coding, scikit-learn.

All dictionaries are learned on training tokens, and all codes of held-out tokens are rounded and entropy-coded by the
same code (`padl_bayes.tradeoff.quantise`); each rival gets the step at which its bytes are those asked for.
"""

import math
import warnings
from typing import NamedTuple

import numpy as np

from padl_bayes._equal_sparsity import code_at, code_omp, match, mean_nonzeros
from padl_bayes._options import check_sequence
from padl_bayes._validation import check_count
from padl_bayes.compress.tokens import (
    MEAN_BITS,
    Cost,
    check_tokens,
    code_tokens,
    cost_of,
    default_step,
)
from padl_bayes.rivals import learn_sklearn
from padl_bayes.tradeoff.storage import quantise

STORAGE_TOL = 0.002
MOST_STEPS = 14
MOD_ROUNDS = 8
RULES = ("PCA", "k-means", "top-k", "scikit-learn")


class Entry(NamedTuple):
    """A way to store tokens: with the step at which its bytes are those of the fit."""

    method: str
    cost: Cost
    within: bool
    """Whether it gets down to those bytes at any step."""


class _Coded(NamedTuple):
    method: str
    dictionary: np.ndarray
    codes: np.ndarray


def pca(train, held_out, n_components):
    """Codes of principal components: every one is used by every token.

    Parameters
    ----------
    train, held_out : ndarray, shapes (N, P) and (M, P)
        Less the training mean.
    n_components : int

    Returns
    -------
    tuple of ndarray
        Dictionary (K, P) and held-out codes (M, K).
    """
    energy, directions = np.linalg.eigh(train.T @ train)
    dictionary = directions[:, np.argsort(-energy)[:n_components]].T
    return dictionary, held_out @ dictionary.T


def k_means(train, held_out, n_clusters, *, random_state=0):
    """Centres, and held-out codes that are 1 at the nearest.

    Parameters
    ----------
    train, held_out : ndarray, shapes (N, P) and (M, P)
    n_clusters, random_state : int

    Returns
    -------
    tuple of ndarray
        Centres (K, P) and held-out codes (M, K).
    """
    from sklearn.cluster import KMeans

    found = KMeans(n_clusters, n_init=2, random_state=random_state).fit(train)
    codes = np.zeros((len(held_out), n_clusters))
    codes[np.arange(len(held_out)), found.predict(held_out)] = 1
    return found.cluster_centers_, codes


def top_k(train, n_atoms, nonzeros, *, n_rounds=MOD_ROUNDS, random_state=0):
    """Dictionary for codes of exactly ``nonzeros`` atoms a token: OMP and least squares in turn (MOD).

    Engan, Aase and Husoy, ICASSP 1999. Atoms start on tokens drawn at random; one that no token uses moves to the
    token that is explained worst.

    Parameters
    ----------
    train : ndarray, shape (N, P)
    n_atoms, nonzeros, n_rounds, random_state : int

    Returns
    -------
    ndarray, shape (K, P)
    """
    rng = np.random.default_rng(random_state)
    dictionary = _unit(train[rng.choice(len(train), n_atoms, replace=False)])
    for _ in range(n_rounds):
        codes = code_omp(train, dictionary, n_nonzero=nonzeros)
        gram = codes.T @ codes
        gram[np.diag_indices_from(gram)] += 1e-8 * np.trace(gram) / n_atoms
        updated = np.linalg.solve(gram, codes.T @ train)
        idle = np.flatnonzero(~codes.any(axis=0))
        worst = np.argsort(-np.square(train - codes @ dictionary).sum(axis=1))
        updated[idle] = train[worst[: len(idle)]]
        dictionary = _unit(updated)
    return dictionary


def _unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def clusters_cost(tokens, mean, centres, codes, step):
    """`Cost` of k-means: an index a token at the entropy of the indices, centres rounded as atoms are."""
    centred = np.asarray(tokens, np.float64) - mean
    stored = quantise(codes, centres * (2 / step), 1.0, precision=2.0, nonnegative=True)
    share = codes.mean(axis=0)
    share = share[share > 0]
    indices = -len(codes) * float(share @ np.log2(share))
    n_bytes = (stored.storage.dictionary + indices + MEAN_BITS * centred.shape[1]) / 8
    plain = np.square(centred - codes @ centres).mean()
    rounded = np.square(centred - stored.codes @ stored.dictionary * (step / 2)).mean()
    explained = 1 - plain / np.square(centred).mean()
    return Cost(len(share), 1.0, float(plain**0.5), float(explained), float(n_bytes), float(rounded**0.5))


def at_bytes(cost, target, start):
    """The step at which ``cost(step)`` takes ``target`` bytes, by regula falsi on its logarithm.

    Returns
    -------
    Cost, bool
        Nearest, and whether it is within `STORAGE_TOL` of the target or below it.
    """

    def count(step):
        try:
            found = cost(step)
        except ValueError:
            return math.inf, None
        return found.n_bytes, found

    found = match(count, target, start, tol=STORAGE_TOL, most=MOST_STEPS, step=1.3)[1]
    return found, found is not None and found.n_bytes <= (1 + STORAGE_TOL) * target


def _rivals(train, held_out, n_atoms, nonzeros, methods, random_state):
    """Dictionaries and held-out codes of each method at several sizes."""
    rank = min(train.shape)
    if "PCA" in methods:
        for k in sorted({size for size in (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, round(nonzeros)) if size <= rank}):
            yield _Coded("PCA", *pca(train, held_out, k))
    if "k-means" in methods:
        for k in (size for size in (32, 128, 512) if size <= len(train)):
            yield _Coded("k-means", *k_means(train, held_out, k, random_state=random_state))
    if "top-k" in methods:
        for k in sorted({max(1, round(nonzeros * share)) for share in (0.5, 1, 2)}):
            atoms = top_k(train, n_atoms, min(k, n_atoms), random_state=random_state)
            yield _Coded("top-k", atoms, code_omp(held_out, atoms, n_nonzero=min(k, n_atoms)))
    if "scikit-learn" in methods:
        for share in (0.5, 1, 2):
            wanted = min(share * nonzeros, 0.8 * n_atoms)
            learned = learn_sklearn(train, n_atoms, wanted, minibatch=True, random_state=random_state)
            for rule in ("lasso", "omp_residual"):
                codes = code_at(held_out, learned.dictionary, wanted, rule, learned.penalty)
                yield _Coded(f"scikit-learn, {rule.replace('_residual', '')}", learned.dictionary, codes)


def compare_tokens(found, train, held_out, *, methods=RULES, random_state=0):
    """Store held-out tokens by a fit and by others, at equal bytes and at equal nonzeros.

    Parameters
    ----------
    found : TokenFit
        Of the training tokens; its default step on held-out tokens sets the bytes.
    train, held_out : array_like, shapes (N, P) and (M, P), or (images, tokens, P)
    methods : sequence of {"PCA", "k-means", "top-k", "scikit-learn"}
        "top-k" and "scikit-learn" get as many atoms as the fit has.
    random_state : int

    Returns
    -------
    list of Entry
        The fit first; then every rival at every size, with the step that takes the fit's bytes. The best of a method at
        equal storage is that of least ``rmse_stored`` with ``within``; `at_nonzeros` picks by nonzeros.
    """
    width = len(found.mean)
    train, held_out = (
        check_tokens(tokens, name, n_features=width).astype(np.float64)
        for tokens, name in ((train, "train"), (held_out, "held_out"))
    )
    methods = check_sequence(methods, "methods", "names of methods")
    unknown = [name for name in methods if name not in RULES]
    if unknown:
        raise ValueError(f"methods must be of {', '.join(RULES)}, found {unknown[0]!r}")
    codes, step = code_tokens(found, held_out), default_step(found)
    own = cost_of(held_out, found.mean, codes, found.dictionary, step)
    n_atoms = check_count(len(found.dictionary), "atoms of found")
    entries = [Entry("this package", own, True)]
    centred = train - found.mean, held_out - found.mean
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Number of distinct clusters")
        for coded in _rivals(*centred, n_atoms, mean_nonzeros(codes), methods, random_state):
            price = clusters_cost if coded.method == "k-means" else cost_of

            def cost(step, coded=coded, price=price):
                return price(held_out, found.mean, coded.codes, coded.dictionary, step)

            entries.append(Entry(coded.method, *at_bytes(cost, own.n_bytes, step)))
    return entries


def best_stored(entries):
    """Of each method, the entry of least error among those within the bytes; None where none is."""
    best = {entry.method: None for entry in entries}
    for entry in entries:
        now = best[entry.method]
        if entry.within and (now is None or entry.cost.rmse_stored < now.cost.rmse_stored):
            best[entry.method] = entry
    return best


def at_nonzeros(entries):
    """Of each method, the entry whose nonzeros a token are nearest those of the first."""
    wanted, best = entries[0].cost.nonzeros, {}
    for entry in entries:
        if entry.cost is None:
            continue
        now = best.get(entry.method)
        if now is None or abs(entry.cost.nonzeros - wanted) < abs(now.cost.nonzeros - wanted):
            best[entry.method] = entry
    return best
