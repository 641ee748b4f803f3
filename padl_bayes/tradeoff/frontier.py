"""The surface of sparsity, storage and accuracy over PADL's two weights, predicted from one fit, and points on it."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq

from padl_bayes._options import check_callback
from padl_bayes._validation import check_choice, check_count, check_scalar
from padl_bayes.tradeoff.channel import excess_over
from padl_bayes.tradeoff.prediction import METHODS, predict
from padl_bayes.tradeoff.sources import MOST_SAMPLES, Source, check_weights, fit_of, source_of
from padl_bayes.tradeoff.storage import COARSEST, best_precision, description_length, storage_bits

TARGETS = ("rmse", "bytes", "nonzeros", "active")
N_ALPHA1 = 10
FRACTIONS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.7)
LEAST_ALPHA1 = 0.25
LEAST_NONZEROS = 0.1
ZOOM = 5
ZOOMS = 2


class Point(NamedTuple):
    """An operating point: two weights and what they are predicted to give."""

    alpha: tuple[float, float]
    """``(alpha1, alpha2)`` for `padl_bayes.sparse_code`, `padl_bayes.inference.fit_map` or `padl_bayes.PADL`."""
    nonzeros: float
    """Nonzero codes a sample."""
    active: int
    """Atoms in use."""
    rmse: float
    """Root mean square of X less its reconstruction."""
    stored_rmse: float
    """The same of what is stored: codes refitted on their supports, codes and atoms rounded."""
    bits: float
    """Of dictionary, supports and values."""
    description_length: float
    """Bits and those of the stored model's residual, less a constant."""
    atoms: np.ndarray
    """Numbers of the atoms in use."""
    precision: float
    """Step to which codes are rounded, in noise scales."""


class Frontier(NamedTuple):
    """Predictions at L pairs of weights."""

    alpha: np.ndarray
    """(L, 2) pairs ``(alpha1, alpha2)``."""
    nonzeros: np.ndarray
    """(L,) nonzero codes a sample."""
    active: np.ndarray
    """(L,) atoms in use."""
    rmse: np.ndarray
    """(L,) root mean square of X less its reconstruction."""
    stored_rmse: np.ndarray
    """(L,) the same of what is stored: codes refitted on their supports, codes and atoms rounded."""
    dictionary_bits: np.ndarray
    """(L,)"""
    support_bits: np.ndarray
    """(L,)"""
    value_bits: np.ndarray
    """(L,)"""
    description_length: np.ndarray
    """(L,) bits and those of the stored model's residual, less a constant."""
    on: np.ndarray
    """(L, K) whether the atom is in use."""
    source: Source
    """What the predictions were made from."""
    method: str
    precision: np.ndarray
    """(L,) step to which codes are rounded, in noise scales."""
    asked_precision: float | None
    """The step that was asked for, if any."""

    @property
    def bits(self):
        """(L,) of dictionary, supports and values."""
        return self.dictionary_bits + self.support_bits + self.value_bits

    def point(self, i):
        """The i-th pair of weights as a `Point`."""
        return Point(
            (float(self.alpha[i, 0]), float(self.alpha[i, 1])), float(self.nonzeros[i]), int(self.active[i]),
            float(self.rmse[i]), float(self.stored_rmse[i]), float(self.bits[i]), float(self.description_length[i]),
            np.flatnonzero(self.on[i]), float(self.precision[i]),
        )  # fmt: skip

    def pareto(self):
        """Numbers of the points that no other one beats in bits and in RMSE as stored, fewest bits first.

        Returns
        -------
        ndarray of int
        """
        order = np.lexsort((self.stored_rmse, self.bits))
        best = np.minimum.accumulate(np.concatenate([[np.inf], self.stored_rmse[order][:-1]]))
        return order[self.stored_rmse[order] < best]

    def choose(self, target="mdl"):
        """The best of the points for a target.

        Parameters
        ----------
        target : "mdl" or tuple
            "mdl": shortest description. ``("rmse", e)``: fewest bits with an RMSE of PADL's codes of at most e.
            ``("bytes", b)``, ``("nonzeros", s)`` a sample, ``("active", k)`` atoms: smallest RMSE within that.

        Returns
        -------
        Point

        Raises
        ------
        ValueError
            Not a target, or none of the points reaches it; the message says what was reached.
        """
        return self.point(self._best(check_target(target)))

    def _best(self, target):
        if target == "mdl":
            return int(np.argmin(self.description_length))
        kind, most = target
        measure = {
            "rmse": self.rmse, "bytes": self.bits / 8, "nonzeros": self.nonzeros, "active": self.active,
        }[kind]  # fmt: skip
        cost = self.bits if kind == "rmse" else self.rmse
        met = measure <= most
        if not met.any():
            raise ValueError(
                f"target {kind!r} of at most {most:g} is out of reach: the least is {measure.min():.4g}"
            )
        return int(np.flatnonzero(met)[np.argmin(cost[met])])


