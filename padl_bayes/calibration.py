r"""PADL's two weights from the noise alone.

An atom that sees nothing but noise has inner products :math:`c \sim N(0, \sigma^2)` with the samples, of
which the l1 part leaves :math:`E(|c| - \alpha_1)_+` on average. The l_inf part keeps the atom out if
:math:`\alpha_2` exceeds :math:`\sum_n (|c_n| - \alpha_1)_+`. An atom is free to point where that sum is
largest, so the weight that keeps all atoms out of pure noise with probability :math:`1 - \delta` is a
quantile of

.. math:: \sup_{\|d\| = 1} \sum_n (|\langle e_n, d \rangle| - \alpha_1)_+ , \qquad e_n \sim N(0, \sigma^2 I).
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from padl_bayes._memory import check_fits
from padl_bayes._options import check_flag, check_seed, check_sequence
from padl_bayes._validation import check_count, check_scalar, check_training_data
from padl_bayes.kernels.reference import shrink
from padl_bayes.kernels.row_sweep import matmul

N_STARTS = 4
N_STEPS = 30
LEAST_DELTA = 1e-6
# 99% point of the Tracy-Widom law of order 1 (Johnstone, Annals of Statistics 2001, table 1).
TRACY_WIDOM = 2.0234


class Calibration(NamedTuple):
    """Weights that keep atoms out of noise."""

    alpha1: float
    alpha2: float
    noise_scale: float
    null_levels: np.ndarray
    """(n_simulations,) the least ``alpha2`` that kept all atoms out of each simulated noise, ascending."""


def null_excess(alpha1, noise_scale=1.0, *, nonnegative=False):
    """``E (|c| - alpha1)_+`` for ``c ~ N(0, noise_scale^2)``; ``E (c - alpha1)_+`` for nonnegative codes.

    Closed form: ``2 [noise_scale phi(a) - alpha1 Q(a)]`` at ``a = alpha1 / noise_scale``, with phi the normal
    density and Q its upper tail.

    Parameters
    ----------
    alpha1 : float or array_like
    noise_scale : float or array_like
    nonnegative : bool

    Returns
    -------
    float or ndarray
    """
    ratio = np.asarray(alpha1) / noise_scale
    one_sided = noise_scale * norm.pdf(ratio) - alpha1 * norm.sf(ratio)
    return one_sided if nonnegative else 2 * one_sided


def estimate_noise_scale(X):
    """Standard deviation of white noise under signals of unknown number.

    The eigenvalues of ``X'X / N`` are taken for signal from the largest on, until the next one is what the
    largest eigenvalue of noise alone can be (99% point, Tracy-Widom); the noise variance is the mean of the
    rest, corrected for what signals take from it. Real data have no flat floor: there nearly all eigenvalues
    pass for signal, and the lower quartile serves instead.

    Where the signals fill all dimensions, as with more atoms than features, second moments cannot tell the
    noise from them, and the figure is an upper bound.

    Parameters
    ----------
    X : array_like, shape (N, P)

    Returns
    -------
    float

    References
    ----------
    S. Kritchman & B. Nadler, IEEE Transactions on Signal Processing 57 (2009), 3930-3941.
    """
    X, _ = check_training_data(X)
    X = X.astype(np.float64)
    # White noise is white over samples as over features: the longer side may play the samples.
    tall = X if X.shape[0] >= X.shape[1] else X.T
    n = tall.shape[0]
    eigenvalues = np.linalg.eigvalsh(tall.T @ tall / n)[::-1]
    # Features that are constant zero, or a mean taken out of each sample, leave directions without noise.
    eigenvalues = eigenvalues[eigenvalues > eigenvalues[0] * n * np.finfo(np.float64).eps]
    if len(eigenvalues) == 0:
        raise ValueError("X has no direction with energy to speak of; pass noise_scale or alpha")
    variance = next(v for k in range(len(eigenvalues)) if (v := _floor_below(eigenvalues, k, n)) is not None)
    return math.sqrt(max(variance, np.quantile(eigenvalues, 0.25)))


def _floor_below(eigenvalues, k, n):
    """Noise variance if the eigenvalues after the first k are noise; None if the next one is signal."""
    p = len(eigenvalues)
    signals, rest = eigenvalues[:k], eigenvalues[k:]
    variance = rest.mean()
    for _ in range(30):
        shifted = signals + variance - variance * (p - k) / n
        clean = (shifted + np.sqrt(np.maximum(shifted**2 - 4 * signals * variance, 0))) / 2
        variance = (rest.sum() + np.sum(signals - clean)) / (p - k)
    root_n, root_p = math.sqrt(n - 0.5), math.sqrt(p - k - 0.5)
    centre = (root_n + root_p) ** 2 / n
    spread = (root_n + root_p) / n * (1 / root_n + 1 / root_p) ** (1 / 3)
    is_last = k == p - 1
    return variance if is_last or rest[0] < variance * (centre + TRACY_WIDOM * spread) else None


def climb(E, atoms, alpha1, n_steps, *, nonnegative=False):
    """Directions that raise ``sum_n (|<e_n, d>| - alpha1)_+``, and its values there.

    The function is convex in d: going where its linear bound from below is largest on the sphere is a power
    iteration that never lowers it.

    Parameters
    ----------
    E : Array, shape (N, P)
    atoms : Array, shape (S, P)
        Unit-norm starts.
    alpha1 : float
    n_steps : int
    nonnegative : bool

    Returns
    -------
    atoms : Array, shape (S, P)
    levels : Array, shape (S,)
    """

    def step(_, atoms):
        inner = matmul(atoms, E.T)
        weights = jnp.where(shrink(inner, alpha1, nonnegative=nonnegative) > 0, jnp.sign(inner), 0)
        raised = matmul(weights, E)
        size = jnp.linalg.norm(raised, axis=1, keepdims=True)
        return jnp.where(size > 0, raised / jnp.where(size > 0, size, 1), atoms)

    atoms = jax.lax.fori_loop(0, n_steps, step, atoms)
    excess = shrink(matmul(atoms, E.T), alpha1, nonnegative=nonnegative)
    return atoms, jnp.sum(excess, axis=1)


def principal_starts(E):
    """Where to climb from in noise of many samples, whose levels follow the variance along d: (2 `N_STARTS`, P)."""
    principal = jnp.linalg.eigh(matmul(E.T, E))[1].T[-N_STARTS:]
    return jnp.concatenate([principal, -principal])


@partial(jax.jit, static_argnames=("shape", "nonnegative"))
def _null_levels(keys, alpha1, *, shape, nonnegative):
    """Largest level that one atom reaches on unit noise, one value a key."""

    def largest(key):
        E = jax.random.normal(key, shape, jnp.float32)
        # With few samples the level follows the longest ones.
        longest = E[jnp.argsort(-jnp.sum(E**2, axis=1))[: 2 * N_STARTS]]
        longest /= jnp.linalg.norm(longest, axis=1, keepdims=True)
        starts = jnp.concatenate([principal_starts(E), longest])
        return jnp.max(climb(E, starts, alpha1, N_STEPS, nonnegative=nonnegative)[1])

    return jax.lax.map(largest, keys)


def _check_shape(shape):
    sizes = check_sequence(shape, "shape", "two integers")
    if len(sizes) != 2:
        raise ValueError(f"shape must be (n_samples, n_features), found {shape!r}")
    return tuple(check_count(size, "shape") for size in sizes)


def calibrate_alpha(
    X=None,
    *,
    shape=None,
    noise_scale=None,
    l1_scale=1.0,
    delta=0.05,
    n_simulations=None,
    nonnegative=False,
    random_state=0,
):
    """Weights for `sparse_code` and `fit_map` that keep atoms out of noise.

    ``alpha1`` is ``l1_scale`` noise standard deviations. ``alpha2`` is the level that the best atom for pure
    noise exceeds with probability ``delta``, by simulation: the k-th smallest of n simulated levels with
    ``k = ceil((n + 1) (1 - delta))`` is exceeded by the next one with probability at most ``delta``, exactly.

    Parameters
    ----------
    X : array_like, shape (N, P), optional
        Data to be fitted. Needed unless ``shape`` and ``noise_scale`` are given.
    shape : tuple of int, optional
        (N, P), if there is no X.
    noise_scale : float, optional
        Standard deviation of the noise; `estimate_noise_scale` of X by default.
    l1_scale : float
        ``alpha1`` in noise standard deviations.
    delta : float
        Probability in (0, 1) that any atom wakes on pure noise.
    n_simulations : int, optional
        At least, and by default, ``ceil(1 / delta) - 1``. More make ``alpha2`` less random.
    nonnegative : bool
        For nonnegative codes.
    random_state : int
        Seed of the simulation.

    Returns
    -------
    Calibration

    Raises
    ------
    ValueError, TypeError
        Bad input; too few simulations for ``delta``; neither X nor both ``shape`` and ``noise_scale``.
    """
    if X is None and (shape is None or noise_scale is None):
        raise ValueError("X must be given, or both shape and noise_scale")
    if shape is not None:
        shape = _check_shape(shape)
    if X is not None:
        X, _ = check_training_data(X)
        if shape is not None and shape != X.shape:
            raise ValueError(f"shape {shape} contradicts X, of shape {X.shape}; leave it out")
        shape = X.shape
    n_samples, n_features = shape
    if noise_scale is None:
        noise_scale = estimate_noise_scale(X)
    noise_scale = check_scalar(noise_scale, "noise_scale", strict=True)
    l1_scale = check_scalar(l1_scale, "l1_scale")
    delta = check_scalar(delta, "delta", minimum=LEAST_DELTA, maximum=1.0)
    least = max(math.ceil(1 / delta - 1e-9) - 1, 1)
    n_simulations = least if n_simulations is None else check_count(n_simulations, "n_simulations")
    if n_simulations < least:
        raise ValueError(f"n_simulations must be at least {least} for delta={delta:g}, found {n_simulations}")
    nonnegative = check_flag(nonnegative, "nonnegative")
    check_fits(4 * n_samples * n_features, f"shape={(n_samples, n_features)}", "calibrate on fewer samples")
    check_fits(16 * n_simulations, f"n_simulations={n_simulations}", "simulate less often, or raise delta")
    keys = jax.random.split(jax.random.key(check_seed(random_state)), n_simulations)
    levels = _null_levels(keys, np.float32(l1_scale), shape=(n_samples, n_features), nonnegative=nonnegative)
    levels = noise_scale * np.sort(np.asarray(levels, np.float64))
    rank = min(math.ceil((n_simulations + 1) * (1 - delta) - 1e-9), n_simulations)
    return Calibration(l1_scale * noise_scale, float(levels[max(rank, 1) - 1]), noise_scale, levels)
