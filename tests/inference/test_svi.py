"""SVI against exact evidence, the unbiasedness of batches, k-hat, and what it refuses."""

import itertools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from scipy.special import logsumexp

from padl_bayes.arviz_io import to_arviz
from padl_bayes.inference._ascent import negative_elbo
from padl_bayes.inference._guides import Known, Spec, first_params
from padl_bayes.inference.svi import draw_guide, fit_svi, pareto_k, svi_nbytes
from padl_bayes.models import Hyperpriors
from tests.oracles import svi_evidence as oracle

ATOM = np.array([0.6, -0.8])
X = np.array([[1.9, -2.3], [0.7, -1.6], [-0.9, 1.4]])
ONE_SIDED = np.abs(X)
MANY = np.random.default_rng(0).normal(2.0, 0.5, (10, 1)) * ATOM + np.random.default_rng(1).normal(
    0, 0.3, (10, 2)
)


def check_evidence(fit, exact, *, gap, k=0.7):
    """The ELBO stays below the evidence and near it, and the weights average to it."""
    log_weight = fit.sample_stats["log_weight"][0]
    elbo, error = log_weight.mean(), log_weight.std() / np.sqrt(log_weight.size)
    assert exact - gap < elbo < exact + 4 * error
    weights = np.exp(log_weight - exact)
    assert abs(weights.mean() - 1) < 4 * weights.std() / np.sqrt(weights.size)
    assert weights.std() < 2
    assert fit.pareto_k < k
    assert fit.converged


def test_known_atom_noise_and_rate_with_a_mask():
    mask = np.array([[True, True], [True, False], [False, True]])
    data = np.where(mask, X, np.nan)
    fit = fit_svi(
        data, model="laplace", mask=mask, fixed=dict(dictionary=ATOM[None], noise_scale=0.3, rate=1.2),
        num_draws=4000,
    )  # fmt: skip
    exact, means, sds = oracle.laplace_known(X, ATOM, 1.2, 0.3, mask=mask)
    check_evidence(fit, exact, gap=0.02)
    assert set(fit.samples) == {"codes"}
    codes = fit.samples["codes"][0, :, :, 0]
    # the optimum's own error, of the order of the last steps', besides that of the draws
    np.testing.assert_array_less(np.abs(codes.mean(0) - means), sds * (4 / np.sqrt(4000) + 0.05))
    np.testing.assert_allclose(codes.std(0), sds, rtol=0.1)


