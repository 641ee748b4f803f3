"""Dictionaries of other packages at the same size and the same number of nonzero codes.

Accuracy only compares at equal cost, so rivals get as many atoms, and the penalty of their lasso codes is found by
bisection until a sample has as many nonzeros on average. Lasso codes are shrunk towards zero; orthogonal matching
pursuit (OMP) is not, so a rival's dictionary is coded by both.
"""

import importlib.util
import math
import time
import warnings
from typing import NamedTuple

import numpy as np

from ._validation import check_choice, check_count, check_matrix

LEARN_TOL = 0.03
CODE_TOL = 0.005
MOST_FITS = 6
MOST_CODINGS = 25
ROUGH_ROWS = 256
RULES = ("lasso", "omp", "omp_residual")
LABELS = {"lasso": "lasso", "omp": "OMP, equal counts", "omp_residual": "OMP, equal residuals"}


class Score(NamedTuple):
    """How well a dictionary and codes reconstruct, and what they cost."""

    method: str
    """Where the dictionary comes from."""
    coding: str
    """Where the codes come from."""
    n_atoms: int
    nonzeros: float
    """Mean over training samples."""
    nonzeros_held_out: float
    rmse: float
    """Root mean squared error of an entry of a training sample."""
    rmse_held_out: float
    seconds: float
    """Learning the dictionary, without the search for the penalty."""


class Learned(NamedTuple):
    """A dictionary of another package."""

    method: str
    dictionary: np.ndarray
    """(K, P)"""
    penalty: float
    seconds: float


class Data(NamedTuple):
    """Training and held-out samples, (N, P) and (M, P)."""

    train: np.ndarray
    held_out: np.ndarray


def score(method, coding, dictionary, codes, data, seconds=math.nan):
    """Return the `Score` of codes of the training and of the held-out samples.

    Parameters
    ----------
    method, coding : str
    dictionary : ndarray, shape (K, P)
    codes : tuple of ndarray, shapes (N, K) and (M, K)
    data : Data
    seconds : float
    """
    nonzeros = [mean_nonzeros(table) for table in codes]
    errors = []
    for X, table in zip(data, codes, strict=True):
        residual = np.asarray(X, np.float64) - np.asarray(table, np.float64) @ dictionary
        errors.append(float(np.sqrt(np.mean(residual**2))))
    return Score(method, coding, len(dictionary), *nonzeros, *errors, seconds)


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
    best, ends, last = None, {}, None
    at = math.log(start)
    for _ in range(most):
        value, result = count(math.exp(at))
        miss = value - target
        if best is None or abs(miss) < best[0]:
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
            step **= 2
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
    return codes.T / np.where(norms > 0, norms, 1)


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


def learn_sklearn(X, n_atoms, nonzeros, *, minibatch=False, random_state=0, **options):
    """Learn with scikit-learn, at the penalty whose lasso codes have ``nonzeros`` a sample.

    Parameters
    ----------
    X : ndarray, shape (N, P)
    n_atoms : int
    nonzeros : float
    minibatch : bool
        `MiniBatchDictionaryLearning` in place of `DictionaryLearning`.
    random_state : int
    **options
        Of that class.

    Returns
    -------
    Learned
    """
    from sklearn.decomposition import DictionaryLearning, MiniBatchDictionaryLearning

    cls = MiniBatchDictionaryLearning if minibatch else DictionaryLearning

    def fit(penalty):
        learner = cls(n_atoms, alpha=penalty, fit_algorithm="cd", random_state=random_state, **options)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Objective did not converge")
            return learner.fit(X).components_

    return _learn(f"scikit-learn {cls.__name__}", fit, X, nonzeros)


def learn_spams(X, n_atoms, nonzeros, *, n_iter=200, random_state=0):
    """Learn with SPAMS's ``trainDL`` (online, l1), at the penalty whose lasso codes have ``nonzeros`` a sample.

    Parameters
    ----------
    X : ndarray, shape (N, P)
    n_atoms : int
    nonzeros : float
    n_iter : int
        Number of mini-batches, each of 512 samples.
    random_state : int
        Chooses the samples that the dictionary starts from.

    Returns
    -------
    Learned
    """
    import spams

    norms = np.linalg.norm(X, axis=1)
    rng = np.random.default_rng(random_state)
    usable = np.flatnonzero(norms > 1e-6 * norms.max())
    first = rng.choice(usable, n_atoms, replace=len(usable) < n_atoms)
    atoms = np.asfortranarray((X[first] / norms[first, None]).T)

    def fit(penalty):
        return spams.trainDL(
            np.asfortranarray(X.T), D=atoms.copy(order="F"), lambda1=penalty, iter=n_iter, mode=2,
            batchsize=512, numThreads=-1, verbose=False,
        ).T  # fmt: skip

    return _learn("SPAMS trainDL", fit, X, nonzeros)


def have_spams():
    """Return whether SPAMS can be imported."""
    return importlib.util.find_spec("spams") is not None


