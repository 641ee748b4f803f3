"""Noise precision of most evidence with two codes a sample integrated out on a grid; NumPy and SciPy in float64."""

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_PANELS = 6
_REACH = 7.0


def _prior_nodes(slab, usage, rate):
    """Values of one code, zero first, and the log of their prior weights."""
    edges = np.linspace(0, _REACH, _PANELS + 1)
    half = np.diff(edges)[:, None] / 2
    r = (edges[:-1, None] + half * (_NODES + 1)).ravel()
    weight = (half * _WEIGHTS).ravel()
    if slab in ("laplace", "exponential"):
        density = rate * np.exp(-rate * r)
    else:
        density = math.sqrt(2 * rate / math.pi) * np.exp(-rate * r**2 / 2)
    weight = usage * weight * density
    if slab in ("laplace", "gaussian"):
        r, weight = np.concatenate([r, -r]), np.concatenate([weight, weight]) / 2
    return np.concatenate([[0.0], r]), np.log(np.concatenate([[1 - usage], weight]))


def expectations(slab, X, mask, dictionary, usage, rate, precision):
    """Posterior means of the squared residual and of each atom's energy, summed over samples."""
    (r1, w1), (r2, w2) = (_prior_nodes(slab, *one) for one in zip(usage, rate, strict=True))
    codes = np.stack([np.repeat(r1, len(r2)), np.tile(r2, len(r1))], axis=1)
    log_prior = (w1[:, None] + w2[None, :]).ravel()
    missed, energy = 0.0, np.zeros(2)
    for x, seen in zip(X, mask, strict=True):
        square = np.sum((x[seen] - codes @ dictionary[:, seen]) ** 2, axis=1)
        weight = softmax(log_prior - precision * square / 2)
        missed += weight @ square
        energy += np.sum(dictionary[:, seen] ** 2, axis=1) * (weight @ codes**2)
    return missed, energy


def best_precision(slab, X, mask, dictionary, usage, rate):
    """Root of the derivative of the log evidence less ``(P - 1) / 2 log(precision E_k + P / e)`` for each atom."""
    n_features = X.shape[1]

    def slope(log_precision):
        precision = math.exp(log_precision)
        missed, energy = expectations(slab, X, mask, dictionary, usage, rate, precision)
        direction = (n_features - 1) * np.sum(energy / (precision * energy + n_features / math.e))
        return mask.sum() / precision - missed - direction

    return math.exp(brentq(slope, math.log(0.05), math.log(500), xtol=1e-5))
