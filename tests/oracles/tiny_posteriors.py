"""Posterior moments of tiny sparse-coding models by summing over grids."""

import numpy as np
from scipy import stats


def midpoints(low, high, size):
    edges = np.linspace(low, high, size + 1)
    return (edges[1:] + edges[:-1]) / 2


def expectations(log_density, functionals):
    """Means of ``functionals`` under the normalised density on a grid, all arrays of one shape."""
    weights = np.exp(log_density - log_density.max())
    return {name: (weights * values).sum() / weights.sum() for name, values in functionals.items()}


def l1linf_one_atom(X, atom, rate_l1, rate_linf, noise_prior, *, nonnegative=False, size=120):
    """Codes (r1, r2), envelope and noise scale of two samples and one known atom; rates known.

    The envelope is summed out: given the codes it exceeds their maximum by an Exponential(rate_linf).
    """
    width = np.abs(X @ atom).max() + 8 * noise_prior
    r = midpoints(0 if nonnegative else -width, width, size)
    sigma = midpoints(0, 6 * noise_prior, 100)
    r1, r2, s = np.meshgrid(r, r, sigma, indexing="ij", sparse=True)
    misfit = sum(
        np.square(X[n]).sum() - 2 * code * (X[n] @ atom) + np.square(code) for n, code in enumerate((r1, r2))
    )
    largest = np.maximum(np.abs(r1), np.abs(r2))
    log_density = (
        -misfit / (2 * s**2) - X.size * np.log(s) - rate_l1 * (np.abs(r1) + np.abs(r2)) - rate_linf * largest
        + stats.halfnorm(scale=noise_prior).logpdf(s)
    )  # fmt: skip
    full = np.ones_like(log_density)
    return expectations(
        log_density,
        {
            "r1": r1 * full, "r1^2": r1**2 * full, "r1 r2": r1 * r2 * full, "|r|max": largest * full,
            "envelope": (largest + 1 / rate_linf) * full, "noise": s * full, "noise^2": s**2 * full,
        },
    )  # fmt: skip


def laplace_one_atom_in_the_plane(X, rate, noise_scale, *, size=400):
    """Direction (cos, sin) and nonnegative codes of one unknown atom in the plane; rate and noise known.

    Given the direction, the codes of different samples are independent.
    """
    angle = midpoints(-np.pi, np.pi, size)
    atom = np.stack([np.cos(angle), np.sin(angle)])
    r = midpoints(0, np.linalg.norm(X, axis=1).max() + 8 * noise_scale, size)
    log_density, means = np.zeros(size), []
    for x in X:
        misfit = np.square(x[:, None, None] - r * atom[:, :, None]).sum(0)
        mass = np.exp(-misfit / (2 * noise_scale**2) - rate * r)
        log_density += np.log(mass.sum(1))
        means.append(mass @ r / mass.sum(1))
    functionals = {"cos": atom[0], "sin": atom[1], "cos^2": atom[0] ** 2}
    return expectations(log_density, functionals | {f"r{n + 1}": mean for n, mean in enumerate(means)})


def laplace_unknown_rate(X, atom, rate_prior, noise_scale, *, size=800):
    """Codes (r1, r2) of two samples and one known atom, and an Exponential(rate_prior) rate.

    The rate is summed out: rate^2 exp(-rate (|r|_1 + rate_prior)) integrates to 2 / (|r|_1 + rate_prior)^3.
    """
    axes = [midpoints(x @ atom - 9 * noise_scale, x @ atom + 9 * noise_scale, size) for x in X]
    r1, r2 = np.meshgrid(*axes, indexing="ij")
    misfit = np.square(r1 - X[0] @ atom) + np.square(r2 - X[1] @ atom)
    norm = np.abs(r1) + np.abs(r2) + rate_prior
    log_density = -misfit / (2 * noise_scale**2) - 3 * np.log(norm)
    return expectations(
        log_density, {"r1": r1, "r1^2": r1**2, "r1 r2": r1 * r2, "rate": 3 / norm, "rate^2": 12 / norm**2}
    )


def prior_norms(gamma_l1, gamma_linf, n, *, order=60):
    """Prior means of ||r||_1 and ||r||_inf under Gamma(shape, rate) laws of the two rates, shapes > 1."""
    grids = []
    for shape, rate in (gamma_l1, gamma_linf):
        quantiles = midpoints(0, 1, order**2)
        grids.append(stats.gamma(shape, scale=1 / rate).ppf(quantiles))
    l1, linf = np.meshgrid(*grids, indexing="ij", sparse=True)
    rates = [j * l1 + linf for j in range(1, n + 1)]
    return sum(j / rate for j, rate in enumerate(rates, 1)).mean(), sum(1 / rate for rate in rates).mean()
