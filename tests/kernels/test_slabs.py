"""Evidence and moments of one entry, all slabs, against quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from padl_bayes.kernels.slabs import SLABS, entry_moments
from tests.oracles import spike_slab

KEYS = {
    "laplace": ("bernoulli_laplace", False),
    "exponential": ("bernoulli_laplace", True),
    "gaussian": ("bernoulli_gaussian", False),
    "half_normal": ("bernoulli_gaussian", True),
}
BOTH = pytest.mark.parametrize("dtype", [np.float64, np.float32])
ALL = pytest.mark.parametrize("kind", spike_slab.SLABS)
# 1 - u E r, which gives E r^2 where u is below 80 (float32: 16), loses this many roundings
CANCELLED = {np.float64: 80**2 / 2, np.float32: 16**2 / 2}

pytestmark = pytest.mark.usefixtures("x64")


def grid(dtype):
    """(linear, precision, rate) over many orders of magnitude, rounded to ``dtype``, as float64."""
    tail = np.logspace(-4, 5, 13)
    slope = np.concatenate([-tail, [0.0], tail])
    precision, rate, slope = np.meshgrid(np.logspace(-8, 8, 5), np.logspace(-3, 3, 3), slope)
    linear = np.concatenate([(slope * np.sqrt(precision)).ravel(), (slope * rate).ravel()])
    return [
        v.astype(dtype).astype(float)
        for v in (linear, np.tile(precision.ravel(), 2), np.tile(rate.ravel(), 2))
    ]


def magnitude(linear, precision, rate, log_mass):
    """Size of the terms that a log evidence is the sum of."""
    return linear**2 / precision + np.abs(np.log(rate**2 / precision)) + np.abs(log_mass) + 1


def as_float64(values):
    return [np.asarray(v, np.float64) for v in values]


@BOTH
@ALL
def test_evidence_and_moments_of_a_slab(kind, dtype, figure):
    at = grid(dtype)
    found = jax.jit(SLABS[KEYS[kind]].moments)(*(jnp.asarray(v, dtype) for v in at))
    assert all(a.dtype == dtype for a in found)
    log_evidence, mean, size, square = as_float64(found)
    truth = spike_slab.entry(kind, *at[:2], 0.5, at[2])
    true_mean, true_size, true_square = truth.given_use
    log_mass = spike_slab.slab_nodes(kind, *at).log_mass
    eps = np.finfo(dtype).eps
    np.testing.assert_array_less(np.abs(log_evidence - log_mass), 8 * eps * magnitude(*at, log_mass))
    relative = np.abs(mean - true_mean) / np.sqrt(true_square)
    figure(f"EM moments against quadrature, E r, relative, {np.dtype(dtype)}", relative.max())
    figure(
        f"EM moments against quadrature, E r^2, relative, {np.dtype(dtype)}",
        np.abs(square / true_square - 1).max(),
    )
    np.testing.assert_array_less(np.abs(mean - true_mean), 16 * eps * np.sqrt(true_square))
    np.testing.assert_array_less(np.abs(square / true_square - 1), CANCELLED[dtype] * eps)
    rounding = 16 if kind in ("laplace", "exponential") else CANCELLED[dtype]
    np.testing.assert_array_less(np.abs(size / true_size - 1), rounding * eps)


@BOTH
@ALL
def test_posterior_of_an_entry(kind, dtype):
    at = grid(dtype)
    eps = np.finfo(dtype).eps
    for usage in (2**-17, 0.25, 1 - 2**-13):
        logit = np.log(usage) - np.log1p(-usage)
        linear, precision, rate = (jnp.asarray(v, dtype) for v in at)
        found = jax.jit(entry_moments, static_argnums=0)(
            SLABS[KEYS[kind]], linear, precision, jnp.asarray(logit, dtype), rate
        )
        assert all(a.dtype == dtype for a in found)
        probability, mean, size, square, log_evidence, divergence = as_float64(found)
        truth = spike_slab.entry(kind, *at[:2], usage, at[2])
        scale = magnitude(*at, truth.log_evidence) + abs(logit)
        # an error of the log odds is one of the probability, and of what it multiplies
        odds = 16 * eps * scale
        uncertain = odds * truth.probability * (1 - truth.probability)
        np.testing.assert_array_less(np.abs(probability - truth.probability), uncertain + 16 * eps)
        np.testing.assert_array_less(np.abs(log_evidence - truth.log_evidence), odds)
        allowed = np.minimum(odds, 1) + CANCELLED[dtype] * eps
        np.testing.assert_array_less(np.abs(mean - truth.mean), allowed * np.sqrt(truth.given_use[2]))
        np.testing.assert_array_less(np.abs(square - truth.square), allowed * truth.given_use[2])
        np.testing.assert_array_less(np.abs(size - truth.size), allowed * truth.given_use[1])
        energy = np.abs(at[0]) * np.sqrt(truth.given_use[2]) + at[1] * truth.given_use[2]
        slack = (odds + eps) * (1 + energy) + CANCELLED[dtype] * eps * at[1] * truth.given_use[2]
        np.testing.assert_array_less(np.abs(divergence - truth.divergence), slack)
        assert np.all(divergence > -slack)


@ALL
def test_the_shape_is_that_of_an_exponential_family(kind):
    """E size(r) under the slab itself is shape / rate."""
    slab, rate = SLABS[KEYS[kind]], jnp.float64(2.5)
    alone = slab.moments(jnp.float64(0.0), jnp.float64(1e-13), rate)
    assert float(alone.log_evidence) == pytest.approx(0, abs=1e-12)
    assert float(alone.size) == pytest.approx(slab.shape / 2.5, rel=1e-12)


@ALL
def test_where_the_data_say_nothing_the_posterior_is_the_prior(kind):
    slab = SLABS[KEYS[kind]]
    q = entry_moments(slab, jnp.float64(0.0), jnp.float64(1e-13), jnp.float64(-1.0), jnp.float64(2.0))
    assert float(q.probability) == pytest.approx(1 / (1 + np.e), rel=1e-12)
    assert float(q.divergence) == pytest.approx(0, abs=1e-12)


@ALL
def test_a_sign_turns_with_the_data(kind):
    slab = SLABS[KEYS[kind]]
    up = slab.moments(jnp.float64(1.7), jnp.float64(2.0), jnp.float64(0.8))
    down = slab.moments(jnp.float64(-1.7), jnp.float64(2.0), jnp.float64(0.8))
    if spike_slab.one_sided(kind):
        assert float(down.mean) > 0
        assert float(down.log_evidence) < float(up.log_evidence)
    else:
        assert float(up.mean) == -float(down.mean)
        assert float(up.log_evidence) == float(down.log_evidence)
