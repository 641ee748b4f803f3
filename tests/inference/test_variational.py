"""The evidence lower bound: below the exact evidence, equal to its definition, and never falling."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from padl_bayes.inference import variational
from padl_bayes.inference.variational import (
    atom_cost,
    elbo_of,
    log_active_prior,
    log_prior,
    run_passes,
    tile_rows,
    untile_rows,
)
from tests.inference.problems import KEYS, problem_with, sparse_data, unit_rows
from tests.oracles import spike_slab

sweep = jax.jit(variational.sweep, static_argnums=0)
residuals = jax.jit(variational.residuals)

# All examples add to one record of figures.
ONE_RECORD = [HealthCheck.function_scoped_fixture]


def traced_anew():
    """`run_passes` compiled again, with whatever has been planted by now."""
    return jax.jit(lambda *arguments: run_passes.__wrapped__(*arguments), static_argnums=0)


def converge(key, problem, state, n_passes=400):
    """Codes updated at fixed global quantities until they stand still: ``(state, bound, sums)``."""
    for _ in range(n_passes):
        residual = residuals(problem, state)
        before = np.asarray(state.codes)
        codes, _, energy, bound, sums = sweep(key, problem, state, residual)
        state = state._replace(codes=codes)
        if np.abs(np.asarray(codes) - before).max() < 1e-13:
            break
    priors = float(jnp.sum(state.atoms.active * log_prior(problem, state.atoms)))
    return state, float(elbo_of(problem, state, energy, bound, sums)) - priors, sums


def tiny(n_atoms, n_features=2, seed=0):
    """Few correlated atoms, few samples: everything can be integrated."""
    rng = np.random.default_rng(seed)
    dictionary = unit_rows(rng, n_atoms, n_features)
    dictionary *= np.sign(dictionary @ np.ones(n_features))[:, None]
    usage, rate = rng.uniform(0.2, 0.7, n_atoms), rng.uniform(1.0, 2.0, n_atoms)
    X = rng.exponential(size=(4 - n_atoms, n_atoms)) @ dictionary + 0.4 * rng.standard_normal(
        (4 - n_atoms, n_features)
    )
    return X, dictionary, usage, rate, 3.0


def exact(kind, X, dictionary, usage, rate, precision, mask=None):
    seen = np.ones(X.shape, bool) if mask is None else mask
    return np.array(
        [
            spike_slab.log_evidence(kind, x[on], dictionary[:, on], precision, usage, rate)
            for x, on in zip(X, seen, strict=True)
        ]
    )


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
@pytest.mark.parametrize("kind", list(KEYS))
def test_with_one_atom_the_bound_is_the_evidence(kind, masked, figure):
    X, dictionary, usage, rate, precision = tiny(1, n_features=3)
    mask = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 1]], bool)[: len(X)] if masked else None
    set_up = problem_with(X, kind, dictionary, usage=usage, rate=rate, precision=precision, mask=mask)
    _, bound, _ = converge(*set_up)
    error = abs(bound - exact(kind, X, dictionary, usage, rate, precision, mask).sum())
    assert figure("ELBO against evidence, one atom, nats", error) < 1e-8


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("n_atoms", "seed"), [(2, 1), (2, 2), (3, 3)])
@pytest.mark.parametrize("kind", ["laplace", "half_normal"])
def test_with_more_atoms_the_bound_is_below_the_evidence(kind, n_atoms, seed, figure):
    X, dictionary, usage, rate, precision = tiny(n_atoms, seed=seed)
    _, bound, _ = converge(*problem_with(X, kind, dictionary, usage=usage, rate=rate, precision=precision))
    evidence = exact(kind, X, dictionary, usage, rate, precision).sum()
    assert -1.0 < figure("ELBO minus evidence, more atoms, nats", bound - evidence) < -0.05


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
@pytest.mark.parametrize("kind", list(KEYS))
def test_the_bound_is_its_definition(kind, masked, figure):
    """E_q[log p - log q] over the product of quadratures of both entries, at the converged q."""
    X, dictionary, usage, rate, precision = tiny(2, n_features=3, seed=4)
    mask = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 1]], bool)[: len(X)] if masked else None
    key, problem, state = problem_with(
        X, kind, dictionary, usage=usage, rate=rate, precision=precision, mask=mask
    )
    state, bound, _ = converge(key, problem, state)
    codes = untile_rows(state.codes, len(X))[:, :2]
    total = 0.0
    for n, x in enumerate(X):
        on = np.ones(3, bool) if mask is None else mask[n]
        linear = [
            precision * dictionary[k, on] @ (x[on] - codes[n, 1 - k] * dictionary[1 - k, on])
            for k in range(2)
        ]
        total += spike_slab.bound_of_product(kind, x[on], dictionary[:, on], precision, usage, rate, linear)
    assert figure("ELBO against its definition by quadrature, nats", abs(bound - total)) < 1e-9


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", list(KEYS))
def test_log_prior_is_that_of_jeffreys_and_an_exponential(kind):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((9, 3))
    usage, rate = rng.uniform(0.1, 0.9, 4), rng.uniform(0.5, 2, 4)
    _, problem, state = problem_with(X, kind, unit_rows(rng, 4, 3), usage=usage, rate=rate, precision=1.0)
    square = np.mean(X**2)
    scale = square if "norm" in kind or kind == "gaussian" else np.sqrt(square)
    # as densities of the logit and of the logarithm
    expected = stats.beta(0.5, 0.5).logpdf(usage) + np.log(usage * (1 - usage))
    expected += stats.expon(scale=1 / scale).logpdf(rate) + np.log(rate)
    np.testing.assert_allclose(log_prior(problem, state.atoms)[:4], expected, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_the_cost_of_an_atom_is_its_direction_by_laplace_and_half_a_log_n_twice():
    rng = np.random.default_rng(0)
    n_features, energy, precision = 7, 1e9, 2.0
    X = rng.standard_normal((50, n_features))
    _, problem, state = problem_with(
        X, "laplace", unit_rows(rng, 3, n_features), usage=0.3, rate=1.0, precision=precision
    )
    state = state._replace(energy=jnp.full(8, energy))
    log_density = math.lgamma(n_features / 2) - math.log(2) - n_features / 2 * math.log(math.pi)
    spread = math.log(precision * energy) - math.log(2 * math.pi)
    expected = -log_density + (n_features - 1) / 2 * spread + math.log(50)
    np.testing.assert_allclose(atom_cost(problem, state), expected, rtol=1e-9)
    weak = atom_cost(problem, state._replace(energy=jnp.zeros(8)))
    assert np.all(np.abs(np.asarray(weak) - math.log(50)) < 2)


def test_the_prior_of_an_activation_pattern_sums_to_one():
    for n_atoms in (1, 5, 9):
        total = sum(
            math.comb(n_atoms, k) * math.exp(log_active_prior(k, n_atoms)) for k in range(n_atoms + 1)
        )
        assert total == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("n", [1, 7, 8, 20, 37])
def test_tiling_pads_and_comes_back(n):
    X = np.random.default_rng(n).standard_normal((n, 3))
    tiles = tile_rows(X, 16)
    assert tiles.shape[1:] == (3, min(16, -(-n // 8) * 8))
    np.testing.assert_array_equal(untile_rows(tiles, n), X)
    assert np.count_nonzero(tiles) == np.count_nonzero(X)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
@pytest.mark.parametrize("kind", ["laplace", "gaussian"])
def test_one_pass_is_a_sweep_and_the_closed_forms_of_all_that_is_global(kind, masked, monkeypatch):
    """Against sums over all samples, of which the engine sees tiles of eight."""
    monkeypatch.setattr(variational.tile_rows, "__defaults__", (8,))
    monkeypatch.setattr(variational, "PASSES", 1)
    rng = np.random.default_rng(6)
    X, _ = sparse_data(rng, 21, 5, 3, 0.3)
    mask = rng.random(X.shape) < 0.85 if masked else None
    before = unit_rows(rng, 3, 5)
    key, problem, state = problem_with(X, kind, before, usage=0.3, rate=1.2, precision=2.0, mask=mask)
    passes = traced_anew()
    state = state._replace(
        codes=jnp.asarray(rng.standard_normal(state.codes.shape)) * state.atoms.active[:, None]
    )
    state = state._replace(codes=state.codes * problem.valid[:, None])
    start = untile_rows(state.codes, 21)[:, :3].T
    state, trace = passes(key, problem, state, jnp.asarray(np.inf))
    seen = np.ones_like(X.T) if mask is None else mask.T.astype(float)
    q = spike_slab.sweep_by_loops(
        kind, seen * X.T, start, before, 2.0, np.full(3, 0.3), np.full(3, 1.2), observed=seen
    )
    codes, square, sums = q["codes"], q["square"], q["sums"]
    np.testing.assert_allclose(untile_rows(state.codes, 21)[:, :3].T, codes, atol=1e-11)
    dictionary, logit, rate, _ = jax.tree.map(lambda a: np.asarray(a)[:3], state.atoms)
    np.testing.assert_allclose(1 / (1 + np.exp(-logit)), (sums["used"] + 0.5) / 22, rtol=1e-10)
    scale = np.mean(X[mask] ** 2) if masked else np.mean(X**2)
    if kind == "laplace":
        expected_rate = (sums["used"] + 1) / (sums["size"] + np.sqrt(scale))
    else:
        expected_rate = (sums["used"] / 2 + 1) / (sums["size"] + scale)
    np.testing.assert_allclose(rate, expected_rate, rtol=1e-10)
    residual = seen * (X.T - dictionary.T @ codes)
    variance = (dictionary**2 @ seen) * (square - codes**2)
    expected = np.sum(residual**2) + np.sum(variance)
    assert float(state.precision) == pytest.approx(seen.sum() / expected, rel=1e-10)
    np.testing.assert_allclose(state.energy[:3], sums["square"], rtol=1e-10)
    # the atom updated last is stationary on the sphere: the gradient of the expected quadratic is normal to it
    pull = residual @ codes[2] - dictionary[2] * (seen @ (square - codes**2)[2])
    assert abs(pull @ dictionary[2]) == pytest.approx(np.linalg.norm(pull), rel=1e-10)
    start_energy = np.sum((seen * (X.T - before.T @ codes)) ** 2) + sums["variance"].sum()
    assert expected < start_energy
    log_priors = float(
        jnp.sum(
            log_prior(
                problem,
                state.atoms._replace(usage_logit=jnp.full(8, np.log(0.3 / 0.7)), rate=jnp.full(8, 1.2)),
            )[:3]
        )
    )
    bound = q["bound"].sum() - np.sum(q["residual"] ** 2) + seen.sum() / 2 * np.log(2 / (2 * np.pi))
    assert float(trace.elbo[0]) == pytest.approx(bound + log_priors, rel=1e-11)


def largest_fall(trace_elbo, problem, precisions):
    """Largest fall from pass to pass, in units of the rounding of the terms that make up the bound."""
    elbo, precision = np.concatenate(trace_elbo), np.concatenate(precisions)
    assert np.isfinite(elbo).all()
    energy = float(jnp.sum(problem.x**2))
    n = float(problem.n_observed)
    terms = n * (np.abs(np.log(precision)) + 10) + precision * energy
    rounding = np.finfo(problem.x.dtype).eps * np.maximum(terms[1:], terms[:-1])
    return float(np.max(-np.diff(elbo) / rounding))


def random_run(
    kind, masked, seed, *, n_samples=12, scale=1.0, noise=0.3, n_active=8, dtype=np.float64, run=run_passes
):
    """Passes on a random problem until they bring little: `largest_fall`, and the state they end in."""
    rng = np.random.default_rng(seed)
    X = scale * sparse_data(rng, n_samples, 5, 4, noise)[0].astype(dtype)
    mask = None
    if masked:
        mask = rng.random(X.shape) < 0.75
        mask[np.arange(n_samples), rng.integers(0, 5, n_samples)] = True
    unit = scale**-2 if kind in ("gaussian", "half_normal") else 1 / scale
    key, problem, state = problem_with(
        X,
        kind,
        unit_rows(rng, n_active, 5),
        usage=rng.uniform(0.05, 0.6, n_active),
        rate=unit * rng.uniform(0.3, 3, n_active),
        precision=rng.uniform(0.3, 3) / scale**2,
        mask=mask,
        places=8,
    )
    elbo, precision = [], []
    for _ in range(24):
        before = state.precision
        state, trace = run(key, problem, state, jnp.asarray(np.inf, dtype))
        elbo.append(np.asarray(trace.elbo, float))
        precision.append(np.concatenate([[float(before)], np.asarray(trace.precision, float)[:-1]]))
    return largest_fall(elbo, problem, precision), state


@pytest.mark.usefixtures("x64")
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=ONE_RECORD)
@given(
    case=st.sampled_from(
        [
            ("laplace", False),
            ("laplace", True),
            ("exponential", False),
            ("gaussian", True),
            ("half_normal", False),
        ]
    ),
    seed=st.integers(0, 10**6),
    n_samples=st.integers(9, 16),
    n_active=st.integers(1, 8),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
    noise=st.sampled_from([0.05, 0.3, 1.0]),
)
def test_the_bound_never_falls(figure, case, seed, n_samples, n_active, scale, noise):
    fall, state = random_run(*case, seed, n_samples=n_samples, n_active=n_active, scale=scale, noise=noise)
    assert figure("largest fall of the ELBO, roundings, float64", fall) < 10
    np.testing.assert_allclose(np.linalg.norm(state.atoms.dictionary, axis=1), 1, rtol=1e-14)
    assert not np.any(np.asarray(state.codes)[:, n_active:])
    assert np.all(np.asarray(state.atoms.rate) > 0)
    if KEYS[case[0]][1]:
        assert np.asarray(state.codes).min() >= 0


@pytest.mark.parametrize(("kind", "masked"), [("laplace", False), ("half_normal", True)])
def test_the_bound_never_falls_in_float32(kind, masked, figure):
    for seed in range(12):
        fall, state = random_run(kind, masked, seed, noise=0.5, n_active=4, dtype=np.float32)
        assert figure("largest fall of the ELBO, roundings, float32", fall) < 10
        np.testing.assert_allclose(np.linalg.norm(state.atoms.dictionary, axis=1), 1, rtol=1e-6)


def without_variance(problem, state, energy, bound, sums):
    return elbo_of(problem, state, energy, bound + 0.5 * state.precision * jnp.sum(sums.variance), sums)


def without_usage_prior(problem, state, energy, bound, sums):
    logit = state.atoms.usage_logit
    prior = 0.5 * jax.nn.log_sigmoid(logit) + 0.5 * jax.nn.log_sigmoid(-logit)
    return elbo_of(problem, state, energy, bound, sums) - jnp.sum(state.atoms.active * prior)


def without_rate_prior(problem, state, energy, bound, sums):
    prior = jnp.log(state.atoms.rate) - state.atoms.rate * problem.rate_scale
    return elbo_of(problem, state, energy, bound, sums) - jnp.sum(state.atoms.active * prior)


def without_normaliser(problem, state, energy, bound, sums):
    normaliser = 0.5 * problem.n_observed * jnp.log(state.precision)
    return elbo_of(problem, state, energy, bound, sums) - normaliser


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "broken", [without_variance, without_usage_prior, without_rate_prior, without_normaliser]
)
def test_a_bound_that_lacks_a_term_is_seen_to_fall(broken, monkeypatch, figure):
    """The property test above would notice."""
    monkeypatch.setattr(variational, "elbo_of", broken)
    passes = traced_anew()
    falls = [random_run("laplace", False, seed, n_active=3, run=passes)[0] for seed in range(6)]
    figure("ELBO that lacks a term: minus its largest fall, roundings", -max(falls))
    assert max(falls) > 1e3


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
def test_an_m_step_that_forgets_the_variance_is_seen_to_lower_the_bound(masked, monkeypatch):
    true_sweep, true_variances = variational.sweep, variational._variances

    def forgetful(*arguments):
        codes, square, energy, bound, sums = true_sweep(*arguments)
        return codes, square, energy, bound, sums._replace(variance=jnp.zeros_like(sums.variance))

    monkeypatch.setattr(variational, "sweep", forgetful)
    monkeypatch.setattr(variational, "_variances", lambda *a: jnp.zeros_like(true_variances(*a)))
    passes = traced_anew()
    falls = [random_run("laplace", masked, seed, run=passes)[0] for seed in range(4)]
    assert max(falls) > 1e3
