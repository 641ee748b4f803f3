"""Spike-and-slab posteriors by quadrature, enumeration and plain loops; float64, NumPy only.

One entry has the likelihood exp(-precision / 2 r^2 + linear r) and the prior (1 - usage) delta_0 + usage * slab.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

SLABS = ("laplace", "exponential", "gaussian", "half_normal")
_PI = np.longdouble("3.14159265358979323846264338327950288")
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


def one_sided(slab):
    """Whether the slab lives on r > 0."""
    return slab in ("exponential", "half_normal")


def log_slab(slab, r, rate):
    """Log density of the slab at r (of the right sign)."""
    if slab in ("laplace", "exponential"):
        return np.log(rate if slab == "exponential" else rate / 2) - rate * np.abs(r)
    folded = math.log(2) if slab == "half_normal" else 0.0
    return 0.5 * np.log(rate / (2 * math.pi)) - rate * r**2 / 2 + folded


def slab_size(slab, r):
    """The statistic of the slab's rate."""
    return np.abs(r) if slab in ("laplace", "exponential") else r**2 / 2


def truncated_normal_tail(u):
    """Mass and first two moments of exp(-u r - r^2 / 2) on r > 0, in long double.

    The recurrence of the integrals of r^n exp(-u r - r^2 / 2) run backwards, as their continued fraction,
    for u > 1/2; the power series of the normal distribution function below.

    Returns
    -------
    mass, mean, square : ndarray
        ``mass`` is sqrt(2 / pi) times the integral, times exp(-u^2 / 2) for u < 0.
    """
    u = np.asarray(u, np.longdouble)
    x = np.abs(u)
    root = np.sqrt(2 / _PI)
    far = np.maximum(x, 0.5)
    ratio = (np.sqrt(far**2 + 4 * 3000) - far) / 2
    for n in range(2999, 1, -1):
        ratio = n / (far + ratio)
    near = np.minimum(x, 0.5)
    term = total = near
    for k in range(1, 30):
        term = term * near**2 / (2 * k + 1)
        total = total + term
    density = np.exp(-(near**2) / 2) / np.sqrt(2 * _PI)
    excess = np.where(x > 0.5, 1 / (far + ratio), density / (0.5 - density * total) - near)
    square = np.where(x > 0.5, excess * ratio, 1 - x * excess)
    upper = root / (x + excess)
    lower = 2 - np.exp(-(x**2) / 2) * upper
    hazard = root * np.exp(-(x**2) / 2) / lower
    return (
        np.where(u < 0, lower, upper),
        np.where(u < 0, x + hazard, excess),
        np.where(u < 0, 1 + x * (x + hazard), square),
    )


class Nodes(NamedTuple):
    """Quadrature of slab times likelihood: points and normalised weights (..., m), log of the integral (...)."""

    r: np.ndarray
    weight: np.ndarray
    log_mass: np.ndarray


def _branch(slab, linear, precision, rate, panels):
    """Nodes on r > 0 of slab(r) exp(-precision / 2 r^2 + linear r)."""
    exponential = slab in ("laplace", "exponential")
    slope = linear - rate if exponential else linear
    curvature = precision if exponential else precision + rate
    inside = slope > 0
    peak = np.where(inside, slope / curvature, 0)
    width = np.where(inside, 1 / np.sqrt(curvature), 1 / np.maximum(-slope, np.sqrt(curvature)))
    low, high = np.maximum(-peak / width, -40), 45.0
    step = (high - low) / panels
    z = low[..., None, None] + step[..., None, None] * (np.arange(panels)[:, None] + (_NODES + 1) / 2)
    z = z.reshape(*low.shape, -1)
    r = peak[..., None] + width[..., None] * z
    bent = curvature[..., None] * (width[..., None] * z) ** 2 / 2
    exponent = np.where(inside[..., None], 0, slope[..., None] * r) - bent
    mass = np.exp(exponent) * np.tile(_WEIGHTS / 2, panels) * (step * width)[..., None]
    total = mass.sum(-1)
    top = np.where(inside, slope * peak / 2, 0) + log_slab(slab, 0.0, rate)
    return Nodes(r, mass / total[..., None], top + np.log(total))


