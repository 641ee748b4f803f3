"""Truncated normals by inversion, von Mises-Fisher directions and slice sampling, against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from padl_bayes.kernels.slice_sampling import slice_sample
from padl_bayes.kernels.truncated_normal import invert_above, invert_box, log_box_mass
from padl_bayes.kernels.von_mises_fisher import draw_direction

MEANS = (50.0, 8.0, 1.0, 0.1, 0.0, -0.3, -3.0, -20.0, -500.0)
UNIFORMS = (1e-6, 0.01, 0.3, 0.5, 0.9, 0.999)


def log_survival(mean, z):
    """log P(Z > z | Z > 0) of a unit-variance normal."""
    return special.log_ndtr(mean - z) - special.log_ndtr(mean)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_draw_above_zero_inverts_the_survival_function(dtype):
    with jax.enable_x64(dtype == np.float64):
        mean, uniform = np.meshgrid(np.array(MEANS, dtype), np.array(UNIFORMS, dtype))
        z = np.asarray(invert_above(jnp.asarray(-mean), jnp.asarray(uniform)))
    assert z.dtype == dtype
    assert np.all(z > 0)
    # log_ndtr of SciPy cancels in its own way at -500
    fine = mean > -100
    z, mean, uniform = (a[fine].astype(float) for a in (z, mean, uniform))
    # what an error in z changes: the probability
    error = np.abs(np.exp(log_survival(mean, z)) - uniform)
    assert error.max() < (3e-6 if dtype == np.float32 else 1e-11)


def test_far_in_the_tail_a_draw_is_exponential():
    with jax.enable_x64(True):
        z = invert_above(jnp.full(len(UNIFORMS), 1e6), jnp.asarray(UNIFORMS))
    np.testing.assert_allclose(z, -np.log(UNIFORMS) / 1e6, rtol=1e-9)


BOXES = [
    (mean, width) for mean in (50.0, 8.0, 1.0, 0.0, -0.3, -3.0, -40.0) for width in (1e-3, 0.1, 1.0, 10.0)
]


def box_integral(mean, width, upper=None):
    """Integral of exp(mean z - z^2 / 2) over [0, upper], over its largest value on the box, and the log of that."""
    top = np.clip(mean, 0, width)
    peak = mean * top - top**2 / 2
    upper = width if upper is None else upper
    points = [p for p in (top - 1 / (1 + abs(mean)), top, top + 1 / (1 + abs(mean))) if 0 < p < upper]
    value, _ = integrate.quad(
        lambda z: np.exp(mean * z - z**2 / 2 - peak),
        0,
        upper,
        points=points or None,
        epsabs=0,
        epsrel=1e-12,
        limit=400,
    )
    return value, peak


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_box_has_the_mass_of_quadrature_and_draws_invert_its_distribution(dtype):
    rtol = 2e-4 if dtype == np.float32 else 1e-8
    uniforms = (0.01, 0.5, 0.97)
    mean, width = np.array(BOXES).T.astype(dtype)
    with jax.enable_x64(dtype == np.float64):
        log_mass = np.asarray(jax.jit(log_box_mass)(-mean, width))
        grid = np.broadcast_to(np.array(uniforms, dtype)[:, None], (len(uniforms), len(mean)))
        draws = np.asarray(jax.jit(jax.vmap(invert_box, (None, None, 0)))(-mean, width, grid))
    assert draws.dtype == log_mass.dtype == dtype
    assert np.all((draws >= 0) & (draws <= width))
    for i, box in enumerate(zip(mean.astype(float), width.astype(float), strict=True)):
        total, peak = box_integral(*box)
        assert abs(log_mass[i] - np.log(total) - peak) < rtol * max(1, abs(peak) / 100)
        for j, uniform in enumerate(uniforms):
            # single precision places a draw in a box a thousandth of a standard deviation wide this well
            allowed = max(rtol, 2e-3 * (dtype == np.float32 and box[1] < 0.01))
            assert box_integral(*box, float(draws[j, i]))[0] / total == pytest.approx(uniform, abs=allowed)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("concentration", [0.0, 20.0, 1e5])
@pytest.mark.parametrize("dim", [2, 16])
def test_directions_have_the_cosine_and_the_symmetry_of_their_law(dim, concentration, dtype):
    n = 20_000
    mean = np.zeros(dim)
    mean[1] = 1
    with jax.enable_x64(dtype == np.float64):
        keys = jax.random.split(jax.random.key(dim), n)
        draw = jax.jit(jax.vmap(lambda key: draw_direction(key, jnp.asarray(concentration * mean, dtype))))
        d = np.asarray(draw(keys))
    assert d.dtype == dtype
    np.testing.assert_allclose(np.linalg.norm(d, axis=1), 1, atol=1e-5)
    # angle to the mean: density exp(c cos a) sin(a)^(dim - 2)
    widest = np.pi if concentration < 1e3 else 40 / np.sqrt(concentration)
    angles = (np.arange(200_000) + 0.5) * widest / 200_000
    weight = np.exp(concentration * (np.cos(angles) - 1)) * np.sin(angles) ** (dim - 2)
    drawn = np.arctan2(np.linalg.norm(np.delete(d, 1, axis=1), axis=1).astype(float), d[:, 1].astype(float))
    for power in (1, 2):
        expected = np.sum(weight * angles**power) / weight.sum()
        values = drawn**power
        assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(n) + 1e-6
    others = np.delete(d, 1, axis=1).astype(float)
    assert np.all(np.abs(others.mean(0)) < 4.5 * others.std(0) / np.sqrt(n) + 1e-7)


def test_in_one_dimension_a_direction_is_a_sign():
    keys = jax.random.split(jax.random.key(0), 20_000)
    d = np.asarray(jax.vmap(lambda key: draw_direction(key, jnp.asarray([0.4])))(keys))[:, 0]
    assert set(d) == {-1.0, 1.0}
    p = 1 / (1 + np.exp(-0.8))
    assert abs((d == 1).mean() - p) < 4 * np.sqrt(p * (1 - p) / len(d))


def test_not_a_number_ends_the_loops():
    assert np.isnan(jax.jit(draw_direction)(jax.random.key(0), jnp.full(3, jnp.nan))).all()
    ill = jax.jit(lambda key, x: slice_sample(key, lambda x: x * jnp.nan, x, x))
    assert ill(jax.random.key(0), jnp.asarray(1.0)).shape == ()


def test_no_loop_of_slice_sampling_computes_the_density_in_its_condition():
    """Under vmap a condition is computed twice; where rounding makes the two differ, the loop does not end."""

    def conditions(jaxpr):
        for equation in jaxpr.eqns:
            for name, inner in equation.params.items():
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    if name == "cond_jaxpr":
                        yield inner
                    yield from conditions(inner)

    def draw(key, position):
        return slice_sample(key, lambda v: jnp.sin(v) - v**2, position, jnp.asarray(1.0))

    found = list(conditions(jax.make_jaxpr(draw)(jax.random.key(0), jnp.asarray(0.5)).jaxpr))
    assert len(found) == 2
    assert not any("sin" in str(condition) for condition in found)


@pytest.mark.parametrize("width", [0.05, 1.0, 30.0])
def test_slice_sampling_leaves_a_density_as_it_is(width):
    """Started from the law itself, independent chains still have it after a few updates."""
    law = stats.gamma(3, scale=1 / 2)
    start = law.rvs(20_000, random_state=1)

    def log_density(x):
        return jnp.where(x > 0, 2 * jnp.log(jnp.maximum(x, 1e-30)) - 2 * x, -jnp.inf)

    def chain(key, x):
        keys = jax.random.split(key, 3)
        return jax.lax.fori_loop(
            0, 3, lambda i, x: slice_sample(keys[i], log_density, x, jnp.asarray(width, x.dtype)), x
        )

    keys = jax.random.split(jax.random.key(2), len(start))
    end = np.asarray(jax.jit(jax.vmap(chain))(keys, jnp.asarray(start, jnp.float32)))
    assert stats.kstest(end, law.cdf).pvalue > 1e-3
    assert np.corrcoef(start, end)[0, 1] < (0.999 if width < 0.1 else 0.5)
