"""Comparisons of fits: exact where all is Gaussian, the mode of MAP, and what is refused."""

import jax
import numpy as np
import pytest
from scipy.integrate import cumulative_trapezoid, trapezoid
from scipy.optimize import minimize
from scipy.stats import norm

import padl_bayes as pb
from padl_bayes.alignment import align
from padl_bayes.arviz_io import to_arviz
from padl_bayes.comparison.entries import HeldOut, hide, predict
from padl_bayes.comparison.views import view_of
from padl_bayes.inference import fit_em, fit_svi, sample_gibbs, sample_nuts
from padl_bayes.inference.results import MapFit
from tests.made_fits import em_of, gibbs_of, unit_atoms
from tests.oracles import gaussian_entries as exact
from tests.oracles.code_evidence import log_evidence

M, K, P = 30, 3, 6
LEVELS = (0.5, 0.8, 0.95)


@pytest.fixture(scope="module")
def gaussian():
    """Four draws that differ enough for their weights to matter, and samples of the first."""
    rng = np.random.default_rng(0)
    first = unit_atoms(rng, K, P)
    draws = []
    for noise in (0.3, 0.9, 0.3, 0.2):
        atoms = first + 0.3 * len(draws) * rng.normal(size=first.shape) / np.sqrt(P)
        atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
        draws.append((atoms, rng.uniform(0.5, 2, K), noise))
    clean = rng.normal(size=(M, K)) / np.sqrt(draws[0][1]) @ first
    X = clean + 0.3 * rng.normal(size=(M, P))
    return draws, X, clean


def test_densities_are_those_of_the_mixture(gaussian):
    draws, X, _ = gaussian
    found = pb.compare(gibbs_of(draws, 2), X_held_out=X)
    wanted = np.array([exact.log_density(x, draws) for x in X])
    row = found["Gibbs"]
    # 300 codes a draw, whose weights are all but equal where everything is Gaussian
    np.testing.assert_allclose(found.log_density["Gibbs"], wanted, atol=0.02)
    assert row.log_density == pytest.approx(wanted.mean(), abs=0.005)
    assert row.n_draws == 4
    assert row.seconds == 3.0


def test_the_error_of_a_density_is_that_of_independent_draws(gaussian):
    draws, X, _ = gaussian
    found = pb.compare(gibbs_of(draws, 2), X_held_out=X)["Gibbs"]
    each = np.array([[exact.log_density(x, [draw]) for x in X] for draw in draws])
    wanted = np.array([exact.log_density(x, draws) for x in X])
    influence = np.exp(each - wanted).mean(axis=1)
    assert found.log_density_mcse == pytest.approx(influence.std(ddof=1) / 2, rel=0.05)


def test_entries_given_the_seen_ones_are_those_of_the_mixture(gaussian):
    draws, X, clean = gaussian
    hidden = hide(None, X.shape, 0.4, np.random.default_rng(1))
    held_out = HeldOut(X, None, hidden, clean)
    with jax.enable_x64(True):
        found = predict(view_of(gibbs_of(draws, 2), "g", 100), held_out, LEVELS, 1200, 0)
    mean, pit, width, clean_pit = [], [], [], []
    for x, seen, truth in zip(X, ~hidden, clean, strict=True):
        weights, means, clean_sd, sd = exact.given_seen(x, seen, draws)
        mean.append((weights @ means)[~seen])
        pit.append(exact.mixture_cdf(x, weights, means, sd)[~seen])
        clean_pit.append(exact.mixture_cdf(truth, weights, means, clean_sd))
        grid = np.linspace(-8, 8, 4001)
        for p in np.flatnonzero(~seen):
            cdf = [exact.mixture_cdf(value, weights, means, sd)[p] for value in grid[::20]]
            ends = np.interp([0.025, 0.975], cdf, grid[::20])
            width.append(ends[1] - ends[0])
    # the error of a weighted share is at most half of one over the root of the effective number
    error = 0.5 / np.sqrt(found.effective_codes)
    assert error.max() < 0.03
    row = np.nonzero(hidden)[0]
    assert (np.abs(found.pit - np.concatenate(pit)) < 5 * error[row]).all()
    assert (np.abs(found.clean_pit[1] - np.array(clean_pit)) < 5 * error[:, None]).all()
    np.testing.assert_array_equal(found.clean_pit[0], found.clean_pit[1])
    assert np.sqrt(np.mean((found.mean - np.concatenate(mean)) ** 2)) < 2 * error.mean()
    assert found.width[2] == pytest.approx(np.mean(width), rel=0.02)


