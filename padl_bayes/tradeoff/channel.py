r"""One atom of unit norm as a scalar channel: what the penalties make of ``c = r* + shift + scale eps``.

Given the envelope, PADL's code is ``r = clip(soft(c, a), theta)``. All that the tradeoff needs of it follows from the
excesses of ``c`` over a level, for one-sided codes above it only,

.. math:: T_0(a) = P(|c| > a), \quad T_1(a) = E(|c| - a)_+, \quad T_2(a) = E(|c| - a)_+^2 ,

which are closed forms for Laplace, exponential, Gaussian, half-normal and empirical laws of ``r*``. Laws broadcast: an
array of parameters (K,) with levels (..., K).
"""

from typing import NamedTuple

import numpy as np
from scipy.special import log_ndtr, ndtr, owens_t

NEWTON_STEPS = 200


class SpikeSlab(NamedTuple):
    """Codes that are zero with probability ``1 - usage`` and follow a slab otherwise, one law an atom."""

    usage: np.ndarray
    """(K,)"""
    rate: np.ndarray
    """(K,) rate of the exponential, precision of the Gaussian slab."""
    slab: str = "bernoulli_laplace"
    nonnegative: bool = False

    def excess(self, level, scale):
        """`Excess` of ``r* + scale eps`` above ``level``, of its negative (two-sided laws are even)."""
        spike, slab = (
            normal_excess(level, scale),
            _SLAB_EXCESS[self.slab, self.nonnegative](level, scale, self.rate),
        )
        return Excess(*((1 - self.usage) * a + self.usage * b for a, b in zip(spike, slab, strict=True)))

    def excess_below(self, level, scale):
        """`Excess` of ``-(r* + scale eps)`` above ``level``; only two-sided codes need it."""
        return self.excess(level, scale)

    @property
    def mean(self):
        """E r*, (K,)."""
        if not self.nonnegative:
            return np.zeros_like(self.rate)
        return self.usage * (
            1 / self.rate if self.slab == "bernoulli_laplace" else np.sqrt(2 / np.pi / self.rate)
        )

    @property
    def square(self):
        """E r*^2, (K,)."""
        return self.usage * (2 / self.rate**2 if self.slab == "bernoulli_laplace" else 1 / self.rate)


class Empirical(NamedTuple):
    """Codes drawn from the columns of a table, for example those of a fit."""

    values: np.ndarray
    """(M, K)"""
    nonnegative: bool = False

    def excess(self, level, scale):
        """`Excess` of ``r* + scale eps`` above ``level``."""
        return self._average(level, scale, self.values)

    def excess_below(self, level, scale):
        """`Excess` of ``-(r* + scale eps)`` above ``level``."""
        return self._average(level, scale, -self.values)

    @staticmethod
    def _average(level, scale, values):
        level = np.asarray(level, float)[..., None, :] - values
        return Excess(
            *(part.mean(axis=-2) for part in normal_excess(level, np.asarray(scale, float)[..., None, :]))
        )

    @property
    def mean(self):
        """E r*, (K,)."""
        return self.values.mean(axis=0)

    @property
    def square(self):
        """E r*^2, (K,)."""
        return np.square(self.values).mean(axis=0)


class Excess(NamedTuple):
    """Of a variable over a level: the probability, the mean and the mean square."""

    probability: np.ndarray
    mean: np.ndarray
    square: np.ndarray


def _density(x):
    return np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)


def normal_excess(level, scale):
    """`Excess` of a normal variable of mean zero.

    Parameters
    ----------
    level, scale : array_like
        Broadcast; ``scale`` is positive.

    Returns
    -------
    Excess
    """
    x = level / scale
    tail, density = ndtr(-x), _density(x)
    # rounding may leave tiny negative differences in the far tail
    mean = np.maximum(scale * (density - x * tail), 0)
    return Excess(tail, mean, np.maximum(scale**2 * ((1 + x * x) * tail - x * density), 0))


def _exponential_excess(level, scale, rate):
    """Slab ``rate exp(-rate r)``: each tail integral adds the one before over the rate."""
    noise = normal_excess(level, scale)
    x = level / scale
    tilted = np.exp(0.5 * (rate * scale) ** 2 - rate * level + log_ndtr(x - rate * scale))
    tail = noise.probability + tilted
    return Excess(tail, noise.mean + tail / rate, noise.square + 2 * (noise.mean + tail / rate) / rate)