@pytest.mark.parametrize("nonnegative", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_unknown_noise_and_rate(nonnegative):
    data, atom = (np.abs(MANY), np.abs(ATOM)) if nonnegative else (MANY, ATOM)
    fit = fit_svi(
        data, model="laplace", nonnegative=nonnegative, fixed=dict(dictionary=atom[None]),
        hyperpriors=Hyperpriors(noise_scale=0.7, rate=(3.0, 2.0)), num_draws=4000,
    )  # fmt: skip
    exact = oracle.laplace_unknown_noise_and_rate(data, atom, 0.7, (3.0, 2.0), nonnegative=nonnegative)
    check_evidence(fit, exact, gap=0.5)


@pytest.mark.parametrize("nonnegative", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_envelope_is_integrated_against_its_law(nonnegative):
    data = ONE_SIDED if nonnegative else X
    atom = np.abs(ATOM) if nonnegative else ATOM
    fit = fit_svi(
        data, nonnegative=nonnegative, num_draws=4000,
        fixed=dict(dictionary=atom[None], noise_scale=0.2, rate_l1=0.8, rate_linf=1.5),
    )  # fmt: skip
    exact = oracle.l1linf_known(data, atom, 0.8, 1.5, 0.2, nonnegative=nonnegative)
    # above the largest code the envelope's law is exponential, which a normal law of its log is not
    check_evidence(fit, exact, gap=0.5, k=1.0)
    assert set(fit.samples) == {"codes", "envelope"}
    assert (np.abs(fit.samples["codes"]).max(2) <= fit.samples["envelope"] * (1 + 1e-12)).all()


def test_direction_is_uniform_on_the_sphere_before_the_data():
    fit = fit_svi(
        ONE_SIDED, 1, model="laplace", nonnegative=True, fixed=dict(noise_scale=0.3, rate=1.2), num_draws=4000
    )
    exact, direction = oracle.laplace_unknown_direction(ONE_SIDED, 1.2, 0.3)
    check_evidence(fit, exact, gap=0.3)
    atoms = fit.samples["dictionary"][0, :, 0]
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1)
    log_weight = fit.sample_stats["log_weight"][0]
    weights = np.exp(log_weight - logsumexp(log_weight))
    mean = weights @ atoms
    errors = np.sqrt(np.square(weights) @ np.square(atoms - mean))
    np.testing.assert_array_less(np.abs(mean - direction), 4 * errors)


def small_problem(model, nonnegative, dtype):
    """A guide of 5 samples and 2 atoms that is off the optimum in every parameter, and what it belongs to."""
    rng = np.random.default_rng(2)
    atoms = rng.normal(size=(2, 3))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    codes = rng.gamma(2.0, size=(5, 2)) * (1 if nonnegative else rng.choice([-1, 1], (5, 2)))
    data = codes @ atoms + 0.3 * rng.normal(size=(5, 3))
    spec = Spec(model, nonnegative, 5, 3, 2)
    start = dict(codes=codes, noise_scale=0.3, envelope=1.2 * np.abs(codes).max(0))
    start |= dict(rate=1.0, rate_l1=0.8, rate_linf=1.5)
    known = Known({}, Hyperpriors(), atoms, np.asarray(0.3))
    known = jax.tree.map(lambda value: jnp.asarray(value, dtype), known)
    params = first_params(spec, {}, {k: np.asarray(v, dtype) for k, v in start.items()})
    leaves, tree = jax.tree.flatten(params)
    moved = [leaf + 0.1 * random.normal(random.key(i), leaf.shape, dtype) for i, leaf in enumerate(leaves)]
    mask = rng.random((5, 3)) < 0.8
    mask[:, 0] = True
    return spec, known, (jnp.asarray(data, dtype), jnp.asarray(mask)), jax.tree.unflatten(tree, moved)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("model", "nonnegative"), [("l1linf", False), pytest.param("laplace", True, marks=pytest.mark.slow)]
)
def test_batches_give_unbiased_elbos_and_gradients(model, nonnegative):
    spec, known, data, params = small_problem(model, nonnegative, np.float64)

    @jax.jit
    def slopes(rows, keys):
        """ELBO and gradients (draws, values) of a batch, those of codes' parameters in the rows of all."""

        def loss(params, key):
            picked = {name: table[rows] for name, table in params[1].items()}
            return negative_elbo((params[0], picked), key, spec, known, *(table[rows] for table in data))

        draws = jax.vmap(jax.value_and_grad(loss), (None, 0))(params, keys)
        return jnp.concatenate([leaf.reshape(len(keys), -1) for leaf in jax.tree.leaves(draws)], 1)

    def average(batches, n_draws):
        keys = random.split(random.key(len(batches)), (len(batches), n_draws))
        draws = [slopes(rows, key) for rows, key in zip(batches, keys, strict=True)]
        variance = np.mean([draw.var(0) / n_draws for draw in draws], 0) / len(batches)
        return np.mean([draw.mean(0) for draw in draws], 0), variance

    batches, variance = average(np.array(list(itertools.combinations(range(5), 2))), 2000)
    whole, whole_variance = average(np.arange(5)[None], 5000)
    errors = np.sqrt(variance + whole_variance)
    assert errors[0] < 0.02 * abs(whole[0])
    free = errors > 0
    assert free.sum() > 30
    # the largest of some fifty standardised differences
    assert np.max(np.abs(batches - whole)[free] / errors[free]) < 4.5
    np.testing.assert_array_equal(batches[~free], whole[~free])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("narrowing", "right"), [(1.0, True), (0.3, False)])
def test_k_hat_tells_a_right_guide_from_a_narrow_one(narrowing, right):
    rate, noise = 1.2, 0.3
    codes = np.array([[2.5], [-3.0], [1.8]])
    data = jnp.asarray(codes * ATOM + noise * np.random.default_rng(3).normal(size=(3, 2)))
    spec = Spec("laplace", False, 3, 2, 1)
    fixed = dict(dictionary=ATOM[None], noise_scale=noise, rate=rate)
    known = jax.tree.map(jnp.asarray, Known(fixed, Hyperpriors(), ATOM[None], noise))
    shared, local = first_params(spec, fixed, dict(codes=codes, noise_scale=np.asarray(noise)))
    _, means, sds = oracle.laplace_known(np.asarray(data), ATOM, rate, noise)
    # a ridge beyond measure leaves codes_loc as the mean
    shared["codes_log_ridge"] = jnp.asarray(50.0)
    local["codes_loc"] = jnp.asarray(means)[:, None] / noise
    local["codes_log_scale"] = jnp.log(narrowing * jnp.asarray(sds) / noise)[:, None]
    _, stats = draw_guide(spec, known, (data, None), (shared, local), random.split(random.key(1), 2000))
    assert (pareto_k(stats["log_weight"][0]) < 0.7) == right


def test_k_hat_finds_the_shape_of_known_tails():
    uniform = np.random.default_rng(0).random(20_000)
    for shape in (0.3, 0.9):
        # Pareto weights; the estimate's sd is about (1 + shape) / sqrt(tail), tail 3 sqrt(draws)
        assert abs(pareto_k(-shape * np.log(uniform)) - shape) < 4 * (1 + shape) / np.sqrt(
            3 * np.sqrt(20_000)
        )
    assert np.isnan(pareto_k(uniform[:20]))
    assert pareto_k(np.zeros(100)) == -np.inf
    assert pareto_k(np.append(uniform, -np.inf)) == np.inf


