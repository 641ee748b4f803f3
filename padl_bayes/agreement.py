"""Do atoms with a probability of 0.9 turn out to be real nine times in ten?"""

from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from padl_bayes._validation import check_array, check_count, check_matrix, check_scalar
from padl_bayes.alignment import align, match


class Reliability(NamedTuple):
    """Probabilities set against outcomes, bin by bin; bins without a forecast are left out.

    Attributes
    ----------
    edges : ndarray, shape (B, 2)
        Lower and upper end of each bin.
    number : ndarray of int, shape (B,)
        Forecasts in it.
    forecast : ndarray, shape (B,)
        Their mean probability.
    frequency : ndarray, shape (B,)
        Mean outcome.
    lower, upper : ndarray, shape (B,)
        Wilson interval of the frequency.
    level : float
        Probability of the interval.
    ece : float
        Expected calibration error: mean over forecasts of ``abs(forecast - frequency)`` of their bin.
    ece_calibrated : float
        What ``ece`` is on average if every outcome happens with the probability given, independently: chance alone
        takes it above zero.
    brier : float
        Mean squared difference of probability and outcome.
    """

    edges: np.ndarray
    number: np.ndarray
    forecast: np.ndarray
    frequency: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    level: float
    ece: float
    ece_calibrated: float
    brier: float


def _check_unit(values, name, shape):
    values = check_array(values, name, shape).astype(np.float64)
    if values.min() < 0 or values.max() > 1:
        raise ValueError(f"{name} must lie in [0, 1], found values from {values.min():g} to {values.max():g}")
    return values


def _edges(bins):
    """Return the ends of the bins: equal widths, or those given."""
    if np.ndim(bins) == 0:
        # a quotient, unlike a multiple of a step, is the number that people write: 3 / 10 is 0.3
        return np.arange(check_count(bins, "bins") + 1) / bins
    edges = _check_unit(bins, "bins", ("B",))
    if len(edges) < 2 or (np.diff(edges) <= 0).any() or (edges[0], edges[-1]) != (0, 1):
        raise ValueError(f"bins must be edges that rise from 0 to 1, found {edges.tolist()}")
    return edges


def wilson(frequency, count, level=0.9):
    """Return the Wilson score interval of a probability (Wilson, JASA 22(158), 1927).

    Parameters
    ----------
    frequency : array_like
        Mean of ``count`` outcomes in [0, 1].
    count : array_like
    level : float
        In (0, 1).

    Returns
    -------
    tuple of ndarray
        Lower and upper end.

    Notes
    -----
    It inverts the normal test with variance ``p (1 - p) / count``, the largest that outcomes in [0, 1] of mean p can
    have: with shares in place of yes and no it is too wide rather than too narrow.
    """
    z2 = norm.ppf((1 + level) / 2) ** 2
    middle = (count * frequency + z2 / 2) / (count + z2)
    reach = np.sqrt(z2 * (count * frequency * (1 - frequency) + z2 / 4)) / (count + z2)
    return np.maximum(middle - reach, 0), np.minimum(middle + reach, 1)


def _mean_deviation(probability):
    """E abs(sum of outcomes - its mean) for independent outcomes of these probabilities, exactly."""
    law = np.ones(1)
    for p in probability:
        law = np.convolve(law, (1 - p, p))
    return law @ np.abs(np.arange(len(law)) - probability.sum())


def reliability(probability, outcome, *, bins=10, level=0.9):
    """Set probabilities against what happened.

    Parameters
    ----------
    probability : array_like, shape (n,)
        Forecasts in [0, 1], for example P(active) of the atoms of many fits.
    outcome : array_like of bool or float, shape (n,)
        Whether it happened, for example whether the atom is true; or the share of trials in which it did, in [0, 1],
        for example that of other fits which hold the atom (`reappearance`).
    bins : int or array_like
        Number of bins of equal width, or edges that rise from 0 to 1; a bin holds its lower end, the last one both.
    level : float
        Probability of the intervals of the frequencies, in (0, 1).

    Returns
    -------
    Reliability

    Raises
    ------
    TypeError, ValueError
        Arrays of different lengths or out of range, edges that do not rise from 0 to 1.

    Notes
    -----
    A share s enters the Brier score as that many outcomes, ``p^2 - 2 p s + s``. The intervals take forecasts to be
    independent; atoms of one fit are not quite.
    """
    probability = _check_unit(probability, "probability", ("n",))
    outcome = _check_unit(outcome, "outcome", (len(probability),))
    edges = _edges(bins)
    level = check_scalar(level, "level", strict=True)
    if level >= 1:
        raise ValueError(f"level must be below 1, found {level:g}")
    which = np.minimum(np.searchsorted(edges, probability, side="right"), len(edges) - 1) - 1
    filled, bin_of = np.unique(which, return_inverse=True)
    count = np.bincount(bin_of)
    forecast = np.bincount(bin_of, probability) / count
    frequency = np.clip(np.bincount(bin_of, outcome) / count, 0, 1)
    deviation = [_mean_deviation(probability[bin_of == b]) for b in range(len(filled))]
    lower, upper = wilson(frequency, count, level)
    n = len(probability)
    return Reliability(
        edges=np.stack([edges[filled], edges[filled + 1]], axis=1),
        number=count,
        forecast=forecast,
        frequency=frequency,
        lower=lower,
        upper=upper,
        level=level,
        ece=float(count @ np.abs(forecast - frequency) / n),
        ece_calibrated=float(np.sum(deviation) / n),
        brier=float(np.mean(probability**2 - 2 * probability * outcome + outcome)),
    )