def _laplace_excess(level, scale, rate):
    """Slab ``rate / 2 exp(-rate |r|)``: half an exponential, half its mirror image."""
    above, noise = _exponential_excess(level, scale, rate), normal_excess(level, scale)
    x = level / scale
    tilted = np.exp(0.5 * (rate * scale) ** 2 + rate * level + log_ndtr(-x - rate * scale))
    tail = noise.probability - tilted
    mean = noise.mean - tail / rate
    below = tail, mean, noise.square - 2 * mean / rate
    return Excess(*(0.5 * (a + b) for a, b in zip(above, below, strict=True)))


def _gaussian_excess(level, scale, rate):
    return normal_excess(level, np.sqrt(scale**2 + 1 / rate))


def _half_normal_excess(level, scale, rate):
    """A half-normal plus a normal variable is skew normal (Azzalini, Scandinavian Journal of Statistics 12, 1985)."""
    skew, spread = 1 / (np.sqrt(rate) * scale), np.sqrt(scale**2 + 1 / rate)
    x, stretch = level / spread, np.sqrt(1 + skew**2)
    tail = ndtr(-x) + 2 * owens_t(x, skew)
    edge = 2 * _density(x) * ndtr(skew * x)
    pull = 2 * skew / (np.sqrt(2 * np.pi) * stretch)
    first = edge + pull * ndtr(-stretch * x)
    second = tail + x * edge + pull * _density(stretch * x) / stretch
    return Excess(
        tail,
        np.maximum(spread * (first - x * tail), 0),
        np.maximum(spread**2 * (second - 2 * x * first + x * x * tail), 0),
    )


_SLAB_EXCESS = {
    ("bernoulli_laplace", False): _laplace_excess,
    ("bernoulli_laplace", True): _exponential_excess,
    ("bernoulli_gaussian", False): _gaussian_excess,
    ("bernoulli_gaussian", True): _half_normal_excess,
}


class CodeMoments(NamedTuple):
    """Of the code of one atom, over samples."""

    nonzero: np.ndarray
    """P(r != 0)."""
    clipped: np.ndarray
    """P(|r| = theta)."""
    mean: np.ndarray
    """E r."""
    size: np.ndarray
    """E |r|."""
    square: np.ndarray
    """E r^2."""
    error: np.ndarray
    """E (r - r*)^2."""
    refitted_size: np.ndarray
    """E |c| where r != 0: the code of least squares there."""
    refitted_square: np.ndarray
    """E c^2 where r != 0."""
    missed: np.ndarray
    """E c^2 where r = 0, less what noise alone would have there: P(r = 0) times its variance."""


def _sides(law, shift):
    """``(excess, sign)`` of each sign that codes may have; a level ``a`` lies ``a - sign * shift`` above ``r*``."""
    return [(law.excess, 1)] if law.nonnegative else [(law.excess, 1), (law.excess_below, -1)]


def excess_over(law, level, scale, shift=0.0):
    """`Excess` of ``|c|`` over ``level``, of ``c`` itself for one-sided codes, ``c = r* + shift + scale eps``.

    Parameters
    ----------
    law : SpikeSlab or Empirical
    level, scale, shift : array_like, shape (..., K)

    Returns
    -------
    Excess
    """
    parts = [excess(level - sign * shift, scale) for excess, sign in _sides(law, shift)]
    return Excess(*(sum(side) for side in zip(*parts, strict=True)))


def envelope(law, threshold, scale, excess, shift=0.0, start=0.0):
    """Solve ``E(|c| - threshold - theta)_+ = excess`` for the envelope theta.

    The left side falls and is convex: Newton's steps from below never pass the root.

    Parameters
    ----------
    law : SpikeSlab or Empirical
    threshold, scale, excess, shift : array_like, shape (..., K)
        ``excess`` is ``alpha2 / N`` for an atom of unit norm that nothing competes with.
    start : array_like
        Where to begin, not below zero.

    Returns
    -------
    ndarray, shape (..., K)
        Zero where the atom is off: where ``E(|c| - threshold)_+`` is at most ``excess``; infinite where
        ``excess`` is zero.
    """
    shape = np.broadcast_shapes(*(np.shape(a) for a in (threshold, scale, excess, shift, start, law.mean)))
    theta, excess = np.array(np.broadcast_to(start, shape), float), np.broadcast_to(excess, shape)
    free = excess == 0
    for _ in range(NEWTON_STEPS):
        beyond = excess_over(law, threshold + theta, scale, shift)
        step = (beyond.mean - excess) / np.maximum(beyond.probability, np.finfo(float).tiny)
        new = np.where(free, 0, np.maximum(theta + step, 0))
        settled = np.abs(new - theta) <= 1e-12 * (scale + new)
        theta = new
        if np.all(settled):
            break
    return np.where(free, np.inf, theta)


