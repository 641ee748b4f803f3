"""Other ways to store tokens, at equal bytes and at equal nonzeros: PCA, k-means, top-k coding, scikit-learn.

All dictionaries are learned on training tokens, and all codes of held-out tokens are rounded and entropy-coded by the
same code (`padl_bayes.tradeoff.quantise`), each at the step at which its bytes are those asked for. Storage in half
precision, without entropy coding, is counted beside it.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from padl_bayes._equal_sparsity import code_at, code_omp, match, mean_nonzeros
from padl_bayes._options import check_sequence
from padl_bayes._validation import check_scalar
from padl_bayes.compress.tokens import (
    MEAN_BITS,
    Cost,
    check_tokens,
    code_tokens,
    cost_of,
    default_step,
)
from padl_bayes.rivals import LABELS, learn_sklearn
from padl_bayes.tradeoff.storage import RESOLUTION

STORAGE_TOL = 0.002
MOST_STEPS = 14
TOO_FINE = 100.0
MOD_ROUNDS = 6
SPARSER = (0.125, 0.25)
COMPONENTS = (16, 32, 48, 64, 96, 128)
CLUSTERS = (64, 256)
RULES = ("PCA", "k-means", "top-k", "scikit-learn")


class Entry(NamedTuple):
    """A way to store tokens."""

    method: str
    share: float
    """Bytes asked for, as a share of those of the fit at its default step."""
    cost: Cost
    """At the step that comes nearest to those bytes."""
    within: bool
    """Whether it gets down to them at any step."""


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


def clusters_cost(tokens, mean, codes, centres, step):
    """`Cost` of k-means: an index a token at the entropy of the indices, centres rounded as atoms are.

    A centre that n tokens have is rounded to ``step / sqrt(n)``, its entries are coded as normal ones of its own scale,
    and that scale takes 16 bits.
    """
    centred = np.asarray(tokens, np.float64) - mean
    count = codes.sum(axis=0)
    kept = count > 0
    count, codes, centres = count[kept], codes[:, kept], centres[kept]
    grid = step / np.sqrt(count)[:, None]
    entries = np.round(centres / grid)
    spread = np.maximum(np.sqrt(np.square(entries).mean(axis=1, keepdims=True)), 0.5)
    cells = ndtr((entries + 0.5) / spread) - ndtr((entries - 0.5) / spread)
    bits = -np.log2(cells + RESOLUTION).sum() - count @ np.log2(count / len(codes))
    plain = np.square(centred - codes @ centres).mean()
    rounded = np.square(centred - codes @ (entries * grid)).mean()
    index = np.ceil(np.log2(len(centres))) / 8
    return Cost(
        len(count),
        1.0,
        float(plain**0.5),
        float(1 - plain / np.square(centred).mean()),
        float((bits + MEAN_BITS * (centred.shape[1] + len(count))) / 8),
        float(rounded**0.5),
        float(len(codes) * index + 2 * centred.shape[1] * (len(centres) + 1)),
    )


def at_bytes(cost, target, start):
    """`Cost` at the step at which ``cost(step)`` takes ``target`` bytes, by regula falsi on its logarithm.

    Returns
    -------
    Cost, bool
        The nearest, and whether it is within `STORAGE_TOL` of the target or below it.
    """

    def count(step):
        try:
            found = cost(step)
        except ValueError as error:
            if "too fine" not in str(error):
                raise
            return TOO_FINE * target, None
        return found.n_bytes, found

    found = match(count, target, start, tol=STORAGE_TOL, most=MOST_STEPS, step=1.3)[1]
    return found, found is not None and found.n_bytes <= (1 + STORAGE_TOL) * target


def _own(found, held_out, codes, nonzeros):
    """The fit's own codes, and those of OMP with the same atoms, sparser ones too."""
    yield _Coded("this package", found.dictionary, codes)
    for share in (*SPARSER, 1):
        count = max(1, round(share * nonzeros))
        yield _Coded(
            "this package, OMP", found.dictionary, code_omp(held_out, found.dictionary, n_nonzero=count)
        )


