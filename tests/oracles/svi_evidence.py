"""Log evidence and posterior moments of one known atom, or one unknown atom in the plane, by sums over grids."""

import numpy as np
from scipy import stats
from scipy.special import gammaln, logsumexp

from tests.oracles.tiny_posteriors import midpoints


def log_trapezoid(log_values, grid, axis=-1):
    """Log of the integral over an equally spaced grid."""
    return logsumexp(log_values, axis=axis) + np.log(grid[1] - grid[0])


def code_grid(X, noise_scale, nonnegative, size):
    reach = np.linalg.norm(X, axis=1).max() + 9 * noise_scale
    return midpoints(0 if nonnegative else -reach, reach, size)


def log_likelihood(x, codes, atom, noise_scale, observed):
    """Log density of one sample (P,) at every code, noise scales broadcast against codes."""
    total = 0.0
    for value, weight, seen in zip(x, atom, observed, strict=True):
        total = total + (stats.norm.logpdf(value, weight * codes, noise_scale) if seen else 0.0)
    return total


def laplace_known(X, atom, rate, noise_scale, *, nonnegative=False, mask=None, size=4001):
    """Log evidence, means and standard deviations of the codes (N,): one integral a sample."""
    mask = np.ones(X.shape, bool) if mask is None else mask
    codes = code_grid(np.where(mask, X, 0), noise_scale, nonnegative, size)
    prior = np.log(rate / (1 if nonnegative else 2)) - rate * np.abs(codes)
    logs = np.stack(
        [prior + log_likelihood(x, codes, atom, noise_scale, m) for x, m in zip(X, mask, strict=True)]
    )
    weights = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
    means = weights @ codes
    return log_trapezoid(logs, codes).sum(), means, np.sqrt(weights @ codes**2 - means**2)


def laplace_unknown_noise_and_rate(X, atom, noise_prior, gamma, *, nonnegative=False, size=2001, outer=100):
    """Log evidence where noise_scale ~ HalfNormal(noise_prior) and rate ~ Gamma(shape, rate)."""
    codes = code_grid(X, noise_prior, nonnegative, size)
    noise = midpoints(0, 5 * noise_prior, outer)
    law = stats.gamma(gamma[0], scale=1 / gamma[1])
    rate = midpoints(0, law.ppf(1 - 1e-9), outer)
    total = stats.halfnorm(scale=noise_prior).logpdf(noise)[:, None] + law.logpdf(rate)
    for x in X:
        likelihood = log_likelihood(x, codes, atom, noise[:, None], np.ones(x.shape, bool))
        prior = np.log(rate / (1 if nonnegative else 2))[:, None] - rate[:, None] * np.abs(codes)
        top = likelihood.max(1, keepdims=True)
        mass = np.exp(likelihood - top) @ np.exp(prior).T
        total = total + np.log(mass) + top + np.log(codes[1] - codes[0])
    return log_trapezoid(log_trapezoid(total, rate), noise)


def l1linf_known(X, atom, rate_l1, rate_linf, noise_scale, *, nonnegative=False, size=2001, outer=2000):
    """Log evidence of one atom with the l1 + l_inf slab: codes summed out given the envelope, then that."""
    n = len(X)
    ratio = rate_linf / rate_l1
    sides = 1 if nonnegative else 2
    log_z = n * np.log(sides / rate_l1) + gammaln(n + 1) + gammaln(ratio + 1) - gammaln(n + ratio + 1)
    codes = code_grid(X, noise_scale, nonnegative, size)
    envelope = midpoints(0, np.abs(codes).max() + 40 / rate_linf, outer)
    total = np.log(rate_linf) - log_z - rate_linf * envelope
    inside = np.clip((envelope[:, None] - np.abs(codes)) / (codes[1] - codes[0]) + 0.5, 0, 1)
    for x in X:
        density = log_likelihood(x, codes, atom, noise_scale, np.ones(x.shape, bool)) - rate_l1 * np.abs(
            codes
        )
        with np.errstate(divide="ignore"):
            total = total + np.log(inside @ np.exp(density - density.max())) + density.max()
        total = total + np.log(codes[1] - codes[0])
    return log_trapezoid(total, envelope)


def laplace_unknown_direction(X, rate, noise_scale, *, outer=400):
    """Log evidence, and mean direction (2,), of one atom uniform on the circle with nonnegative codes."""
    angle = midpoints(-np.pi, np.pi, outer)
    atoms = np.stack([np.cos(angle), np.sin(angle)], 1)
    logs = np.array([laplace_known(X, a, rate, noise_scale, nonnegative=True, size=1001)[0] for a in atoms])
    weights = np.exp(logs - logsumexp(logs))
    return log_trapezoid(logs - np.log(2 * np.pi), angle), weights @ atoms
