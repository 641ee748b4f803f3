"""The default fit from end to end: what it finds, what it may and may not depend on, what it says of itself."""

import functools

import numpy as np
import pytest
from jax import random
from scipy import stats

from padl_bayes.datasets import bars, pure_noise, synthetic_a
from padl_bayes.inference.em import code_em, fit_em
from padl_bayes.inference.noise import noise_scale_of
from padl_bayes.inference.results import EmFit
from tests.inference.problems import KEYS, problem_with, unit_rows
from tests.oracles import spike_slab

N, P, TRUE, GIVEN = 250, 16, 6, 12
FIELDS_BY_SAMPLE = ("codes", "probability", "code_sd")


def data(seed=0):
    return synthetic_a(0.1, n_samples=N, n_features=P, n_atoms=TRUE, usage=0.2, seed=seed)


@functools.cache
def fitted(dtype=np.float64):
    return fit_em(data().X.astype(dtype), GIVEN)


def mask_of(X, share=0.8):
    return np.random.default_rng(7).random(X.shape) < share


def recovered(fit, dictionary, cosine=0.95):
    """How many atoms of ``dictionary`` some atom of the fit is parallel to."""
    return int(np.sum(np.abs(fit.dictionary @ dictionary.T).max(axis=0, initial=0) > cosine))


def assert_same(one, other, skip=("wall_time", "history")):
    for name in EmFit._fields:
        if name not in skip:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def assert_consistent(fit, n_samples, n_features, dtype=np.float64, *, monotone=True):
    """What holds of every fit."""
    k = len(fit.dictionary)
    assert k <= fit.n_atoms
    assert fit.dictionary.shape == (k, n_features)
    assert fit.dictionary.dtype == dtype
    np.testing.assert_allclose(np.linalg.norm(fit.dictionary, axis=1), 1, rtol=8 * np.finfo(dtype).eps)
    for name in FIELDS_BY_SAMPLE:
        table = getattr(fit, name)
        assert table.shape == (n_samples, k)
        assert table.dtype == dtype
        assert np.isfinite(table).all()
    assert fit.probability.min(initial=0) >= 0
    assert fit.probability.max(initial=0) <= 1
    assert fit.code_sd.min(initial=0) >= 0
    for name in ("usage", "rate", "activation_log_odds"):
        assert getattr(fit, name).shape == (k,)
    assert np.all((fit.usage > 0) & (fit.usage < 1) & (fit.rate > 0))
    assert np.isfinite([fit.elbo, fit.evidence, fit.noise_scale]).all()
    assert fit.activation_rate == pytest.approx((k + 1) / (fit.n_atoms + 2))
    energy = np.sum(fit.codes**2 + fit.code_sd**2, axis=0)
    assert np.all(np.diff(energy) <= 1e-5 * energy.max(initial=0))
    history = fit.history
    assert {len(history[name]) for name in ("elbo", "noise_scale", "n_active", "stage")} == {fit.n_iter}
    assert history["elbo"][-1] == pytest.approx(fit.elbo)
    assert history["noise_scale"][-1] == pytest.approx(fit.coding_noise_scale)
    # a little less than an atom's direction takes of the data, and what codes compete
    assert fit.noise_scale == pytest.approx(fit.coding_noise_scale, rel=0.1)
    assert history["n_active"][-1] == k
    assert history["stage"][0] == "anneal"
    assert history["stage"][-1] == "settle"
    if monotone:
        settled = history["elbo"][history["stage"] == "settle"]
        # Each entry's share of the bound is what is left of terms of the size of its signal to noise.
        signal = energy.sum() / fit.coding_noise_scale**2
        size = n_samples * n_features + np.abs(settled).max() + signal
        assert np.all(np.diff(settled) > -50 * np.finfo(dtype).eps * size)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_it_finds_the_atoms_their_number_and_the_noise(dtype):
    truth, fit = data(), fitted(dtype)
    assert_consistent(fit, N, P, dtype)
    assert fit.converged
    assert fit.status.startswith("converged")
    assert len(fit.dictionary) == TRUE
    assert recovered(fit, truth.dictionary, 0.99) == TRUE
    assert fit.noise_scale == pytest.approx(0.1, rel=0.05)
    assert fit.activation_log_odds.min() > 100
    order = np.abs(fit.dictionary @ truth.dictionary.T).argmax(axis=1)
    used = truth.codes[:, order] != 0
    np.testing.assert_allclose(fit.usage, used.mean(axis=0), atol=0.08)
    np.testing.assert_allclose(fit.rate, 1 / np.abs(truth.codes).sum(0)[order] * used.sum(0), rtol=0.25)
    clear = np.abs(truth.codes[:, order]) > 0.5
    assert np.mean(fit.probability[clear] > 0.5) > 0.98
    assert np.mean(fit.probability[~used] > 0.5) < 0.02
    error = fit.codes @ fit.dictionary - truth.clean
    assert np.sqrt(np.mean(error**2)) < 0.05