def code_moments(law, threshold, theta, scale, shift=0.0):
    r"""Moments of ``r = clip(soft(c, threshold), theta)`` and its error, ``c = r* + shift + scale eps``.

    With :math:`b = a + \theta` the code is the excess over a less the excess over b, so that
    :math:`E r^2 = T_2(a) - T_2(b) - 2 \theta T_1(b)`, and by Stein's identity
    :math:`E r^* (c - a)_+ = T_2 + (a - shift) T_1 - scale^2 T_0`.

    Parameters
    ----------
    law : SpikeSlab or Empirical
    threshold, theta, scale, shift : array_like, shape (..., K)

    Returns
    -------
    CodeMoments
    """
    bounded = np.isfinite(theta)
    reach = np.where(bounded, theta, 0)
    total = dict.fromkeys(
        ("nonzero", "clipped", "mean", "size", "square", "cross", "c_size", "c_square", "gain"), 0.0
    )
    for excess, sign in _sides(law, shift):
        for name, value in _one_side(excess, threshold, reach, bounded, scale, sign, shift).items():
            total[name] = total[name] + value
    cross = total.pop("cross")
    error = np.maximum(total["square"] - 2 * cross + law.square, 0)
    on = theta > 0
    found = {name: np.where(on, value, 0) for name, value in total.items()}
    seen = law.square + scale**2 + shift**2 + 2 * shift * law.mean
    missed = seen - found["c_square"] - scale**2 * (1 - found["nonzero"])
    return CodeMoments(
        found["nonzero"], found["clipped"], found["mean"], found["size"], found["square"],
        np.where(on, error, law.square), found["c_size"], found["c_square"], missed,
    )  # fmt: skip


def missed_square(law, threshold, scale, shift=0.0):
    """E r*^2 where ``|c|`` stays below the threshold (c itself for one-sided codes).

    Tweedie's formulas for the first two moments of r* given c, integrated by parts, leave the density of c at the
    threshold and its slope, which are taken as differences of tails.

    Parameters
    ----------
    law : SpikeSlab or Empirical
    threshold, scale, shift : array_like, shape (..., K)

    Returns
    -------
    ndarray, shape (..., K)
    """
    found = law.square + np.zeros(np.broadcast_shapes(np.shape(threshold), np.shape(scale), np.shape(shift)))
    step = 1e-3 * scale
    for excess, sign in _sides(law, shift):
        near = threshold - sign * shift
        before, over, after = (excess(near + offset, scale) for offset in (-step, 0, step))
        density = (before.probability - after.probability) / (2 * step)
        slope = (2 * over.probability - before.probability - after.probability) / step**2
        square = over.square + 2 * near * over.mean + near**2 * over.probability
        found -= square - scale**2 * (2 * near * density + over.probability + scale**2 * slope)
    return np.clip(found, 0, law.square)


def _one_side(excess, threshold, reach, bounded, scale, sign, shift):
    """What codes of one sign contribute; ``c_size`` and ``c_square`` are of c itself."""
    near, far = threshold - sign * shift, threshold + reach - sign * shift
    over, beyond = excess(near, scale), Excess(*(np.where(bounded, part, 0) for part in excess(far, scale)))
    size = over.mean - beyond.mean
    cross = over.square + near * over.mean - scale**2 * over.probability
    cross -= beyond.square + far * beyond.mean - scale**2 * beyond.probability
    return {
        "nonzero": over.probability,
        "clipped": beyond.probability,
        "mean": sign * size,
        "size": size,
        "square": over.square - beyond.square - 2 * reach * beyond.mean,
        "cross": cross,
        "c_size": over.mean + threshold * over.probability,
        "c_square": over.square + 2 * threshold * over.mean + threshold**2 * over.probability,
    }
