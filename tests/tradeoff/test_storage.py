"""The price of a model against the lengths of the code words that it is made of."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from padl_bayes.tradeoff.storage import (
    CodeStatistics,
    best_precision,
    description_length,
    geometric_bits,
    quantise,
    refit_on_support,
    statistics_of,
    storage_bits,
)
from tests.made_fits import unit_atoms


def some_model(seed=0, n=3000, nonnegative=False):
    rng = np.random.default_rng(seed)
    D = unit_atoms(rng, 5, 12)
    codes = rng.laplace(size=(n, 5)) * (rng.random((n, 5)) < [0.1, 0.3, 0.9, 0.02, 0.0])
    codes = np.abs(codes) if nonnegative else codes
    return codes, D, codes @ D + 0.1 * rng.standard_normal((n, 12))


@pytest.mark.parametrize("mean", [1.0, 1.2, 7.5])
def test_geometric_bits_are_an_entropy(mean):
    p = (1 / mean) * (1 - 1 / mean) ** np.arange(4000)
    p = p[p > 0]
    assert geometric_bits(np.array(mean)) == pytest.approx(-np.sum(p * np.log2(p)), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_bits_are_the_lengths_of_the_words(nonnegative):
    codes, D, _ = some_model(n=300, nonnegative=nonnegative)
    step = 0.07
    stored = quantise(codes, D, 0.035, precision=2.0, nonnegative=nonnegative)
    dictionary = supports = values = 0.0
    used = [[math.ceil(abs(value) / step) for value in column if value] for column in codes.T[:4]]
    sums = [sum(levels) - len(levels) for levels in used]
    norms = [math.hypot(*(q - 0.5 for q in levels)) for levels in used]
    entries = [[round(entry * scale) for entry in D[k]] for k, scale in enumerate(norms)]
    largest = max(abs(entry) for row in entries for entry in row)
    for k, levels in enumerate(used):
        share, stop = len(levels) / 300, len(levels) / sum(levels)
        supports -= len(levels) * math.log2(share) + (300 - len(levels)) * math.log2(1 - share)
        values -= sum(math.log2(stop) + (q - 1) * math.log2(1 - stop) for q in levels)
        values += 0 if nonnegative else len(levels)
        dictionary += math.log2(301) + math.log2(max(sums) + 1)
        for entry in entries[k]:
            edges = norm.cdf([entry - 0.5, entry + 0.5], scale=norms[k] / 12**0.5)
            units = 1 + (2**24 - 2 * largest - 1) * (edges[1] - edges[0])
            dictionary += 24 - math.log2(units)
        np.testing.assert_allclose(stored.dictionary[k], np.array(entries[k]) / norms[k], rtol=1e-12)
    assert not stored.dictionary[4].any()
    assert stored.storage.dictionary == pytest.approx(dictionary, rel=1e-9)
    assert stored.storage.supports == pytest.approx(supports, rel=1e-9)
    assert stored.storage.values == pytest.approx(values, rel=1e-9)
    assert np.abs(stored.codes - codes).max() <= step / 2 + 1e-12
    np.testing.assert_array_equal(np.sign(stored.codes), np.sign(codes))
    missed = codes @ D - stored.codes @ stored.dictionary
    assert stored.storage.distortion == pytest.approx(np.sum(missed**2) / 300, rel=1e-9)


@pytest.mark.parametrize("precision", [1.0, 12**0.5])
def test_bits_and_distortion_predicted_from_moments(precision, figure):
    codes, D, X = some_model()
    predicted = storage_bits(statistics_of(X, codes, D), 3000, 12, 0.1, precision=precision)
    actual = quantise(codes, D, 0.1, precision=precision).storage
    # 60 entries of a dictionary whose law is the normal one only on average: sd of 1 bit each, of about 9.
    assert predicted.dictionary == pytest.approx(actual.dictionary, rel=0.05)
    assert predicted.supports == pytest.approx(actual.supports, rel=1e-12)
    # rounding errors are uniform up to the slope of the density over a step: at most a third here
    assert figure("values", abs(predicted.values / actual.values - 1)) < 0.01
    assert figure("distortion", abs(predicted.distortion / actual.distortion - 1)) < 0.06


def test_a_wider_step_pays_until_its_error_is_the_noise():
    codes, D, X = some_model(n=20000)
    found = statistics_of(X, codes, D)

    def length(precision):
        return description_length(
            storage_bits(found, 20000, 12, 0.1, precision=precision), found.residual, 20000, 12
        )

    steps = np.linspace(1.5, 6, 46)
    best = steps[np.argmin([length(step) for step in steps])]
    # log2 of the residual is concave: where many codes share few features the best step is a little wider
    assert best == pytest.approx(12**0.5, rel=0.15)


@pytest.mark.parametrize("residual", [1.0, 3.0])
def test_the_best_step_is_the_one_of_a_search(residual):
    codes, D, X = some_model(n=20000)
    coarse = codes @ D + residual * np.random.default_rng(1).normal(size=X.shape)
    found = statistics_of(coarse, 40 * codes, D)._replace(residual=12 * residual**2)

    def length(step):
        storage = storage_bits(found, 20000, 12, 0.1, precision=step)
        return description_length(storage, found.residual, 20000, 12)

    steps = 10 * residual * np.geomspace(1.5, 8, 200)
    wanted = steps[np.argmin([length(step) for step in steps])]
    best = best_precision(found, 20000, 12, 0.1)
    # the formula takes a value for worth log2 of a step; near one step a value it is worth a little less
    assert best == pytest.approx(wanted, rel=0.05)
    assert length(best) == pytest.approx(length(wanted), rel=1e-3)
    both = CodeStatistics(*(np.stack([part, part]) for part in found))
    pair = storage_bits(both, 20000, 12, 0.1, precision=np.array([best, 2 * best]))
    for i, step in enumerate((best, 2 * best)):
        one = storage_bits(found, 20000, 12, 0.1, precision=step)
        np.testing.assert_allclose([part[i] for part in pair], one)
    assert best_precision(found._replace(residual=0.0), 20000, 12, 0.1) == 12**0.5


def test_description_length_written_out():
    codes, D, X = some_model()
    found = statistics_of(X, codes, D)
    storage = storage_bits(found, 3000, 12, 0.1)
    variance = np.mean((X - codes @ D) ** 2) + storage.distortion / 12
    nats = 0.5 * 36000 * (np.log(2 * np.pi * variance) + 1)
    wanted = storage.dictionary + storage.supports + storage.values + nats / np.log(2)
    assert description_length(storage, found.residual, 3000, 12) == pytest.approx(wanted, rel=1e-12)


def test_refitting_is_least_squares_on_the_support():
    rng = np.random.default_rng(4)
    codes, D, X = some_model(n=700)
    codes[0] = 0
    refitted = refit_on_support(X, codes, D)
    for n in [0, *rng.choice(700, 40, replace=False)]:
        used = np.flatnonzero(codes[n])
        wanted = np.zeros(5)
        wanted[used] = np.linalg.lstsq(D[used].T, X[n], rcond=None)[0]
        np.testing.assert_allclose(refitted[n], wanted, atol=1e-8)


def test_refitting_keeps_one_sided_codes_one_sided():
    rng = np.random.default_rng(5)
    D, X, codes = unit_atoms(rng, 9, 10), rng.normal(size=(300, 10)), rng.random((300, 9)) < 0.8
    free = refit_on_support(X, codes, D)
    refitted = refit_on_support(X, codes, D, nonnegative=True)
    assert refitted.min() == 0
    assert not refitted[~codes].any()
    kept = (free >= 0).all(axis=1)
    np.testing.assert_array_equal(refitted[kept], free[kept])
    # for some of them a single round does not do
    assert np.any((refit_on_support(X, np.maximum(free, 0), D) < 0).any(axis=1))
    for n in np.flatnonzero(~kept)[:100]:
        used = np.flatnonzero(refitted[n])
        np.testing.assert_allclose(D[used] @ (X[n] - refitted[n] @ D), 0, atol=1e-7)


def test_an_entry_beyond_the_law_costs_no_more_than_the_coder_spends():
    D = np.zeros((1, 400))
    D[0, 0] = 1
    stored = quantise(np.ones((50, 1)), D, 0.1)
    # 50 codes of three cells, decoded at 2.5; the one entry is 20 standard deviations out, 290 bits by the normal law
    spread = 2.5 * 50**0.5 / 400**0.5
    zero = -math.log2(norm.cdf(0.5, scale=spread) - norm.cdf(-0.5, scale=spread))
    wanted = 24 + 399 * zero + math.log2(51) + math.log2(50 * 2 + 1)
    assert stored.storage.dictionary == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(nonnegative=True), "codes must be at least zero"),
        (dict(precision=1e-7), "precision 1e-07 is too fine"),
        (dict(precision=1e-320), "precision 1e-320 is too fine"),
        (dict(precision=5e-324), "precision 4.94e-324 is too fine"),
    ],
)
def test_what_cannot_be_stored_is_refused(options, message):
    codes, D, _ = some_model(n=50)
    with pytest.raises(ValueError, match=message):
        quantise(codes, D, 0.1, **options)


@pytest.mark.parametrize("precision", [1e-7, 1e-320, 5e-324])
def test_nor_is_it_predicted(precision):
    codes, D, X = some_model(n=50)
    with pytest.raises(ValueError, match="is too fine"):
        storage_bits(statistics_of(X, codes, D), 50, 12, 0.1, precision=precision)


def test_atoms_that_are_off_cost_nothing():
    codes, D, X = some_model(n=100)
    empty = storage_bits(statistics_of(X, 0 * codes, D), 100, 12, 0.1)
    assert empty.total == 0
    assert empty.distortion == 0
    assert quantise(0 * codes, D, 0.1).storage.total == 0
