"""Predictions against refits, and operating points against their definitions."""

import numpy as np
import pytest

import padl_bayes as pb
from padl_bayes import tradeoff
from padl_bayes.tradeoff.frontier import Frontier, check_target
from padl_bayes.tradeoff.prediction import METHODS
from tests.same import assert_same


@pytest.fixture(scope="module")
def data():
    return pb.datasets.synthetic_a(0.1, n_samples=1200, n_features=24, n_atoms=10, seed=0)


@pytest.fixture(scope="module")
def fit(data):
    return pb.inference.fit_em(data.X, 20)


def refit(X, D, alpha):
    codes = pb.sparse_code(X, D, *alpha, tol=1e-6).codes
    used = codes != 0
    return used.sum(axis=1).mean(), used.any(axis=0).sum(), np.sqrt(np.mean((X - codes @ D) ** 2))


def some_weights(data, fit, fractions):
    pairs = []
    for alpha1 in np.array([0.7, 1.5, 3.0]) * fit.noise_scale:
        top = pb.objective.alpha2_max(data.X, fit.dictionary, alpha1)
        pairs += [(alpha1, share * top) for share in fractions]
    return pairs


def errors(data, fit, found):
    refits = np.array([refit(data.X, fit.dictionary, alpha) for alpha in found.alpha])
    return np.abs(np.stack([found.nonzeros, found.active, found.rmse], axis=1) / refits - 1)


def test_samples_predict_refits(data, fit, figure):
    alpha = some_weights(data, fit, (0.0, 0.01, 0.05))
    found = pb.tradeoff.frontier(fit, X=data.X, alpha=alpha, most_samples=600)
    assert figure("sampled", errors(data, fit, found).max()) < 0.1
    # all samples are the refit itself
    whole = pb.tradeoff.frontier(fit, X=data.X, alpha=alpha)
    assert errors(data, fit, whole).max() < 0.01


def test_integrals_with_interference_predict_refits_without_the_second_penalty(data, fit, figure):
    alpha = some_weights(data, fit, (0.0,))
    errors_of = {m: errors(data, fit, pb.tradeoff.frontier(fit, alpha=alpha, method=m)) for m in METHODS[1:]}
    assert figure("interference", errors_of["interference"].max()) < 0.05
    assert errors_of["decoupled"].max() > 0.05


def test_draws_from_the_fit_stand_in_for_samples(data, fit, figure):
    alpha = some_weights(data, fit, (0.0, 0.05))
    found = pb.tradeoff.frontier(fit, alpha=alpha)
    assert figure("drawn", errors(data, fit, found).max()) < 0.1
    law_only = fit._replace(codes=None, probability=None, code_sd=None)
    found = pb.tradeoff.frontier(law_only, alpha=alpha, n_samples=1200)
    assert errors(data, fit, found).max() < 0.15
    with pytest.raises(ValueError, match="n_samples must be given"):
        pb.tradeoff.frontier(law_only)


