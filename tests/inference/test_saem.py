"""Stochastic-approximation EM against marginal likelihoods that are sums over grids."""

import jax
import numpy as np
import pytest
from scipy import optimize, special

import padl_bayes as pb
from padl_bayes.inference.saem import slab_rates
from tests.oracles import marginal_likelihood

K, SPARE = 8, 3


def two_level_data():
    rng = np.random.default_rng(0)
    codes = np.where(rng.random((40, K)) < 0.4, rng.laplace(size=(40, K)), 0) * (np.arange(K) < 5)
    X = 0.3 * rng.standard_normal((40, K + SPARE))
    X[:, :K] += codes
    return X


def l1linf_data():
    law = pb.distributions.L1LinfLaplace(2.0, 20.0, 25)
    codes = np.stack([law.sample(jax.random.key(k)) for k in range(K)], axis=1) * (np.arange(K) < 5)
    X = 0.15 * np.random.default_rng(0).standard_normal((25, K + SPARE))
    X[:, :K] += codes
    return X


def check(figure, X, names, log_likelihood, start, seeds, **options):
    """The mean of a few runs is the maximum but for its standard error, on the logarithm."""
    oracle_names = [name.replace("noise_scale", "noise") for name in names]
    best = marginal_likelihood.maximum(
        log_likelihood, oracle_names, dict(zip(oracle_names, start, strict=True))
    )
    runs = [
        pb.inference.fit_saem(X, fixed={"dictionary": np.eye(K, K + SPARE)}, random_state=seed, **options)
        for seed in range(seeds)
    ]
    for name, wanted in zip(names, best.values(), strict=True):
        found = np.log([run.hyperparameters[name] for run in runs])
        error = found.std(ddof=1) / np.sqrt(seeds)
        # 0.002 is what the simplex is asked for, and more than float32 grids would leave
        assert figure(name, abs(found.mean() - np.log(wanted)) / (4 * error + 0.002)) < 1, name
    return runs


def test_two_level_hyperparameters_are_the_maximum_of_the_marginal_likelihood(figure):
    X = two_level_data()
    runs = check(
        figure, X, ("activation_rate", "usage", "rate", "noise_scale"),
        lambda **at: marginal_likelihood.two_level(X, K, **at), (0.5, 0.3, 1.0, 0.3), seeds=4,
        n_burn_in=100, n_iter=300,
    )  # fmt: skip
    run = runs[0]
    assert run.codes.shape == (40, len(run.dictionary))
    assert run.steps[:101].tolist() == [1.0] * 101
    np.testing.assert_allclose(run.steps[100:], np.arange(1, 301) ** (-2 / 3))
    # each step goes only part of the way to what the new draw says
    moves = np.abs(np.diff(np.square(run.history["noise_scale"])))
    assert moves[-100:].mean() < 0.1 * moves[:100].mean()
    kept = run.history["rate"][100:]
    assert run.hyperparameters["rate"] == pytest.approx(np.exp(np.log(kept).mean()))
    with pytest.raises(AttributeError, match="alpha goes with slab='l1linf'"):
        _ = run.alpha


@pytest.mark.slow
def test_rates_of_the_l1_linf_slab_are_the_maximum_of_the_marginal_likelihood(figure):
    X = l1linf_data()
    runs = check(
        figure, X, ("activation_rate", "rate_l1", "rate_linf", "noise_scale"),
        lambda **at: marginal_likelihood.l1linf(X, K, **at), (0.5, 1.0, 30.0, 0.15), seeds=3,
        slab="l1linf", n_burn_in=40, n_iter=120, n_sweeps=1, num_chains=2,
    )  # fmt: skip
    found = runs[0].hyperparameters
    weights = np.array([found["rate_l1"], found["rate_linf"]]) * found["noise_scale"] ** 2
    np.testing.assert_allclose(runs[0].alpha, weights)