def _learn(method, fit, X, nonzeros):
    """Search for the penalty; the fit that came nearest is the answer."""

    def count(penalty):
        started = time.perf_counter()
        dictionary = np.ascontiguousarray(fit(penalty))
        seconds = time.perf_counter() - started
        some = X[:: max(1, len(X) // (4 * ROUGH_ROWS))]
        return mean_nonzeros(code_lasso(some, dictionary, penalty)), (dictionary, seconds)

    start = float(np.sqrt(np.mean(X**2)))
    penalty, (dictionary, seconds) = match(count, nonzeros, start, tol=LEARN_TOL, most=MOST_FITS)
    return Learned(method, dictionary, penalty, seconds)


def score_coded(learned, data, nonzeros, rules=RULES):
    """Scores of a dictionary under several coding rules, each at the ``nonzeros`` (training, held-out) asked for."""
    scores = []
    for rule in rules:
        codes = tuple(
            code_at(X, learned.dictionary, target, rule, learned.penalty)
            for X, target in zip(data, nonzeros, strict=True)
        )
        scores.append(score(learned.method, LABELS[rule], learned.dictionary, codes, data, learned.seconds))
    return scores


def score_estimator(method, estimator, data):
    """Scores of a fitted `PADL`: its sparse codes, and least squares on their support."""
    dictionary, seconds = estimator.components_, estimator.fit_.wall_time
    codes = tuple(estimator.transform(X) for X in data)
    refitted = tuple(refit_support(X, dictionary, table) for X, table in zip(data, codes, strict=True))
    return [
        score(method, "its own", dictionary, codes, data, seconds),
        score(method, "its own, refitted", dictionary, refitted, data, seconds),
    ]


def score_rivals(own, data, n_atoms, nonzeros, *, minibatch, rules, spams_iter, random_state, callback):
    """Scores of what other packages make of the same data, and of their codes for our dictionaries.

    Parameters
    ----------
    own : sequence of Learned
        Fitted dictionaries of ours, coded by ``rules`` but for lasso.
    data : Data
        In float64.
    n_atoms, nonzeros, minibatch, rules, spams_iter, random_state, callback
        As for `compare`; ``nonzeros`` is a pair (training, held-out).

    Returns
    -------
    list of Score
    """
    say = callback or (lambda text: None)
    scores = []
    unbiased = [rule for rule in rules if rule != "lasso"]
    for learned in own:
        say(f"OMP with the atoms of {learned.method}")
        scores += score_coded(learned, data, nonzeros, unbiased)
    say(f"scikit-learn with {n_atoms} atoms, penalty matched to {nonzeros[0]:.3g} nonzeros a sample")
    learned = learn_sklearn(data.train, n_atoms, nonzeros[0], minibatch=minibatch, random_state=random_state)
    scores += score_coded(learned, data, nonzeros, rules)
    if have_spams():
        say("SPAMS trainDL, matched likewise")
        learned = learn_spams(data.train, n_atoms, nonzeros[0], n_iter=spams_iter, random_state=random_state)
        scores += score_coded(learned, data, nonzeros, rules)
    return scores


def own_atoms(estimators):
    """Dictionaries of fitted `PADL` estimators that have any atom, by name, as `score_rivals` takes them."""
    return [
        Learned(name, np.asarray(est.components_, np.float64), math.nan, est.fit_.wall_time)
        for name, est in estimators.items()
        if est.n_active_
    ]


def make_data(X_train, X_held_out):
    """Return the checked samples as `Data` in float64."""
    X_train = check_matrix(X_train, "X_train", min_rows=2).astype(np.float64)
    X_held_out = check_matrix(X_held_out, "X_held_out", n_features=X_train.shape[1]).astype(np.float64)
    return Data(X_train, X_held_out)


def compare(
    estimators,
    X_train,
    X_held_out,
    *,
    minibatch=False,
    n_atoms=None,
    rules=RULES,
    spams_iter=200,
    random_state=0,
    callback=None,
):
    """Compare fitted `PADL` estimators with dictionaries that scikit-learn and (if installed) SPAMS learn.

    Parameters
    ----------
    estimators : mapping of str to PADL
        Fitted on ``X_train``. The first sets how many atoms rivals get and how many nonzeros all but the own codes
        of the others have.
    X_train, X_held_out : array_like, shapes (N, P) and (M, P)
    minibatch : bool
        Compare with scikit-learn's `MiniBatchDictionaryLearning`, which is faster than `DictionaryLearning`.
    n_atoms : int, optional
        Atoms of the rivals; the active ones of the first estimator by default.
    rules : sequence of {"lasso", "omp", "omp_residual"}
        How to code with the rivals' dictionaries, and, but for lasso, with the estimators'; see `code_at`.
    spams_iter : int
        Mini-batches of SPAMS.
    random_state : int
    callback : callable, optional
        Called with a line of text before each step.

    Returns
    -------
    list of Score
        The estimators first. Rivals have the same mean nonzeros on either side to 0.5%, but for OMP with equal counts,
        which has the next higher whole number where a sample needs that many.
    """
    data = make_data(X_train, X_held_out)
    scores = [line for name, est in estimators.items() for line in score_estimator(name, est, data)]
    nonzeros = (scores[0].nonzeros, scores[0].nonzeros_held_out)
    if min(nonzeros) == 0:
        return scores
    return scores + score_rivals(
        own_atoms(estimators),
        data,
        scores[0].n_atoms if n_atoms is None else check_count(n_atoms, "n_atoms"),
        nonzeros,
        minibatch=minibatch,
        rules=rules,
        spams_iter=spams_iter,
        random_state=random_state,
        callback=callback,
    )