def _atoms(fit, name, n_features=None):
    """Atoms (K, P) of an estimator, of an engine's result, or as given; there may be none."""
    for attribute in ("components_", "dictionary"):
        fit = getattr(fit, attribute, fit)
    shape = np.shape(fit)
    if len(shape) == 2 and shape[0] == 0 and n_features in (None, shape[1]):
        return np.zeros(shape)
    return check_matrix(fit, name, n_features=n_features)


def reappearance(atoms, others, *, threshold=0.95, flip=True):
    """Share of other fits that hold each atom.

    Parameters
    ----------
    atoms : array_like, shape (K, P), or a fit
        Atoms of any norm, a fitted `PADL`, or a result with an attribute ``dictionary``.
    others : sequence of array_like or fits
        Independent fits: of other seeds, or of other data. With one true dictionary in the list the shares are 1 for
        atoms that are paired with a true one and 0 for others; with the active atoms of posterior draws they are
        posterior probabilities that there is such an atom.
    threshold : float
        Absolute cosine to exceed, in [0, 1].
    flip : bool
        Whether an atom and its negative are the same.

    Returns
    -------
    ndarray, shape (K,)
        An atom of another fit stands for one atom at most: fits are paired one to one by `match`.

    Raises
    ------
    TypeError, ValueError
        No other fit, dictionaries that are no matrices of one feature count, or ``threshold`` out of range.
    """
    atoms = _atoms(atoms, "atoms")
    threshold = check_scalar(threshold, "threshold", maximum=1.0)
    if len(others) == 0:
        raise ValueError("others must hold at least one fit, found none")
    held = np.zeros(len(atoms))
    for i, fit in enumerate(others):
        other = _atoms(fit, f"others[{i}]", n_features=atoms.shape[1])
        if len(atoms) and len(other):
            held += match(other, atoms, flip=flip).cosines > threshold
    return held / len(others)


class PosteriorAtoms(NamedTuple):
    """The atoms that a posterior speaks of, one a label.

    Attributes
    ----------
    dictionary : ndarray, shape (K, P)
        Unit-norm mean directions; zero where a label is never active.
    probability : ndarray, shape (K,)
        P(active): the label's activation probability, averaged over draws.
    presence : ndarray, shape (K,)
        Share of the draws with an active atom that matches the mean direction. Where an atom is active but its
        direction is not determined, this is the smaller one.
    """

    dictionary: np.ndarray
    probability: np.ndarray
    presence: np.ndarray


def posterior_atoms(samples, *, threshold=0.95, flip=True):
    """Return the atoms of a posterior with how sure they are.

    Parameters
    ----------
    samples : mapping of str to array_like
        Draws (chain, draw, ...): dictionary (..., K, P) and, unless all atoms are always active, active and
        activation_prob (..., K). For example ``posterior["posterior"]`` of ArviZ data, or ``samples`` of
        `padl_bayes.inference.sample_gibbs`. They are aligned over all draws first.
    threshold : float
        Absolute cosine that a match exceeds, in [0, 1].
    flip : bool
        Whether an atom and its negative are the same; False for nonnegative codes.

    Returns
    -------
    PosteriorAtoms
        In the order of the aligned labels.

    Raises
    ------
    TypeError, ValueError
        Draws that are missing or do not fit together, or ``threshold`` out of range.
    """
    if not hasattr(samples, "keys"):
        raise TypeError(
            "samples must be a mapping of names to draws, such as posterior['posterior'], "
            f"found {type(samples).__name__}"
        )
    for name in ("dictionary", *(("activation_prob",) if "active" in samples else ())):
        if name not in samples:
            raise ValueError(f"samples must hold {name}, found {sorted(samples)}")
    draws = check_array(samples["dictionary"], "dictionary", ("chain", "draw", "K", "P"))
    active = check_array(samples["active"], "active", draws.shape[:3]) if "active" in samples else None
    aligned = align(draws, active=active, flip=flip)
    if active is None:
        active = probability = np.ones(draws.shape[:3])
    else:
        probability = aligned.apply(
            _check_unit(samples["activation_prob"], "activation_prob", draws.shape[:3])
        )
    in_use = [
        atoms[on > 0]
        for atoms, on in zip(
            draws.reshape(-1, *draws.shape[2:]), active.reshape(-1, draws.shape[2]), strict=True
        )
    ]
    presence = reappearance(aligned.reference, in_use, threshold=threshold, flip=flip)
    return PosteriorAtoms(aligned.reference, probability.mean((0, 1)), presence)