@pytest.mark.parametrize(("rate_l1", "rate_linf"), [(1.0, 2.0), (3.0, 60.0), (0.2, 500.0)])
def test_slab_rates_are_those_of_a_generic_solver(rate_l1, rate_linf):
    n, rho = 30, rate_linf / rate_l1
    linf = (special.digamma(n + rho + 1) - special.digamma(rho + 1)) / rate_l1
    l1 = n / rate_l1 - rho * linf
    assert slab_rates(l1, linf, n) == pytest.approx((rate_l1, rate_linf), rel=1e-6)

    def loss(at):
        one, two = np.exp(at)
        log_z = -n * np.log(one) + special.gammaln(two / one + 1) - special.gammaln(n + two / one + 1)
        return one * 0.97 * l1 + two * linf + log_z

    best = optimize.minimize(
        loss, np.log([rate_l1, rate_linf]), method="Nelder-Mead", options={"fatol": 1e-12}
    )
    assert slab_rates(0.97 * l1, linf, n) == pytest.approx(np.exp(best.x), rel=1e-3)


def test_slab_rates_of_tails_that_are_too_heavy_are_those_of_laplace_codes():
    rate_l1, rate_linf = slab_rates(10.0, 9.0, 30)
    assert rate_linf == pytest.approx(1e-3 * rate_l1)
    assert rate_l1 == pytest.approx(3.0, rel=1e-2)
    # all of the same size: the other end
    assert slab_rates(30.0, 1.0, 30)[1] == pytest.approx(30_000 * slab_rates(30.0, 1.0, 30)[0])


def test_noise_and_atoms_of_an_unknown_dictionary_are_found_and_draws_go_on_from_there():
    data = pb.datasets.synthetic_a(0.1, n_samples=200, n_features=12, n_atoms=4, seed=0)
    X = data.X.astype(np.float32)
    mask = np.random.default_rng(0).random(X.shape) < 0.9
    options = {"fixed": {"usage": 0.15}, "mask": mask, "n_burn_in": 60, "n_iter": 40, "num_chains": 2}
    fit = pb.inference.fit_saem(X, 8, **options)
    again = pb.inference.fit_saem(X, 8, **options)
    assert fit.hyperparameters == again.hyperparameters
    assert fit.hyperparameters["usage"] == 0.15
    assert "usage" not in fit.history
    assert fit.dictionary.dtype == np.float32
    assert pb.recovered(fit.dictionary, data.dictionary, 0.95) == 4
    # 2,160 entries less the 120 codes and 44 directions: a standard error of 1.6%
    assert fit.noise_scale == pytest.approx(0.1, rel=0.08)
    # 120 codes: a standard error of 9%
    assert fit.hyperparameters["rate"] == pytest.approx(1.0, rel=0.4)
    draws = pb.inference.sample_gibbs(
        X, 8, init=fit, fixed=fit.hyperparameters, mask=mask, num_warmup=5, num_samples=5, num_chains=2
    )
    assert set(draws.samples) & set(fit.hyperparameters) == set()


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({}, ValueError, "n_atoms must be given"),
        ({"n_atoms": 3, "slab": "laplace"}, ValueError, "slab must be one of"),
        ({"n_atoms": 3, "power": 0.5}, ValueError, "power must be finite and above 0.5"),
        ({"n_atoms": 3, "fixed": {"rate_l1": 1.0}}, ValueError, "fixed must be one of"),
        ({"n_atoms": 3, "fixed": {"usage": [0.1, 0.2, 0.3]}}, TypeError, "usage.* must be a real number"),
        ({"n_atoms": 3, "nonnegative": "no"}, TypeError, "nonnegative must be True or False"),
        ({"n_atoms": 3, "n_iter": 0}, ValueError, "n_iter"),
        (
            {"n_atoms": 3, "fixed": {"activation_rate": 0.5, "usage": 0.1, "rate": 1.0, "noise_scale": 1.0}},
            ValueError,
            "fixed must leave a hyperparameter to estimate",
        ),
    ],
)
def test_bad_input_is_named(options, error, match):
    with pytest.raises(error, match=match):
        pb.inference.fit_saem(np.random.default_rng(0).normal(size=(20, 4)), **options)
