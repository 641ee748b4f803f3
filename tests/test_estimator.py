"""The scikit-learn style front: attributes, codes, round trips and errors."""

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.base import clone

import padl_bayes as pb
from padl_bayes.arviz_io import load_arviz
from padl_bayes.comparison.views import view_of
from padl_bayes.inference import pointwise_log_likelihood
from padl_bayes.inference.nuts import NutsDraws
from padl_bayes.report.posterior import groups_of


@pytest.fixture(scope="module")
def data():
    return pb.datasets.synthetic_a(0.1, n_samples=400, n_features=16, n_atoms=6, seed=0)


@pytest.fixture(scope="module")
def em(data):
    return pb.PADL(n_atoms=12).fit(data.X)


@pytest.fixture(scope="module")
def map_(data):
    return pb.PADL(n_atoms=6, method="map", alpha=(0.05, 2.0), tol=1e-4).fit(data.X)


def test_em_attributes(em, data):
    assert em.n_active_ == len(em.components_) == 6
    assert em.components_.dtype == np.float64
    np.testing.assert_allclose(np.linalg.norm(em.components_, axis=1), 1, rtol=1e-12)
    assert pb.recovered(em.components_, data.dictionary) == 6
    assert em.usage_.shape == em.activation_log_odds_.shape == (6,)
    assert (em.activation_log_odds_ > 0).all()
    assert em.n_features_in_ == 16
    assert em.status_.startswith("converged")
    assert em.n_iter_ == len(em.history_["elbo"])
    energy = np.sum(em.fit_.codes**2 + em.fit_.code_sd**2, axis=0)
    assert (np.diff(energy) <= 0).all()


def test_map_attributes(map_):
    assert map_.alpha_ == (0.05, 2.0)
    assert map_.gap_ <= 1e-6
    assert map_.objective_ > 0
    assert not hasattr(map_, "elbo_")


def test_transform_of_the_training_data_gives_the_codes_of_the_fit(em, data):
    mean = em.transform(data.X, rule="mean")
    # Codes found afresh may settle in another optimum for a few samples, never in most of them.
    close = np.abs(mean - em.fit_.codes).max(axis=1) < 1e-2
    assert close.mean() > 0.98


def test_sparse_codes_are_zero_where_the_atom_is_probably_unused(em, data):
    sparse, mean = em.transform(data.X), em.transform(data.X, rule="mean")
    used = data.codes != 0
    match = pb.match(em.components_, data.dictionary)
    found = sparse[:, match.permutation] != 0
    large = np.abs(data.codes) > 0.5
    assert found[large].mean() > 0.99
    assert found[~used].mean() < 0.02
    assert (np.abs(sparse[sparse != 0]) >= np.abs(mean[sparse != 0])).all()


def test_codes_do_not_depend_on_the_other_samples(em, map_, data):
    for est in (em, map_):
        alone = np.concatenate([est.transform(row[None]) for row in data.X[:3]])
        np.testing.assert_allclose(alone, est.transform(data.X)[:3], atol=1e-5)


def test_map_codes_in_the_envelope_reproduce_those_of_the_joint_problem(map_, data):
    scale = np.abs(map_.fit_.codes).max()
    np.testing.assert_allclose(map_.transform(data.X), map_.fit_.codes, atol=2e-3 * scale)


def test_map_codes_of_a_new_sample_solve_the_box_constrained_lasso(map_, data):
    x = pb.datasets.synthetic_a(0.1, n_samples=2, n_features=16, n_atoms=6, seed=5).X[0]
    code = map_.transform(x[None])[0]
    envelope = np.abs(map_.fit_.codes).max(axis=0)
    dictionary, alpha1 = map_.components_, map_.alpha_[0]

    def energy(parts):
        plus, minus = np.split(parts, 2)
        residual = x - (plus - minus) @ dictionary
        gradient = -dictionary @ residual
        value = 0.5 * residual @ residual + alpha1 * parts.sum()
        return value, np.concatenate([gradient + alpha1, -gradient + alpha1])

    bounds = [(0, t) for t in np.tile(envelope, 2)]
    best = minimize(
        energy, np.zeros(2 * len(dictionary)), jac=True, bounds=bounds, options={"ftol": 1e-15, "gtol": 1e-10}
    )
    ours = energy(np.concatenate([np.maximum(code, 0), np.maximum(-code, 0)]))[0]
    assert ours <= best.fun * (1 + 1e-8)


