"""L1LinfLaplace against quadrature, finite sums, finite differences and its own draws."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from padl_bayes.distributions import L1LinfLaplace, log_normaliser
from tests.oracles import slab_quadrature as oracle

RATES = [(1.3, 0.0), (0.0, 2.0), (0.8, 0.4), (2.0, 30.0), (1e-7, 1.5), (1.5, 1e-7)]
LONG = [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (2.0, 1e-8), (1e-12, 3.0), (3.0, 1e5), (1.0, 1e9), (1e-20, 1.0)]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_density_and_moments_match_quadrature(n, rates, nonnegative, figure):
    z, l1, linf, square = oracle.l1linf_integrals(*rates, n)
    slab = L1LinfLaplace(*rates, n, nonnegative=nonnegative, validate_args=True)
    r = np.abs(np.random.default_rng(3).normal(size=(5, n)))
    r = r if nonnegative else r * np.random.default_rng(4).choice([-1, 1], size=r.shape)
    expected = -rates[0] * np.abs(r).sum(1) - rates[1] * np.abs(r).max(1)
    expected -= np.log(z) - (n * np.log(2) if nonnegative else 0)
    assert figure("l1linf log_prob against quadrature", np.abs(slab.log_prob(r) - expected).max()) < 1e-10
    np.testing.assert_allclose([slab.expected_l1, slab.expected_linf], [l1, linf], rtol=1e-10)
    mean = l1 / n if nonnegative else 0.0
    np.testing.assert_allclose(slab.mean, np.full(n, mean), rtol=1e-10)
    np.testing.assert_allclose(slab.variance, np.full(n, square - mean**2), rtol=1e-9)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("rates", LONG)
@pytest.mark.parametrize("n", [1, 16, 17, 1000, 100_000])
def test_normaliser_and_moments_match_finite_sums(n, rates):
    slab = L1LinfLaplace(*rates, n)
    log_z = oracle.log_z_product(*rates, n)
    # n log(rate) is rounded where rate_l1 + rate_linf / j is: n eps, whatever the size of log Z.
    assert abs(float(log_normaliser(*rates, n)) - log_z) < 1e-13 * abs(log_z) + 4e-16 * n
    l1, linf, _ = oracle.norms_by_sums(*rates, n)
    np.testing.assert_allclose([slab.expected_l1, slab.expected_linf], [l1, linf], rtol=1e-13)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("n", [1, 7, 300])
@pytest.mark.parametrize("rates", [(1.0, 0.5), (0.3, 4.0), (2.0, 0.01)])
def test_variance_matches_the_digamma_form(n, rates):
    slab = L1LinfLaplace(*rates, n)
    np.testing.assert_allclose(slab.variance[0], oracle.mean_square_by_digamma(*rates, n), rtol=1e-9)


@pytest.mark.parametrize("rates", LONG)
def test_float32_keeps_single_precision_up_to_1e5_coordinates(rates):
    n = 100_000
    slab = L1LinfLaplace(*rates, n)
    log_z, (l1, linf, _) = oracle.log_z_product(*rates, n), oracle.norms_by_sums(*rates, n)
    assert slab.expected_l1.dtype == jnp.float32
    # n eps(float32) is 0.012: half of it is the rounding of rate_l1 + rate_linf / n alone.
    assert abs(float(log_normaliser(*rates, n)) - log_z) < 0.006 + 3e-7 * abs(log_z)
    np.testing.assert_allclose([slab.expected_l1, slab.expected_linf], [l1, linf], rtol=2e-6)
    r, t = slab.sample_with_envelope(random.key(1))
    assert np.isfinite(r).all()
    assert float(jnp.abs(r).max()) <= float(t)
    grads = jax.grad(lambda a, b, r: L1LinfLaplace(a, b, n).log_prob(r), argnums=(0, 1, 2))(*rates, r)
    assert all(np.isfinite(g).all() for g in grads)


@partial(jax.jit, static_argnames=("n", "chunk", "nonnegative"))
def draw_statistics(keys, rate_l1, rate_linf, n, chunk, nonnegative):
    """||r||_1, ||r||_inf, ||r||^2/n, mean r and t - ||r||_inf of draws, ``chunk`` of them for each key."""

    def one(key):
        slab = L1LinfLaplace(rate_l1, rate_linf, n, nonnegative=nonnegative)
        r, t = slab.sample_with_envelope(key, (chunk,))
        size = jnp.abs(r)
        excess = jnp.where(jnp.isfinite(t), t - size.max(-1), 0.0)
        return jnp.stack([size.sum(-1), size.max(-1), jnp.square(r).mean(-1), r.mean(-1), excess])

    return jax.lax.map(one, keys)


def check_draws(figure, n, rates, draws, seed, nonnegative=False):
    slab = L1LinfLaplace(*rates, n, nonnegative=nonnegative)
    chunk = min(draws, 1_000_000 // n)
    keys = random.split(random.key(seed), draws // chunk)
    drawn = np.asarray(draw_statistics(keys, *rates, n, chunk, nonnegative), np.float64)
    drawn = np.moveaxis(drawn, 1, 0).reshape(5, -1)
    error = drawn.std(1) / math.sqrt(drawn.shape[1])
    l1, linf, _ = oracle.norms_by_sums(*rates, n)
    square = float(slab.variance[0] + slab.mean[0] ** 2)
    gap = 1 / rates[1] if rates[1] > 0 else 0.0
    expected = np.array([l1, linf, square, l1 / n if nonnegative else 0.0, gap])
    # Sums in float32 are rounded by a few eps of their size on top of the Monte-Carlo error.
    off = np.abs(drawn.mean(1) - expected)
    rounding = 2e-6 * np.abs(expected) + 1e-12
    assert figure("l1linf moments of draws, standard errors", np.max((off - rounding) / (error + 1e-300))) < 4
    assert drawn[-1].min() >= 0


DRAWN = [(1.0, 0.0), (0.0, 2.0), (1.0, 0.3), (0.5, 40.0), (1e-6, 1.0)]


@pytest.mark.parametrize("rates", DRAWN)
@pytest.mark.parametrize("n", [1, 2, 10, 100])
def test_moments_of_1e5_draws(n, rates, figure):
    check_draws(figure, n, rates, 100_000, seed=n)


@pytest.mark.parametrize(("n", "draws"), [(1000, 100_000), (10_000, 10_000)])
def test_moments_of_long_draws(n, draws, figure):
    check_draws(figure, n, (1.0, 0.1 * n), draws, seed=5)


def test_moments_of_one_sided_draws(figure):
    check_draws(figure, 10, (1.0, 2.0), 100_000, seed=6, nonnegative=True)


@pytest.mark.slow
@pytest.mark.parametrize("rates", [*DRAWN, (1.0, 1e3)])
@pytest.mark.parametrize("n", [1000, 10_000])
def test_moments_of_1e5_long_draws(n, rates, figure):
    check_draws(figure, n, rates, 100_000, seed=7)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("rates", [(0.8, 0.4), (2.0, 30.0), (0.01, 3.0)])
def test_gradients_match_finite_differences(rates):
    n = 40
    r = np.random.default_rng(0).normal(size=n)

    def log_prob(theta):
        return L1LinfLaplace(theta[0], theta[1], n).log_prob(theta[2:])

    theta = np.concatenate([rates, r])
    gradient = jax.grad(log_prob)(theta)
    steps = 1e-6 * np.eye(n + 2)
    differences = [(log_prob(theta + s) - log_prob(theta - s)) / 2e-6 for s in steps]
    np.testing.assert_allclose(gradient, differences, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rates", [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
@pytest.mark.parametrize("n", [1, 3, 50])
def test_gradients_are_finite_and_right_at_the_limits_and_at_zero(n, rates):
    def log_prob(a, b, r):
        return L1LinfLaplace(a, b, n).log_prob(r)

    d_l1, d_linf, d_r = jax.grad(log_prob, argnums=(0, 1, 2))(*rates, jnp.zeros(n))
    l1, linf, _ = oracle.norms_by_sums(*rates, n)
    np.testing.assert_allclose([d_l1, d_linf], [l1, linf], rtol=1e-5)
    assert np.isfinite(d_r).all()


def test_batch_shapes_expand_jit_and_vmap_agree():
    l1, linf, n = jnp.array([[0.5], [1.0]]), jnp.array([0.0, 1.0, 2.0]), 4
    slab = L1LinfLaplace(l1, linf, n, validate_args=True)
    assert (slab.batch_shape, slab.event_shape, slab.event_dim) == ((2, 3), (n,), 1)
    assert slab.mean.shape == slab.variance.shape == (2, 3, n)
    assert slab.expected_l1.shape == slab.expected_linf.shape == (2, 3)
    r = slab.sample(random.key(0), (5,))
    assert r.shape == (5, 2, 3, n)
    value = slab.log_prob(r)
    log_z = [[oracle.log_z_product(float(a), float(b), n) for b in linf] for a in l1[:, 0]]
    expected = -l1 * np.abs(r).sum(-1) - linf * np.abs(r).max(-1) - np.array(log_z)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(lambda d, r: d.log_prob(r))(slab, r), value, rtol=1e-5)
    mapped = jax.vmap(lambda b, r: L1LinfLaplace(l1[:, 0], b, n).log_prob(r), in_axes=(0, 2), out_axes=2)
    np.testing.assert_allclose(mapped(linf, r), value, rtol=1e-5)
    wide = L1LinfLaplace(1.0, 1.0, n).expand((2, 3))
    draws = wide.sample(random.key(2))
    assert draws.shape == (2, 3, n)
    assert len(np.unique(draws)) == draws.size
    assert wide.log_prob(r).shape == (5, 2, 3)


def test_pytree_round_trip_keeps_everything():
    slab = L1LinfLaplace(1.0, jnp.array([1.0, 2.0]), 3, nonnegative=True)
    leaves, structure = jax.tree.flatten(slab)
    again = jax.tree.unflatten(structure, leaves)
    assert (again.n, again.nonnegative, again.batch_shape, again.event_shape) == (3, True, (2,), (3,))
    np.testing.assert_array_equal(again.sample(random.key(0)), slab.sample(random.key(0)))


def test_pathwise_gradients_of_draws_match_the_derivative_of_the_mean():
    def mean_square(a, b):
        r = L1LinfLaplace(a, b, 3, nonnegative=True).sample(random.key(3), (20_000,))
        return jnp.square(r).mean(1), r

    tangents = [jax.jvp(lambda a: mean_square(a, 2.0)[0], (1.0,), (1.0,))[1]]
    tangents.append(jax.jvp(lambda b: mean_square(1.0, b)[0], (2.0,), (1.0,))[1])
    step = 1e-3
    expected = [
        (oracle.mean_square_by_digamma(1 + step, 2.0, 3) - oracle.mean_square_by_digamma(1 - step, 2.0, 3))
        / (2 * step),
        (oracle.mean_square_by_digamma(1.0, 2 + step, 3) - oracle.mean_square_by_digamma(1.0, 2 - step, 3))
        / (2 * step),
    ]
    for tangent, derivative in zip(tangents, expected, strict=True):
        error = float(tangent.std()) / math.sqrt(tangent.size)
        assert abs(float(tangent.mean()) - derivative) < 4 * error


def test_one_sided_slab_has_no_mass_below_zero():
    slab = L1LinfLaplace(1.0, 1.0, 2, nonnegative=True, validate_args=False)
    assert slab.log_prob(jnp.array([1.0, -0.1])) == -jnp.inf
    assert (slab.sample(random.key(0), (100,)) >= 0).all()
    assert not slab.support(jnp.array([1.0, -0.1]))


@pytest.mark.parametrize(
    ("args", "error"),
    [((-1.0, 1.0, 3), ValueError), ((1.0, -1.0, 3), ValueError), ((0.0, 0.0, 3), ValueError),
     ((1.0, 1.0, 0), ValueError), ((1.0, 1.0, 2.5), TypeError)],
)  # fmt: skip
def test_bad_arguments_are_refused(args, error):
    with pytest.raises(error, match=r"rate_l|n must"):
        L1LinfLaplace(*args, validate_args=True)
