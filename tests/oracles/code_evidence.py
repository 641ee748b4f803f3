"""Exact log evidence of a sample with its codes integrated out: supports enumerated, boxes of Gaussians by quadrature.

Given the support and the signs, the integrand is a Gaussian over a box: the entries are integrated one after the
other, the last in closed form, the others by Gauss-Legendre panels over where their marginal has mass. The atoms of a
support must be linearly independent unless the slab is Gaussian. NumPy and SciPy in float64.
"""

import itertools
import math

import numpy as np
from scipy.special import log_ndtr, logsumexp

SLABS = ("laplace", "exponential", "gaussian", "half_normal", "cut_laplace", "cut_exponential")
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)
_PANELS = 16
_REACH = 10.0


def _log_interval(mean, sd, bound):
    """log P(0 < w < bound) for w ~ Normal(mean, sd^2)."""
    low, high = -mean / sd, (bound - mean) / sd
    flip = low > 0
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    gap = np.where(np.isneginf(low), -np.inf, log_ndtr(low) - log_ndtr(high))
    return log_ndtr(high) + np.log1p(-np.exp(gap))


def _window(mean, sd, bound):
    """Part of (0, bound) that holds the mass of Normal(mean, sd^2) there, and of a bit more."""
    tail = 40 * sd**2
    below, above = np.maximum(-mean, _REACH * sd / 2), np.maximum(mean - bound, _REACH * sd / 2)
    start = np.where(mean > bound, bound - tail / above, mean - _REACH * sd)
    end = np.where(mean < 0, tail / below, mean + _REACH * sd)
    return np.clip(start, 0, bound), np.clip(end, 0, bound)


def log_box(mean, covariance, bounds):
    """log P(0 < w < bounds) for w ~ Normal(mean, covariance); mean (..., d), covariance (d, d), bounds (d,)."""
    sd = math.sqrt(covariance[0, 0])
    if len(bounds) == 1:
        return _log_interval(mean[..., 0], sd, bounds[0])
    start, end = _window(mean[..., 0], sd, bounds[0])
    step = (end - start)[..., None, None] / _PANELS
    w = start[..., None, None] + step * (np.arange(_PANELS)[:, None] + (_NODES + 1) / 2)
    w = w.reshape(*start.shape, -1)
    log_weight = np.broadcast_to(np.log(step * _WEIGHTS / 2), (*start.shape, _PANELS, len(_NODES)))
    z = (w - mean[..., :1]) / sd
    slope = covariance[0, 1:] / covariance[0, 0]
    rest = mean[..., None, 1:] + slope * (w - mean[..., :1])[..., None]
    left = covariance[1:, 1:] - np.outer(slope, covariance[0, 1:])
    inner = log_box(rest, left, bounds[1:]) - z**2 / 2 - math.log(sd * math.sqrt(2 * math.pi))
    return logsumexp(inner + log_weight.reshape(w.shape), axis=-1)


def _log_factor(slab, rate, bound):
    """log of the slab's density at zero."""
    if slab in ("gaussian", "half_normal"):
        return 0.5 * math.log(rate / (2 * math.pi)) + (math.log(2) if slab == "half_normal" else 0)
    sides = 0.0 if slab in ("exponential", "cut_exponential") else math.log(2)
    width = -math.log(rate) + (math.log(-math.expm1(-rate * bound)) if np.isfinite(bound) else 0)
    return -sides - width


def _log_support(slab, x, dictionary, precision, rate, bound):
    """log of the integral over the codes of one support (all of ``dictionary``), without the spikes' weights."""
    size = len(dictionary)
    empty = 0.5 * len(x) * math.log(precision / (2 * math.pi)) - precision * (x @ x) / 2
    if size == 0:
        return empty
    gaussian = slab in ("gaussian", "half_normal")
    quadratic = precision * dictionary @ dictionary.T + (np.diag(rate) if gaussian else 0)
    factor = sum(_log_factor(slab, rate[k], bound[k]) for k in range(size))
    volume = 0.5 * size * math.log(2 * math.pi) - 0.5 * np.linalg.slogdet(quadratic)[1]
    covariance = np.linalg.inv(quadratic)
    cross = precision * dictionary @ x
    if slab == "gaussian":
        return empty + factor + volume + cross @ covariance @ cross / 2
    signs = itertools.product((1, -1), repeat=size) if slab in ("laplace", "cut_laplace") else [(1,) * size]
    terms = []
    for sign in map(np.array, signs):
        linear = sign * cross - (0 if gaussian else rate)
        flipped = covariance * np.outer(sign, sign)
        mean = flipped @ linear
        terms.append(linear @ mean / 2 + float(log_box(mean, flipped, bound)))
    return empty + factor + volume + logsumexp(terms)


def log_evidence(slab, x, dictionary, precision, usage, rate, *, bound=None, observed=None):
    """log p(x | dictionary, hyperparameters) of one sample.

    ``x`` (P,), ``dictionary`` (K, P) with K <= 3, ``usage``, ``rate`` and ``bound`` (K,), ``observed`` (P,).
    """
    if observed is not None:
        x, dictionary = x[observed], dictionary[:, observed]
    bound = np.full(len(dictionary), np.inf) if bound is None else bound
    terms = []
    for used in itertools.product((False, True), repeat=len(dictionary)):
        on = np.array(used, bool)
        with np.errstate(divide="ignore"):
            weight = np.sum(np.log(np.where(on, usage, 1 - np.asarray(usage))))
        if np.isfinite(weight):
            terms.append(weight + _log_support(slab, x, dictionary[on], precision, rate[on], bound[on]))
    return logsumexp(terms)