def test_inverse_transform_reconstructs(em, data):
    reconstructed = em.inverse_transform(em.transform(data.X, rule="mean"))
    assert np.sqrt(np.mean((reconstructed - data.clean) ** 2)) < 0.5 * data.noise_scale


def test_score_prefers_the_model_of_the_data(em, map_, data):
    new = pb.datasets.synthetic_a(0.1, n_samples=400, n_features=16, n_atoms=6, seed=0).X[:100]
    other = pb.datasets.synthetic_a(0.1, n_samples=100, n_features=16, n_atoms=6, seed=9).X
    for est in (em, map_):
        assert est.score(new) > est.score(other) + 1


def test_score_of_pure_noise_is_its_gaussian_log_density():
    X = pb.datasets.pure_noise(500, 8, seed=0).X
    est = pb.PADL(n_atoms=4).fit(X)
    assert est.n_active_ == 0
    scale = est.noise_scale_
    expected = np.mean(np.sum(-0.5 * (X / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi), axis=1))
    assert est.score(X) == pytest.approx(expected, rel=1e-10)
    assert est.transform(X).shape == (500, 0)
    assert not est.inverse_transform(est.transform(X)).any()


def test_float32_is_kept(data):
    X = data.X.astype(np.float32)
    est = pb.PADL(n_atoms=12).fit(X)
    assert est.components_.dtype == est.transform(X).dtype == np.float32
    assert est.n_active_ == 6
    assert pb.recovered(est.components_, data.dictionary) == 6


def test_missing_entries_are_ignored_and_filled_in(data):
    mask = np.random.default_rng(0).random(data.X.shape) > 0.2
    X = np.where(mask, data.X, np.nan)
    est = pb.PADL(n_atoms=8).fit(X, mask=mask)
    assert pb.recovered(est.components_, data.dictionary) == 6
    filled = est.inverse_transform(est.transform(X, rule="mean", mask=mask))
    error = np.sqrt(np.mean((filled - data.clean)[~mask] ** 2))
    assert error < 0.3 * np.sqrt(np.mean(data.clean[~mask] ** 2))


def test_scikit_learn_tools_can_clone_and_set_parameters():
    est = clone(pb.PADL(n_atoms=3, nonnegative=True))
    assert est.get_params()["nonnegative"] is True
    assert est.set_params(n_atoms=7).n_atoms == 7
    assert repr(est) == "PADL(n_atoms=7, nonnegative=True)"
    with pytest.raises(ValueError, match="no parameter 'atoms'"):
        est.set_params(atoms=3)


def test_a_spent_budget_is_a_warning_and_a_status(data):
    with pytest.warns(pb.ConvergenceWarning, match="raise max_iter"):
        est = pb.PADL(n_atoms=12, max_iter=5).fit(data.X)
    assert "max_iter" in est.status_


def test_progress_is_shown_on_request(data, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pb.ConvergenceWarning)
        pb.PADL(n_atoms=12, max_iter=5, progress=True).fit(data.X)
        pb.PADL(n_atoms=6, method="map", alpha=(0.05, 2.0), max_iter=2, progress=True).fit(data.X)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "noise" in shown.err
    assert "objective" in shown.err


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"n_atoms": 0}, ValueError, "n_atoms must be at least 1, found 0"),
        ({"n_atoms": 2.5}, TypeError, "n_atoms must be an integer"),
        ({"method": "mcmc"}, ValueError, "method must be one of 'em', 'map'"),
        ({"slab": "cauchy"}, ValueError, "slab must be one of"),
        ({"slab": "l1linf"}, ValueError, "use method='map'"),
        ({"alpha": (0.1, 0.1)}, ValueError, "alpha must be None"),
        ({"method": "map", "alpha": (-0.1, 0.1)}, ValueError, "alpha"),
        ({"tol": -1.0}, ValueError, "tol must be finite and at least 0"),
        ({"random_state": -1}, ValueError, "random_state must be at least 0"),
    ],
)
def test_bad_parameters(data, parameters, error, message):
    with pytest.raises(error, match=message):
        pb.PADL(**{"n_atoms": 4} | parameters).fit(data.X)


