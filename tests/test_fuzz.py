"""Whatever the public functions are given: a finite result, or one of our errors that names an argument."""

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from padl_bayes.compress import compress_weights, load_weights, save_weights
from padl_bayes.exceptions import PadlWarning
from tests import fuzzing

fixed = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
SAMPLERS = ("sample_gibbs", "sample_nuts", "fit_svi")
# those whose valid calls compile for long
SLOW = ("operating_point",)


def check(case):
    name, arguments = case
    wrong = fuzzing.outcome(fuzzing.targets()[name], arguments)
    assert wrong is None, f"{name}: {wrong}"


@settings(fixed, max_examples=200)
@given(case=fuzzing.cases(quick=True, without=SLOW))
def test_two_hundred_calls(case):
    check(case)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_two_thousand_calls(part):
    @seed(part)
    @settings(fixed, derandomize=False, max_examples=200)
    @given(case=fuzzing.cases(quick=True))
    def two_hundred(case):
        check(case)

    two_hundred()


@pytest.mark.slow
@settings(fixed, max_examples=150)
@given(case=fuzzing.cases(quick=False, names=SAMPLERS))
def test_calls_of_the_samplers_that_may_run(case):
    check(case)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A file of compressed weights, and its bytes."""
    pytest.importorskip("constriction")
    path = tmp_path_factory.mktemp("stored") / "w"
    save_weights(compress_weights({"a": fuzzing.GOOD}, 1.0, methods=["plain rounding"]), path)
    return path, path.read_bytes()


@settings(fixed, max_examples=100)
@given(place=st.floats(0, 1, exclude_max=True), removed=st.integers(0, 40), added=st.binary(max_size=40))
def test_weights_of_broken_bytes(stored, place, removed, added):
    path, whole = stored
    start = int(place * len(whole))
    path.write_bytes(whole[:start] + added + whole[start + removed :])
    if path.read_bytes() == whole:
        assert list(load_weights(path)) == ["a"]
        return
    with pytest.raises(
        ValueError, match=r"path '.*w' (cannot be read|holds no compressed weights|has format version)"
    ):
        load_weights(path)


def test_what_the_fuzz_would_see():
    """An error from elsewhere, one without a name, a foreign warning and a gap in a result are all found."""
    seen = {
        "foreign": lambda X: fuzzing.np.linalg.cholesky(fuzzing.np.ones(3)),
        "not finite": lambda X: {"a": fuzzing.np.array([1.0, fuzzing.np.nan])},
        "Warning": lambda X: fuzzing.warnings.warn("odd", RuntimeWarning, stacklevel=2),
        "ours": lambda X: fuzzing.pb.inference.fit_em(X, 0),
        "allowed": lambda X: fuzzing.warnings.warn("odd", PadlWarning, stacklevel=2),
    }
    found = {
        name: fuzzing.outcome(fuzzing.Target(call, dict(X=fuzzing.GOOD)), dict(X=fuzzing.GOOD))
        for name, call in seen.items()
    }
    assert found["foreign"].startswith("LinAlgError from ")
    assert found["not finite"] == "result.a is not finite"
    assert found["Warning"].startswith("RuntimeWarning from ")
    assert found["ours"] == "names no argument: n_atoms must be at least 1, found 0"
    assert found["allowed"] is None
