"""The envelope's law: its density, its draws, and the factorisation p(r, t) = p(t) prod p(r_n | t)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from scipy import stats

from padl_bayes.distributions import Envelope, L1LinfLaplace, TruncatedLaplace
from tests.oracles import slab_quadrature as oracle

CASES = [(1.3, 0.7, 1), (0.5, 6.0, 4), (2.0, 0.2, 50), (0.0, 1.5, 3)]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("rate_l1", "rate_linf", "n"), CASES)
def test_density_and_moments_match_quadrature(rate_l1, rate_linf, n):
    law = Envelope(rate_l1, rate_linf, n)

    nodes, weights = np.polynomial.legendre.leggauss(200)
    cutoff = float(law.mean + 30 / rate_linf)
    t = (nodes + 1) / 2 * cutoff
    mass, mean, square = (cutoff / 2 * weights @ (t**k * np.exp(law.log_prob(t))) for k in range(3))
    np.testing.assert_allclose([mass, mean, square - mean**2], [1, law.mean, law.variance], rtol=1e-7)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("rate_l1", "rate_linf", "n"), CASES)
@pytest.mark.parametrize("nonnegative", [False, True])
def test_joint_with_the_codes_is_the_penalty_and_integrates_to_the_slab(rate_l1, rate_linf, n, nonnegative):
    rng = np.random.default_rng(0)
    r = np.abs(rng.normal(size=n)) if nonnegative else rng.normal(size=n)
    t = np.abs(r).max() * 1.7
    codes = TruncatedLaplace(rate_l1, t, nonnegative=nonnegative)
    joint = Envelope(rate_l1, rate_linf, n).log_prob(t) + codes.log_prob(r).sum()
    log_z = oracle.log_z_product(rate_l1, rate_linf, n) - (n * np.log(2) if nonnegative else 0)
    expected = np.log(rate_linf) - log_z - rate_l1 * np.abs(r).sum() - rate_linf * t
    np.testing.assert_allclose(joint, expected, rtol=1e-12)
    slab = L1LinfLaplace(rate_l1, rate_linf, n, nonnegative=nonnegative)
    tail = -rate_linf * (np.abs(r).max() - t) - np.log(rate_linf)
    np.testing.assert_allclose(slab.log_prob(r), joint + tail, rtol=1e-12)


@pytest.mark.parametrize(("rate_l1", "rate_linf", "n"), [(1.0, 0.05, 10), (1.0, 2.0, 100), (2.0, 500.0, 100)])
def test_draws_follow_the_beta_law(rate_l1, rate_linf, n):
    slab = L1LinfLaplace(rate_l1, rate_linf, n)
    _, t = slab.sample_with_envelope(random.key(3), (20_000,))
    y = np.exp(-rate_l1 * np.asarray(t, np.float64))
    assert stats.kstest(y, stats.beta(rate_linf / rate_l1, n + 1).cdf).pvalue > 1e-3


@pytest.mark.parametrize("rates", [(0.0, 2.0), (1e-30, 2.0), (1e-12, 2.0)])
def test_draws_reach_the_gamma_limit(rates):
    t = np.asarray(Envelope(*rates, 5).sample(random.key(1), (20_000,)), np.float64)
    assert stats.kstest(t, stats.gamma(6, scale=0.5).cdf).pvalue > 1e-3


def test_draws_with_a_tiny_rate_are_long_and_without_it_infinite():
    law = Envelope(1.0, 1e-6, 5)
    t = np.asarray(law.sample(random.key(2), (10_000,)), np.float64)
    assert abs(t.mean() - law.mean) < 4 * float(law.variance) ** 0.5 / 100
    assert np.isinf(Envelope(1.0, 0.0, 5, validate_args=False).sample(random.key(0))).all()


def test_gradients_are_finite_near_the_limits():
    for rates in [(0.0, 1.0), (1e-20, 1.0), (1.0, 1e-20), (30.0, 1e4)]:
        for t in (1e-6, 1.0, 1e4):
            grads = jax.grad(lambda a, b, t: Envelope(a, b, 100).log_prob(t), argnums=(0, 1, 2))(*rates, t)
            assert np.isfinite(grads).all(), (rates, t, grads)


def test_batches_and_pytree():
    law = Envelope(jnp.array([1.0, 2.0]), 1.0, 3)
    draws = jax.jit(lambda law, key: law.sample(key, (4,)))(law, random.key(0))
    assert draws.shape == (4, 2)
    np.testing.assert_allclose(
        law.log_prob(draws)[:, 1], Envelope(2.0, 1.0, 3).log_prob(draws[:, 1]), rtol=1e-5
    )
    assert law.mean.shape == law.variance.shape == (2,)
