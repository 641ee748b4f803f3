"""How sure the tradeoff is: the surface of every posterior draw of the dictionary, and choices that hold in most."""

from typing import NamedTuple

import numpy as np

from padl_bayes._options import check_flag, check_generator_seed
from padl_bayes._validation import check_array, check_choice, check_count, check_matrix, check_scalar
from padl_bayes.kernels.slabs import SLABS
from padl_bayes.tradeoff.channel import SpikeSlab
from padl_bayes.tradeoff.frontier import check_precision, default_grid, surface
from padl_bayes.tradeoff.prediction import METHODS
from padl_bayes.tradeoff.sources import Source, check_weights, some_rows

SAMPLES = 500


class Bands(NamedTuple):
    """The surface over L pairs of weights under S draws."""

    alpha: np.ndarray
    """(L, 2)"""
    nonzeros: np.ndarray
    """(S, L) nonzero codes a sample."""
    active: np.ndarray
    """(S, L) atoms in use."""
    rmse: np.ndarray
    """(S, L)"""
    stored_rmse: np.ndarray
    """(S, L) of codes refitted on their supports, all rounded."""
    bits: np.ndarray
    """(S, L)"""
    description_length: np.ndarray
    """(S, L)"""

    def interval(self, name, level=0.9):
        """Lower end, median and upper end (3, L) of the central interval of one of the quantities."""
        level = check_scalar(level, "level", strict=True, maximum=1.0)
        return np.quantile(getattr(self, name), [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)


class Choice(NamedTuple):
    """Weights of the fewest atoms that keep their promises in most draws."""

    alpha: tuple[float, float]
    active: float
    """Mean number of atoms in use."""
    rmse: np.ndarray
    """(3,) lower end, median and upper end of the 90% interval."""
    bits: np.ndarray
    """(3,) of the same interval."""
    probability: float
    """Share of the draws that keep both promises."""


def bands(
    posterior,
    *,
    X=None,
    alpha=None,
    method="sampled",
    slab="bernoulli_laplace",
    nonnegative=False,
    most_draws=30,
    most_samples=SAMPLES,
    precision=None,
    random_state=0,
):
    """Predict the surface of `frontier` for draws from the posterior of the dictionary, its usage, rates and the noise.

    Parameters
    ----------
    posterior : arviz.InferenceData, xarray.DataTree or mapping
        What ``PADL.sample_posterior`` returned, or draws (chain, draw, ...) of dictionary (..., K, P), noise_scale and,
        as a two-level slab has them, usage, rate and active (..., K).
    X : array_like, shape (N, P), optional
        The samples; those in ``posterior`` by default.
    alpha : array_like, shape (L, 2), optional
        Pairs of weights; by default the grid of `frontier` for the draw in the middle.
    method : {"sampled", "interference", "decoupled"}
        See `frontier`. "sampled" codes the same samples with every draw's dictionary.
    slab : {"bernoulli_laplace", "bernoulli_gaussian"}
        What was sampled.
    nonnegative : bool
    most_draws : int
        Evenly spaced ones are taken where there are more.
    most_samples : int
        How many samples "sampled" codes.
    precision : float, optional
        See `frontier`.
    random_state : int
        Of the choice of samples.

    Returns
    -------
    Bands

    Raises
    ------
    TypeError, ValueError
        Draws without what is needed, or bad settings.
    """
    check_choice(method, "method", METHODS)
    check_choice(slab, "slab", sorted({name for name, _ in SLABS}))
    nonnegative = check_flag(nonnegative, "nonnegative")
    draws, X = _draws_of(posterior, X)
    rng = np.random.default_rng(check_generator_seed(random_state))
    samples = X[some_rows(rng, len(X), check_count(most_samples, "most_samples", minimum=2))].astype(
        np.float64
    )
    sources = [
        _source(draws, i, slab, nonnegative, len(X), samples)
        for i in _evenly(len(draws["noise_scale"]), check_count(most_draws, "most_draws"))
    ]
    sources = [source for source in sources if len(source.dictionary)]
    if not sources:
        raise ValueError("posterior has no active atom in any draw: there is nothing to trade")
    alpha = default_grid(sources[len(sources) // 2]) if alpha is None else check_weights(alpha)
    found = [surface(source, alpha, method, check_precision(precision)) for source in sources]
    fields = Bands._fields[1:]
    return Bands(alpha, *(np.stack([getattr(one, name) for one in found]) for name in fields))


def smallest_dictionary(posterior, *, rmse, max_bytes=None, probability=0.95, **options):
    """Weights of the fewest atoms with ``P(RMSE <= rmse and bytes <= max_bytes)`` at least ``probability``.

    Parameters
    ----------
    posterior
        See `bands`.
    rmse : float
        Of PADL's codes.
    max_bytes : float, optional
        Of dictionary and codes as stored; no limit by default.
    probability : float
        Share of the posterior draws.
    **options
        Of `bands`.

    Returns
    -------
    Choice

    Raises
    ------
    ValueError
        No pair of weights keeps the promises that often; the message says how often the best one does.
    """
    rmse = check_scalar(rmse, "rmse", strict=True)
    max_bytes = np.inf if max_bytes is None else check_scalar(max_bytes, "max_bytes", strict=True)
    probability = check_scalar(probability, "probability", strict=True, maximum=1.0)
    return choose(bands(posterior, **options), rmse, max_bytes, probability)


def choose(found, rmse, max_bytes, probability):
    """`Choice` among the pairs of weights of `Bands`; of as many atoms the one of fewest bits."""
    kept = np.mean((found.rmse <= rmse) & (found.bits <= 8 * max_bytes), axis=0)
    if kept.max() < probability:
        raise ValueError(
            f"no weights give rmse {rmse:g} within {max_bytes:g} bytes with probability {probability:g}: "
            f"the best do with {kept.max():.2g}"
        )
    sure = np.flatnonzero(kept >= probability)
    active, bits = found.active.mean(axis=0), found.bits.mean(axis=0)
    best = sure[np.lexsort((bits[sure], active[sure]))[0]]
    return Choice(
        (float(found.alpha[best, 0]), float(found.alpha[best, 1])), float(active[best]),
        found.interval("rmse")[:, best], found.interval("bits")[:, best], float(kept[best]),
    )  # fmt: skip


def _evenly(n, most):
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def _draws_of(posterior, X):
    """Draws by name, chains in a row, and the samples."""
    named = hasattr(posterior, "groups") or hasattr(posterior, "children")
    if named and X is None:
        X = np.asarray(posterior["observed_data"]["X"].values)
    group = posterior["posterior"] if named else posterior
    missing = [name for name in ("dictionary", "noise_scale", "usage", "rate") if name not in group]
    if missing:
        raise ValueError(f"posterior must hold draws of a two-level slab, found none of {', '.join(missing)}")
    if X is None:
        raise ValueError("X must be given with draws that do not hold the samples")
    draws = {
        name: check_array(np.asarray(group[name]), name, ("...", *shape))
        for name, shape in {
            "dictionary": ("K", "P"), "noise_scale": (), "usage": ("K",), "rate": ("K",), "active": ("K",)
        }.items()
        if name in group
    }  # fmt: skip
    n = draws["noise_scale"].size
    draws = {name: values.reshape(n, *values.shape[2:]) for name, values in draws.items()}
    return draws, check_matrix(X, n_features=draws["dictionary"].shape[-1])


def _source(draws, i, slab, nonnegative, n_samples, samples):
    dictionary, usage, rate = (
        np.asarray(draws[name][i], np.float64) for name in ("dictionary", "usage", "rate")
    )
    on = draws["active"][i] > 0 if "active" in draws else np.ones(len(usage), bool)
    usage, rate = np.broadcast_to(usage, on.shape), np.broadcast_to(rate, on.shape)
    law = SpikeSlab(usage[on], rate[on], slab, nonnegative)
    return Source(dictionary[on], law, float(draws["noise_scale"][i]), n_samples, samples)
