"""Every bad data array gives one clear error; every other array becomes finite floats."""

import decimal
import fractions

import hypothesis.extra.numpy as npst
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from padl_bayes import PADL
from padl_bayes import exceptions as pb_exceptions
from padl_bayes._validation import (
    check_array,
    check_choice,
    check_count,
    check_dictionary,
    check_mask,
    check_matrix,
    check_scalar,
    check_training_data,
    warn_if_unbounded,
)

GOOD = np.arange(6.0).reshape(3, 2)
BAD_MATRICES = {
    "one dimension": (np.arange(4.0), ValueError, r"2 dimensions .* found shape \(4,\)\. Reshape .*\(1, 4\)"),
    "three dimensions": (np.zeros((2, 2, 2)), ValueError, r"2 dimensions .* found shape \(2, 2, 2\)"),
    "scalar": (3, ValueError, r"2 dimensions .* found shape \(\)"),
    "no rows": (
        np.zeros((0, 3)),
        ValueError,
        r"empty: found 0 sample\(s\), 3 feature\(s\) \(shape=\(0, 3\)\)",
    ),
    "no columns": (
        np.zeros((3, 0)),
        ValueError,
        r"empty: found 3 sample\(s\), 0 feature\(s\) \(shape=\(3, 0\)\)",
    ),
    "NaN": (np.array([[0, 1], [2, np.nan]]), ValueError, r"1 NaN or infinite .* \[1, 1\]; impute or drop"),
    "infinity": (np.array([[-np.inf, 1], [2, np.inf]]), ValueError, r"2 NaN or infinite .* \[0, 0\]; impute"),
    "None entry": (np.array([[1, None], [2, 3]], dtype=object), ValueError, r"1 NaN or infinite .* \[0, 1\]"),
    "long double out of range": (np.full((2, 2), np.longdouble(2) ** 2000), ValueError, "4 NaN or infinite"),
    "squares overflow": (
        np.array([[1e200, 0]]),
        ValueError,
        r"1e\+200, whose squares overflow float64; resc",
    ),
    "squares overflow float32": (
        np.array([[1e25]], np.float32),
        ValueError,
        r"squares overflow float32; resc",
    ),
    "ragged": ([[1, 2], [3]], ValueError, "must be a rectangular array of numbers"),
    "text": ([["1", "2"], ["3", "4"]], TypeError, "must hold numbers, found dtype <U1"),
    "text in objects": (
        np.array([[1, "2"]], dtype=object),
        TypeError,
        "must hold numbers, found the text '2'",
    ),
    "bytes": ([[b"a", b"b"]], TypeError, r"must hold numbers, found dtype \|S1"),
    "objects": ([[{}, 1]], TypeError, "must hold numbers, found dtype object .* not 'dict'"),
    "a set": ({1.0, 2.0}, TypeError, "must hold numbers, found dtype object .* not 'set'"),
    "nothing": (None, TypeError, "is None; pass an array"),
    "dates": (np.zeros((2, 2), "M8[D]"), TypeError, r"must hold numbers, found dtype datetime64\[D\]"),
    "durations": (np.zeros((2, 2), "m8[s]"), TypeError, r"must hold numbers, found dtype timedelta64\[s\]"),
    "records": (
        np.zeros((2, 2), [("a", float)]),
        TypeError,
        r"must hold numbers, found dtype \[\('a', '<f8'\)\]",
    ),
    "complex": (
        np.ones((2, 2), complex),
        TypeError,
        r"must be real, found dtype complex128; pass data\.real",
    ),
    "complex in objects": (np.array([[1j, 1]], dtype=object), TypeError, "must hold numbers, .* 'complex'"),
    "uint64 overflow": (
        np.array([[2**64 - 1]], np.uint64),
        ValueError,
        r"integers beyond 2\*\*53, .*; rescale",
    ),
    "int64 overflow": (np.array([[-(2**63)]]), ValueError, r"integers beyond 2\*\*53, .*; rescale"),
    "Python int overflow": ([[10**30, 1]], ValueError, r"integers beyond 2\*\*53, .*; rescale"),
    "Python int beyond float": ([[10**400, 1]], ValueError, r"integers beyond 2\*\*53, .*; rescale"),
    "sparse matrix": (
        scipy.sparse.eye(3).tocsr(),
        TypeError,
        r"sparse matrix; pass a dense .* data\.toarray",
    ),
    "masked array": (
        np.ma.masked_equal(GOOD, 0),
        TypeError,
        r"masked array; pass data\.data, with mask=~data\.",
    ),
    "missing value": (pd.DataFrame({"a": [1.0, None]}), ValueError, r"1 NaN or infinite .* \[1, 0\]; impute"),
    "random key": (jax.random.key(0), TypeError, "must be a rectangular array of numbers: .* PRNGKey"),
    "narrow float": (jnp.ones((2, 2), jnp.float8_e4m3fn), TypeError, "must hold numbers, found dtype float8"),
}