def slab_nodes(slab, linear, precision, rate, panels=64):
    """Nodes of slab(r) exp(-precision / 2 r^2 + linear r) over all r."""
    linear, precision, rate = np.broadcast_arrays(*(np.asarray(a, float) for a in (linear, precision, rate)))
    up = _branch(slab, linear, precision, rate, panels)
    if one_sided(slab):
        return up
    down = _branch(slab, -linear, precision, rate, panels)
    log_mass = np.logaddexp(up.log_mass, down.log_mass)
    weight = [np.exp(side.log_mass - log_mass)[..., None] * side.weight for side in (up, down)]
    return Nodes(np.concatenate([up.r, -down.r], -1), np.concatenate(weight, -1), log_mass)


class Entry(NamedTuple):
    """Posterior of an entry; moments of r with the spike included, given use in ``given_use``."""

    probability: np.ndarray
    mean: np.ndarray
    size: np.ndarray
    square: np.ndarray
    log_evidence: np.ndarray
    divergence: np.ndarray
    given_use: tuple


def entry(slab, linear, precision, usage, rate, panels=64):
    """`Entry` by quadrature; the divergence is the integral of q log(q / prior)."""
    nodes = slab_nodes(slab, linear, precision, rate, panels)
    log_used, log_unused = np.log(usage) + nodes.log_mass, np.log1p(-usage)
    log_evidence = np.logaddexp(log_used, log_unused)
    p, unused = np.exp(log_used - log_evidence), np.exp(log_unused - log_evidence)

    def expect(values):
        return np.sum(nodes.weight * values, axis=-1)

    tilt = np.asarray(linear)[..., None] * nodes.r - np.asarray(precision)[..., None] * nodes.r**2 / 2
    within = expect(tilt - nodes.log_mass[..., None])
    divergence = p * (log_used - log_evidence - np.log(usage) + within) - unused * log_evidence
    moments = tuple(expect(f) for f in (nodes.r, slab_size(slab, nodes.r), nodes.r**2))
    return Entry(p, *(p * m for m in moments), log_evidence, divergence, moments)


def sweep_by_loops(
    slab,
    x,
    codes,
    dictionary,
    precision,
    usage,
    rate,
    *,
    active=None,
    valid=None,
    observed=None,
    excluded=None,
):
    """Update each atom's entries in turn, the residual formed from scratch each time.

    ``x`` and ``observed`` are (P, n), ``codes`` (K, n), ``valid`` and ``excluded`` (n,).
    Returns a dictionary of arrays.
    """
    codes, (n_atoms, n) = codes.copy(), codes.shape
    active = np.ones(n_atoms) if active is None else active
    valid = np.ones(n) if valid is None else valid
    seen = np.ones_like(x) if observed is None else observed
    excluded = np.full(n, -1) if excluded is None else excluded
    out = {name: np.zeros((n_atoms, n)) for name in ("probability", "square", "log_evidence")}
    sums = {name: np.zeros(n_atoms) for name in ("used", "size", "square", "variance", "log_evidence")}
    bound = np.zeros(n)
    for k in range(n_atoms):
        others = codes.copy()
        others[k] = 0
        linear = precision * (dictionary[k] @ (seen * (x - dictionary.T @ others)))
        weight = dictionary[k] ** 2 @ seen
        q = entry(slab, linear, precision * weight, usage[k], rate[k])
        on = valid * active[k] * (excluded != k)
        codes[k] = on * q.mean
        out["probability"][k] = on * q.probability
        out["square"][k] = on * q.square
        out["log_evidence"][k] = on * q.log_evidence
        variance = weight * (on * q.square - codes[k] ** 2)
        sums["used"][k] = np.sum(on * q.probability)
        sums["size"][k] = np.sum(on * q.size)
        sums["square"][k] = np.sum(weight * on * q.square)
        sums["variance"][k] = np.sum(variance)
        sums["log_evidence"][k] = np.sum(on * q.log_evidence)
        bound -= on * q.divergence + precision * variance / 2
    residual = seen * (x - dictionary.T @ codes)
    return {"codes": codes, "residual": residual, "sums": sums, "bound": bound, **out}