@pytest.mark.usefixtures("x64")
def test_the_noise_is_estimated_last_at_all_else_that_was_found():
    fit = fitted()
    X, precision = data().X, fit.coding_noise_scale**-2
    key, problem, state = problem_with(
        X, "laplace", fit.dictionary, usage=fit.usage, rate=fit.rate, precision=precision
    )
    again = np.array([noise_scale_of(key, problem, state, one) for one in random.split(random.key(0), 8)])
    assert abs(fit.noise_scale - again.mean()) < 4 * again.std(ddof=1)
    assert abs(fit.coding_noise_scale - again.mean()) > 4 * again.std(ddof=1)


def test_the_gaussian_slab():
    truth = synthetic_a(0.1, "gaussian", n_samples=N, n_features=P, n_atoms=TRUE, usage=0.2, seed=0)
    fit = fit_em(truth.X, GIVEN, slab="bernoulli_gaussian")
    assert_consistent(fit, N, P)
    assert len(fit.dictionary) == TRUE
    assert recovered(fit, truth.dictionary, 0.99) == TRUE
    # the slab's precision is one over the mean square of the codes in use
    np.testing.assert_allclose(fit.rate, 1.0, rtol=0.5)


def test_it_leaves_the_data_as_they_are_and_takes_integers():
    X = np.round(10 * data().X).astype(int)
    before = X.copy()
    fit = fit_em(X, GIVEN)
    np.testing.assert_array_equal(X, before)
    assert_same(fit, fit_em(X.astype(float), GIVEN))


@pytest.mark.slow
def test_synthetic_a_at_its_default_size():
    """The figures that the method is known to reach, see the benchmarks."""
    truth = synthetic_a(0.1, seed=0)
    fit = fit_em(truth.X, 40)
    assert 19 <= len(fit.dictionary) <= 21
    assert recovered(fit, truth.dictionary) >= 19
    assert np.sqrt(np.mean((fit.codes @ fit.dictionary - truth.clean) ** 2)) <= 0.045
    assert fit.noise_scale == pytest.approx(0.1, rel=0.03)


def test_pure_noise_has_no_atoms():
    fit = fit_em(pure_noise(N, P, seed=1).X, GIVEN)
    assert_consistent(fit, N, P)
    assert len(fit.dictionary) <= 1
    assert fit.noise_scale == pytest.approx(1.0, rel=0.03)


@pytest.mark.parametrize("seed", [0, 1])
def test_bars_with_one_sided_codes(seed):
    truth = bars(400, seed=seed)
    fit = fit_em(truth.X, 20, nonnegative=True)
    assert_consistent(fit, 400, 25)
    assert len(fit.dictionary) == 10
    assert (np.max(fit.dictionary @ truth.dictionary.T, axis=0) > 0.95).sum() == 10
    assert fit.codes.min() >= 0