def test_map_predicts_by_the_mode_of_the_codes_given_the_seen_entries():
    rng = np.random.default_rng(2)
    D, X = unit_atoms(rng, K, P), rng.normal(size=(5, P))
    codes = rng.uniform(-0.6, 0.6, (20, K))
    fit = MapFit(D, codes, 0.0, 0.0, (0.2, 1.0), 0.5, np.ones(K), np.zeros(1), 1, "converged", 1.0)
    hidden = hide(None, X.shape, 0.3, rng)
    with jax.enable_x64(True):
        found = predict(view_of(fit, "m", 1), HeldOut(X, None, hidden, X), LEVELS, 3, 0)
    mean, envelope = [], np.abs(codes).max(axis=0)
    for x, seen in zip(X, ~hidden, strict=True):

        def loss(parts, x=x, seen=seen):
            r = parts[:K] - parts[K:]
            return 0.5 * np.sum((x - r @ D)[seen] ** 2) + 0.2 * parts.sum()

        best = minimize(loss, np.zeros(2 * K), bounds=[(0, t) for t in np.tile(envelope, 2)], tol=1e-14)
        mean.append(((best.x[:K] - best.x[K:]) @ D)[~seen])
    # L-BFGS-B stops at slopes of 1e-5
    np.testing.assert_allclose(found.mean, np.concatenate(mean), atol=1e-4)
    np.testing.assert_allclose(found.pit, norm.cdf((X[hidden] - found.mean) / 0.5), rtol=1e-12)
    # a thousand strata leave out the outer 2.5% in steps of a thousandth
    reach = norm.ppf(0.975) - norm.ppf(0.025)
    assert found.width[2] == pytest.approx(0.5 * reach, rel=0.01)


@pytest.mark.parametrize("observed", [False, True])
def test_each_sample_hides_its_share_and_never_all(observed):
    rng = np.random.default_rng(3)
    seen = rng.random((200, 10)) < 0.4 if observed else None
    hidden = hide(seen, (200, 10), 0.2, rng)
    available = np.full(200, 10) if seen is None else seen.sum(axis=1)
    assert (hidden.sum(axis=1) == np.clip(np.round(0.2 * available), 1, np.maximum(available - 1, 0))).all()
    assert seen is None or not (hidden & ~seen).any()
    if not observed:
        # 2 of 10 in each of 200 rows: 40 a column, with a standard deviation of sqrt(200 * 0.2 * 0.8)
        assert np.abs(hidden.sum(axis=0) - 40).max() < 5 * np.sqrt(32)


def test_entries_outside_the_mask_do_not_count(gaussian):
    draws, X, _ = gaussian
    mask = np.random.default_rng(4).random(X.shape) < 0.8
    mask[:, 0] = mask[0] = True
    fit = em_of(draws[0][0], np.ones(K), draws[0][1], 0.3)
    found = [pb.compare(fit, X_held_out=np.where(mask, X, gap), mask=mask) for gap in (np.nan, 1e3)]
    np.testing.assert_array_equal(found[0].pit["EM"], found[1].pit["EM"])
    wanted = [
        exact.log_density(x[seen], [(draws[0][0][:, seen], draws[0][1], 0.3)])
        for x, seen in zip(X, mask, strict=True)
    ]
    np.testing.assert_allclose(found[0].log_density["EM"], wanted, atol=0.01)


def test_differences_are_paired(gaussian):
    draws, X, _ = gaussian
    fits = {
        "good": em_of(draws[0][0], np.ones(K), draws[0][1], 0.3),
        "noisy": em_of(draws[0][0], np.ones(K), draws[0][1], 0.9),
    }
    found = pb.compare(fits, X_held_out=X)
    assert [row.name for row in pb.compare(*fits.values(), X_held_out=X).rows] == ["EM", "EM 2"]
    gap = found.log_density["noisy"] - found.log_density["good"]
    assert found["good"].difference == 0
    assert found["noisy"].difference == pytest.approx(gap.mean())
    assert found["noisy"].difference_se == pytest.approx(gap.std(ddof=1) / np.sqrt(M))
    assert found["noisy"].coverage[2] > found["good"].coverage[2]
    inside = np.abs(found.pit["good"] - 0.5) <= 0.25
    assert found["good"].coverage[0] == pytest.approx(inside.mean())


