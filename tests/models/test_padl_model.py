"""The programs against log joints written by hand, PADL's energy, and moments of their simulations."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from jax import random
from numpyro.handlers import seed, trace
from numpyro.infer import Predictive
from numpyro.infer.util import log_density

from padl_bayes.models import hyperpriors_from, laplace, padl
from tests.oracles import log_joint as oracle
from tests.oracles import slab_quadrature

SLABS = ["bernoulli_laplace", "bernoulli_gaussian", "l1linf"]
N, K, P = 7, 4, 3


def latents(slab, *, nonnegative=False, prng_seed=0):
    """A random point with one inactive atom; spikes in the two-level slabs."""
    rng = np.random.default_rng(prng_seed)
    active = np.array([1, 0, 1, 1])
    codes = rng.laplace(size=(N, K)) * active
    codes = np.abs(codes) if nonnegative else codes
    dictionary = rng.normal(size=(K, P))
    point = dict(
        dictionary=dictionary / np.linalg.norm(dictionary, axis=1, keepdims=True),
        noise_scale=np.float64(0.6), activation_rate=np.float64(0.4), active=active,
    )  # fmt: skip
    if slab == "l1linf":
        envelope = np.abs(codes).max(0) + rng.exponential(size=K)
        own = dict(rate_l1=np.float64(1.3), rate_linf=np.float64(2.5), envelope=envelope)
    else:
        codes *= rng.random((N, K)) < 0.5
        own = dict(usage=rng.random(K), rate=rng.gamma(2.0, size=K))
    return point | own | {"codes": codes}


def problem(masked, prng_seed=0):
    rng = np.random.default_rng(prng_seed)
    X = 2 * rng.normal(size=(N, P))
    mask = rng.random(X.shape) < 0.7 if masked else None
    return (np.where(mask, X, np.nan) if masked else X), mask


def model_log_density(program, values, **kwargs):
    return float(log_density(program, (), kwargs, values)[0])


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("slab", SLABS)
def test_log_joint_matches_the_terms_written_by_hand(slab, nonnegative, masked, precision):
    X, mask = problem(masked)
    with jax.enable_x64(precision == "float64"):
        kwargs = dict(X=X, n_atoms=K, slab=slab, nonnegative=nonnegative, mask=mask)
        priors = hyperpriors_from(X, slab=slab, mask=mask)
        values = latents(slab, nonnegative=nonnegative)
        got = model_log_density(padl, values, **kwargs)
    expected = oracle.padl_log_joint(X, values, priors, slab, nonnegative=nonnegative, mask=mask)
    # About a hundred terms; single precision rounds each to 1e-7 of the largest.
    assert abs(got - expected) < (1e-10 if precision == "float64" else 2e-5) * abs(expected)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_laplace_log_joint_matches_the_terms_written_by_hand(nonnegative, masked):
    X, mask = problem(masked)
    kwargs = dict(X=X, n_atoms=K, nonnegative=nonnegative, mask=mask)
    values = latents("l1linf", nonnegative=nonnegative)
    values = {name: values[name] for name in ("dictionary", "codes", "noise_scale")} | {
        "rate": np.float64(1.3)
    }
    got = model_log_density(laplace, values, **kwargs)
    priors = hyperpriors_from(X, mask=mask)
    expected = oracle.laplace_log_joint(X, values, priors, nonnegative=nonnegative, mask=mask)
    np.testing.assert_allclose(got, expected, rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_fixed_values_leave_no_prior_term():
    X, _ = problem(False)
    values = latents("l1linf")
    fixed = {name: values[name] for name in ("noise_scale", "activation_rate", "rate_l1", "rate_linf")}
    kwargs = dict(X=X, n_atoms=K, slab="l1linf", **fixed)
    priors = hyperpriors_from(X, slab="l1linf")
    unfixed = model_log_density(padl, values, X=X, n_atoms=K, slab="l1linf")
    kept = (
        K * oracle.log_sphere(P)
        + oracle.stats.bernoulli(values["activation_rate"]).logpmf(values["active"]).sum()
    )
    dropped = oracle.log_hyperpriors(values, priors) - kept
    np.testing.assert_allclose(model_log_density(padl, values, **kwargs), unfixed - dropped, rtol=1e-10)


def padl_energy(X, codes, dictionary, noise_scale, l1, linf, count_cost):
    residual = X - codes @ dictionary
    used = (codes != 0).any(0)
    return (
        0.5 / noise_scale**2 * np.square(residual).sum()
        + l1 * np.abs(codes).sum()
        + linf * np.abs(codes).max(0).sum()
        + count_cost * used.sum()
    )


def padl_points(rng):
    """Random points with zero rows and zero entries in the others, as PADL's minimisers have."""
    for _ in range(6):
        codes = rng.normal(size=(N, K)) * (rng.random((N, K)) < 0.6) * (rng.random(K) < 0.6)
        dictionary = rng.normal(size=(K, P))
        yield codes, dictionary / np.linalg.norm(dictionary, axis=1, keepdims=True)


RATES = dict(activation_rate=0.3, noise_scale=0.7, rate_l1=1.1, rate_linf=4.0)