@pytest.mark.parametrize("check", [check_matrix, check_dictionary])
@pytest.mark.parametrize(("data", "error", "message"), BAD_MATRICES.values(), ids=BAD_MATRICES)
def test_bad_matrix_is_named_described_and_told_what_is_expected(check, data, error, message):
    with pytest.raises(error, match=f"^data .*{message}"):
        check(data, "data")


@pytest.mark.parametrize(("data", "error", "message"), BAD_MATRICES.values(), ids=BAD_MATRICES)
@pytest.mark.parametrize("masked", [False, True])
def test_bad_training_data_is_refused_with_and_without_a_mask(data, error, message, masked):
    shape = getattr(data, "shape", (2, 2))
    mask = np.ones(shape, bool) if masked else None
    with pytest.raises(error, match=r"^X .*"):
        check_training_data(data, mask)


BAD_TRAINING_DATA = {
    "one sample": (np.ones((1, 4)), r"X has 1 sample\(s\); at least 2 are needed"),
    "constant": (np.full((3, 2), 1.5), r"X is constant \(every entry is 1\.5\): there is nothing to learn"),
    "zero": (np.zeros((3, 2), np.float32), r"X is constant \(every entry is 0\): there is nothing to learn"),
    "one sample repeated": (
        np.tile([1.0, 2.0, 3.0], (4, 1)),
        "X is one sample repeated 4 times: there is noth",
    ),
    "squares underflow": (
        1e-200 * GOOD,
        "X holds values of at most 5e-200, whose squares underflow float64; r",
    ),
    "squares underflow float32": (
        (1e-30 * GOOD).astype(np.float32),
        "at most 5e-30, .* underflow float32; r",
    ),
}


@pytest.mark.parametrize(("data", "message"), BAD_TRAINING_DATA.values(), ids=BAD_TRAINING_DATA)
def test_data_that_nothing_can_be_learnt_from_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        check_training_data(data)


def test_what_a_mask_hides_does_not_count():
    data = np.array([[1.0, 7.0, np.nan], [1.0, 9.0, 2.0], [np.inf, 9.0, 2.0]])
    mask = np.isfinite(data)
    X, kept = check_training_data(data, mask)
    np.testing.assert_array_equal(X, np.where(mask, data, 0))
    np.testing.assert_array_equal(kept, mask)
    mask[0, 1] = False
    with pytest.raises(ValueError, match="one sample repeated 3 times"):
        check_training_data(data, mask)
    with pytest.raises(ValueError, match="constant"):
        check_training_data(np.array([[1.0, 2.0], [1.0, 1.0]]), np.array([[True, False], [True, True]]))
    with pytest.raises(
        ValueError, match=r"^X has 1 NaN or infinite value\(s\), the first at \[0, 2\]; impute"
    ):
        check_matrix(data, mask=np.array([[1, 1, 1], [1, 1, 1], [0, 1, 1]], bool))


BAD_MASKS = {
    "another shape": (np.ones(3, bool), ValueError, r"shape of X, \(3, 2\), found \(3,\)"),
    "ragged": ([[1], [1, 0]], ValueError, "must be a rectangular boolean array"),
    "fractions": (
        np.full((3, 2), 0.5),
        ValueError,
        "must be boolean .* found dtype float64 with other values",
    ),
    "NaN": (np.full((3, 2), np.nan), ValueError, "must be boolean .* found dtype float64 with other values"),
    "text": (np.full((3, 2), "a"), ValueError, "must be boolean .* found dtype <U1 with other values"),
    "nothing": (np.full((3, 2), None), ValueError, "must be boolean .* found dtype object with other values"),
    "empty sample": (np.array([[1, 1], [0, 0], [1, 1]]), ValueError, "leaves sample 1 without .*; drop it"),
    "empty feature": (np.array([[1, 0], [1, 0], [1, 0]]), ValueError, "leaves feature 1 without .*; drop it"),
    "masked array": (
        np.ma.masked_equal(np.eye(3, 2), 0),
        TypeError,
        "is itself a masked array; pass a boolean",
    ),
}


