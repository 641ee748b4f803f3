"""Marginal likelihood of hyperparameters where atoms are the first coordinates, by sums over grids.

Atoms then do not meet: the density of the data is a product over coordinates, each a sum over whether the atom is
active, each of these a product over samples of an integral over one code.
"""

import numpy as np
from scipy import optimize, special, stats

WIDTH, NODES = 30.0, 1001


def _spike(C, noise):
    return stats.norm.logpdf(C, scale=noise)


def two_level(X, n_atoms, activation_rate, usage, rate, noise):
    """log p(X) with Laplace slabs; codes integrated by the trapezoidal rule on either side of zero."""
    C = X[:, :n_atoms]
    r = np.concatenate([-np.linspace(0, WIDTH, NODES)[::-1], np.linspace(0, WIDTH, NODES)]) / rate
    weight = 0.5 * rate * np.exp(-rate * np.abs(r))
    slab = np.trapezoid(weight * stats.norm.pdf(C[..., None] - r, scale=noise), r, axis=-1)
    mixed = np.logaddexp(np.log1p(-usage) + _spike(C, noise), np.log(usage) + np.log(slab)).sum(axis=0)
    return _over_atoms(X, n_atoms, activation_rate, mixed, noise)


def l1linf(X, n_atoms, activation_rate, rate_l1, rate_linf, noise):
    """log p(X) with the l1 + l_inf slab, its envelope on the grid of the codes' magnitudes."""
    C, n = X[:, :n_atoms], len(X)
    t = np.linspace(0, np.abs(C).max() + 10 * noise + 40 / rate_linf, NODES)
    entry = np.exp(-rate_l1 * t) * (
        stats.norm.pdf(C[..., None] - t, scale=noise) + stats.norm.pdf(C[..., None] + t, scale=noise)
    )
    within = np.cumsum((entry[..., 1:] + entry[..., :-1]) / 2, axis=-1) * (t[1] - t[0])
    with np.errstate(divide="ignore"):
        log_density = np.log(within).sum(axis=0) - rate_linf * t[1:]
    rho = rate_linf / rate_l1
    log_z = (
        n * np.log(2 / rate_l1)
        + special.gammaln(n + 1)
        + special.gammaln(rho + 1)
        - special.gammaln(n + rho + 1)
    )
    log_slab = special.logsumexp(log_density, axis=-1) + np.log(t[1] - t[0]) + np.log(rate_linf) - log_z
    return _over_atoms(X, n_atoms, activation_rate, log_slab, noise)


def _over_atoms(X, n_atoms, activation_rate, log_active, noise):
    log_idle = _spike(X[:, :n_atoms], noise).sum(axis=0)
    each = np.logaddexp(np.log1p(-activation_rate) + log_idle, np.log(activation_rate) + log_active)
    return each.sum() + _spike(X[:, n_atoms:], noise).sum()


def maximum(log_likelihood, names, start):
    """Hyperparameters of most likelihood, by simplex from ``start``, probabilities on their log odds."""
    shares = ("activation_rate", "usage")

    def values(at):
        return {n: special.expit(a) if n in shares else np.exp(a) for n, a in zip(names, at, strict=True)}

    at = [special.logit(start[n]) if n in shares else np.log(start[n]) for n in names]
    simplex = np.vstack([at, at + 0.3 * np.eye(len(at))])
    found = optimize.minimize(
        lambda at: -log_likelihood(**values(at)), at, method="Nelder-Mead",
        options={"xatol": 1e-3, "fatol": 1e-4, "initial_simplex": simplex},
    )  # fmt: skip
    assert found.success
    return values(found.x)
