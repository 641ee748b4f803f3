"""Quadrature rules for `tiny_gibbs`: latents of an atom, its codes given them, and the globals."""

import itertools
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import betaln

_TAIL = 20.0


class Atom(NamedTuple):
    """An atom's own latent (rate or envelope) at M points, and a rule for one code given each.

    ``prior`` (M,) sums to 1; ``codes`` and ``mass`` (M, J): sum_j mass_mj f(codes_mj) is E[f(code) | latent m].
    """

    latent: np.ndarray
    prior: np.ndarray
    codes: np.ndarray
    mass: np.ndarray


class Setting(NamedTuple):
    """One point of the rule over the globals that atoms and samples share."""

    weight: float
    dictionary: np.ndarray
    angles: np.ndarray
    noise_scale: float
    rate_l1: float
    rate_linf: float


def composite(edges, order):
    """Gauss-Legendre nodes and weights between consecutive edges."""
    edges = np.asarray(edges, float)
    nodes, weights = np.polynomial.legendre.leggauss(order)
    width = np.diff(edges)[:, None]
    return (edges[:-1, None] + width * (nodes + 1) / 2).ravel(), (width * weights / 2).ravel()


def uniform_edges(low, high, width):
    return np.linspace(low, high, int(np.ceil((high - low) / width)) + 1)


@cache
def noise_rule(scale, order=6):
    """Half-normal law by Gauss-Legendre; likelihoods of P > K entries vanish at zero noise."""
    nodes, weights = composite(scale * np.array([0.04, 0.12, 0.25, 0.5, 1, 2, 5]), order)
    return nodes, weights * stats.halfnorm(scale=scale).pdf(nodes)


@cache
def gamma_rule(prior, order=10):
    """Gamma (shape, rate) law in the square root of its variable, in which sqrt(rate) is smooth."""
    shape, rate = prior
    root, weights = composite(np.sqrt((shape + 25) / rate) * np.array([0, 0.25, 0.6, 1]), order)
    return root**2, weights * 2 * root * stats.gamma(shape, scale=1 / rate).pdf(root**2)


def angle_rule(size, nonnegative):
    """Equal weights on the circle; half of it, on which functions vary as slowly, where signs are free."""
    size = size + size // 2 if nonnegative else size
    return (2 if nonnegative else 1) * np.pi * np.arange(size) / size, np.full(size, 1 / size)


def settings(fixed, priors, slab, n_atoms, nonnegative, angles):
    """Product rule over directions in the plane, the noise, and the two rates of the dense slab."""

    def known(name):
        return np.array([float(fixed.get(name, np.nan))]), np.ones(1)

    noise = known("noise_scale") if "noise_scale" in fixed else noise_rule(priors["noise_scale"])
    rates = [known("rate_l1"), known("rate_linf")]
    if slab == "l1linf":
        for place, name in enumerate(("rate_l1", "rate_linf")):
            rates[place] = rates[place] if name in fixed else gamma_rule(priors[name], 7)
    directions = [(np.zeros(1), np.ones(1))] if "dictionary" in fixed else [angle_rule(angles, nonnegative)]
    directions = directions * (1 if "dictionary" in fixed else n_atoms)
    for point in itertools.product(*(zip(*rule, strict=True) for rule in [noise, *rates, *directions])):
        values, weights = zip(*point, strict=True)
        phi = np.array(values[3:])
        atoms = fixed["dictionary"] if "dictionary" in fixed else np.column_stack([np.cos(phi), np.sin(phi)])
        yield Setting(np.prod(weights), np.asarray(atoms, float), phi, *values[:3])


def reach(X, observed, dictionary, noise_scale):
    """A size that codes exceed with negligible likelihood whatever the others are; inf where they do not bound it."""
    largest = 0.0
    for x, seen in zip(X, observed, strict=True):
        for size in range(1, len(dictionary) + 1):
            for chosen in itertools.combinations(range(len(dictionary)), size):
                atoms = dictionary[list(chosen)][:, seen]
                gram = atoms @ atoms.T
                if np.linalg.eigvalsh(gram)[0] < 1e-8:
                    return np.inf
                inverse = np.linalg.inv(gram)
                centre = np.abs(inverse @ atoms @ x[seen])
                largest = max(largest, np.max(centre + 8 * noise_scale * np.sqrt(np.diag(inverse))))
    return largest


def two_level_atom(slab, nonnegative, rate, prior, limit, noise_scale, order):
    """Rate known (``rate``) or Gamma (``prior``), codes on a grid that every rate shares."""
    rates, weights = gamma_rule(prior) if rate is None else (np.array([float(rate)]), np.ones(1))
    if rate is not None:
        limit = min(limit, _TAIL / rate if slab == "bernoulli_laplace" else 8 / np.sqrt(rate))
    r, mass = composite(uniform_edges(0, limit, 4 * noise_scale), order)
    column = rates[:, None]
    if slab == "bernoulli_laplace":
        density = column * np.exp(-column * r)
    else:
        density = np.sqrt(2 * column / np.pi) * np.exp(-column * r**2 / 2)
    return _mirrored(rates, weights, np.broadcast_to(r, density.shape), density * mass, nonnegative)


def enveloped_atom(nonnegative, rate_l1, rate_linf, n, limit, noise_scale, order):
    """Envelope t = -log(y) / rate_l1, y ~ Beta(rate_linf / rate_l1, n + 1), and codes cut at it."""
    limit = min(limit, _TAIL / (rate_l1 + rate_linf / n))
    near = uniform_edges(0, limit, min(4 * noise_scale, 4 / rate_l1))
    far = limit + np.array([0.2, 0.5, 1]) * 25 / rate_linf
    t, weights = composite(np.concatenate([near, far]), order)
    rho = rate_linf / rate_l1
    log_prior = np.log(rate_l1) - rate_linf * t + n * np.log(-np.expm1(-rate_l1 * t)) - betaln(rho, n + 1)
    prior = weights * np.exp(log_prior)
    unit, mass = composite(uniform_edges(0, 1, min(4 * noise_scale, 4 / rate_l1) / limit), order)
    cut = np.minimum(t, limit)[:, None]
    r = cut * unit
    density = rate_l1 * np.exp(-rate_l1 * r) / -np.expm1(-rate_l1 * t)[:, None]
    return _mirrored(t, prior, r, density * cut * mass, nonnegative)


def _mirrored(latent, prior, r, mass, nonnegative):
    if nonnegative:
        return Atom(latent, prior, r, mass)
    return Atom(latent, prior, np.concatenate([-r, r], 1), np.concatenate([mass, mass], 1) / 2)
