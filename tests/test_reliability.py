"""Probabilities against outcomes: simulated forecasters, SciPy's intervals, sums by hand; matched atoms."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import binomtest

import padl_bayes as pb
from padl_bayes.agreement import Reliability, posterior_atoms, reappearance, reliability, wilson
from padl_bayes.plots import reliability as draw


def forecaster(n, distort=lambda p: p, seed=0):
    """Probabilities that a forecaster states, and outcomes of the true ones."""
    rng = np.random.default_rng(seed)
    true = rng.beta(0.6, 0.6, n)
    return distort(true), rng.random(n) < true


def test_a_calibrated_forecaster_is_found_calibrated():
    found = reliability(*forecaster(20_000), level=0.99)
    assert found.number.sum() == 20_000
    # four binomial standard errors of each bin; the expectation of the error itself holds to a third of it
    error = np.sqrt(found.forecast * (1 - found.forecast) / found.number)
    assert (np.abs(found.forecast - found.frequency) < 4 * error).all()
    assert found.ece < 2 * found.ece_calibrated < 0.02
    # the Brier score of a calibrated forecaster is E p (1 - p): its sd over 20,000 outcomes is below 0.2 / sqrt(20,000)
    p = forecaster(20_000)[0]
    assert found.brier == pytest.approx(np.mean(p * (1 - p)), abs=4 * 0.2 / np.sqrt(20_000))


def test_an_overconfident_forecaster_is_found_out():
    def push(p):
        return p**3 / (p**3 + (1 - p) ** 3)

    found = reliability(*forecaster(20_000, push))
    low, high = found.forecast < 0.4, found.forecast > 0.6
    assert (found.lower[low] > found.forecast[low]).all()
    assert (found.upper[high] < found.forecast[high]).all()
    assert found.ece > 5 * found.ece_calibrated
    # E |stated - true|: each bin lies on one side of the diagonal, where errors do not cancel; its sd is 0.0035
    true = forecaster(20_000)[0]
    assert found.ece == pytest.approx(np.mean(np.abs(push(true) - true)), abs=3 * 0.0035)


def test_the_calibrated_error_is_its_expectation():
    p = forecaster(60)[0]
    rng = np.random.default_rng(1)
    errors = [reliability(p, rng.random(60) < p, bins=4).ece for _ in range(500)]
    expected = reliability(p, p, bins=4).ece_calibrated
    assert expected == pytest.approx(np.mean(errors), abs=4 * np.std(errors) / np.sqrt(500))


def test_bins_and_scores_by_hand():
    p, y = [0.0, 0.1, 0.5, 0.5, 0.9, 1.0], [False, True, True, False, True, True]
    found = reliability(p, y, bins=[0, 0.5, 0.6, 1])
    np.testing.assert_array_equal(found.edges, [[0, 0.5], [0.5, 0.6], [0.6, 1]])
    np.testing.assert_array_equal(found.number, [2, 2, 2])
    np.testing.assert_allclose(found.forecast, [0.05, 0.5, 0.95])
    np.testing.assert_allclose(found.frequency, [0.5, 0.5, 1])
    assert found.ece == pytest.approx((0.45 + 0 + 0.05) / 3)
    assert found.brier == pytest.approx((0 + 0.81 + 0.25 + 0.25 + 0.01 + 0) / 6)
    assert reliability([0.3], [True], bins=10).edges.tolist() == [pytest.approx([0.3, 0.4])]


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (3, 7), (20, 20), (450, 1000)])
def test_the_interval_is_wilsons(hits, n):
    expected = binomtest(hits, n).proportion_ci(0.8, "wilson")
    np.testing.assert_allclose(wilson(hits / n, n, 0.8), expected, atol=1e-14)
    found = reliability(np.full(n, 0.55), np.arange(n) < hits, level=0.8)
    np.testing.assert_allclose((found.lower[0], found.upper[0]), expected, atol=1e-14)


def test_shares_score_as_their_outcomes():
    p = np.array([0.2, 0.7, 0.9])
    trials = np.array([[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]], bool)
    shares = reliability(p, trials.mean(axis=1))
    single = reliability(np.repeat(p, 4), trials.ravel())
    assert shares.brier == pytest.approx(single.brier)
    assert shares.ece == pytest.approx(single.ece)
    # as wide as that of so few atoms, not of so many trials
    assert (shares.upper - shares.lower > single.upper - single.lower).all()


def test_reappearance_counts_the_fits_that_hold_an_atom():
    a = np.eye(3, 4)
    lean = np.array([[1.0, 0.5, 0, 0], [0, 0, 0, -2]])  # cosine 0.894 with the first atom
    others = [a[[2, 0]], -3 * a[:1], np.zeros((0, 4)), lean]
    np.testing.assert_allclose(reappearance(a, others), [2 / 4, 0, 1 / 4])
    np.testing.assert_allclose(reappearance(a, others, threshold=0.85), [3 / 4, 0, 1 / 4])
    np.testing.assert_allclose(reappearance(a, others, flip=False), [1 / 4, 0, 1 / 4])


def test_an_atom_stands_for_one_atom_only():
    twins = np.array([[1.0, 0, 0], [1.0, 0.01, 0]])
    assert reappearance(twins, [twins[:1], np.eye(3)]).sum() == pytest.approx(1)


def test_reappearance_takes_fits_and_truths():
    truth = pb.datasets.synthetic_a(n_samples=2, n_features=12, n_atoms=4, seed=0)
    estimator = SimpleNamespace(components_=truth.dictionary[:3])
    np.testing.assert_array_equal(reappearance(estimator, [truth, estimator]), np.ones(3))
    np.testing.assert_array_equal(reappearance(truth, [estimator]), [1, 1, 1, 0])
    assert reappearance(np.zeros((0, 12)), [truth]).shape == (0,)


def planted_posterior():
    """Draws (2, 100) of three atoms in random order and sign: sure, vague in direction, active half the time."""
    rng = np.random.default_rng(0)
    dictionary, active = np.zeros((2, 100, 3, 6)), np.ones((2, 100, 3))
    dictionary[..., 0, 0] = dictionary[..., 2, 2] = 1
    # the second leans by 35 degrees, this way in one half of the draws and that way in the other: cosine 0.82
    lean = np.where(np.arange(100) % 2, 1.0, -1.0) * np.tan(np.radians(35))
    dictionary[..., 1, 1], dictionary[..., 1, 3] = 1, lean
    active[:, 50:, 2] = 0
    probability = active * [0.9, 0.8, 0.7] + 0.05 * (1 - active)
    for c, s in np.ndindex(2, 100):
        order = rng.permutation(3)
        dictionary[c, s] = dictionary[c, s, order] * rng.choice([-1, 1], (3, 1))
        active[c, s], probability[c, s] = active[c, s, order], probability[c, s, order]
    return {"dictionary": dictionary, "active": active, "activation_prob": probability}


def test_atoms_of_a_posterior_are_found_whatever_their_labels():
    found = posterior_atoms(planted_posterior())
    order = np.argmax(np.abs(found.dictionary), axis=1)
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(np.abs(found.dictionary), np.eye(6)[order], atol=1e-12)
    np.testing.assert_allclose(found.probability, np.array([0.9, 0.8, 0.375])[order])
    np.testing.assert_allclose(found.presence, np.array([1, 0, 0.5])[order])
    np.testing.assert_allclose(
        posterior_atoms(planted_posterior(), threshold=0.8).presence, np.array([1, 1, 0.5])[order]
    )


def test_atoms_of_a_continuous_posterior_are_always_active():
    draws = planted_posterior()
    found = posterior_atoms({"dictionary": draws["dictionary"]}, threshold=0.8)
    np.testing.assert_array_equal(found.probability, 1)
    np.testing.assert_array_equal(found.presence, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reliability([0.5, 1.2], [0, 1]), r"probability must lie in \[0, 1\]"),
        (lambda: reliability([0.5], [2]), r"outcome must lie in \[0, 1\]"),
        (lambda: reliability([0.5], [0, 1]), "outcome must have shape"),
        (lambda: reliability([], []), "probability is empty"),
        (lambda: reliability([np.nan], [1]), "NaN"),
        (lambda: reliability([0.5], [1], bins=0), "bins must be at least 1"),
        (lambda: reliability([0.5], [1], bins=[0, 0.5]), "rise from 0 to 1"),
        (lambda: reliability([0.5], [1], bins=[0, 0.7, 0.7, 1]), "rise from 0 to 1"),
        (lambda: reliability([0.5], [1], level=1), "level must be below 1"),
        (lambda: reappearance(np.eye(3), []), "others must hold at least one fit"),
        (lambda: reappearance(np.eye(3), [np.eye(3), np.eye(4)]), r"others\[1\] has 4 features"),
        (lambda: reappearance(np.eye(3), [np.zeros((0, 4))]), r"others\[0\]"),
        (lambda: reappearance(np.ones(3), [np.eye(3)]), "atoms must have 2 dimensions"),
        (lambda: reappearance(np.eye(3), [np.eye(3)], threshold=1.5), "threshold must be"),
        (lambda: posterior_atoms({"active": 1}), "samples must hold dictionary"),
        (lambda: posterior_atoms(planted_posterior() | {"active": np.ones(3)}), "active must have shape"),
        (lambda: posterior_atoms({"dictionary": np.ones((1, 1, 2, 2)), "active": 1}), "hold activation_prob"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_fit_is_no_posterior():
    with pytest.raises(TypeError, match=r"such as posterior\['posterior'\], found PADL"):
        posterior_atoms(pb.PADL(3))


def test_the_figure_shows_the_bins():
    found = reliability(*forecaster(500))
    ax = draw({"one": found, "other": reliability(*forecaster(90, seed=3))}, title="two")
    assert ax.get_title(loc="left") == "two"
    points = ax.collections[1]
    np.testing.assert_allclose(points.get_offsets()[:, 1], found.frequency)
    np.testing.assert_allclose(points.get_offsets()[:, 0], found.forecast, atol=0.01)
    bars = np.array([segment[:, 1] for segment in ax.collections[0].get_segments()])
    np.testing.assert_allclose(bars, np.stack([found.lower, found.upper], axis=1))
    assert [text.get_text() for text in ax.get_legend().get_texts()][1].startswith("other: 90 atoms")
    ax = draw(found)
    np.testing.assert_allclose(ax.collections[1].get_offsets()[:, 0], found.forecast)
    assert draw(found, ax=ax) is ax
    with pytest.raises(TypeError, match="must be a Reliability"):
        draw([found])
    assert isinstance(found, Reliability)