def check_target(target, name="target"):
    """Return an operating point's name: "mdl", or ``(kind, value)`` with a positive value."""
    if isinstance(target, str) and target == "mdl":
        return target
    pair = isinstance(target, (tuple, list)) and len(target) == 2
    if not pair or target[0] not in TARGETS:
        listed = ", ".join(f"({kind!r}, value)" for kind in TARGETS)
        raise ValueError(f"{name} must be 'mdl' or one of {listed}, found {target!r}")
    return target[0], check_scalar(target[1], f"{name} {target[0]!r}", strict=True)


def check_precision(precision):
    """Return a positive step, or None as it came."""
    return None if precision is None else check_scalar(precision, "precision", strict=True, maximum=COARSEST)


def is_target(alpha):
    """Whether ``alpha`` names an operating point and is not a pair of weights."""
    return isinstance(alpha, str) or (
        isinstance(alpha, (tuple, list)) and len(alpha) == 2 and isinstance(alpha[0], str)
    )


def level(source, alpha1):
    """Least ``alpha2`` that keeps out every atom, alone in its channel; (...,)."""
    threshold = np.asarray(alpha1, float)[..., None]
    return source.n_samples * excess_over(source.law, threshold, source.noise_scale).mean.max(axis=-1)


def range_of_alpha1(source):
    """From a quarter of the noise scale to next to no code left."""
    low = LEAST_ALPHA1 * source.noise_scale

    def too_many(log_alpha1):
        found = excess_over(source.law, np.exp(log_alpha1), source.noise_scale)
        return found.probability.sum() - LEAST_NONZEROS

    high = np.log(low) + 1
    while too_many(high) > 0:
        high += 1
    return low, float(np.exp(brentq(too_many, np.log(low), high)))


def default_grid(source):
    """Pairs over `range_of_alpha1`, and from no second weight to next to no atom."""
    least, most = range_of_alpha1(source)
    return _pairs(source, np.geomspace(least, most, N_ALPHA1), np.array(FRACTIONS))


def _pairs(source, alpha1, fractions):
    return np.stack(
        [np.repeat(alpha1, len(fractions)), np.outer(level(source, alpha1), fractions).ravel()], axis=1
    )


def surface(source, alpha, method, precision=None, callback=None):
    """`Frontier` of a source at pairs of weights (L, 2)."""
    found = predict(source, alpha, method, callback)
    stored, n, p = found.stored, source.n_samples, source.n_features
    step = best_precision(stored, n, p, source.noise_scale) if precision is None else precision
    storage = storage_bits(stored, n, p, source.noise_scale, precision=step, nonnegative=source.nonnegative)
    on = stored.share > 0
    return Frontier(
        alpha, stored.share.sum(axis=1), on.sum(axis=1), np.sqrt(found.residual / p),
        np.sqrt((stored.residual + storage.distortion) / p), storage.dictionary, storage.supports, storage.values,
        description_length(storage, stored.residual, n, p), on, source, method,
        np.broadcast_to(step, len(alpha)), precision,
    )  # fmt: skip


