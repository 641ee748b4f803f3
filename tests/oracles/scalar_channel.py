"""Expectations over one atom's channel by Gauss-Legendre panels in two dimensions, kinks on the edges of panels."""

import numpy as np
from scipy.stats import expon, halfnorm, laplace, norm

SLABS = {
    ("bernoulli_laplace", False): lambda rate: laplace(scale=1 / rate),
    ("bernoulli_laplace", True): lambda rate: expon(scale=1 / rate),
    ("bernoulli_gaussian", False): lambda rate: norm(scale=rate**-0.5),
    ("bernoulli_gaussian", True): lambda rate: halfnorm(scale=rate**-0.5),
}


def panels(edges, order=12):
    """Nodes and weights on each interval between edges."""
    x, w = np.polynomial.legendre.leggauss(order)
    low, high = np.array(edges[:-1]), np.array(edges[1:])
    nodes = 0.5 * (high - low)[:, None] * (x + 1) + low[:, None]
    return nodes.ravel(), (0.5 * (high - low)[:, None] * w).ravel()


def signal(usage, rate, slab, nonnegative):
    """Nodes and weights of the law of r*: the spike is one node."""
    law = SLABS[slab, nonnegative](rate)
    top = law.ppf(1 - 1e-15) if slab == "bernoulli_laplace" else 9 * rate**-0.5
    edges = np.linspace(0, top, 61) if nonnegative else np.linspace(-top, top, 121)
    nodes, weights = panels(edges)
    return np.append(nodes, 0.0), np.append(usage * weights * law.pdf(nodes), 1 - usage)


def expect(functions, nodes, weights, scale, shift, kinks):
    """E f(r*, c) of each function, ``c = r* + shift + scale eps``; they may have kinks in c at ``kinks``."""
    low, high = nodes.min() + shift - 9 * scale, nodes.max() + shift + 9 * scale
    grid = np.arange(low, high + scale, scale)
    inside = [kink for kink in kinks if low < kink < high]
    c, w = panels(np.unique(np.concatenate([grid, inside])), order=10)
    totals = np.zeros(len(functions))
    for part, mass in zip(np.array_split(c, 8), np.array_split(w, 8), strict=True):
        density = weights[:, None] * norm.pdf(part, nodes[:, None] + shift, scale) * mass
        totals += [np.sum(function(nodes[:, None], part) * density) for function in functions]
    return totals


def code(c, threshold, theta, nonnegative):
    """PADL's code of one entry given the envelope."""
    shrunk = np.sign(c) * np.maximum(np.abs(c) - threshold, 0)
    return np.clip(shrunk, 0 if nonnegative else -theta, theta)
