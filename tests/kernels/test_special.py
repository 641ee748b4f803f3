"""Truncated-normal functions against a backward recurrence in long double."""

import jax.numpy as jnp
import numpy as np
import pytest

from padl_bayes.kernels.special import mills_excess, upper_tail
from tests.oracles.spike_slab import truncated_normal_tail

EPS = {np.float64: np.finfo(np.float64).eps, np.float32: np.finfo(np.float32).eps}
POSITIVE = np.concatenate(
    [[0.0, 15.99, 16.0, 16.01], np.linspace(0, 40, 801), np.logspace(-9, 5, 141), np.linspace(40, 130, 46)]
)
NEGATIVE = -np.concatenate([np.linspace(0, 40, 401), np.logspace(-9, 3, 121)])


def worst(found, truth):
    """Largest relative error, infinite if anything is not finite."""
    found = np.asarray(found, np.longdouble)
    error = np.abs(found / truth - 1)
    return float(error.max()) if np.isfinite(error).all() else np.inf


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("dtype", "ulps"), [(np.float64, 2), (np.float32, 3)])
def test_mills_excess(dtype, ulps):
    u = POSITIVE.astype(dtype)
    found = mills_excess(jnp.asarray(u))
    assert found.dtype == dtype
    assert worst(found, truncated_normal_tail(u)[1]) < ulps * EPS[dtype]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("u", [POSITIVE, NEGATIVE], ids=["positive", "negative"])
def test_upper_tail(dtype, u):
    u = u.astype(dtype)
    scale, mass, mean, square = upper_tail(jnp.asarray(u))
    true_mass, true_mean, true_square = truncated_normal_tail(u)
    x = np.minimum(u.astype(np.longdouble), 0)
    np.testing.assert_allclose(np.asarray(scale, np.longdouble), x * x / 2, rtol=2 * EPS[dtype])
    assert worst(mass, true_mass) < 4 * EPS[dtype]
    assert worst(mean, true_mean) < 4 * EPS[dtype]
    # computed as 1 - u E r up to u = 80 (float32: 16), which loses u^2 / 2 roundings
    assert worst(square, true_square) < {np.float64: 80**2, np.float32: 16**2}[dtype] * EPS[dtype]


@pytest.mark.usefixtures("x64")
def test_far_out_the_tail_is_an_exponential():
    u = jnp.asarray([1e8, 1e12, 1e100])
    _, mass, mean, square = upper_tail(u)
    np.testing.assert_allclose(mass * u, np.sqrt(2 / np.pi), rtol=1e-14)
    np.testing.assert_allclose(mean * u, 1, rtol=1e-14)
    np.testing.assert_allclose(square * u * u, 2, rtol=1e-14)