def source_for(data, X, n_samples, *, n_atoms=128, most_samples=MOST_SAMPLES, random_state=0):
    """`Source` of what `frontier` is given."""
    fit = fit_of(data, check_count(n_atoms, "n_atoms"), random_state=random_state)
    if X is None and fit is not data and fit is not getattr(data, "fit_", None):
        X = data
    return source_of(fit, X, n_samples, most_samples=most_samples, random_state=random_state)


def frontier(
    data,
    *,
    X=None,
    n_samples=None,
    alpha=None,
    method="sampled",
    precision=None,
    n_atoms=128,
    most_samples=MOST_SAMPLES,
    random_state=0,
    callback=None,
):
    """Predict nonzeros, active atoms, RMSE and bits over PADL's two weights, before anything is fitted with them.

    Parameters
    ----------
    data : array_like, EmFit or PADL
        Samples (N, P), to which variational EM is fitted first, or such a fit.
    X : array_like, shape (N, P), optional
        With a fit: samples for ``method="sampled"``; draws from the fit stand in without them.
    n_samples : int, optional
        N that ``alpha2`` and the bits are for, if it is not that of the samples or of the fit.
    alpha : array_like, shape (L, 2), optional
        Pairs ``(alpha1, alpha2)``; by default a grid over all that is of use.
    method : {"sampled", "interference", "decoupled"}
        "sampled": sparse codes of a part of the samples at each pair, right for dictionaries and data of any kind.
        "interference": one-dimensional integrals under the fitted law of the codes with the interference of the other
        atoms in it, "decoupled" without. They need no samples, and are as right as that law.
    precision : float, optional
        Step to which codes are rounded in noise scales; by default what makes the description shortest at each pair.
    n_atoms : int
        Bound of the fit to samples.
    most_samples : int
        How many samples "sampled" codes.
    random_state : int
    callback : callable, optional
        Called on the way as ``callback(done, total)``, in pairs of weights; "decoupled" predicts all at once.

    Returns
    -------
    Frontier

    Raises
    ------
    TypeError, ValueError
        Bad input, or a fit without atoms.
    """
    check_choice(method, "method", METHODS)
    precision, callback = check_precision(precision), check_callback(callback)
    source = source_for(
        data, X, n_samples, n_atoms=n_atoms, most_samples=most_samples, random_state=random_state
    )
    alpha = default_grid(source) if alpha is None else check_weights(alpha)
    return surface(source, alpha, method, precision, callback)


def refine(found, target="mdl"):
    """Predict finer grids around the best of the points for a target, twice.

    Parameters
    ----------
    found : Frontier
    target : "mdl" or tuple
        See `Frontier.choose`.

    Returns
    -------
    Frontier
        With the new points added; `Frontier.choose` picks the best of all.
    """
    target = check_target(target)
    source = found.source
    for _ in range(ZOOMS):
        best = found.alpha[found._best(target)]
        fractions = found.alpha[:, 1] / level(source, found.alpha[:, 0])
        low, high = _neighbours(fractions, best[1] / level(source, best[0]))
        zoom = np.linspace(low, high, ZOOM) if low == 0 else np.geomspace(low, high, ZOOM)
        least, most = _neighbours(found.alpha[:, 0], best[0])
        alpha1 = np.geomspace(least, most, ZOOM)
        finer = surface(
            source, np.unique(_pairs(source, alpha1, zoom), axis=0), found.method, found.asked_precision
        )
        found = joined(found, finer)
    return found


def joined(one, other):
    """The points of both."""
    kept = ("source", "method", "asked_precision")
    fields = [name for name in Frontier._fields if name not in kept]
    return one._replace(
        **{name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in fields}
    )


def _neighbours(values, here):
    """The next values below and above one of them."""
    values = np.unique(values)
    tolerance = 1e-9 * (abs(here) + 1)
    below, above = values[values < here - tolerance], values[values > here + tolerance]
    return (below[-1] if len(below) else here), (above[0] if len(above) else here)