def test_one_seed_gives_one_answer():
    again = fit_em(data().X, GIVEN)
    assert_same(again, fitted())
    for name, trace in fitted().history.items():
        np.testing.assert_array_equal(again.history[name], trace)
    other = fit_em(data().X, GIVEN, random_state=1)
    assert np.any(other.history["elbo"][:20] != again.history["elbo"][:20])
    assert recovered(other, data().dictionary, 0.99) == TRUE


def test_flipping_the_sign_of_the_data_flips_the_atoms():
    fit = fit_em(-data().X, GIVEN)
    assert_same(fit._replace(dictionary=-fit.dictionary), fitted())


def test_permuting_features_permutes_the_atoms(figure):
    order = np.random.default_rng(0).permutation(P)
    fit, plain = fit_em(data().X[:, order], GIVEN), fitted()
    error = np.abs(fit.dictionary - plain.dictionary[:, order]).max()
    assert figure("EM, features permuted: dictionary", error) < 1e-9
    np.testing.assert_allclose(fit.codes, plain.codes, atol=1e-5)
    assert fit.elbo == pytest.approx(plain.elbo, rel=1e-10)


def test_rescaling_the_data_rescales_the_codes():
    fit, plain = fit_em(1024 * data().X, GIVEN), fitted()
    np.testing.assert_allclose(fit.dictionary, plain.dictionary, atol=1e-9)
    np.testing.assert_allclose(fit.codes, 1024 * plain.codes, atol=1e-2)
    assert fit.noise_scale == pytest.approx(1024 * plain.noise_scale, rel=1e-9)
    assert fit.elbo == pytest.approx(plain.elbo - N * P * np.log(1024), rel=1e-10)
    np.testing.assert_allclose(fit.activation_log_odds, plain.activation_log_odds, rtol=1e-6)


def test_the_order_of_samples_does_not_matter():
    fit = fit_em(data().X[np.random.default_rng(0).permutation(N)], GIVEN)
    assert len(fit.dictionary) == len(fitted().dictionary)
    assert recovered(fit, fitted().dictionary, 0.999) == TRUE
    assert fit.evidence == pytest.approx(fitted().evidence, abs=1)


def test_missing_entries():
    truth = data()
    mask = mask_of(truth.X)
    fit = fit_em(np.where(mask, truth.X, np.nan), GIVEN, mask=mask)
    assert_consistent(fit, N, P)
    assert len(fit.dictionary) == TRUE
    assert recovered(fit, truth.dictionary, 0.98) == TRUE
    assert fit.noise_scale == pytest.approx(0.1, rel=0.05)
    guess = (fit.codes @ fit.dictionary)[~mask]
    held_out = truth.X[~mask]
    filled = np.broadcast_to(np.nanmean(np.where(mask, truth.X, np.nan), axis=0), mask.shape)[~mask]
    rmse = np.sqrt(np.mean((guess - held_out) ** 2))
    assert rmse < 0.5 * np.sqrt(np.mean(held_out**2))
    assert rmse < 0.5 * np.sqrt(np.mean((filled - held_out) ** 2))
    assert rmse < 0.2
    assert_same(fit, fit_em(np.where(mask, truth.X, 1e6), GIVEN, mask=mask))


def test_a_mask_that_hides_nothing_changes_nothing():
    fit, plain = fit_em(data().X, GIVEN, mask=np.ones((N, P), int)), fitted()
    np.testing.assert_allclose(fit.dictionary, plain.dictionary, atol=1e-8)
    np.testing.assert_allclose(fit.codes, plain.codes, atol=1e-5)
    assert fit.elbo == pytest.approx(plain.elbo, rel=1e-9)


def test_more_atoms_than_features():
    truth = synthetic_a(0.1, n_samples=N, n_features=4, n_atoms=6, usage=0.15, seed=0)
    fit = fit_em(truth.X, GIVEN)
    assert_consistent(fit, N, 4)
    assert recovered(fit, truth.dictionary) == 6