@pytest.mark.parametrize(("mask", "error", "message"), BAD_MASKS.values(), ids=BAD_MASKS)
def test_bad_mask_is_described(mask, error, message):
    with pytest.raises(error, match=f"^mask .*{message}"):
        check_mask(mask, GOOD)


def test_mask_of_zeros_and_ones_becomes_boolean():
    kept = check_mask([[1, 0], [0, 1], [1, 1]], GOOD)
    assert kept.dtype == bool
    np.testing.assert_array_equal(kept, [[True, False], [False, True], [True, True]])
    assert check_mask(None, GOOD) is None


def test_wrong_feature_count_and_too_few_rows_are_described():
    with pytest.raises(ValueError, match=r"^X has 2 features, expected 5"):
        check_matrix(GOOD, n_features=5)
    with pytest.raises(ValueError, match=r"^dictionary has 2 features, expected 5"):
        check_dictionary(np.eye(2), n_features=5)
    with pytest.raises(ValueError, match=r"^X has 3 sample\(s\); at least 4 are needed"):
        check_matrix(GOOD, min_rows=4)


def test_dictionary_rows_must_have_unit_norm():
    with pytest.raises(
        ValueError, match=r"^dictionary must have unit-norm rows \(atoms\); row 1 has norm 2: div"
    ):
        check_dictionary(np.diag([1.0, 2.0]))
    with pytest.raises(ValueError, match=r"row 0 has norm 0: divide"):
        check_dictionary(np.diag([0.0, 1.0]))
    atoms = np.array([[0.6, 0.8], [1.0, 0.0]], np.float32)
    assert check_dictionary(atoms) is atoms


@pytest.mark.parametrize(
    ("values", "shape", "message"),
    [
        (np.ones((2, 3)), (2, 4), r"must have shape \(2, 4\), found \(2, 3\)"),
        (np.ones(3), ("...", "K", 3), r"must have shape \(\.\.\., K, 3\), found \(3,\)"),
        (np.ones((2, 3)), (3,), r"must have shape \(3\), found \(2, 3\)"),
        (np.ones((2, 0)), (2, "K"), r"is empty: found shape \(2, 0\)"),
        (np.array([1.0, np.nan]), ("N",), r"has 1 NaN or infinite value\(s\), the first at \[1\]"),
    ],
)
def test_arrays_of_another_shape_or_with_gaps_are_refused(values, shape, message):
    with pytest.raises(ValueError, match=f"^draws {message}"):
        check_array(values, "draws", shape)


def test_arrays_of_the_right_shape_pass():
    values = np.ones((5, 2, 3), np.float32)
    assert check_array(values, "draws", ("...", "K", 3)) is values
    assert check_array(values, "draws", (5, 2, "P")) is values
    assert check_array([[1, 2]], "draws", ("...", 2)).dtype == np.float64
    with pytest.raises(TypeError, match=r"^draws must be real"):
        check_array(1j * values, "draws", ("...", "K", 3))


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (GOOD, np.float64),
        (GOOD.astype(np.float32), np.float32),
        (GOOD.astype(np.float16), np.float32),
        (GOOD.astype(">f8"), np.float64),
        (GOOD.astype(">f4"), np.float32),
        (GOOD.astype(np.longdouble), np.float64),
        (GOOD.astype(np.int8), np.float64),
        (GOOD.astype(np.uint64), np.float64),
        (GOOD > 2, np.float64),
        (GOOD.tolist(), np.float64),
        (pd.DataFrame(GOOD), np.float64),
        (jnp.asarray(GOOD, jnp.bfloat16), np.float32),
        (np.array([[fractions.Fraction(1, 2), decimal.Decimal(2)], [3, 2.5]], dtype=object), np.float64),
        (np.asfortranarray(GOOD), np.float64),
    ],
)
def test_good_arrays_keep_their_values_in_native_floats(data, dtype):
    array = check_matrix(data)
    assert type(array) is np.ndarray
    assert array.dtype == dtype
    assert array.dtype.isnative
    np.testing.assert_array_equal(array, np.asarray(data).astype(np.float64))


@pytest.mark.parametrize(
    "value", [0, 2.5, np.float32(0.5), np.array(1.0), fractions.Fraction(1, 2), np.int8(3)]
)
def test_scalars_become_floats(value):
    number = check_scalar(value, "alpha")
    assert type(number) is float
    assert number == float(value)
    assert check_scalar(jnp.float32(2.0), "alpha") == 2.0


@pytest.mark.parametrize(
    "value", [True, np.True_, 1j, np.array(1j), "1", np.array("1"), None, [1.0], np.ones(1)]
)
def test_non_numbers_are_refused(value):
    with pytest.raises(TypeError, match=r"^alpha must be a real number, found .* of type "):
        check_scalar(value, "alpha")
    with pytest.raises(TypeError, match=r"^n_atoms must be an integer, found .* of type "):
        check_count(value, "n_atoms")