def envelope_slices():
    """Log joint at z = 1{r_k != 0} as a function of codes, dictionary and many envelopes (m, K)."""
    X, _ = problem(False)

    def log_joint(codes, dictionary, active, envelope):
        values = dict(codes=codes, dictionary=dictionary, envelope=envelope, active=active)
        return log_density(padl, (X, K), dict(slab="l1linf", **RATES), values)[0]

    many = jax.jit(jax.vmap(log_joint, in_axes=(None, None, None, 0)))

    def slices(codes, dictionary, envelopes):
        return np.asarray(many(codes, dictionary, (codes != 0).any(0).astype(int), envelopes))

    return X, slices


@pytest.mark.usefixtures("x64")
def test_padl_energy_is_minus_the_log_joint_at_the_best_latents(figure):
    X, log_joint = envelope_slices()
    l1, linf, pi = RATES["rate_l1"], RATES["rate_linf"], RATES["activation_rate"]
    # An unused atom's envelope sits at the mode of its own law: part of what switching an atom on costs.
    mode = np.log1p(N * l1 / linf) / l1
    log_z = slab_quadrature.log_z_product(l1, linf, N)
    cost = np.log((1 - pi) / pi) + log_z - np.log(linf) + oracle.log_envelope(mode, l1, linf, N)
    sums = []
    for codes, dictionary in padl_points(np.random.default_rng(5)):
        largest = np.abs(codes).max(0)
        best = np.where(largest > 0, largest, mode)
        nearby = best * np.concatenate([np.ones((1, K)), 1 + 0.01 * np.eye(K), 1 - 0.01 * np.eye(K)])
        values = log_joint(codes, dictionary, nearby)
        assert values.argmax() == 0
        energy = padl_energy(X, codes, dictionary, RATES["noise_scale"], l1, linf, cost)
        sums.append(values[0] + energy)
    assert figure("energy plus log joint, spread over points", np.ptp(sums)) < 1e-9


@pytest.mark.usefixtures("x64")
def test_an_atom_costs_log_z_and_the_prior_odds_once_envelopes_are_integrated_out(figure):
    X, log_joint = envelope_slices()
    l1, linf, pi = RATES["rate_l1"], RATES["rate_linf"], RATES["activation_rate"]
    cost = np.log((1 - pi) / pi) + slab_quadrature.log_z_product(l1, linf, N)
    nodes, weights = np.polynomial.laguerre.laggauss(60)
    sums = []
    for codes, dictionary in padl_points(np.random.default_rng(6)):
        largest = np.abs(codes).max(0)
        envelopes = np.tile(largest + 1.0, (K, len(nodes), 1))
        for k in range(K):
            envelopes[k, :, k] = largest[k] + nodes / linf
        reference = log_joint(codes, dictionary, largest[None] + 1.0)[0]
        relative = log_joint(codes, dictionary, envelopes.reshape(-1, K)).reshape(K, -1) - reference
        total = reference + np.log(np.exp(nodes + relative) @ weights / linf).sum()
        sums.append(total + padl_energy(X, codes, dictionary, RATES["noise_scale"], l1, linf, cost))
    assert figure("energy plus log joint, envelopes integrated out, spread", np.ptp(sums)) < 1e-8


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("nonnegative", [False, True])
def test_continuous_form_is_the_all_active_restriction_up_to_its_jacobian(nonnegative):
    X, mask = problem(True)
    kwargs = dict(X=X, n_atoms=K, slab="l1linf", nonnegative=nonnegative, mask=mask)
    values = latents("l1linf", nonnegative=nonnegative)
    t, normal = values["envelope"], np.random.default_rng(1).normal(size=(K, P))
    unit = {"dictionary_normal": normal, "codes_unit": values.pop("codes") / t}
    del values["dictionary"], values["active"]
    got, sites = log_density(padl, (), kwargs | {"continuous": True}, values | unit)
    values |= {name: sites[name]["value"] for name in ("dictionary", "codes")}
    np.testing.assert_allclose(values["dictionary"], normal / np.linalg.norm(normal, axis=1, keepdims=True))
    np.testing.assert_allclose(values["codes"], unit["codes_unit"] * t)
    jacobian = oracle.stats.norm.logpdf(normal).sum() - K * oracle.log_sphere(P) + N * np.log(t).sum()
    generative = model_log_density(padl, values | {"active": np.ones(K, int)}, **kwargs)
    np.testing.assert_allclose(got, generative + jacobian, rtol=1e-11)


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("slab", SLABS)
def test_simulated_moments_match_the_prior(slab, nonnegative):
    pi, usage, rate, l1, linf, sigma = 0.4, 0.3, 1.7, 0.8, 3.0, 0.5
    fixed = dict(activation_rate=pi, noise_scale=sigma)
    fixed |= dict(rate_l1=l1, rate_linf=linf) if slab == "l1linf" else dict(usage=usage, rate=rate)
    draws = Predictive(padl, num_samples=2000)(
        random.key(0), n_atoms=K, n_samples=3, n_features=P, slab=slab, nonnegative=nonnegative, **fixed
    )
    square = {
        "bernoulli_laplace": usage * 2 / rate**2,
        "bernoulli_gaussian": usage / rate,
        "l1linf": slab_quadrature.mean_square_by_digamma(l1, linf, 3),
    }[slab]
    # Directions are uniform, so atoms do not correlate and each feature gets 1/P of a code's energy.
    expected = {"X": K * pi * square / P + sigma**2, "codes": pi * square}
    for name, value in expected.items():
        mean_squares = np.square(np.asarray(draws[name], np.float64)).mean((1, 2))
        error = mean_squares.std() / np.sqrt(len(mean_squares))
        assert abs(mean_squares.mean() - value) < 4 * error
    np.testing.assert_array_equal(draws["num_active"], draws["active"].sum(-1))
    np.testing.assert_allclose(draws["code_energy"], np.square(draws["codes"]).sum(1), rtol=1e-5)
    assert (
        np.asarray(draws["codes"])[np.broadcast_to(draws["active"][:, None] == 0, draws["codes"].shape)] == 0
    ).all()
    assert not nonnegative or (np.asarray(draws["codes"]) >= 0).all()