def log_normal(x, mean, precision):
    """Log density of Normal(mean, I / precision) at x, over the last axis."""
    return 0.5 * x.shape[-1] * np.log(precision / (2 * np.pi)) - 0.5 * precision * np.sum((x - mean) ** 2, -1)


def _grid(slab, rate, width, order=8):
    """Points and slab-weighted masses of a rule fine enough for kernels of ``width``, cut where the slab is nothing."""
    reach = 25 / rate if slab in ("laplace", "exponential") else 7 / math.sqrt(rate)
    panels = math.ceil(reach / (2 * width))
    nodes, weights = np.polynomial.legendre.leggauss(order)
    r = ((np.arange(panels)[:, None] + (nodes + 1) / 2) * reach / panels).ravel()
    mass = np.tile(weights / 2 * reach / panels, panels) * np.exp(log_slab(slab, r, rate))
    return (
        (r, mass) if one_sided(slab) else (np.concatenate([-r[::-1], r]), np.concatenate([mass[::-1], mass]))
    )


def log_evidence(slab, x, dictionary, precision, usage, rate):
    """log p(x | dictionary, hyperparameters) of one sample (P,): which atoms are used enumerated, codes integrated."""
    n_atoms = len(dictionary)
    grids = [_grid(slab, rate[k], 1 / math.sqrt(precision)) for k in range(n_atoms)]
    terms = []
    for used in itertools.product((0, 1), repeat=n_atoms):
        on = [k for k in range(n_atoms) if used[k]]
        log_prior = sum(math.log(usage[k] if used[k] else 1 - usage[k]) for k in range(n_atoms))
        gram, cross = dictionary[on] @ dictionary[on].T, dictionary[on] @ x
        exponent, mass = np.float64(log_normal(x, np.zeros_like(x), precision)), np.float64(1)
        for i, k in enumerate(on):
            shape = [-1 if j == i else 1 for j in range(len(on))]
            r, m = (a.reshape(shape) for a in grids[k])
            exponent = exponent + precision * (cross[i] * r - gram[i, i] * r**2 / 2)
            for j in range(i):
                other = grids[on[j]][0].reshape([-1 if h == j else 1 for h in range(len(on))])
                exponent = exponent - precision * gram[i, j] * r * other
            mass = mass * m
        top = exponent.max()
        terms.append(log_prior + top + np.log(np.sum(mass * np.exp(exponent - top))))
    return np.logaddexp.reduce(terms)


def bound_of_product(slab, x, dictionary, precision, usage, rate, linear, panels=24):
    """E_q[log p(x, r) - log q(r)] of one sample, q(r_k) the posterior of an entry with ``linear[k]``.

    Its precision is that of the noise times the atom's squared norm. The expected log likelihood is summed
    over the product of all atoms' nodes, spikes included.
    """
    values, masses, divergence = [], [], 0.0
    for k in range(len(dictionary)):
        curvature = precision * np.sum(dictionary[k] ** 2)
        q = entry(slab, linear[k], curvature, usage[k], rate[k], panels)
        nodes = slab_nodes(slab, linear[k], curvature, rate[k], panels)
        keep = nodes.weight > 1e-18
        values.append(np.concatenate([[0.0], nodes.r[keep]]))
        masses.append(np.concatenate([[1 - q.probability], q.probability * nodes.weight[keep]]))
        divergence += q.divergence
    distance, mass = 0.0, 1.0
    for p in range(len(x)):
        mean = 0.0
        for k, value in enumerate(values):
            mean = mean + dictionary[k, p] * value.reshape([-1 if j == k else 1 for j in range(len(values))])
        distance = distance + (x[p] - mean) ** 2
    for k, m in enumerate(masses):
        mass = mass * m.reshape([-1 if j == k else 1 for j in range(len(masses))])
    fit = 0.5 * len(x) * np.log(precision / (2 * np.pi)) - 0.5 * precision * np.sum(mass * distance)
    return fit - divergence
