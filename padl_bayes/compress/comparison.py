"""Other ways to store tokens, at equal bytes and at equal nonzeros: PCA, k-means, top-k coding, scikit-learn.

All dictionaries are learned on training tokens, and all codes of held-out tokens are rounded and entropy-coded by the
same code (`padl_bayes.tradeoff.quantise`), each at the step at which its bytes are those asked for: those of all that
is stored, or those of the codes alone, as atoms and mean cost the less a token the more tokens there are. Storage in
half precision, without entropy coding, is counted beside it.
"""

from typing import NamedTuple

import numpy as np

from padl_bayes._equal_sparsity import code_at, code_omp, match, mean_nonzeros
from padl_bayes._options import check_sequence
from padl_bayes._validation import check_scalar
from padl_bayes.compress.baselines import PricedClusters, k_means, pca, top_k
from padl_bayes.compress.pricing import Cost, Priced
from padl_bayes.compress.tokens import check_found, check_tokens, code_tokens, cost_at_default, default_step
from padl_bayes.rivals import LABELS, learn_sklearn

STORAGE_TOL = 0.002
MOST_STEPS = 14
TOO_FINE = 100.0
SPARSER = (0.125, 0.25)
COUNTS = (0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0)
SIZES = ((1.0, 1.0), (1.0, 0.25), (0.5, 0.25), (0.25, 0.125))
COMPONENTS = (8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 128)
CLUSTERS = (64, 256)
RULES = ("PCA", "k-means", "top-k", "scikit-learn")
COUNTED = ("all", "codes")
OWN = "this package"


class Entry(NamedTuple):
    """A way to store tokens."""

    method: str
    share: float
    """Bytes asked for, as a share of those of the fit at its default step."""
    counted: str
    """Which bytes: "all", or "codes" without atoms and mean."""
    cost: Cost
    """At the step that comes nearest to those bytes."""
    within: bool
    """Whether it gets down to them at any step."""


class _Coded(NamedTuple):
    method: str
    dictionary: np.ndarray
    codes: np.ndarray


def at_bytes(count, target, start):
    """Step at which ``count(step)`` is ``target`` bytes, by regula falsi on its logarithm.

    Returns
    -------
    float, bool
        The nearest, and whether it is within `STORAGE_TOL` of the target or below it.
    """

    def limited(step):
        n_bytes = min(count(step), TOO_FINE * target)
        return n_bytes, n_bytes

    step, n_bytes = match(limited, target, start, tol=STORAGE_TOL, most=MOST_STEPS, step=1.3)
    return step, bool(n_bytes <= (1 + STORAGE_TOL) * target)


def _by_omp(method, dictionary, held_out, nonzeros):
    """Codes of OMP with as many nonzeros, and with fewer: the same numbers for all dictionaries."""
    for count in sorted({min(max(1, round(share * nonzeros)), len(dictionary)) for share in COUNTS}):
        yield _Coded(method, dictionary, code_omp(held_out, dictionary, n_nonzero=count))


def _rivals(train, held_out, n_atoms, nonzeros, methods, random_state):
    """Dictionaries and held-out codes of each method at several sizes."""
    if "PCA" in methods:
        for k in _components(train, held_out, n_atoms, nonzeros):
            yield _Coded("PCA", *pca(train, held_out, k))
    if "k-means" in methods:
        for k in (size for size in CLUSTERS if size <= len(train)):
            yield _Coded("k-means", *k_means(train, held_out, k, random_state=random_state))
    for share_atoms, share in SIZES:
        size = max(1, round(share_atoms * n_atoms))
        count = min(max(1, round(share * nonzeros)), size)
        if "top-k" in methods:
            atoms = top_k(train, size, count, random_state=random_state)
            yield from _by_omp("top-k", atoms, held_out, nonzeros)
        if "scikit-learn" in methods:
            learned = learn_sklearn(
                train, size, count, minibatch=True, random_state=random_state, max_iter=20
            )
            codes = code_at(held_out, learned.dictionary, count, "lasso", learned.penalty)
            yield _Coded(f"scikit-learn, {LABELS['lasso']}", learned.dictionary, codes)
            yield from _by_omp(f"scikit-learn, {LABELS['omp']}", learned.dictionary, held_out, nonzeros)


def _components(train, held_out, n_atoms, nonzeros):
    """Numbers of components, with those that take the bytes of sparse codes in half precision."""
    rank, entries = min(train.shape), held_out.shape[0] + held_out.shape[1]
    index = np.ceil(np.log2(n_atoms)) / 16
    wanted = [max(1, round(share * nonzeros)) for share in (*SPARSER, 1)]
    same = [int((n_atoms * held_out.shape[1] + len(held_out) * k * (1 + index)) / entries) for k in wanted]
    return sorted({size for size in (*COMPONENTS, *same, wanted[-1]) if 0 < size <= rank})


