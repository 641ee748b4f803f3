"""Three ways to say what PADL does to codes at given weights, from integrals to a trial on some of the samples."""

from typing import NamedTuple

import numpy as np

from padl_bayes.sparse_coding import sparse_code_path
from padl_bayes.tradeoff.interference import decoupled, interfering
from padl_bayes.tradeoff.storage import CodeStatistics, refit_on_support, statistics_of


class Prediction(NamedTuple):
    """What PADL does at L pairs of weights."""

    residual: np.ndarray
    """(L,) mean of ``||x - r D||^2`` over samples."""
    stored: CodeStatistics
    """(L, K) of its codes refitted on their supports."""


METHODS = ("sampled", "interference", "decoupled")
CODING_TOL = 1e-5


def predict(source, alpha, method, callback=None):
    """Residuals and statistics of the codes at each pair of weights.

    Parameters
    ----------
    source : Source
    alpha : ndarray, shape (L, 2)
    method : {"sampled", "interference", "decoupled"}
        "decoupled": one-dimensional integrals, as if atoms were orthogonal. "interference": the same integrals in
        channels that hold what the other atoms leave over. "sampled": sparse codes of the source's samples, with
        ``alpha2`` in proportion to their number.
    callback : callable, optional
        Called on the way as ``callback(done, total)``, in pairs of weights.

    Returns
    -------
    Prediction
    """
    methods = {"sampled": _sampled, "interference": _interference, "decoupled": _decoupled}
    return methods[method](source, alpha, callback)


def _of_channels(channels):
    """`Prediction` of one or many `Channels`; of least squares on the support a code is c."""
    found = channels.moments
    refitted = np.maximum(channels.refitted, 0)
    stored = CodeStatistics(found.nonzero, found.refitted_size, found.refitted_square, refitted)
    return Prediction(np.maximum(channels.residual, 0), stored)


def _decoupled(source, alpha, callback):
    return _of_channels(
        decoupled(
            source.law, source.noise_scale, source.n_features, alpha[:, 0], alpha[:, 1], source.n_samples
        )
    )


def _stack(parts, order):
    """One `Prediction` of many, where ``order[i]`` says which pair the i-th belongs to."""
    back = np.argsort(order)
    residual = np.stack([part.residual for part in parts])[back]
    stored = zip(*(part.stored for part in parts), strict=True)
    return Prediction(residual, CodeStatistics(*(np.stack(column)[back] for column in stored)))


def _interference(source, alpha, callback):
    order = np.lexsort((alpha[:, 1], alpha[:, 0]))
    parts, channels = [], None
    for i in order:
        alpha1, alpha2 = alpha[i]
        channels = interfering(
            source.law, source.dictionary, source.noise_scale, alpha1, alpha2, source.n_samples, channels
        )
        parts.append(_of_channels(channels))
        if callback is not None:
            callback(len(parts), len(order))
    return _stack(parts, order)


def _sampled(source, alpha, callback):
    # from large weights to small ones each path starts near its end
    order = np.lexsort((-alpha[:, 1], -alpha[:, 0]))
    share = len(source.samples) / source.n_samples
    # float32 is far finer than the tolerance, and twice as fast
    scale = np.sqrt(np.mean(np.square(source.samples))) or 1.0
    path = sparse_code_path(
        (source.samples / scale).astype(np.float32),
        source.dictionary.astype(np.float32),
        alpha[order] * [1 / scale, share / scale],
        tol=CODING_TOL,
        nonnegative=source.nonnegative,
        callback=callback,
    )
    return _stack([_of_codes(source, found.codes * scale) for found in path], order)


def _of_codes(source, codes):
    refitted = refit_on_support(source.samples, codes, source.dictionary, nonnegative=source.nonnegative)
    residual = np.sum(np.square(source.samples - codes @ source.dictionary), axis=1).mean()
    stored = statistics_of(source.samples, refitted, source.dictionary)
    return Prediction(residual, stored._replace(share=(codes != 0).mean(axis=0)))