def _rivals(train, held_out, n_atoms, nonzeros, methods, random_state):
    """Dictionaries and held-out codes of each method at several sizes."""
    wanted = [max(1, round(share * nonzeros)) for share in (*SPARSER, 1)]
    rank, entries = min(train.shape), held_out.shape[0] + held_out.shape[1]
    if "PCA" in methods:
        # as many as take the bytes of sparse codes with that many nonzeros in half precision
        index = np.ceil(np.log2(n_atoms)) / 16
        same = [
            int((n_atoms * held_out.shape[1] + len(held_out) * k * (1 + index)) / entries) for k in wanted
        ]
        for k in sorted({size for size in (*COMPONENTS, *same, wanted[-1]) if 0 < size <= rank}):
            yield _Coded("PCA", *pca(train, held_out, k))
    if "k-means" in methods:
        for k in (size for size in CLUSTERS if size <= len(train)):
            yield _Coded("k-means", *k_means(train, held_out, k, random_state=random_state))
    if "top-k" in methods:
        for k in wanted:
            atoms = top_k(train, n_atoms, k, random_state=random_state)
            yield _Coded("top-k", atoms, code_omp(held_out, atoms, n_nonzero=k))
    if "scikit-learn" in methods:
        for k in wanted:
            learned = learn_sklearn(train, n_atoms, k, minibatch=True, random_state=random_state, max_iter=20)
            for rule in ("lasso", "omp"):
                codes = code_at(held_out, learned.dictionary, k, rule, learned.penalty)
                yield _Coded(f"scikit-learn, {LABELS[rule]}", learned.dictionary, codes)


def compare_tokens(found, train, held_out, *, methods=RULES, shares=(1.0, 0.5), random_state=0):
    """Store held-out tokens by a fit and by others, at equal bytes and at equal nonzeros.

    Parameters
    ----------
    found : TokenFit
        Of the training tokens; its default step on held-out tokens sets the bytes.
    train, held_out : array_like, shapes (N, P) and (M, P), or (images, tokens, P)
    methods : sequence of {"PCA", "k-means", "top-k", "scikit-learn"}
        "top-k" and "scikit-learn" get as many atoms as the fit has.
    shares : sequence of float
        Of those bytes, at which all are compared.
    random_state : int

    Returns
    -------
    list of Entry
        The fit's own codes first, and those of OMP with its atoms; then every rival at every size. `best_stored`,
        `best_half` and `at_nonzeros` pick from it.

    Raises
    ------
    TypeError, ValueError
        Bad input: tokens with NaN, of another width, or none; an unknown method.
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
    shares = [check_scalar(share, "shares", strict=True) for share in shares]
    codes, step = code_tokens(found, held_out), default_step(found)
    full = cost_of(held_out, found.mean, codes, found.dictionary, step)
    centred = train - found.mean, held_out - found.mean
    nonzeros = mean_nonzeros(codes)
    own = _own(found, centred[1], codes, nonzeros)
    rivals = _rivals(*centred, len(found.dictionary), nonzeros, methods, random_state)
    entries = []
    for coded in (*own, *rivals):
        price = clusters_cost if coded.method == "k-means" else cost_of

        def cost(step, coded=coded, price=price):
            return price(held_out, found.mean, coded.codes, coded.dictionary, step)

        entries += [
            Entry(coded.method, share, *at_bytes(cost, share * full.n_bytes, step)) for share in shares
        ]
    return entries


def _best(entries, figure):
    best: dict = {}
    for entry in entries:
        if entry.method not in best or figure(entry) < figure(best[entry.method]):
            best[entry.method] = entry
    return best


def best_stored(entries, share=1.0):
    """Of each method, the entry of least error among those within the share of the bytes."""
    return _best([e for e in entries if e.share == share and e.within], lambda e: e.cost.rmse_stored)


def best_half(entries, n_bytes):
    """Of each method, the entry of least error among those within these bytes in half precision."""
    return _best([e for e in entries if e.cost.n_bytes_half <= n_bytes], lambda e: e.cost.rmse)


def at_nonzeros(entries, nonzeros):
    """Of each method, the entry whose nonzeros a token are nearest."""
    return _best(entries, lambda e: abs(e.cost.nonzeros - nonzeros))