def _entries(coded, tokens, mean, targets, step):
    """An entry for each target ``(share, counted, n_bytes)``, from the most bytes down."""
    price = PricedClusters if coded.method == "k-means" else Priced
    priced = price(tokens, mean, coded.codes, coded.dictionary)
    for share, counted, n_bytes in targets:
        which = COUNTED.index(counted)
        found, within = at_bytes(lambda at, which=which: priced.bytes_at(at)[which], n_bytes, step)
        if within or (share, counted) == (1, "all"):
            yield Entry(coded.method, share, counted, priced.cost(found), within)
        step = found if within else step


def compare_tokens(found, train, held_out, *, others=(), methods=RULES, shares=(1.0, 0.5), random_state=0):
    """Store held-out tokens by a fit and by others, at equal bytes and at equal nonzeros.

    Parameters
    ----------
    found : TokenFit
        Of the training tokens; its default step on held-out tokens sets the bytes.
    train, held_out : array_like, shapes (N, P) and (M, P), or (images, tokens, P)
    others : sequence of TokenFit
        Of the same tokens, for fewer bytes: fewer atoms, or the noise held at more.
    methods : sequence of {"PCA", "k-means", "top-k", "scikit-learn"}
        "top-k" and "scikit-learn" get as many atoms as the fit has, half and a quarter of them.
    shares : sequence of float
        Of those bytes, at which all are compared: of all that is stored, and of the codes alone.
    random_state : int

    Returns
    -------
    list of Entry
        The fit's own codes first, and those of OMP with its atoms; then the other fits, and every rival at every
        size. What does not get down to a share of the bytes is left out of it, but for share 1 of all bytes.
        `best_stored`, `best_half` and `at_nonzeros` pick from it.

    Raises
    ------
    TypeError, ValueError
        Bad input: tokens with NaN, of another width, or none; an unknown method.
    """
    width = len(check_found(found).mean)
    train, held_out = (
        check_tokens(tokens, name, n_features=width).astype(np.float64)
        for tokens, name in ((train, "train"), (held_out, "held_out"))
    )
    methods = check_sequence(methods, "methods", "names of methods")
    unknown = [name for name in methods if name not in RULES]
    if unknown:
        raise ValueError(f"methods must be of {', '.join(RULES)}, found {unknown[0]!r}")
    shares = [
        check_scalar(share, "shares", strict=True) for share in check_sequence(shares, "shares", "numbers")
    ]
    others = [check_found(other, "others") for other in check_sequence(others, "others", "fits")]
    if any(len(other.mean) != width for other in others):
        raise ValueError(f"others must be fits of tokens of width {width}, as found")
    codes, step = code_tokens(found, held_out), default_step(found)
    full = cost_at_default(found, held_out, codes, "held_out")
    targets = [
        (share, counted, share * n_bytes)
        for counted, n_bytes in zip(COUNTED, (full.n_bytes, full.n_bytes_codes), strict=True)
        for share in sorted(shares, reverse=True)
    ]
    train, centred = train - found.mean, held_out - found.mean
    nonzeros = mean_nonzeros(codes)
    coded = [
        _Coded(OWN, found.dictionary, codes),
        *_by_omp(f"{OWN}, OMP", found.dictionary, centred, nonzeros),
    ]
    for other in others:
        coded.append(_Coded(f"{OWN}, noise held", other.dictionary, code_tokens(other, held_out)))
        coded += _by_omp(f"{OWN}, noise held, OMP", other.dictionary, centred, nonzeros)
    rivals = _rivals(train, centred, len(found.dictionary), nonzeros, methods, random_state)
    return [
        entry for one in (*coded, *rivals) for entry in _entries(one, held_out, found.mean, targets, step)
    ]


def _best(entries, figure):
    best: dict = {}
    for entry in entries:
        if entry.method not in best or figure(entry) < figure(best[entry.method]):
            best[entry.method] = entry
    return best


def best_stored(entries, share=1.0, counted="all"):
    """Of each method, the entry of least error among those within the share of the bytes, all or of codes alone."""
    wanted = [e for e in entries if (e.share, e.counted) == (share, counted) and e.within]
    return _best(wanted, lambda e: e.cost.rmse_stored)


def best_half(entries, n_bytes):
    """Of each method, the entry of least error among those within these bytes in half precision."""
    return _best([e for e in entries if e.cost.n_bytes_half <= n_bytes], lambda e: e.cost.rmse)


def at_nonzeros(entries, nonzeros):
    """Of each method, the entry whose nonzeros a token are nearest."""
    return _best(entries, lambda e: abs(e.cost.nonzeros - nonzeros))
