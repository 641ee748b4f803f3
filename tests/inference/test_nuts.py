"""NUTS on the continuous models against grids, and what it refuses."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from numpyro.diagnostics import effective_sample_size
from numpyro.infer.util import log_density

from padl_bayes.inference.nuts import nuts_nbytes, sample_nuts
from padl_bayes.models import Hyperpriors, laplace
from tests.oracles import tiny_posteriors as oracle

ATOM = np.array([0.6, -0.8])
X = np.array([[1.1, -0.7], [-0.2, 0.5]])


def check_means(functionals, expected):
    """Means of draws (chain, draw) within 4 standard errors, from their effective sample size."""
    assert functionals.keys() == expected.keys()
    for name, draws in functionals.items():
        draws = np.asarray(draws, np.float64)
        error = draws.std() / np.sqrt(min(effective_sample_size(draws), draws.size))
        assert abs(draws.mean() - expected[name]) < 4 * error, (name, draws.mean(), expected[name], error)
        assert error < 0.1 * draws.std()


def long_run(data, **kwargs):
    run = dict(num_warmup=500, num_samples=1500, num_chains=4, chain_method="vectorized")
    drawn = sample_nuts(data, **run, **kwargs)
    assert drawn.sample_stats["diverging"].mean() < 0.01
    return drawn.samples


@pytest.mark.parametrize("nonnegative", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_l1linf_with_a_known_atom_matches_a_grid(nonnegative):
    rate_l1, rate_linf, noise_prior = 0.8, 1.5, 0.7
    samples = long_run(
        X,
        nonnegative=nonnegative,
        fixed=dict(dictionary=ATOM[None], rate_l1=rate_l1, rate_linf=rate_linf),
        hyperpriors=Hyperpriors(noise_scale=noise_prior),
    )
    assert set(samples) == {"codes", "envelope", "noise_scale"}
    r1, r2 = np.moveaxis(samples["codes"][..., 0], -1, 0)
    s, largest = samples["noise_scale"], np.maximum(np.abs(r1), np.abs(r2))
    functionals = {
        "r1": r1, "r1^2": r1**2, "r1 r2": r1 * r2, "|r|max": largest,
        "envelope": samples["envelope"][..., 0], "noise": s, "noise^2": s**2,
    }  # fmt: skip
    expected = oracle.l1linf_one_atom(X, ATOM, rate_l1, rate_linf, noise_prior, nonnegative=nonnegative)
    check_means(functionals, expected)


@pytest.mark.slow
def test_laplace_with_an_unknown_rate_matches_a_grid():
    samples = long_run(
        X,
        model="laplace",
        fixed=dict(dictionary=ATOM[None], noise_scale=0.4),
        hyperpriors=Hyperpriors(rate=(1.0, 0.9)),
    )
    r1, r2 = np.moveaxis(samples["codes"][..., 0], -1, 0)
    rate = samples["rate"]
    functionals = {"r1": r1, "r1^2": r1**2, "r1 r2": r1 * r2, "rate": rate, "rate^2": rate**2}
    check_means(functionals, oracle.laplace_unknown_rate(X, ATOM, 0.9, 0.4))


def test_unknown_direction_matches_a_grid():
    data = np.array([[1.1, 0.7], [0.4, 0.9], [-0.2, 0.5]])
    samples = long_run(
        data, n_atoms=1, model="laplace", nonnegative=True, fixed=dict(noise_scale=0.5, rate=1.2)
    )
    cos, sin = np.moveaxis(samples["dictionary"][..., 0, :], -1, 0)
    codes = {f"r{n + 1}": samples["codes"][..., n, 0] for n in range(3)}
    expected = oracle.laplace_one_atom_in_the_plane(data, 1.2, 0.5)
    check_means({"cos": cos, "sin": sin, "cos^2": cos**2} | codes, expected)


def test_without_information_the_posterior_is_the_prior():
    gammas = dict(rate_l1=(6.0, 4.0), rate_linf=(8.0, 3.0))
    samples = long_run(
        np.random.default_rng(0).normal(size=(3, 2)), n_atoms=2, fixed=dict(noise_scale=1e5),
        hyperpriors=Hyperpriors(**gammas),
    )  # fmt: skip
    codes, d = np.abs(samples["codes"]), samples["dictionary"]
    l1, linf = oracle.prior_norms(*gammas.values(), 3)
    expected = {name: shape / rate for name, (shape, rate) in gammas.items()}
    expected |= {"l1": l1, "linf": linf, "d": 0.0, "d1 d2": 0.0, "d^2": 0.5}
    functionals = {name: samples[name] for name in gammas}
    functionals |= {"l1": codes.sum(2).mean(-1), "linf": codes.max(2).mean(-1)}
    functionals |= {"d": d[..., 0, 0], "d1 d2": d[..., 0, 0] * d[..., 1, 1], "d^2": np.square(d[..., 0, 0])}
    check_means(functionals, expected)


def fit(dtype, nonnegative=False):
    rng = np.random.default_rng(1)
    dictionary = rng.normal(size=(2, 5))
    dictionary /= np.linalg.norm(dictionary, axis=1, keepdims=True)
    codes = rng.laplace(size=(20, 2)) * (rng.random((20, 2)) < 0.5)
    codes = np.abs(codes) if nonnegative else codes
    data = codes @ dictionary + 0.1 * rng.normal(size=(20, 5))
    return data.astype(dtype), SimpleNamespace(dictionary=dictionary, codes=codes, noise_scale=0.1)


def brief_run(data, init, **kwargs):
    """Two chains that cannot go far: what they show is where they started."""
    run = dict(
        num_warmup=1, num_samples=4, thinning=2, num_chains=2, max_tree_depth=1, chain_method="vectorized"
    )
    return sample_nuts(data, init=init, **run, **kwargs)


def check_brief_run(drawn, init, dtype, rates):
    assert set(drawn.samples) == {"codes", "noise_scale", *rates}
    assert drawn.samples["codes"].shape == (2, 2, 20, 2)
    assert all(draws.dtype == dtype and np.isfinite(draws).all() for draws in drawn.samples.values())
    assert np.corrcoef(drawn.samples["codes"][1, 0].ravel(), init.codes.ravel())[0, 1] > 0.9
    assert not np.array_equal(drawn.samples["codes"][0], drawn.samples["codes"][1])
    for name in ("lp", "acceptance_rate", "diverging", "n_steps", "energy", "step_size"):
        assert drawn.sample_stats[name].shape == (2, 2)
    assert drawn.wall_time > 0


def test_starts_at_the_fit_in_double_precision_with_a_mask():
    data, init = fit(np.float64, nonnegative=True)
    mask = np.ones(data.shape, bool)
    mask[0, 0] = False
    data[0, 0] = np.nan
    drawn = brief_run(data, init, nonnegative=True, mask=mask)
    check_brief_run(drawn, init, np.float64, ("dictionary", "rate_l1", "rate_linf", "envelope"))
    assert drawn.samples["dictionary"].shape == (2, 2, 2, 5)
    assert (drawn.samples["dictionary"] * init.dictionary).sum(-1).min() > 0.9
    assert drawn.samples["codes"].min() >= 0
    assert (np.abs(drawn.samples["codes"]).max(2) <= drawn.samples["envelope"]).all()
    assert jax.config.jax_enable_x64 is False


def test_one_seed_gives_one_answer_in_single_precision():
    data, init = fit(np.float32)
    run = dict(model="laplace", random_state=3, fixed=dict(dictionary=init.dictionary))
    one, same = (brief_run(data, init, **run) for _ in range(2))
    check_brief_run(one, init, np.float32, ("rate",))
    assert all(np.array_equal(draws, same.samples[name]) for name, draws in one.samples.items())
    assert one.random_state == 3
    last = {name: draws[1, 1] for name, draws in one.samples.items()}
    log_joint, _ = log_density(laplace, (data,), run["fixed"], last)
    # The scale and the rate move on the log scale.
    expected = log_joint + np.log(last["noise_scale"]) + np.log(last["rate"])
    np.testing.assert_allclose(one.sample_stats["lp"][1, 1], expected, rtol=1e-4)


def test_memory_is_refused_with_the_number_and_a_way_out():
    data, init = fit(np.float32)
    with pytest.raises(ValueError, match=r"NUTS with these draws needs .* GiB.*num_samples"):
        sample_nuts(data, init=init, num_samples=10**9)
    kept = 4 * 2 * 5000 * (20 * 2 + 2 * 5 + 2 + 3)
    assert 2 * kept < nuts_nbytes(20, 5, 2, 5000, 2, dtype=np.float32) < 2.2 * kept


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        (dict(n_atoms=None), ValueError, "n_atoms must be given"),
        (dict(n_atoms=0), ValueError, "n_atoms must be at least 1"),
        (dict(n_atoms=3, init="fit"), ValueError, "n_atoms must agree"),
        (dict(n_atoms=2, model="padl"), ValueError, "model must be one of"),
        (dict(n_atoms=2, fixed=dict(usage=0.3)), ValueError, "fixed must be one of"),
        (dict(n_atoms=2, fixed=dict(noise_scale=-1.0)), ValueError, "noise_scale must be"),
        (dict(n_atoms=2, fixed=dict(dictionary=np.ones((2, 5)))), ValueError, "unit-norm"),
        (dict(n_atoms=2, num_samples=0), ValueError, "num_samples must be at least 1"),
        (dict(n_atoms=2, num_samples=2, thinning=3), ValueError, "thinning must be at most"),
        (dict(n_atoms=2, target_accept=1.5), ValueError, "target_accept"),
        (dict(n_atoms=2, num_chains=1.5), TypeError, "num_chains must be an integer"),
    ],
)
def test_bad_arguments_are_refused(kwargs, error, message):
    data, init = fit(np.float64)
    if kwargs.get("init"):
        kwargs = kwargs | {"init": init}
    with pytest.raises(error, match=message):
        sample_nuts(data, **kwargs)


def test_an_empty_fit_is_no_start():
    data, init = fit(np.float64)
    init.codes = np.zeros_like(init.codes)
    with pytest.raises(ValueError, match=r"init\.codes must have an entry"):
        sample_nuts(data, init=init)
