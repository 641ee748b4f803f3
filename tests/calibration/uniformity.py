"""Are ranks uniform? Simultaneous test and bands of Säilynoja, Bürkner, Vehtari (Statistics and Computing 32, 2022).

Of n ranks in 0..L, the number below i is Binomial(n, i / (L + 1)) if they are uniform. The statistic is the smallest
two-sided tail probability of these counts over i; its law is found by simulation.
"""

from functools import cache

import numpy as np
from scipy import stats

SIMULATIONS = 20_000


@cache
def _tails(n, length):
    """Smaller tail probability (n + 1, L) of each number of ranks below 1..L."""
    below = np.arange(n + 1)[:, None]
    share = np.arange(1, length) / length
    return np.minimum(stats.binom.cdf(below, n, share), stats.binom.sf(below - 1, n, share))


def gamma(counts):
    """Statistic of `p_value`.

    Parameters
    ----------
    counts : array_like of int, shape (..., L + 1)
        How often each rank occurred; the same total in each row.

    Returns
    -------
    ndarray, shape (...)
    """
    counts = np.asarray(counts)
    below = np.cumsum(counts, axis=-1)[..., :-1]
    tails = _tails(int(counts.sum(-1).flat[0]), counts.shape[-1])
    return 2 * tails[below, np.arange(below.shape[-1])].min(-1)


@cache
def _null(n, length):
    rng = np.random.default_rng(0)
    draws = [rng.multinomial(n, np.full(length, 1 / length), size=1000) for _ in range(SIMULATIONS // 1000)]
    return np.sort(np.concatenate([gamma(counts) for counts in draws]))


def p_value(counts):
    """Probability that uniform ranks look as uneven; at least 1 / (`SIMULATIONS` + 1).

    Parameters
    ----------
    counts : array_like of int, shape (L + 1,)

    Returns
    -------
    float
    """
    counts = np.asarray(counts)
    null = _null(int(counts.sum()), len(counts))
    # Equal statistics differ by rounding.
    as_small = np.searchsorted(null, gamma(counts) * (1 + 1e-9), side="right")
    return float((1 + as_small) / (1 + len(null)))


def chi_square(counts, bins):
    """P-value of Pearson's test on ``bins`` bins of equal width; they must divide L + 1."""
    counts = np.asarray(counts)
    if len(counts) % bins:
        raise ValueError(f"bins must divide the number of ranks {len(counts)}, found {bins}")
    return float(stats.chisquare(counts.reshape(bins, -1).sum(1)).pvalue)


def family_p_value(counts):
    """Smallest `p_value` of several sets of counts, corrected for their number (Bonferroni)."""
    found = [p_value(one) for one in counts]
    return min(1.0, len(found) * min(found))


def band(n, length, outside):
    """Lowest and highest difference of the empirical distribution of n ranks in 0..length - 1 to the uniform one.

    Uniform ranks leave this band, at any of the ranks, with probability ``outside``.

    Returns
    -------
    ndarray, shape (2, length - 1)
        Of the share of ranks below 1, 2, ..., length - 1.
    """
    level = np.quantile(_null(n, length), outside) / 2
    share = np.arange(1, length) / length
    return np.stack([stats.binom.ppf(level, n, share), stats.binom.isf(level, n, share)]) / n - share