def sparse_data(dtype=np.float64, n_samples=40):
    rng = np.random.default_rng(4)
    atoms = rng.normal(size=(2, 5))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    codes = rng.laplace(size=(n_samples, 2))
    data = codes @ atoms + 0.1 * rng.normal(size=(n_samples, 5))
    return data.astype(dtype), SimpleNamespace(dictionary=atoms, codes=codes, noise_scale=0.1)


def test_a_cold_start_climbs_until_it_converges_and_arviz_takes_the_draws():
    data, truth = sparse_data()
    fit = fit_svi(data, 2, num_draws=100)
    assert fit.converged
    assert fit.status.startswith("converged")
    assert np.isfinite(fit.elbo).all()
    assert fit.elbo.size < 20_000
    windows = fit.elbo[: fit.elbo.size // 200 * 200].reshape(-1, 200).mean(1)
    assert windows[0] < windows[1] < windows[-1]
    log_weight = fit.sample_stats["log_weight"]
    assert abs(log_weight.mean() - windows[-1]) < 5 * log_weight.std() * np.sqrt(1 / 100 + 1 / 200)
    cosines = np.abs(truth.dictionary @ fit.samples["dictionary"][0].mean(0).T)
    assert (cosines.max(1) > 0.98).all()
    assert 0.07 < fit.samples["noise_scale"].mean() < 0.15
    posterior = to_arviz(fit.samples, X=data, sample_stats=fit.sample_stats, attrs=fit.settings).posterior
    assert dict(posterior.sizes) == {"chain": 1, "draw": 100, "atom": 2, "feature": 5, "sample": 40}


def test_batches_reach_the_optimum_of_all_samples():
    data, truth = sparse_data()
    run = dict(init=truth, model="laplace", num_draws=400)
    whole, batches = fit_svi(data, **run), fit_svi(data, batch_size=12, **run)
    elbos = [fit.sample_stats["log_weight"] for fit in (whole, batches)]
    assert batches.converged
    # a nat a sample would be a wrong optimum; what noisier steps leave is far less
    assert abs(elbos[0].mean() - elbos[1].mean()) < 0.1 * len(data)


def brief_fit(dtype=np.float32, **kwargs):
    data, truth = sparse_data(dtype, 10)
    return fit_svi(data, init=truth, **dict(num_steps=20, num_draws=30, batch_size=4) | kwargs)


def test_one_seed_gives_one_answer_in_single_precision():
    one, same, other = brief_fit(), brief_fit(), brief_fit(random_state=1)
    assert set(one.samples) == {"codes", "dictionary", "envelope", "noise_scale", "rate_l1", "rate_linf"}
    assert one.samples["codes"].shape == (1, 30, 10, 2)
    assert one.samples["dictionary"].shape == (1, 30, 2, 5)
    for name, draws in one.samples.items():
        assert draws.dtype == np.float32
        assert np.isfinite(draws).all()
        np.testing.assert_array_equal(draws, same.samples[name])
        assert not np.array_equal(draws, other.samples[name])
    np.testing.assert_array_equal(one.elbo, same.elbo)
    assert not one.converged
    assert one.status == "stopped at num_steps = 20 before the ELBO stopped rising"
    assert one.elbo.shape == (20,)
    assert one.wall_time > 0
    assert other.random_state == 1
    assert jax.config.jax_enable_x64 is False


def test_an_elbo_that_is_not_finite_stops_the_fit_where_it_stood():
    fit = brief_fit(learning_rate=1e30)
    assert not fit.converged
    assert "not finite" in fit.status
    assert np.isfinite(fit.samples["codes"]).all()


def test_memory_is_refused_with_the_number_and_a_way_out():
    with pytest.raises(ValueError, match=r"SVI with these draws needs .* GiB.*num_draws"):
        brief_fit(num_draws=10**10)
    kept = 4 * 5000 * (20 * 2 + 2 * 5 + 2 + 4)
    assert 2 * kept < svi_nbytes(20, 5, 2, 5000, dtype=np.float32) < 2.2 * kept


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        (dict(n_atoms=3), ValueError, "n_atoms must agree"),
        (dict(init=None), ValueError, "n_atoms must be given"),
        (dict(model="padl"), ValueError, "model must be one of"),
        (dict(fixed=dict(usage=0.3)), ValueError, "fixed must be one of"),
        (dict(fixed=dict(noise_scale=-1.0)), ValueError, "noise_scale must be"),
        (dict(batch_size=0), ValueError, "batch_size must be at least 1"),
        (dict(num_steps=0), ValueError, "num_steps must be at least 1"),
        (dict(num_draws=1.5), TypeError, "num_draws must be an integer"),
        (dict(learning_rate=0.0), ValueError, "learning_rate must be"),
        (dict(tol=-1.0), ValueError, "tol must be"),
        (dict(random_state=-1), ValueError, "random_state must be"),
        (dict(mask=np.ones((2, 2), bool)), ValueError, "mask must have the shape"),
    ],
)
def test_bad_arguments_are_refused(kwargs, error, message):
    data, truth = sparse_data(n_samples=10)
    with pytest.raises(error, match=message):
        fit_svi(data, **dict(init=truth) | kwargs)