@pytest.mark.parametrize("method", ["em", "map"])
@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.ones(3), ValueError, "2 dimensions"),
        (np.ones((0, 3)), ValueError, "empty"),
        (np.ones((1, 3)), ValueError, "at least 2"),
        (np.array([[1.0, np.nan], [0, 1]]), ValueError, "NaN"),
        (np.array([["a", "b"], ["c", "d"]]), TypeError, "numbers"),
        (np.array([[1j, 2], [3, 4]]), TypeError, "real"),
        (np.array([[2**60, 1], [3, 4]]), ValueError, "2\\*\\*53"),
        (np.full((5, 3), 2.0), ValueError, "constant"),
        (np.tile([1.0, 2.0], (5, 1)), ValueError, "repeated"),
    ],
)
def test_bad_data(method, X, error, message):
    with pytest.raises(error, match=message):
        pb.PADL(n_atoms=2, method=method).fit(X)


def test_bad_use(em, data):
    with pytest.raises(pb.NotFittedError, match="call fit"):
        pb.PADL().transform(data.X)
    with pytest.raises(ValueError, match="X has 15 features, but PADL is expecting 16 features"):
        em.transform(data.X[:, :15])
    with pytest.raises(ValueError, match="rule must be one of"):
        em.transform(data.X, rule="hard")
    with pytest.raises(ValueError, match="codes"):
        em.inverse_transform(np.ones((3, 5)))
    with pytest.raises(ValueError, match="method must be one of"):
        em.sample_posterior(method="hmc")


@pytest.fixture(scope="module")
def small(data):
    return pb.PADL(n_atoms=3, method="map", alpha=(0.05, 0.5), tol=1e-3).fit(data.X[:20])


@pytest.mark.filterwarnings("ignore::padl_bayes.exceptions.AtomBoundWarning")
@pytest.mark.filterwarnings("ignore::padl_bayes.exceptions.MixingWarning")
def test_posterior_with_atoms_switched_on_and_off(data):
    X = data.X[:60].astype(np.float32)
    fit = pb.PADL(n_atoms=6).fit(X)
    draws = fit.sample_posterior(num_warmup=20, num_samples=30, num_chains=2, start="fit")
    posterior = draws["posterior"]
    assert posterior["dictionary"].shape == (2, 30, 6, 16)
    assert posterior["num_active"].dims == ("chain", "draw")
    np.testing.assert_array_equal(posterior["active"].sum("atom"), posterior["num_active"])
    assert "codes" not in posterior
    # started at the fit, and in its labels
    on = posterior["active"].mean(("chain", "draw")).values[: fit.n_active_] > 0.9
    mean = posterior["dictionary"].mean(("chain", "draw")).values[: fit.n_active_]
    assert on.all()
    cosine = np.sum(mean * fit.components_, axis=1)
    assert np.median(cosine) > 0.95
    assert cosine.min() > 0.7
    table = draws["codes_moments"]["mean"].values[:, : fit.n_active_]
    assert np.corrcoef(table.ravel(), fit.transform(X).ravel())[0, 1] > 0.95
    # what it is made of is enough to predict with
    view = view_of(draws, "draws", 10)
    assert (view.engine, view.key, view.chains) == ("Gibbs", ("bernoulli_laplace", False), (2, 5))