def test_fewer_samples_than_atoms():
    fit = fit_em(data().X[:8], GIVEN, max_iter=600)
    assert_consistent(fit, 8, P)
    assert fit.noise_scale > 0


def test_one_atom():
    truth = data()
    fit = fit_em(truth.X, 1)
    assert_consistent(fit, N, P)
    assert len(fit.dictionary) == 1
    # one direction can do no better than the first right singular vector of the data
    singular = np.linalg.svd(truth.X, compute_uv=False)
    left = np.sum((truth.X - fit.codes @ fit.dictionary) ** 2)
    assert left >= np.sum(singular[1:] ** 2) * (1 - 1e-12)
    assert left < np.sum(truth.X**2)


def test_data_without_noise():
    truth = synthetic_a(0.0, n_samples=N, n_features=P, n_atoms=TRUE, usage=0.2, seed=0)
    fit = fit_em(truth.X, GIVEN, max_iter=600)
    # at its floor the noise no longer follows the bound, which wavers there
    assert_consistent(fit, N, P, monotone=False)
    assert recovered(fit, truth.dictionary, 0.999) == TRUE
    assert fit.noise_scale == fit.coding_noise_scale < 1e-3


def test_a_budget_of_passes_that_does_not_suffice_is_said():
    fit = fit_em(data().X, GIVEN, max_iter=20)
    assert not fit.converged
    assert "max_iter" in fit.status
    # the moves that are under way are finished first
    assert 20 <= fit.n_iter <= 100
    assert_consistent(fit, N, P)


def test_the_callback_sees_every_few_passes():
    calls = []
    fit = fit_em(data().X, GIVEN, max_iter=40, callback=lambda *a: calls.append(a))
    stages, counts, elbo, noise_scale, n_active = (np.array(column) for column in zip(*calls, strict=True))
    assert np.all(np.diff(counts) > 0)
    assert counts[-1] == fit.n_iter
    for seen, name in (
        (elbo, "elbo"),
        (noise_scale, "noise_scale"),
        (n_active, "n_active"),
        (stages, "stage"),
    ):
        np.testing.assert_array_equal(seen, fit.history[name][counts - 1])


def test_an_error_in_the_callback_comes_through():
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_em(data().X, GIVEN, callback=stop)


def made_fit(kind, dictionary, usage, rate, noise_scale):
    """A fit with the given global quantities."""
    k = len(dictionary)
    empty = np.zeros((0, k))
    slab, nonnegative = KEYS[kind]
    values = dict.fromkeys(EmFit._fields, 0.0) | {
        "dictionary": dictionary,
        "codes": empty,
        "probability": empty,
        "code_sd": empty,
        "usage": usage,
        "rate": rate,
        "noise_scale": noise_scale,
        "coding_noise_scale": noise_scale,
        "data_scale": 1.0,
        "slab": slab,
        "nonnegative": nonnegative,
    }
    return EmFit(**values)


@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
@pytest.mark.parametrize(("kind", "n_atoms"), [("laplace", 1), ("laplace", 2), ("half_normal", 2)])
def test_the_bound_of_new_samples_is_below_their_exact_evidence(kind, n_atoms, masked):
    rng = np.random.default_rng(n_atoms)
    dictionary = unit_rows(rng, n_atoms, 3)
    usage, rate = rng.uniform(0.2, 0.6, n_atoms), rng.uniform(0.8, 1.5, n_atoms)
    X = rng.exponential(size=(5, n_atoms)) @ dictionary + 0.5 * rng.standard_normal((5, 3))
    X[0] = 0
    mask = np.array([[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 0], [1, 1, 1]], bool) if masked else None
    seen = np.ones(X.shape, bool) if mask is None else mask
    coded = code_em(X * seen, made_fit(kind, dictionary, usage, rate, 0.5), mask=mask)
    exact = np.array(
        [
            spike_slab.log_evidence(kind, x[on], dictionary[:, on], 4.0, usage, rate)
            for x, on in zip(X, seen, strict=True)
        ]
    )
    assert coded.codes.shape == coded.probability.shape == coded.square.shape == (5, n_atoms)
    if n_atoms == 1:
        np.testing.assert_allclose(coded.bound, exact, atol=1e-8)
    else:
        assert np.all(coded.bound < exact + 1e-8)
        assert np.all(coded.bound > exact - 1)