def test_random_key_is_no_number():
    with pytest.raises(TypeError, match=r"(?s)^alpha must be a real number, found "):
        check_scalar(jax.random.key(0), "alpha")


@pytest.mark.parametrize("value", [-1, -1e-300, np.nan, np.inf, -np.inf, 10**400])
def test_scalars_out_of_range_are_refused(value):
    with pytest.raises(ValueError, match=r"^alpha must be finite and at least 0, found "):
        check_scalar(value, "alpha")


def test_bounds_of_scalars_and_counts():
    assert check_scalar(0.0, "alpha") == 0.0
    assert check_scalar(1.0, "usage", maximum=1.0) == 1.0
    with pytest.raises(ValueError, match=r"^noise must be finite and above 0, found 0"):
        check_scalar(0.0, "noise", strict=True)
    with pytest.raises(ValueError, match=r"^usage must be finite and at least 0 and at most 1, found 1\.5"):
        check_scalar(1.5, "usage", maximum=1.0)
    with pytest.raises(ValueError, match=r"^n_atoms must be at least 1, found 0"):
        check_count(0, "n_atoms")
    assert check_count(np.int64(7), "n_atoms") == 7
    with pytest.raises(TypeError, match=r"^n_atoms must be an integer, found 2\.0 of type float"):
        check_count(2.0, "n_atoms")


@pytest.mark.parametrize("value", ["EM", None, 3, ["em"], {}, np.array(["em", "map"])])
def test_unknown_choice_lists_the_known_ones(value):
    with pytest.raises(ValueError, match=r"^method must be one of 'em', 'map', found "):
        check_choice(value, "method", ("em", "map"))
    assert check_choice("map", "method", ("em", "map")) == "map"


any_array = npst.arrays(
    dtype=st.one_of(
        npst.scalar_dtypes(),
        npst.array_dtypes(),
        st.just(np.dtype(object)),
        st.just(np.dtype(np.longdouble)),
    ),
    shape=npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
any_matrix = npst.arrays(
    dtype=st.one_of(npst.floating_dtypes(), npst.integer_dtypes(), npst.boolean_dtypes()),
    shape=npst.array_shapes(min_dims=2, max_dims=2, max_side=4),
)


def result_or_complaint(check, *arguments):
    """Return (result, None) or (None, message); any other exception is a failure."""
    try:
        return check(*arguments), None
    except (TypeError, ValueError) as error:
        return None, str(error)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(data=st.one_of(any_array, any_matrix))
def test_any_array_gives_finite_floats_or_one_named_error(data):
    result, complaint = result_or_complaint(check_training_data, data)
    if result is None:
        assert complaint.startswith("X ")
        return
    X, mask = result
    assert mask is None
    assert X.shape == data.shape
    assert X.dtype in (np.float32, np.float64)
    assert np.isfinite(X).all()
    assert 0 < np.sum(np.square(X)) < np.inf
    np.testing.assert_array_equal(X, data.astype(np.float64).astype(X.dtype))


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(data=any_matrix, hidden=st.data())
def test_any_mask_gives_a_clean_pair_or_one_named_error(data, hidden):
    mask = hidden.draw(npst.arrays(dtype=st.sampled_from([bool, int, float]), shape=data.shape))
    result, complaint = result_or_complaint(check_training_data, data, mask)
    if result is None:
        assert complaint.startswith(("X ", "mask "))
        return
    X, kept = result
    assert kept.dtype == bool
    assert kept.any(axis=0).all()
    assert kept.any(axis=1).all()
    assert np.isfinite(X).all()
    assert (X[~kept] == 0).all()


def test_data_that_atoms_can_explain_exactly_are_warned_of():
    X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    X[:, 2] = X[:, 4] - X[:, 5]
    with pytest.warns(
        pb_exceptions.UnboundedPosteriorWarning, match="rank 5 with 6 features, so that 5 atoms"
    ):
        warn_if_unbounded(X, 5)
    warn_if_unbounded(X, 4)
    warn_if_unbounded(X, 5, fixed={"noise_scale": 0.1})
    warn_if_unbounded(X[:, :5], 5)


def test_an_estimator_is_no_array():
    with pytest.raises(
        TypeError,
        match=r"^dictionary must be an array of numbers, found the estimator PADL; pass .* components_$",
    ):
        check_array(PADL(3), "dictionary", ("K", "P"))