@pytest.mark.slow
def test_nuts_posterior_of_a_small_fit(small):
    draws = small.sample_posterior(
        method="nuts", num_warmup=30, num_samples=20, num_chains=1, keep_codes="draws"
    )
    posterior = draws["posterior"]
    assert posterior["dictionary"].dims == ("chain", "draw", "atom", "feature")
    assert posterior["dictionary"].shape == (1, 20, small.n_active_, 16)
    assert posterior["codes"].shape == (1, 20, 20, small.n_active_)
    np.testing.assert_allclose(np.linalg.norm(posterior["dictionary"], axis=-1), 1, rtol=1e-6)
    moments = draws["codes_moments"]
    np.testing.assert_allclose(moments["mean"], posterior["codes"].mean(("chain", "draw")), atol=1e-10)


def test_posterior_keeps_moments_of_the_codes_without_their_draws(small, monkeypatch):
    def sample(X, *, init, **settings):
        rng = np.random.default_rng(0)
        codes = init.codes + 0.1 * rng.normal(size=(1, 4, *init.codes.shape))
        samples = {"dictionary": np.tile(init.dictionary, (1, 4, 1, 1)), "codes": codes}
        return NutsDraws(samples, {"lp": np.zeros((1, 4))}, 1.0, 0, {})

    monkeypatch.setattr("padl_bayes.posterior.sample_nuts", sample)
    kept = small.sample_posterior(method="nuts", keep_codes="draws")
    fewer = small.sample_posterior(method="nuts")
    assert "codes" not in fewer["posterior"]
    np.testing.assert_array_equal(fewer["codes_moments"]["sd"], kept["codes_moments"]["sd"])


@pytest.fixture
def near_the_fit(monkeypatch):
    """Put draws near its start in place of those of `sample_nuts`."""

    def sample(X, *, init, **settings):
        rng = np.random.default_rng(0)
        K, P = init.dictionary.shape
        D = init.dictionary + 0.02 * rng.normal(size=(2, 50, K, P))
        samples = {
            "dictionary": D / np.linalg.norm(D, axis=-1, keepdims=True),
            "codes": init.codes + 0.1 * rng.normal(size=(2, 50, *init.codes.shape)),
            "noise_scale": init.noise_scale * rng.uniform(0.9, 1.1, (2, 50)),
            "rate_l1": rng.uniform(0.9, 1.1, (2, 50)),
            "rate_linf": rng.uniform(0.9, 1.1, (2, 50)),
            "envelope": np.abs(init.codes).max(axis=0) + rng.uniform(1, 2, (2, 50, K)),
        }
        return NutsDraws(samples, {"lp": np.zeros((2, 50))}, 1.0, 0, {"model": "l1linf"})

    monkeypatch.setattr("padl_bayes.posterior.sample_nuts", sample)


@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto")
@pytest.mark.filterwarnings("ignore::padl_bayes.exceptions.AtomBoundWarning")
def test_leave_one_out_from_masked_data(data, near_the_fit, monkeypatch):
    monkeypatch.setattr("padl_bayes.posterior.LIKELIHOOD_DRAWS", 40)
    X = data.X[:12].copy()
    mask = np.random.default_rng(0).random(X.shape) < 0.8
    X[~mask] = np.nan
    fit = pb.PADL(n_atoms=2).fit(X, mask=mask)
    draws = fit.sample_posterior(method="nuts", log_likelihood=True, random_state=3)
    assert "log_likelihood" not in groups_of(fit.sample_posterior(method="nuts"))
    likelihood = draws["log_likelihood"]["X"]
    np.testing.assert_array_equal(likelihood["draw"], np.arange(0, 50, 3))
    samples = {
        name: draws["posterior"][name].values for name in ("dictionary", "noise_scale", "rate_l1", "envelope")
    }
    again = pointwise_log_likelihood(X, samples, slab="l1linf", mask=mask, thinning=3, random_state=4)
    np.testing.assert_allclose(
        likelihood.values.mean((0, 1)), again.log_density.mean((0, 1)), atol=5 * again.standard_error.mean()
    )
    loo = load_arviz().loo(draws, pointwise=True)
    assert np.asarray(loo.pareto_k).shape == (12,)
    assert np.isfinite(np.asarray(loo.pareto_k)).all()