def test_weights_are_for_the_number_of_samples_that_is_named(fit):
    pair = [(0.15, 8.0)]
    once = pb.tradeoff.frontier(fit, alpha=pair, method="decoupled")
    twice = pb.tradeoff.frontier(fit, alpha=[(0.15, 16.0)], method="decoupled", n_samples=2400)
    assert twice.rmse[0] == pytest.approx(once.rmse[0], rel=1e-12)
    assert twice.support_bits[0] == pytest.approx(2 * once.support_bits[0], rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_description_length_finds_the_true_number_of_atoms(data, fit, method):
    found = pb.tradeoff.frontier(fit, X=data.X, method=method, most_samples=500)
    point = found.choose("mdl")
    assert point.active == 10
    assert point.description_length == found.description_length.min()
    nothing = 0.5 * data.X.size * np.log2(2 * np.pi * np.e * np.mean(data.X**2))
    assert point.description_length < nothing


def by_hand(seed=0, n=40):
    rng = np.random.default_rng(seed)
    columns = dict(
        nonzeros=rng.uniform(0, 8, n), active=rng.integers(1, 9, n), rmse=rng.uniform(0.1, 1, n),
        stored_rmse=rng.uniform(0.1, 1, n), dictionary_bits=rng.uniform(0, 1e3, n),
        support_bits=rng.uniform(0, 1e3, n), value_bits=rng.uniform(0, 1e3, n),
        description_length=rng.uniform(-1e4, 1e4, n),
    )  # fmt: skip
    on = np.arange(8) < columns["active"][:, None]
    return Frontier(
        alpha=rng.uniform(0, 1, (n, 2)),
        on=on,
        source=None,
        method="sampled",
        precision=np.ones(n),
        asked_precision=1.0,
        **columns,
    )


def test_pareto_points_are_those_that_none_beats():
    found = by_hand()
    wanted = [
        i for i in range(40)
        if not any(
            found.bits[j] <= found.bits[i] and found.stored_rmse[j] < found.stored_rmse[i] for j in range(40)
        )
    ]  # fmt: skip
    order = found.pareto()
    assert sorted(order) == wanted
    assert (np.diff(found.bits[order]) > 0).all()
    assert (np.diff(found.stored_rmse[order]) < 0).all()


@pytest.mark.parametrize(
    ("target", "measure", "cost"),
    [
        (("rmse", 0.4), "rmse", "bits"),
        (("bytes", 150), "bytes", "rmse"),
        (("nonzeros", 3.0), "nonzeros", "rmse"),
        (("active", 4), "active", "rmse"),
    ],
)
def test_a_target_is_met_at_the_least_cost(target, measure, cost):
    found = by_hand()
    point = found.choose(target)
    values = found.bits / 8 if measure == "bytes" else getattr(found, measure)
    met = [i for i in range(40) if values[i] <= target[1]]
    best = min(met, key=lambda i: getattr(found, cost)[i])
    assert point.alpha == tuple(found.alpha[best])
    assert len(point.atoms) == point.active
    with pytest.raises(ValueError, match=r"out of reach: the least is"):
        found.choose((target[0], 1e-9))


@pytest.mark.parametrize("method", METHODS)
def test_the_search_for_the_shortest_description_is_as_good_as_a_fine_grid(data, fit, method, figure):
    options = {"X": data.X, "most_samples": 600, "method": method}
    point = pb.tradeoff.operating_point(fit, "mdl", **options)
    grid = pb.tradeoff.refine(pb.tradeoff.frontier(fit, **options)).choose("mdl")
    nothing = 0.5 * data.X.size * np.log2(2 * np.pi * np.e * np.mean(data.X**2))
    saved = nothing - grid.description_length
    assert figure("search", (point.description_length - grid.description_length) / saved) < 0.005
    assert point.active == 10
    named = pb.tradeoff.frontier(fit, alpha=[point.alpha], precision=point.precision, **options).point(0)
    assert named.bits == pytest.approx(point.bits, rel=1e-3)


def test_refining_never_loses(data, fit):
    coarse = pb.tradeoff.frontier(fit, method="interference")
    for target in ("mdl", ("nonzeros", 1.0), ("rmse", 0.15)):
        fine = pb.tradeoff.refine(coarse, target)
        assert len(fine.rmse) > len(coarse.rmse)
        one, other = coarse.choose(target), fine.choose(target)
        name = {"mdl": "description_length", "nonzeros": "rmse", "rmse": "bits"}[
            target if target == "mdl" else target[0]
        ]
        assert getattr(other, name) < getattr(one, name)


@pytest.mark.parametrize(("dtype", "target"), [(np.float64, ("nonzeros", 1.0)), (np.float32, "mdl")])
def test_padl_at_a_named_point(data, dtype, target, tmp_path):
    X = data.X.astype(dtype)
    est = pb.PADL(20, method="map", alpha=target).fit(X)
    point = est.operating_point_
    assert est.n_active_ == pb.recovered(est.components_, data.dictionary) == point.active == 10
    assert est.components_.dtype == dtype
    assert est.alpha_ == point.alpha
    codes = est.fit_.codes
    # MAP moves the atoms a little too
    assert np.mean(np.sum(codes != 0, axis=1)) == pytest.approx(point.nonzeros, rel=0.1)
    assert np.sqrt(np.mean((X - codes @ est.components_) ** 2)) == pytest.approx(point.rmse, rel=0.1)
    stored = pb.load(pb.save(est, tmp_path / "stored.padl", codec="padl"))
    assert_same(stored, tradeoff.compress(est.fit_, X, precision=point.precision))
    assert stored.storage.total == pytest.approx(point.bits, rel=0.1)


def test_a_named_point_of_noise_has_no_atom():
    est = pb.PADL(5, method="map", alpha="mdl").fit(pb.datasets.pure_noise(300, 8, seed=0).X)
    assert est.n_active_ == 0
    assert est.operating_point_ is None
    est.set_params(alpha=(1.0, 1.0)).fit(pb.datasets.pure_noise(50, 8, seed=0).X)
    assert not hasattr(est, "operating_point_")


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda f: check_target("aic"), ValueError, "target must be 'mdl' or one of"),
        (lambda f: check_target(("rmse", -1.0)), ValueError, "target 'rmse' must be finite and above 0"),
        (lambda f: check_target(("area", 1.0)), ValueError, "target must be"),
        (lambda f: pb.tradeoff.frontier(f, method="exact"), ValueError, "method must be one of"),
        (lambda f: pb.tradeoff.frontier(f, precision=0.0), ValueError, "precision"),
        (lambda f: pb.tradeoff.frontier(f, alpha=[(0.0, 0.0)]), ValueError, "alpha must hold pairs"),
        (lambda f: pb.tradeoff.frontier(f, X=np.ones((3, 5))), ValueError, "X has 5 features, expected 24"),
        (lambda f: pb.tradeoff.frontier(f._replace(dictionary=f.dictionary[:0])), ValueError, "no active atom"),
        (lambda f: pb.tradeoff.frontier(pb.PADL()), TypeError, "data must be samples"),
        (lambda f: pb.tradeoff.operating_point(f, "bic"), ValueError, "target must be"),
        (lambda f: pb.PADL(5, method="map", alpha="bic").fit(np.eye(4)), ValueError, "alpha must be 'mdl'"),
    ],
)  # fmt: skip
def test_bad_input_is_named(fit, call, error, match):
    with pytest.raises(error, match=match):
        call(fit)
