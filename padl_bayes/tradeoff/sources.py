"""What a prediction starts from: atoms, the law of their codes, the noise, and samples to try weights on."""

from typing import NamedTuple

import numpy as np

from padl_bayes._options import check_seed
from padl_bayes._validation import check_array, check_count, check_matrix, check_training_data
from padl_bayes.inference.em import fit_em
from padl_bayes.inference.results import EmFit
from padl_bayes.tradeoff.channel import SpikeSlab

MOST_SAMPLES = 2000


class Source(NamedTuple):
    """A dictionary with all that a tradeoff depends on."""

    dictionary: np.ndarray
    """(K, P)"""
    law: SpikeSlab
    noise_scale: float
    n_samples: int
    """N, what the weights and the bits are for."""
    samples: np.ndarray
    """(M, P) samples, M at most N, on which weights can be tried."""

    @property
    def n_features(self):
        """P."""
        return self.dictionary.shape[1]

    @property
    def nonnegative(self):
        """Whether codes are of one sign."""
        return self.law.nonnegative


def fit_of(data, n_atoms, **options):
    """The `EmFit` in ``data``: itself, of a fitted `padl_bayes.PADL`, or of samples, which are fitted."""
    found = getattr(data, "fit_", data)
    if isinstance(found, EmFit):
        return found
    if hasattr(data, "fit") or isinstance(found, tuple):
        raise TypeError(
            f"data must be samples (N, P), an EmFit or a PADL fitted by method='em', found {type(data).__name__}"
        )
    data, _ = check_training_data(data, name="data")
    return fit_em(data, n_atoms, **options)


def source_of(fit, X=None, n_samples=None, *, most_samples=MOST_SAMPLES, random_state=0):
    """Collect what predictions need from a fit.

    Parameters
    ----------
    fit : EmFit
    X : array_like, shape (N, P), optional
        Samples to try weights on. Without them draws from the fit stand in: of its own codes, or of its law where
        it holds none.
    n_samples : int, optional
        N of the data that will be fitted; that of ``X`` or of the fit's codes by default.
    most_samples : int
        M, drawn at random where there are more.
    random_state : int

    Returns
    -------
    Source
    """
    if len(fit.dictionary) == 0:
        raise ValueError("data has no active atom in its fit: there is nothing to trade")
    rng = np.random.default_rng(check_seed(random_state))
    most = check_count(most_samples, "most_samples", minimum=2)
    usage, rate = np.asarray(fit.usage, np.float64), np.asarray(fit.rate, np.float64)
    law = SpikeSlab(usage, rate, fit.slab, fit.nonnegative)
    if X is not None:
        X = check_matrix(X, n_features=fit.dictionary.shape[1])
        n_samples = len(X) if n_samples is None else n_samples
    elif fit.codes is not None:
        n_samples = len(fit.codes) if n_samples is None else n_samples
    elif n_samples is None:
        raise ValueError("n_samples must be given for a fit in batches, which does not hold its codes")
    n_samples = check_count(n_samples, "n_samples", minimum=2)
    most = min(most, n_samples)
    if X is not None:
        samples = X[some_rows(rng, len(X), most)]
    else:
        codes = (
            _codes_of(fit, some_rows(rng, len(fit.codes), most), rng)
            if fit.codes is not None
            else draw_codes(law, most, rng)
        )
        noise = fit.coding_noise_scale if fit.codes is not None else fit.noise_scale
        samples = codes @ fit.dictionary + noise * rng.standard_normal((len(codes), fit.dictionary.shape[1]))
    return Source(
        np.asarray(fit.dictionary, np.float64),
        law,
        float(fit.noise_scale),
        n_samples,
        np.asarray(samples, np.float64),
    )


def some_rows(rng, n, most):
    """Numbers of at most ``most`` of n rows, at random."""
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))


def _codes_of(fit, rows, rng):
    """Draws of the codes of these samples from the variational posterior, slabs as normal of the same moments."""
    mean, probability = fit.codes[rows].astype(np.float64), fit.probability[rows].astype(np.float64)
    chance = np.maximum(probability, np.finfo(np.float32).tiny)
    centre = mean / chance
    spread = np.sqrt(np.maximum((fit.code_sd[rows] ** 2 + mean**2) / chance - centre**2, 0))
    values = centre + spread * rng.standard_normal(mean.shape)
    used = rng.random(mean.shape) < probability
    return np.where(used, np.maximum(values, 0) if fit.nonnegative else values, 0)


def draw_codes(law, n, rng):
    """Draw codes (n, K) of a `SpikeSlab`."""
    shape = (n, len(law.rate))
    laplace = law.slab == "bernoulli_laplace"
    values = rng.laplace(size=shape) / law.rate if laplace else rng.standard_normal(shape) / np.sqrt(law.rate)
    return np.where(rng.random(shape) < law.usage, np.abs(values) if law.nonnegative else values, 0)


def check_weights(alpha):
    """Return pairs of weights as float64 (L, 2)."""
    alpha = check_array(alpha, "alpha", ("n_pairs", 2)).astype(np.float64)
    if alpha.min() < 0 or not alpha.any(axis=1).all():
        raise ValueError("alpha must hold pairs of weights at least zero, not both zero")
    return alpha
