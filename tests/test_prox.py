"""The sort-free prox against a sort, at every edge, in both precisions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from padl_bayes.kernels.reference import clip_level, prox_l1linf
from tests.oracles.convex import codes_by_quadratic_program, prox_by_sorting


def rows(seed, shape, dtype=np.float64, heavy=False):
    rng = np.random.default_rng(seed)
    return (rng.standard_t(2, shape) if heavy else rng.normal(size=shape)).astype(dtype)


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("n", [1, 7, 1000])
@pytest.mark.parametrize(
    ("alpha1", "alpha2"),
    [(0.0, 0.0), (0.3, 0.0), (0.0, 0.7), (0.3, 0.2), (0.5, 100.0), (9.0, 1.0), (0.1, 1e-9)],
)
def test_agrees_with_a_sort(x64, n, alpha1, alpha2, nonnegative):
    V = rows(n, (30, n), heavy=True)
    R, _ = prox_l1linf(V, alpha1, alpha2, nonnegative=nonnegative)
    np.testing.assert_allclose(R, prox_by_sorting(V, alpha1, alpha2, nonnegative), rtol=0, atol=1e-12)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_agrees_with_a_generic_solver(x64, nonnegative):
    # With an identity dictionary of one atom, coding is the prox.
    v = rows(3, (6, 1))
    R, _ = prox_l1linf(v.T, 0.2, 0.5, nonnegative=nonnegative)
    expected = codes_by_quadratic_program(v, np.ones((1, 1)), 0.2, 0.5, nonnegative)
    np.testing.assert_allclose(R, expected.T, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("fraction", [1e-6, 0.3, 0.999])
def test_float32_is_accurate_to_rounding(scale, fraction):
    V = scale * rows(0, (20, 5000), np.float32)
    alpha1 = np.float32(0.5 * scale)
    mass = np.maximum(np.abs(V) - alpha1, 0).sum(1, dtype=np.float64)
    alpha2 = np.float32(fraction * mass.min())
    R, theta = prox_l1linf(V, alpha1, alpha2)
    assert R.dtype == jnp.float32
    expected = prox_by_sorting(V.astype(np.float64), np.float64(alpha1), np.float64(alpha2))
    # theta is a mass over a count: the rounding of the mass, spread over the clipped entries.
    count = (np.abs(expected) > 0).sum(1).max()
    atol = 8 * np.finfo(np.float32).eps * max(scale, mass.max() / count)
    np.testing.assert_allclose(R, expected, rtol=0, atol=atol)
    np.testing.assert_allclose(theta, np.abs(R).max(1), rtol=0, atol=atol)


def test_a_row_at_the_boundary_is_zero(x64):
    V = np.array([[1.0, -2.0, 0.5], [1.0, -2.0, 0.5]])
    R, theta = prox_l1linf(V, 0.0, np.array([3.5, 3.5 * (1 - 1e-12)]))
    assert np.all(R[0] == 0)
    assert theta[0] == 0
    assert 0 < np.abs(R[1]).max() < 1e-11


def test_zero_rows_stay_zero(x64):
    for alphas in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)):
        R, _ = prox_l1linf(np.zeros((3, 5)), *alphas)
        assert np.all(R == 0)


def test_ties_and_constant_rows(x64):
    V = np.full((1, 8), 2.0)
    R, theta = prox_l1linf(V, 0.5, 4.0)
    np.testing.assert_allclose(R, np.full((1, 8), 1.0), rtol=1e-15)
    np.testing.assert_allclose(theta, [1.0], rtol=1e-15)


@pytest.mark.parametrize("start", [0.0, 0.01, 0.5, 1.5, 50.0, np.inf, np.nan, -1.0])
def test_any_warm_start_gives_the_same_answer(x64, start):
    V = rows(5, (10, 300))
    R, theta = prox_l1linf(V, 0.2, 5.0)
    warm, theta_warm = prox_l1linf(V, 0.2, 5.0, np.full(10, start))
    np.testing.assert_allclose(warm, R, atol=1e-14)
    np.testing.assert_allclose(theta_warm, theta, rtol=1e-14)


def test_newton_rises_to_the_root_from_below(x64):
    U = np.abs(rows(6, (1, 400)))
    theta = float(clip_level(jnp.asarray(U), jnp.asarray(3.0), jnp.zeros(1))[0])
    assert np.maximum(U - theta, 0).sum() == pytest.approx(3.0, rel=1e-13)


@pytest.mark.parametrize("alpha2", [0.0, 0.5, 1e6])
def test_nan_propagates(alpha2):
    V = rows(7, (3, 6), np.float32)
    V[1, 2] = np.nan
    R, theta = prox_l1linf(V, 0.1, alpha2)
    assert np.isnan(R[1]).all()
    assert np.isnan(theta[1])
    assert np.isfinite(np.asarray(R)[[0, 2]]).all()


def test_vmap_and_weights_per_row(x64):
    V = rows(8, (4, 5, 50))
    alpha1, alpha2 = np.abs(rows(9, (2, 4, 5)))
    expected = np.stack(
        [prox_by_sorting(V[i, j : j + 1], alpha1[i, j], alpha2[i, j])[0] for i in range(4) for j in range(5)]
    ).reshape(V.shape)
    np.testing.assert_allclose(prox_l1linf(V, alpha1, alpha2)[0], expected, atol=1e-13)
    mapped = jax.vmap(jax.vmap(prox_l1linf))(V, alpha1, alpha2)[0]
    np.testing.assert_allclose(mapped, expected, atol=1e-13)