@pytest.mark.slow
def test_em_on_known_data_predicts_as_well_as_the_truth():
    data = pb.datasets.synthetic_a(noise=0.2, n_samples=600, n_features=12, n_atoms=3, usage=0.4, seed=0)
    fit = fit_em(data.X[:400], 8)
    clean = data.clean[400:]
    truth = em_of(data.dictionary, np.full(3, 0.4), np.ones(3), 0.2, slab="bernoulli_laplace")
    found = pb.compare(
        fit,
        truth,
        names=["EM", "truth"],
        X_held_out=data.X[400:],
        truth={"clean": clean, "dictionary": data.dictionary},
    )
    row, best = found.rows
    assert row.atoms_recovered == best.atoms_recovered == 3
    # 40 parameters learned from 400 samples cost about 40 / (2 * 400) nats a sample
    assert abs(row.log_density - best.log_density) < 0.2
    for line in found.rows:
        for level, share, error in zip(found.levels, line.coverage, line.coverage_se, strict=True):
            assert abs(share - level) < 4 * error
    # at least nominal: intervals are closed, and codes of a sample that uses no atom are exactly zero; entries of a
    # sample go together
    level = np.array(found.levels)
    assert (np.array(best.clean_coverage) > level - 4 * np.sqrt(level * (1 - level) / 200)).all()
    # point estimates of the atoms know nothing of their errors
    assert row.clean_coverage[2] < best.clean_coverage[2]


def test_sparse_entries_given_the_seen_ones_agree_with_quadrature():
    rng = np.random.default_rng(5)
    D, usage, rate, noise = unit_atoms(rng, 2, 5), np.array([0.3, 0.7]), np.array([1.0, 2.0]), 0.3
    X = rng.laplace(size=(4, 2)) @ D + noise * rng.normal(size=(4, 5))
    hidden = np.eye(5, dtype=bool)[:4]
    fit = em_of(D, usage, rate, noise, slab="bernoulli_laplace")
    with jax.enable_x64(True):
        found = predict(view_of(fit, "e", 1), HeldOut(X, None, hidden, None), LEVELS, 6000, 0)
    grid = np.linspace(-6, 6, 301)
    for n, x in enumerate(X):
        density = []
        for value in grid:
            whole = np.where(hidden[n], value, x)
            density.append(np.exp(log_evidence("laplace", whole, D, noise**-2, usage, rate)))
        density = np.array(density)
        cdf = cumulative_trapezoid(density, grid, initial=0)
        error = 0.5 / np.sqrt(found.effective_codes[n])
        assert error < 0.01
        assert abs(found.pit[n] - np.interp(x[n], grid, cdf) / cdf[-1]) < 5 * error
        mean = trapezoid(grid * density, grid) / cdf[-1]
        sd = np.sqrt(trapezoid(grid**2 * density, grid) / cdf[-1] - mean**2)
        assert abs(found.mean[n] - mean) < 5 * 2 * sd * error


GOOD = em_of(np.eye(3, 6), np.ones(3), np.ones(3), 0.5)
DATA = np.ones((4, 6)) + np.eye(4, 6)


