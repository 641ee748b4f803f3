"""Codes given the entries of a sample that were seen, as weighted draws, and what they say of all its entries."""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from ._rows import compressed, count_batches, each_batch
from .code_evidence import weighted_codes

_KEPT_BYTES = 2**26


class Predictions(NamedTuple):
    """Weighted draws for a tile of n samples; the draws of everything global are pooled, C in all.

    Attributes
    ----------
    sample : int
        Index of the first sample.
    mean : ndarray, shape (C, n, P)
        codes @ dictionary, without noise.
    noise_scale : ndarray, shape (C,)
    weight : ndarray, shape (C, n)
        Sums to 1 over C.
    """

    sample: int
    mean: np.ndarray
    noise_scale: np.ndarray
    weight: np.ndarray


def _most_samples(problem, draws, n_codes):
    """Samples in a tile whose predictions may be kept."""
    return max(_KEPT_BYTES // (8 * len(draws.usage) * n_codes * problem.X.shape[1]), 1)


def count_steps(problem, draws, n_codes):
    """Batches that `each_prediction` goes through."""
    draws = compressed(draws)
    return count_batches(problem, draws, n_codes, most=_most_samples(problem, draws, n_codes))


def each_prediction(key, problem, draws, n_codes, random_state, *, watch=None):
    """Yield `Predictions` of tiles of samples.

    Parameters
    ----------
    key : tuple (str, bool)
        Slab and whether codes are nonnegative.
    problem : Problem
        Seen entries of M samples.
    draws : Draws
        S draws of everything global, each as likely as the next before the samples are seen.
    n_codes : int
        Codes for each sample and draw; a multiple of 3.
    random_state : int
    watch : callable, optional
        Called as ``watch(done, total)`` after each batch.

    Notes
    -----
    A pair of codes r and a draw g has the weight p(x_seen, r | g) / q(r), q its proposal (`code_evidence`): the codes
    are those of p(r, g | x_seen, data), in which a sample counts draws more that explain it better.
    """
    draws = compressed(draws)
    n_features = problem.X.shape[1]
    shape = (len(draws.usage), len(problem.X))
    n_total = shape[0] * n_codes
    most = _most_samples(problem, draws, n_codes)
    mean, weight = [], []
    for batch in each_batch(key, problem, draws, n_codes, random_state, most=most, watch=watch):
        codes, weights = weighted_codes(key, batch.rows, batch.random_keys, n_codes)
        codes = batch.crop(codes, shape)
        predicted = codes @ batch.draws.dictionary[: len(codes), None]
        mean.append(predicted.transpose(0, 2, 1, 3))
        weight.append(batch.crop(weights, shape).transpose(0, 2, 1))
        if batch.draw + len(codes) == shape[0]:
            log_weight = np.concatenate(weight).reshape(n_total, -1)
            yield Predictions(
                batch.sample,
                np.concatenate(mean).reshape(n_total, -1, n_features),
                np.repeat(draws.noise_scale, n_codes),
                np.exp(log_weight - logsumexp(log_weight, axis=0)),
            )
            mean, weight = [], []
