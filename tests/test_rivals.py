"""Rivals get the same number of atoms and of nonzeros, and codes that are what they claim to be."""

import numpy as np
import pytest
from sklearn.linear_model import Lasso, OrthogonalMatchingPursuit

from padl_bayes import PADL, rivals
from padl_bayes._equal_sparsity import code_at, code_lasso, code_omp, match, mean_nonzeros, refit_support
from padl_bayes.datasets import bars


def problem(n=40, k=12, p=10, seed=0):
    rng = np.random.default_rng(seed)
    D = rng.normal(size=(k, p))
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    codes = rng.laplace(size=(n, k)) * (rng.uniform(size=(n, k)) < 0.3)
    return codes @ D + 0.1 * rng.normal(size=(n, p)), D


@pytest.mark.parametrize("start", [1e-6, 0.1, 3.0, 1e5])
def test_match_finds_the_argument(start):
    calls = []

    def count(at):
        calls.append(at)
        return 10 / (1 + at**2), -at

    at, result = match(count, 2.0, start, tol=1e-3, most=60)
    # 10 / (1 + at^2) = 2 at at = 2, where its logarithm falls by 1.6 per unit of log at.
    assert abs(np.log(at / 2)) < 1e-3
    assert result == -at
    assert len(calls) < 30


def test_match_of_what_is_out_of_reach_returns_the_nearest():
    argument, found = match(lambda x: (3 - 1 / (1 + x), x), 5, 1.0, tol=0.01, most=25)
    assert argument == pytest.approx(found)
    assert 0 < argument < np.inf


def test_match_of_steps_returns_the_nearest():
    _, result = match(lambda at: (round(10 / at), round(10 / at)), 4.4, 1.0, tol=1e-3, most=40)
    assert result == 4


def test_lasso_codes_are_scikit_learns():
    X, D = problem()
    codes = code_lasso(X, D, 0.3)
    for x, row in zip(X[:5], codes, strict=False):
        exact = Lasso(alpha=0.3 / len(x), fit_intercept=False, tol=1e-12, max_iter=100_000).fit(D.T, x).coef_
        # its stopping tolerance on the duality gap is 1e-4 of ||x||^2, so codes agree to its root
        np.testing.assert_allclose(row, exact, atol=2e-2 * np.linalg.norm(x))


def test_omp_codes_are_scikit_learns():
    X, D = problem()
    codes = code_omp(X, 2 * D, n_nonzero=3)
    for x, row in zip(X[:5], codes, strict=False):
        exact = OrthogonalMatchingPursuit(n_nonzero_coefs=3, fit_intercept=False).fit(D.T, x).coef_
        np.testing.assert_allclose(2 * row, exact, atol=1e-10)
    # rows do not depend on each other, nor on being alone
    np.testing.assert_allclose(code_omp(X[:1], 2 * D, n_nonzero=3), codes[:1], atol=1e-12)
    residual = np.sum((X - code_omp(X, D, residual=0.5) @ D) ** 2, axis=1)
    assert residual.max() <= 0.5


@pytest.mark.parametrize("rule", rivals.RULES)
@pytest.mark.parametrize("n", [60, 700])
def test_codes_have_the_nonzeros_asked_for(rule, n):
    X, D = problem(n)
    codes = code_at(X, D, 2.6, rule, 0.3)
    expected = 3.0 if rule == "omp" else 2.6
    assert abs(mean_nonzeros(codes) - expected) <= 0.01 * expected


def test_refitting_is_least_squares_on_the_support():
    X, D = problem()
    codes = code_lasso(X, D, 0.5)
    refitted = refit_support(X, D, codes)
    np.testing.assert_array_equal(refitted != 0, codes != 0)
    residual = X - refitted @ D
    # orthogonal to every atom in use
    np.testing.assert_allclose((residual @ D.T) * (codes != 0), 0, atol=1e-10)


def test_scores_are_root_mean_squares():
    X, D = problem()
    data = rivals.Data(X[:30], X[30:])
    codes = (np.ones((30, 12)), np.eye(10, 12))
    line = rivals.score("a", "b", D, codes, data, 3.0)
    assert line[:3] == ("a", "b", 12)
    assert line.nonzeros == 12
    assert line.nonzeros_held_out == 1
    np.testing.assert_allclose(line.rmse**2, np.mean((X[:30] - D.sum(axis=0)) ** 2))
    np.testing.assert_allclose(line.rmse_held_out**2, np.mean((X[30:] - D[:10]) ** 2))


@pytest.mark.parametrize("learn", [rivals.learn_sklearn, rivals.learn_spams])
def test_rivals_learn_at_the_sparsity_asked_for(learn):
    X, _ = problem(400)
    learned = learn(X, 12, 3.0, random_state=0)
    assert learned.dictionary.shape == (12, 10)
    assert abs(mean_nonzeros(code_lasso(X, learned.dictionary, learned.penalty)) - 3) < 0.3
    again = learn(X, 12, 3.0, random_state=0)
    np.testing.assert_array_equal(learned.dictionary, again.dictionary)


def test_compare_rivals_matches_the_first_estimator():
    data = bars(n_samples=200, seed=0)
    train, held_out = data.X[:150], data.X[150:]
    estimator = PADL(16, nonnegative=True).fit(train)
    said = []
    scores = rivals.compare_rivals(
        {"PADL EM": estimator}, train, held_out, minibatch=True, spams_iter=20, callback=said.append
    )
    assert len(said) == 3
    ours = scores[0]
    codes = estimator.transform(held_out)
    assert ours.nonzeros_held_out == np.count_nonzero(codes) / 50
    np.testing.assert_allclose(
        ours.rmse_held_out**2, np.mean((held_out - codes @ estimator.components_) ** 2)
    )
    assert {s.n_atoms for s in scores} == {estimator.n_active_}
    for s in scores:
        if s.coding == "lasso":
            assert abs(s.nonzeros_held_out / ours.nonzeros_held_out - 1) < 0.05
    assert [s.method for s in scores if s.coding == "lasso"] == [
        "scikit-learn MiniBatchDictionaryLearning",
        "SPAMS trainDL",
    ]