@pytest.mark.parametrize(
    ("fits", "options", "error", "message"),
    [
        ((), {}, ValueError, "at least one fit"),
        ((3,), {}, TypeError, r"fits\[0\] must be a fitted PADL, EmFit.*found int"),
        (({"a": GOOD, "b": "text"},), {}, TypeError, "b must be a fitted PADL.*found str"),
        ((pb.PADL(),), {}, ValueError, r"fits\[0\] is a PADL that is not fitted"),
        ((GOOD,), {"X_held_out": np.ones((3, 5))}, ValueError, r"fits\[0\] has 6 features, X_held_out has 5"),
        ((GOOD,), {"X_held_out": np.full((3, 6), np.nan)}, ValueError, "X_held_out has 18 NaN"),
        ((GOOD,), {"X_held_out": np.ones((3, 1))}, ValueError, "at least 2 observed entries"),
        ((GOOD,), {"names": ["a", "b"]}, ValueError, "names must be 1 different texts"),
        ((GOOD, GOOD), {"names": ["a", "a"]}, ValueError, "names must be 2 different texts"),
        ((GOOD,), {"names": [3]}, TypeError, "names must be texts"),
        (({"a": GOOD},), {"names": ["a"]}, ValueError, "not with a mapping"),
        ((GOOD,), {"levels": (0.5, 1.0)}, ValueError, r"levels must lie in \(0, 1\)"),
        ((GOOD,), {"hidden": 0.0}, ValueError, "hidden must be finite and above 0"),
        ((GOOD,), {"hidden": 1.0}, ValueError, "hidden must be below 1"),
        ((GOOD,), {"n_draws": 0}, ValueError, "n_draws must be at least 1"),
        ((GOOD,), {"truth": object()}, ValueError, "truth must have clean or dictionary"),
        (
            (GOOD,),
            {"truth": {"clean": np.ones((9, 6))}},
            ValueError,
            r"truth.clean must have the shape of X_held_out",
        ),
        ((GOOD,), {"truth": {"dictionary": np.ones((2, 3))}}, ValueError, "truth.dictionary has 3 features"),
    ],
)
def test_bad_input_is_named(fits, options, error, message):
    with pytest.raises(error, match=message):
        pb.compare(*fits, **({"X_held_out": DATA} | options))


def test_draws_that_cannot_predict_are_named(gaussian):
    draws, X, _ = gaussian
    good = gibbs_of(draws, 2)
    left = {name: values for name, values in good.samples.items() if name != "noise_scale"}
    with pytest.raises(ValueError, match=r"fits\[0\] cannot predict.*noise_scale"):
        pb.compare(good._replace(samples=left), X_held_out=X)
    with pytest.raises(ValueError, match="does not say its slab"):
        pb.compare(to_arviz(good.samples, X=X), X_held_out=X)
    known = good.samples | {"dictionary": np.broadcast_to(draws[0][0], good.samples["dictionary"].shape)}
    fixed = {name: values for name, values in known.items() if name != "dictionary"}
    fixed_dictionary = good._replace(
        samples=fixed,
        alignment=align(known["dictionary"], draws[0][0]),
        settings=good.settings | {"fixed": ["dictionary"]},
    )
    found = pb.compare(good._replace(samples=known), fixed_dictionary, X_held_out=X)
    assert found.rows[0][3:10] == found.rows[1][3:10]


@pytest.mark.slow
def test_the_engines_return_what_a_comparison_reads():
    data = pb.datasets.synthetic_a(noise=0.1, n_samples=60, n_features=8, n_atoms=3, usage=0.5, seed=0)
    X, size = data.X[:40], dict(num_warmup=20, num_samples=20, num_chains=2)
    em = fit_em(X, 4)
    fits = [em, fit_svi(X, init=em, num_steps=200, num_draws=20)]
    fits += [
        sample_nuts(X, init=em, model=model, max_tree_depth=5, **size) for model in ("l1linf", "laplace")
    ]
    fits += [sample_gibbs(X, 4, slab=slab, init=em, **size) for slab in ("bernoulli_laplace", "l1linf")]
    fits.append(pb.PADL(4).fit(X).sample_posterior(start="fit", log_likelihood=True, **size))
    assert fits[-1]["log_likelihood"]["X"].shape == (2, 20, 40)
    found = pb.compare(*fits, X_held_out=data.X[40:], truth={"clean": data.clean[40:]}, n_draws=10)
    names = ["EM", "SVI", "NUTS", "NUTS 2", "Gibbs", "Gibbs 2", "Gibbs 3"]
    assert [row.name for row in found.rows] == names
    for row in found.rows:
        # were all but the noise known, the mean would be -log(0.1 sqrt(2 pi e)) = 0.88 nats an entry
        assert -12 < row.log_density < 8 * 0.88
        assert 0.05 < row.rmse < 1
