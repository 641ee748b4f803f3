"""Exact predictions where every atom is used and codes are Gaussian: samples are Gaussian given everything global.

Each draw of a posterior is ``(dictionary (K, P), precision of the codes (K,), noise_scale)``. NumPy and SciPy.
"""

import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm


def _covariances(dictionary, precision, noise_scale):
    """Of the noiseless sample, and of the sample."""
    clean = dictionary.T @ np.diag(1 / precision) @ dictionary
    return clean, clean + noise_scale**2 * np.eye(len(clean))


def log_density(x, draws):
    """log of the mean over the draws of the density of one sample (P,)."""
    each = [multivariate_normal(cov=_covariances(*draw)[1]).logpdf(x) for draw in draws]
    return logsumexp(each) - np.log(len(draws))


def given_seen(x, seen, draws):
    """Mixtures of normals of all entries given the seen ones.

    Returns the weights (S,) of the draws, the means (S, P), and the standard deviations (S, P) of the noiseless entries
    and of entries with fresh noise.
    """
    parts = []
    for draw in draws:
        clean, noisy = _covariances(*draw)
        inner = noisy[np.ix_(seen, seen)]
        gain = np.linalg.solve(inner, clean[seen]).T
        variance = np.diag(clean - gain @ clean[seen])
        likelihood = multivariate_normal(cov=inner).logpdf(x[seen])
        parts.append((likelihood, gain @ x[seen], np.sqrt(variance), np.sqrt(variance + draw[2] ** 2)))
    likelihood, mean, clean_sd, noisy_sd = (np.array(part) for part in zip(*parts, strict=True))
    return np.exp(likelihood - logsumexp(likelihood)), mean, clean_sd, noisy_sd


def mixture_cdf(value, weights, mean, sd):
    """P(entry <= value) (P,) of a mixture with means and standard deviations (S, P)."""
    return weights @ norm.cdf((value - mean) / sd)