@pytest.mark.parametrize("slab", SLABS)
def test_sites_have_the_shapes_that_plates_promise(slab):
    kwargs = dict(n_atoms=K, n_samples=N, n_features=P, slab=slab, keep_reconstruction=True)
    sites = trace(seed(padl, 0)).get_trace(**kwargs)
    shapes = {name: np.shape(site["value"]) for name, site in sites.items() if site["type"] != "plate"}
    common = dict(
        dictionary=(K, P), noise_scale=(), activation_rate=(), active=(K,), codes=(N, K),
        num_active=(), code_energy=(K,), reconstruction=(N, P), X=(N, P),
    )  # fmt: skip
    own = dict(rate_l1=(), rate_linf=(), envelope=(K,)) if slab == "l1linf" else dict(usage=(K,), rate=(K,))
    assert shapes == common | own
    plates = {name: site["args"][0] for name, site in sites.items() if site["type"] == "plate"}
    assert plates == {"sample": N, "atom": K, "feature": P}
    again = trace(seed(padl, 0)).get_trace(**kwargs)
    assert all(np.array_equal(site["value"], again[name]["value"]) for name, site in sites.items())


@pytest.mark.parametrize(
    ("program", "kwargs"), [*((padl, dict(slab=slab)) for slab in SLABS),
                            (padl, dict(slab="l1linf", continuous=True)), (laplace, {})],
)  # fmt: skip
def test_render_model_draws_it(program, kwargs):
    X, _ = problem(False)
    graph = numpyro.render_model(
        program, model_kwargs=dict(X=X, n_atoms=K, **kwargs), render_distributions=True
    )
    for word in ("cluster_sample", "cluster_atom", "codes -> X", "dictionary", "noise_scale -> X"):
        assert word in graph.source


def test_program_runs_under_jit_with_traced_data():
    X, mask = problem(True)

    @jax.jit
    def log_joint(X, values):
        return log_density(padl, (X, K), dict(slab="l1linf", mask=mask), values)[0]

    values = latents("l1linf")
    eager = model_log_density(padl, values, X=X, n_atoms=K, slab="l1linf", mask=mask)
    np.testing.assert_allclose(log_joint(jnp.asarray(X), values), eager, rtol=1e-5)


@pytest.mark.parametrize("slab", SLABS)
def test_hyperpriors_scale_with_the_data(slab):
    X, mask = problem(True)
    one, ten = (hyperpriors_from(c * X, slab=slab, mask=mask) for c in (1, 10))
    scale = np.sqrt(np.nanmean(np.square(X)))
    np.testing.assert_allclose(one.noise_scale, scale, rtol=1e-6)
    power = 2 if slab == "bernoulli_gaussian" else 1
    np.testing.assert_allclose(ten.rate[1], 10**power * one.rate[1], rtol=1e-5)
    np.testing.assert_allclose([one.rate_l1[1], one.rate_linf[1]], [scale, scale / N], rtol=1e-6)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(n_atoms=3), "n_samples must be given"),
        (dict(X=np.ones((4, 2))), "n_atoms must be given"),
        (dict(X=np.ones(4), n_atoms=2), "X must have 2 dimensions"),
        (dict(X=np.ones((4, 2)), n_atoms=3, dictionary=np.eye(2)), "n_atoms must agree"),
        (dict(X=np.ones((4, 3)), dictionary=np.eye(2)), "n_features must agree"),
        (dict(X=np.ones((4, 3)), n_atoms=2, mask=np.ones((4, 2))), "mask must have the shape"),
        (dict(X=np.ones((4, 3)), n_atoms=0), "n_atoms must be at least 1"),
        (dict(X=np.ones((4, 3)), n_atoms=2, slab="horseshoe"), "slab must be one of"),
        (dict(X=np.ones((4, 3)), n_atoms=2, continuous=True), "continuous=True needs"),
    ],
)
def test_bad_arguments_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        seed(padl, 0)(**kwargs)
