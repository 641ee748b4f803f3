"""Weights rounded, factored and packed, against direct sums and planted factors."""

import numpy as np
import pytest

from padl_bayes.compress import factors, packing
from padl_bayes.compress.calibration import RIDGE, root_of, second_moment, weighted_error
from padl_bayes.compress.packing import Packed, dense, exponents_of, steps_of
from padl_bayes.compress.rounding import BLOCK, nearest, with_feedback


def activations(n, n_features, seed=0):
    """Correlated ones, of spread scales."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((n_features, n_features)) * np.geomspace(1, 8, n_features)
    return rng.standard_normal((n, n_features)) @ mix


def test_the_weighted_error_is_that_of_the_outputs():
    rng, X = np.random.default_rng(0), activations(500, 12)
    W, other = rng.standard_normal((2, 7, 12))
    direct = np.mean(np.sum((X @ W.T - X @ other.T) ** 2, axis=1))
    assert weighted_error(W, other, root_of(second_moment(X), ridge=1e-12)) == pytest.approx(direct, rel=1e-9)
    # the ridge is as if inputs had a little independent noise
    size = np.mean(X**2)
    with_ridge = direct + RIDGE * size * np.sum((W - other) ** 2)
    assert weighted_error(W, other, root_of(second_moment(X))) == pytest.approx(with_ridge, rel=1e-9)


def test_a_moment_of_fewer_samples_than_features_has_a_root():
    root = root_of(second_moment(activations(5, 12)))
    assert np.all(np.diag(root) > 0)
    with pytest.raises(ValueError, match="moment must be a symmetric matrix"):
        root_of(np.ones((2, 3)))
    with pytest.raises(ValueError, match="moment must have no negative eigenvalue"):
        root_of(np.array([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(ValueError, match="NaN"):
        second_moment(np.array([[1.0, np.nan], [2.0, 1.0]]))


@pytest.mark.parametrize("n_features", [6, 2 * BLOCK + 5])
def test_rounding_with_feedback_leaves_no_entry_that_is_better_otherwise(n_features):
    rng = np.random.default_rng(1)
    root = root_of(second_moment(activations(300, n_features)))
    W = rng.standard_normal((100, n_features))
    step = 0.5
    found = with_feedback(W, step, root)
    cost = np.sum(((W - step * found) @ root) ** 2, axis=1)
    assert np.all(cost <= np.sum((step * np.diag(root) / 2) ** 2) * (1 + 1e-12))
    plain = np.sum(((W - step * nearest(W, step)) @ root) ** 2, axis=1)
    assert cost.mean() < 0.5 * plain.mean()
    # each entry is the best there is, given those after it and that those before it can be anything
    for j in range(n_features):
        for change in (-1, 1):
            other = found.copy()
            other[:, j] += change
            error = (W - step * found)[:, j:] @ root[j:, j], (W - step * other)[:, j:] @ root[j:, j]
            assert np.all(np.abs(error[0]) <= np.abs(error[1]) + 1e-12)
    kept = rng.random(W.shape) < 0.5
    assert np.all(with_feedback(W, step, root, keep=kept)[~kept] == 0)


def some_packed(seed=0, transposed=False):
    rng = np.random.default_rng(seed)
    codes = np.where(rng.random((40, 5)) < 0.3, rng.integers(-9, 10, (40, 5)), 0).astype(np.int32)
    codes[:, 2] = 0
    entries = rng.integers(-300, 300, (5, 11)).astype(np.int32)
    return Packed(
        (codes, entries), (np.array([-30], np.int32), rng.integers(-9, 20, 5).astype(np.int32)), transposed
    )


@pytest.mark.parametrize("transposed", [False, True])
def test_bytes_give_back_every_number_and_are_as_long_as_counted(transposed):
    pytest.importorskip("constriction")
    big = with_feedback(np.random.default_rng(0).standard_normal((200, 90)), 0.2, np.eye(90))
    one = Packed((big,), (np.arange(200, dtype=np.int32),), transposed)
    for packed in (some_packed(transposed=transposed), one):
        data = packing.encode(packed)
        again = packing.decode(data)
        assert again.transposed == transposed
        for a, b in zip((*packed.levels, *packed.exponents), (*again.levels, *again.exponents), strict=True):
            np.testing.assert_array_equal(a, b)
        assert dense(again).tobytes() == dense(packed).tobytes()
        assert dense(packed).dtype == np.float32
        # lines of few numbers, and what LEB128 saves, are not counted to the byte
        assert 8 * len(data) == pytest.approx(packing.count_bits(packed), rel=0.01, abs=500)
        for cut in (data[:-1], data[:10], b"", data[:20] + bytes([data[20] ^ 1]) + data[21:]):
            with pytest.raises(ValueError, match="damaged"):
                packing.decode(cut)


def test_the_dense_weight_is_the_product_of_the_steps_and_numbers():
    packed = some_packed(transposed=True)
    (q1, q2), (e1, e2) = packed.levels, packed.exponents
    direct = np.zeros((11, 40))
    for n in range(40):
        for k in range(5):
            direct[:, n] += 2.0 ** (e1[0] / 4) * q1[n, k] * 2.0 ** (e2[k] / 4) * q2[k]
    np.testing.assert_allclose(dense(packed), direct, rtol=1e-6)
    np.testing.assert_array_equal(exponents_of(steps_of(np.arange(-70, 70))), np.arange(-70, 70))
    np.testing.assert_allclose(steps_of(np.arange(-70, 70)), 2.0 ** (np.arange(-70, 70) / 4), rtol=1e-15)


@pytest.mark.parametrize("shape", [(300, 16), (16, 300)], ids=["rows", "columns"])
def test_planted_factors_come_back_to_the_error_of_their_steps(shape):
    """Codes on a grid times atoms: the error is that of rounding, in the bytes of the numbers."""
    rng = np.random.default_rng(2)
    n, p, k = max(shape), min(shape), 6
    root = root_of(second_moment(activations(1000, shape[1])))
    codes = np.where(rng.random((n, k)) < 0.3, rng.laplace(size=(n, k)), 0)
    atoms = rng.standard_normal((k, p))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    by_columns = shape[1] > shape[0]
    if by_columns:
        codes = codes / np.linalg.norm(root, axis=1)[:, None]
        weight = (codes @ atoms).T
        given = codes * np.linalg.norm(root, axis=1)[:, None]
    else:
        weight = np.linalg.solve(root.T, (codes @ atoms).T).T
        given = codes
    assert factors.codes_columns(weight) == by_columns
    np.testing.assert_allclose(factors.coded_matrix(weight, root, by_columns), given @ atoms, atol=1e-9)
    errors = []
    for exponent in (-12, -20):
        packed = factors.pack_factors(weight, root, given, atoms, exponent, columns=by_columns)
        errors.append(weighted_error(weight, dense(packed).astype(np.float64), root))
        assert packed.levels[0].shape == (n, k)
        # about step^2 / 12 for every number: correlated inputs of columns that are coded cost up to their correlation
        numbers = np.count_nonzero(given) + atoms.size
        assert errors[-1] < (8 if by_columns else 2) * numbers * steps_of(exponent) ** 2 / 12
        assert packing.count_bits(packed) < 40 * numbers
    # a step a quarter as wide: a sixteenth of the error
    assert 8 < errors[0] / errors[1] < 32


def test_codes_that_round_to_zero_leave_nothing():
    weight = np.random.default_rng(0).standard_normal((20, 8))
    root = np.eye(8)
    codes, atoms = factors.principal_factors(factors.coded_matrix(weight, root, False))
    assert not np.any(dense(factors.pack_factors(weight, root, codes, atoms, 60, columns=False)))
    none = factors.pack_factors(weight.T, np.eye(20), codes, atoms, 60, columns=True)
    assert dense(none).shape == (8, 20)


def test_the_singular_values_are_those_of_the_output():
    weight, root = (
        np.random.default_rng(0).standard_normal((20, 8)),
        root_of(second_moment(activations(99, 8))),
    )
    codes, atoms = factors.principal_factors(factors.coded_matrix(weight, root, False))
    for rank in (2, 5):
        packed = factors.pack_factors(weight, root, codes[:, :rank], atoms[:rank], -60, columns=False)
        left = np.linalg.svd(weight @ root, compute_uv=False)[rank:]
        assert weighted_error(weight, dense(packed).astype(float), root) == pytest.approx(
            np.sum(left**2), rel=1e-4
        )
