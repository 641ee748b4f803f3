"""scikit-learn's own checks of an estimator, and its tools with one of ours."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_is_fitted

import padl_bayes as pb

# `check_estimator` skips itself without SCIPY_ARRAY_API; nothing is expected to fail.
SKIPPED = {"check_array_api_input"}
NOT_OURS = (
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_global_output_transform_pandas",
    "check_dataframe_column_names_consistency",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
)
POLARS = ("check_set_output_transform_polars", "check_global_set_output_transform_polars")

MAP = dict(n_atoms=2, method="map", alpha=(0.1, 0.1), max_iter=2)
EM = dict(n_atoms=2, max_iter=10)
DESIGNS = [EM, dict(n_atoms=2, slab="bernoulli_gaussian", nonnegative=True, max_iter=10), MAP]
quiet = pytest.mark.filterwarnings("ignore::padl_bayes.exceptions.PadlWarning")


def check_all(design):
    done = estimator_checks.check_estimator(pb.PADL(**design), on_fail=None, on_skip=None)
    assert len(done) > 40
    failed = {one["check_name"]: one["exception"] for one in done if one["status"] == "failed"}
    assert failed == {}
    assert {one["check_name"] for one in done if one["status"] != "passed"} <= SKIPPED


@quiet
@pytest.mark.filterwarnings("ignore:Estimator PADL does not inherit")
def test_check_estimator():
    check_all(MAP)


@quiet
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Estimator PADL does not inherit")
@pytest.mark.parametrize("design", DESIGNS, ids=lambda d: "-".join(map(str, d.values())))
def test_check_estimator_with_every_method(design):
    check_all(design)


@quiet
@pytest.mark.parametrize("name", NOT_OURS)
def test_checks_of_names_and_tables(name):
    getattr(estimator_checks, name)("PADL", pb.PADL(**MAP))


@quiet
@pytest.mark.parametrize("name", POLARS)
def test_checks_of_polars(name):
    pytest.importorskip("polars")
    getattr(estimator_checks, name)("PADL", pb.PADL(**MAP))


@pytest.fixture(scope="module")
def X():
    return pb.datasets.synthetic_a(0.1, n_samples=60, n_features=6, n_atoms=3, seed=0).X


@pytest.fixture(scope="module")
def table(X):
    return pd.DataFrame(X, columns=list("abcdef"), index=np.arange(100, 160))


@quiet
def test_tables_go_in_and_come_out(X, table):
    estimator = pb.PADL(**MAP).set_output(transform="pandas")
    codes = estimator.fit_transform(table)
    assert list(estimator.feature_names_in_) == list("abcdef")
    assert list(codes.columns) == ["padl0", "padl1"]
    np.testing.assert_array_equal(codes.index, table.index)
    plain = clone(estimator).set_output(transform="default").fit(X)
    np.testing.assert_array_equal(codes, plain.transform(X))
    np.testing.assert_array_equal(
        estimator.inverse_transform(codes), plain.inverse_transform(codes.to_numpy())
    )
    assert isinstance(estimator.set_output(), pb.PADL)
    assert isinstance(clone(estimator).fit(table).transform(table), pd.DataFrame)
    with pytest.raises(ValueError, match=r"should match those .*\nFeature names unseen at fit time:\n- z\n"):
        estimator.transform(table.rename(columns={"a": "z"}))
    with pytest.raises(
        ValueError, match="transform must be one of 'default', 'pandas', 'polars', found 'csv'"
    ):
        estimator.set_output(transform="csv")
    with pytest.raises(TypeError, match="all input features have string names"):
        estimator.fit(table.rename(columns={"a": 1}))


@quiet
def test_pipelines_unions_and_searches(X, table):
    pipeline = make_pipeline(StandardScaler(), pb.PADL(**MAP)).set_output(transform="pandas")
    assert list(pipeline.fit_transform(table).columns) == ["padl0", "padl1"]
    assert list(pipeline.get_feature_names_out()) == ["padl0", "padl1"]
    codes = pipeline.transform(table)
    back = pipeline.inverse_transform(codes)
    assert np.mean((back - X) ** 2) < np.mean((X - X.mean(0)) ** 2)
    union = FeatureUnion([("one", pb.PADL(**MAP)), ("other", pb.PADL(**MAP | {"n_atoms": 1}))])
    assert union.fit_transform(X).shape == (60, 3)
    assert list(union.get_feature_names_out()) == ["one__padl0", "one__padl1", "other__padl0"]
    search = GridSearchCV(pb.PADL(**MAP), {"alpha": [(0.01, 0.1), (0.1, 0.1), (50.0, 50.0)]}, cv=2).fit(X)
    scores = search.cv_results_["mean_test_score"]
    assert search.best_params_["alpha"] == [(0.01, 0.1), (0.1, 0.1)][int(scores[1] > scores[0])]
    assert scores[2] < scores[:2].min()
    assert search.transform(X).shape == (60, 2)


@quiet
def test_float32_is_kept_by_both_methods(X):
    for design in (MAP, EM):
        estimator = pb.PADL(**design).fit(X.astype(np.float32))
        assert estimator.components_.dtype == np.float32
        for codes in (estimator.transform(X), estimator.transform(X.astype(np.float32))):
            assert codes.dtype == np.float32
        assert estimator.inverse_transform(codes).dtype == np.float32
        again = pickle.loads(pickle.dumps(estimator))
        np.testing.assert_array_equal(again.transform(X), codes)


def test_not_fitted_is_scikit_learns_error_too():
    with pytest.raises(sklearn.exceptions.NotFittedError, match="call fit"):
        pb.PADL().transform(np.ones((2, 2)))
    with pytest.raises(pb.NotFittedError):
        pb.PADL().get_feature_names_out()
    with pytest.raises(sklearn.exceptions.NotFittedError):
        check_is_fitted(pb.PADL())


WITHOUT = """
import sys
for name in ("sklearn", "pandas", "polars"):
    sys.modules[name] = None
import numpy as np, padl_bayes as pb
try:
    pb.PADL().transform(np.ones((2, 2)))
except pb.NotFittedError as error:
    print(type(error) is pb.NotFittedError)
estimator = pb.PADL(n_atoms=1, method="map", alpha=(0.1, 0.1), tol=1.0)
codes = estimator.fit_transform(np.random.default_rng(0).normal(size=(8, 3)))
print(type(codes).__name__, list(estimator.get_feature_names_out()), estimator)
try:
    estimator.set_output(transform="pandas").transform(np.ones((2, 3)))
except ImportError as error:
    print(error)
"""


def test_none_of_it_is_needed():
    done = subprocess.run([sys.executable, "-W", "error", "-c", WITHOUT], capture_output=True, text=True)
    assert done.stderr == ""
    fitted, codes, refused = done.stdout.splitlines()
    assert fitted == "True"
    assert codes == "ndarray ['padl0'] PADL(n_atoms=1, method='map', alpha=(0.1, 0.1), tol=1.0)"
    assert "needs pandas: pip install pandas" in refused
