"""Three ways to say what PADL does to codes at given weights, from integrals to a trial on some of the samples."""

import numpy as np

from padl_bayes.sparse_coding import sparse_code_path
from padl_bayes.tradeoff.interference import decoupled, interfering
from padl_bayes.tradeoff.storage import CodeStatistics, statistics_of

METHODS = ("sampled", "interference", "decoupled")
CODING_TOL = 1e-5


def predict(source, alpha, method):
    """Statistics of the codes at each pair of weights.

    Parameters
    ----------
    source : Source
    alpha : ndarray, shape (L, 2)
    method : {"sampled", "interference", "decoupled"}
        "decoupled": one-dimensional integrals, as if atoms were orthogonal. "interference": the same integrals in
        channels that hold what the other atoms leave over. "sampled": sparse codes of the source's samples, with
        ``alpha2`` in proportion to their number.

    Returns
    -------
    CodeStatistics
        Arrays (L, K) and (L,).
    """
    return {"sampled": _sampled, "interference": _interference, "decoupled": _decoupled}[method](
        source, alpha
    )


def _of_channels(channels):
    """`CodeStatistics` of one or many `Channels`; atoms that are off have zeros already."""
    found = channels.moments
    return CodeStatistics(found.nonzero, found.size, found.square, np.maximum(channels.residual, 0))


def _decoupled(source, alpha):
    return _of_channels(
        decoupled(
            source.law, source.noise_scale, source.n_features, alpha[:, 0], alpha[:, 1], source.n_samples
        )
    )


def _stack(parts, order):
    """One `CodeStatistics` of many, where ``order[i]`` says which pair the i-th belongs to."""
    back = np.argsort(order)
    return CodeStatistics(*(np.stack(column)[back] for column in zip(*parts, strict=True)))


def _interference(source, alpha):
    order = np.lexsort((alpha[:, 1], alpha[:, 0]))
    parts, channels = [], None
    for i in order:
        channels = interfering(
            source.law, source.dictionary, source.noise_scale, *alpha[i], source.n_samples, start=channels
        )
        parts.append(_of_channels(channels))
    return _stack(parts, order)


def _sampled(source, alpha):
    # from large weights to small ones each path starts near its end
    order = np.lexsort((-alpha[:, 1], -alpha[:, 0]))
    share = len(source.samples) / source.n_samples
    path = sparse_code_path(
        source.samples,
        source.dictionary,
        alpha[order] * [1, share],
        tol=CODING_TOL,
        nonnegative=source.nonnegative,
    )
    parts = [statistics_of(source.samples, found.codes, source.dictionary) for found in path]
    return _stack(parts, order)