def test_coding_the_training_data_agrees_with_the_fit():
    truth, fit = data(), fitted()
    coded = code_em(truth.X, fit)
    # a few samples, coded from nothing, end in another local optimum than where the fit's codes came to
    same = np.all(np.abs(coded.codes - fit.codes) < 2e-3, axis=1)
    assert same.mean() > 0.95
    np.testing.assert_allclose(coded.probability[same], fit.probability[same], atol=0.01)
    variance = coded.square - coded.codes**2
    np.testing.assert_allclose(np.sqrt(variance[same]), fit.code_sd[same], atol=2e-3)
    scale = np.sqrt(np.mean(truth.X**2))
    prior = stats.beta(0.5, 0.5).logpdf(fit.usage) + np.log(fit.usage * (1 - fit.usage))
    prior += stats.expon(scale=1 / scale).logpdf(fit.rate) + np.log(fit.rate)
    # and a few of those in a better one
    gain = coded.bound.sum() + prior.sum() - fit.elbo
    assert -2 < gain < 10


def test_coding_with_no_atoms():
    fit = made_fit("laplace", np.zeros((0, 3)), np.zeros(0), np.zeros(0), 0.5)
    X = np.random.default_rng(0).standard_normal((4, 3))
    coded = code_em(X, fit)
    assert coded.codes.shape == (4, 0)
    np.testing.assert_allclose(coded.bound, stats.norm(scale=0.5).logpdf(X).sum(axis=1), rtol=1e-12)


GOOD = np.arange(12.0).reshape(4, 3) ** 1.5


@pytest.mark.parametrize(
    ("change", "error", "what"),
    [
        ({"n_atoms": 0}, ValueError, "n_atoms"),
        ({"n_atoms": 2.5}, TypeError, "n_atoms"),
        ({"n_atoms": True}, TypeError, "n_atoms"),
        ({"slab": "l1linf"}, ValueError, "slab"),
        ({"slab": ["bernoulli_laplace"]}, ValueError, "slab"),
        ({"random_state": -1}, ValueError, "random_state"),
        ({"random_state": 0.5}, TypeError, "random_state"),
        ({"max_iter": 0}, ValueError, "max_iter"),
        ({"tol": -1e-3}, ValueError, "tol"),
        ({"tol": np.nan}, ValueError, "tol"),
        ({"mask": np.ones((3, 4), bool)}, ValueError, "mask"),
        ({"mask": np.full((4, 3), 0.5)}, ValueError, "mask"),
        ({"mask": np.arange(12).reshape(4, 3) > 2}, ValueError, "sample 0"),
        ({"mask": np.arange(12).reshape(4, 3) % 3 > 0}, ValueError, "feature 0"),
        ({"X": GOOD[0]}, ValueError, "X"),
        ({"X": GOOD[:1]}, ValueError, "X"),
        ({"X": GOOD[:, :0]}, ValueError, "X"),
        ({"X": np.full((4, 3), 7.0)}, ValueError, "constant"),
        ({"X": np.tile(GOOD[1], (4, 1))}, ValueError, "repeated"),
        ({"X": np.where(GOOD > 20, np.nan, GOOD)}, ValueError, "NaN"),
        ({"X": GOOD * 1j}, TypeError, "X"),
        ({"X": GOOD.astype(str)}, TypeError, "X"),
        ({"X": None}, TypeError, "X"),
    ],
)
def test_bad_input_is_named(change, error, what):
    arguments = {"X": GOOD, "n_atoms": 2} | change
    with pytest.raises(error, match=what):
        fit_em(arguments.pop("X"), arguments.pop("n_atoms"), **arguments)
