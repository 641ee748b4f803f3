"""Scalar laws of one code, and the sphere: against SciPy's formulas, quadrature and their draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from numpyro.distributions import biject_to
from numpyro.handlers import reparam, seed, trace
from numpyro.infer.reparam import ProjectedNormalReparam
from numpyro.primitives import sample
from scipy import stats

from padl_bayes.distributions import (
    BernoulliGaussian,
    BernoulliLaplace,
    Gated,
    TruncatedLaplace,
    UniformSphere,
)

SPIKE_SLABS = {
    "laplace": (BernoulliLaplace(0.3, 2.0), stats.laplace(scale=0.5)),
    "exponential": (BernoulliLaplace(0.3, 2.0, nonnegative=True), stats.expon(scale=0.5)),
    "gaussian": (BernoulliGaussian(0.3, 4.0), stats.norm(scale=0.5)),
    "halfnormal": (BernoulliGaussian(0.3, 4.0, nonnegative=True), stats.halfnorm(scale=0.5)),
    "cut": (BernoulliLaplace(0.3, 2.0, 0.7, nonnegative=True), stats.truncexpon(1.4, scale=0.5)),
}


def check_moments(draws, mean, variance):
    draws = np.asarray(draws, np.float64)
    error = draws.std(0) / np.sqrt(len(draws))
    spread = np.square(draws - mean)
    np.testing.assert_array_less(np.abs(draws.mean(0) - mean), 4 * error)
    np.testing.assert_array_less(np.abs(spread.mean(0) - variance), 4 * spread.std(0) / np.sqrt(len(draws)))


@pytest.mark.parametrize("name", SPIKE_SLABS)
def test_spike_slab_density_is_a_point_mass_plus_the_slab(name):
    law, slab = SPIKE_SLABS[name]
    r = np.array([0.1, 0.35, 0.65]) * (1 if law.nonnegative else np.array([1, -1, 1]))
    np.testing.assert_allclose(law.log_prob(r), np.log(0.3) + slab.logpdf(r), rtol=1e-5)
    np.testing.assert_allclose(law.log_prob(0.0), np.log(0.7), rtol=1e-6)
    np.testing.assert_allclose(law.mean, 0.3 * slab.mean(), rtol=1e-5)
    np.testing.assert_allclose(law.variance, 0.3 * slab.moment(2) - (0.3 * slab.mean()) ** 2, rtol=1e-5)


@pytest.mark.parametrize("name", SPIKE_SLABS)
def test_spike_slab_draws(name):
    law, slab = SPIKE_SLABS[name]
    draws = np.asarray(law.sample(random.key(1), (50_000,)))
    check_moments(draws, float(law.mean), float(law.variance))
    used = draws != 0
    assert abs(used.mean() - 0.3) < 4 * np.sqrt(0.21 / draws.size)
    assert stats.kstest(draws[used], slab.cdf).pvalue > 1e-3


@pytest.mark.parametrize("law", [BernoulliLaplace, BernoulliGaussian])
def test_one_sided_laws_refuse_negative_values(law):
    assert law(0.5, 1.0, nonnegative=True, validate_args=False).log_prob(-1.0) == -jnp.inf
    assert not law(0.5, 1.0, nonnegative=True).support(-1.0)


@pytest.mark.parametrize("law", [BernoulliLaplace, BernoulliGaussian])
def test_gradients_are_finite_when_a_code_is_surely_off_or_on(law):
    gradient = jax.grad(lambda u, a, r: law(u, a).log_prob(r), argnums=(0, 1, 2))
    np.testing.assert_allclose(gradient(0.0, 1.5, 0.0), [-1, 0, 0])
    assert np.isfinite(gradient(1.0, 1.5, 0.4)).all()
    assert law(0.0, 1.0).log_prob(0.4) == -jnp.inf


@pytest.mark.parametrize("law", [BernoulliLaplace, BernoulliGaussian])
def test_spike_slab_shapes_jit_vmap_expand_and_pytree(law):
    usage, rate = jnp.array([[0.2], [0.6]]), jnp.array([1.0, 2.0, 3.0])
    batch = law(usage, rate)
    draws = jax.jit(lambda d, key: d.sample(key, (4,)))(batch, random.key(0))
    assert (batch.batch_shape, draws.shape) == ((2, 3), (4, 2, 3))
    assert batch.mean.shape == batch.variance.shape == (2, 3)
    mapped = jax.vmap(lambda a, r: law(usage[:, 0], a).log_prob(r), in_axes=(0, 2), out_axes=2)
    np.testing.assert_allclose(mapped(rate, draws), batch.log_prob(draws), rtol=1e-5)
    wide = law(0.9, 1.0).expand((50,)).sample(random.key(0))
    assert len(np.unique(wide)) > 25


@pytest.mark.parametrize("law", [BernoulliLaplace, BernoulliGaussian])
def test_spike_slab_refuses_bad_parameters(law):
    with pytest.raises(ValueError, match="usage"):
        law(1.2, 1.0, validate_args=True)
    with pytest.raises(ValueError, match=r"rate|precision"):
        law(0.5, -1.0, validate_args=True)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("rate", "bound"), [(1.5, 2.0), (0.0, 2.0), (1e-9, 2.0), (0.24, 1.0), (80.0, 2.0)])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_truncated_laplace_matches_quadrature(rate, bound, nonnegative):
    law = TruncatedLaplace(rate, bound, nonnegative=nonnegative)

    def moment(power):
        sides = 1 if nonnegative else 2
        nodes, weights = np.polynomial.legendre.leggauss(100)
        r = (nodes + 1) / 2 * bound
        return sides * bound / 2 * weights @ (r**power * np.exp(law.log_prob(r)))

    np.testing.assert_allclose(
        [moment(0), moment(1), moment(2)], [1, law.mean_abs, law.mean_square], rtol=1e-8
    )


@pytest.mark.parametrize("rate", [0.0, 1e-6, 0.04, 0.06, 1.0, 40.0])
def test_truncated_laplace_draws(rate):
    bound = 2.0
    draws = np.asarray(TruncatedLaplace(rate, bound).sample(random.key(4), (20_000,)), np.float64)
    assert np.abs(draws).max() <= bound
    reference = stats.truncexpon(rate * bound, scale=1 / rate) if rate else stats.uniform(0, bound)
    assert stats.kstest(np.abs(draws), reference.cdf).pvalue > 1e-3
    assert abs((draws > 0).mean() - 0.5) < 4 * 0.5 / np.sqrt(draws.size)


def test_truncated_laplace_resolves_the_far_tail_in_float32():
    draws = np.abs(np.asarray(TruncatedLaplace(1.0).sample(random.key(5), (4_000_000,))))
    tail = draws[draws > 11]
    # A 23-bit uniform number has 140 values out there, for 67 expected draws.
    assert len(np.unique(tail)) == len(tail)
    assert abs(len(tail) - 4e6 * np.exp(-11)) < 4 * np.sqrt(4e6 * np.exp(-11))


def test_truncated_laplace_gradients_are_finite_and_draws_are_reparametrised():
    for rate, bound in [(0.0, 1.0), (1e-8, 1.0), (1.0, 1e-6), (1.0, 300.0), (1.0, jnp.inf)]:
        law = jax.grad(lambda a, b: TruncatedLaplace(a, b).log_prob(jnp.zeros(())), argnums=(0, 1))
        draw = jax.grad(lambda a, b: TruncatedLaplace(a, b).sample(random.key(0)), argnums=(0, 1))
        mean = jax.grad(lambda a, b: TruncatedLaplace(a, b).mean_square, argnums=(0, 1))
        assert all(np.isfinite(f(rate, bound)).all() for f in (law, draw, mean)), (rate, bound)
    _, slope = jax.jvp(
        lambda a: TruncatedLaplace(a, 2.0, nonnegative=True).sample(random.key(1), (100_000,)), (0.7,), (1.0,)
    )
    derivative = jax.grad(lambda a: TruncatedLaplace(a, 2.0, nonnegative=True).mean)(0.7)
    assert abs(float(slope.mean() - derivative)) < 4 * float(slope.std()) / np.sqrt(slope.size)


def test_gated_law_is_the_slab_or_zero():
    law = Gated(TruncatedLaplace(2.0, 1.0), jnp.array([1, 0, 1]))
    draws = law.sample(random.key(0), (1000,))
    assert (np.asarray(draws != 0).mean(0) == [1, 0, 1]).all()
    np.testing.assert_allclose(law.log_prob(0.0), [law.slab.log_prob(0.0)[0], 0.0, law.slab.log_prob(0.0)[2]])
    assert law.log_prob(0.5)[1] == -jnp.inf
    check_moments(draws[:, ::2], law.mean[::2], law.variance[::2])
    assert law.variance[1] == 0


@pytest.mark.parametrize("dim", [1, 2, 3, 7, 64])
def test_uniform_sphere_is_uniform(dim):
    law = UniformSphere(dim, validate_args=True)
    draws = law.sample(random.key(dim), (20_000,))
    np.testing.assert_allclose(jnp.linalg.norm(draws, axis=-1), 1, rtol=1e-5)
    if dim > 1:
        cosine = np.asarray(draws @ jnp.eye(dim)[0])
        assert stats.kstest((cosine + 1) / 2, stats.beta((dim - 1) / 2, (dim - 1) / 2).cdf).pvalue > 1e-3
    # Surface of the sphere as the derivative of the ball's volume.
    ball = {
        1: 2,
        2: np.pi,
        3: 4 / 3 * np.pi,
        7: 16 / 105 * np.pi**3,
        64: np.pi**32 / 263130836933693530167218012160000000,
    }
    np.testing.assert_allclose(law.log_prob(draws[:3]), -np.log(dim * ball[dim]), rtol=1e-5)
    np.testing.assert_allclose(law.variance, 1 / dim)


def test_uniform_sphere_batches_and_reparametrises():
    atoms = UniformSphere(5).expand((4,))
    assert (atoms.batch_shape, atoms.event_shape) == ((4,), (5,))
    value = atoms.sample(random.key(0))
    assert atoms.log_prob(value).shape == (4,)
    assert jax.jit(lambda d, v: d.log_prob(v))(UniformSphere(5), value).shape == (4,)

    def model():
        return sample("d", UniformSphere(5).expand((4,)))

    sites = trace(seed(reparam(model, config={"d": ProjectedNormalReparam()}), 0)).get_trace()
    normal = sites["d_normal"]["value"]
    np.testing.assert_allclose(
        sites["d"]["value"], normal / jnp.linalg.norm(normal, axis=-1, keepdims=True), rtol=1e-6
    )


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dim", [2, 3, 6])
def test_stereographic_form_of_the_sphere_has_the_right_jacobian(dim):
    bijection = biject_to(UniformSphere(dim).support)
    y = jnp.asarray(np.random.default_rng(0).normal(size=dim - 1))
    d = bijection(y)
    np.testing.assert_allclose(jnp.linalg.norm(d), 1, rtol=1e-12)
    np.testing.assert_allclose(bijection.inv(d), y, rtol=1e-10)
    jacobian = jax.jacfwd(bijection)(y)
    volume = 0.5 * np.linalg.slogdet(jacobian.T @ jacobian)[1]
    np.testing.assert_allclose(bijection.log_abs_det_jacobian(y, d), volume, rtol=1e-10)
    assert (bijection.forward_shape((4, dim - 1)), bijection.inverse_shape((4, dim))) == (
        (4, dim),
        (4, dim - 1),
    )
