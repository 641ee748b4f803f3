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

from ._equal_sparsity import ROUGH_ROWS, RULES, code_at, code_lasso, match, mean_nonzeros, refit_support
from ._validation import check_count, check_matrix

LEARN_TOL = 0.03
MOST_FITS = 6
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
    errors = []
    for X, table in zip(data, codes, strict=True):
        residual = np.asarray(X, np.float64) - np.asarray(table, np.float64) @ dictionary
        errors.append(float(np.sqrt(np.mean(residual**2))))
    nonzeros, held_out = map(mean_nonzeros, codes)
    return Score(method, coding, len(dictionary), nonzeros, held_out, errors[0], errors[1], seconds)


def learn_sklearn(X, n_atoms, nonzeros, *, minibatch=False, penalty=None, random_state=0, **options):
    """Learn with scikit-learn, at the penalty whose lasso codes have ``nonzeros`` a sample.

    Parameters
    ----------
    X : ndarray, shape (N, P)
    n_atoms : int
    nonzeros : float
    minibatch : bool
        ``MiniBatchDictionaryLearning`` in place of ``DictionaryLearning``.
    penalty : float, optional
        Learn at this one, without a search.
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

    return _learn(f"scikit-learn {cls.__name__}", fit, X, nonzeros, penalty)


def learn_spams(X, n_atoms, nonzeros, *, n_iter=200, penalty=None, random_state=0):
    """Learn with SPAMS's ``trainDL`` (online, l1), at the penalty whose lasso codes have ``nonzeros`` a sample.

    Parameters
    ----------
    X : ndarray, shape (N, P)
    n_atoms : int
    nonzeros : float
    n_iter : int
        Number of mini-batches, each of 512 samples.
    penalty : float, optional
        Learn at this one, without a search.
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

    return _learn("SPAMS trainDL", fit, X, nonzeros, penalty)


def have_spams():
    """Return whether SPAMS can be imported."""
    return importlib.util.find_spec("spams") is not None


def _learn(method, fit, X, nonzeros, penalty):
    """Learn at ``penalty``, or search for it: then the fit that came nearest is the answer."""
    some = X[:: max(1, len(X) // (4 * ROUGH_ROWS))]

    def learn(penalty):
        started = time.perf_counter()
        dictionary = np.ascontiguousarray(fit(penalty))
        return Learned(method, dictionary, penalty, time.perf_counter() - started)

    def count(penalty):
        learned = learn(penalty)
        return mean_nonzeros(code_lasso(some, learned.dictionary, penalty)), learned

    if penalty is not None:
        return learn(penalty)
    start = float(np.sqrt(np.mean(X**2)))
    return match(count, nonzeros, start, tol=LEARN_TOL, most=MOST_FITS)[1]


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
        As for `compare_rivals`; ``nonzeros`` is a pair (training, held-out).

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


def compare_rivals(
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
        Compare with scikit-learn's ``MiniBatchDictionaryLearning``, which is faster than ``DictionaryLearning``.
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
