"""Sparse coding against a generic solver and SPAMS, and its certificate against the truth."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spams

from padl_bayes import working_set
from padl_bayes.kernels import row_descent
from padl_bayes.kernels.row_sweep import pad_rows
from padl_bayes.objective import alpha1_max, alpha2_max, duality_gap, kkt_residuals, padl_energy
from padl_bayes.sparse_coding import sparse_code, sparse_code_path
from tests.oracles.convex import codes_by_proximal_gradient, codes_by_quadratic_program, energy


def problem(seed=0, n=12, p=5, k=7, dtype=np.float64):
    rng = np.random.default_rng(seed)
    dictionary = rng.normal(size=(k, p))
    dictionary /= np.linalg.norm(dictionary, axis=1, keepdims=True)
    return rng.normal(size=(n, p)).astype(dtype), dictionary.astype(dtype)


def duplicates():
    X, D = problem(1)
    D[3], D[4] = D[0], -D[1]
    return X, D


PROBLEMS = {
    "K > P": problem,
    "duplicate atoms": duplicates,
    "K = 1": lambda: problem(2, k=1),
    "N = 1": lambda: problem(3, n=1),
}


@functools.cache
def _optimum(X, D, shapes, *arguments):
    X, D = (np.frombuffer(data).reshape(shape) for data, shape in zip((X, D), shapes, strict=True))
    return energy(X, codes_by_proximal_gradient(X, D, *arguments), D, *arguments[:2])


def optimum(X, D, alpha1, alpha2, nonnegative=False):
    X, D = X.astype(np.float64), D.astype(np.float64)
    return _optimum(X.tobytes(), D.tobytes(), (X.shape, D.shape), alpha1, alpha2, nonnegative)


def suboptimality(objective, X, D, alpha1, alpha2, nonnegative=False):
    """Relative to 1/2 ||X||^2."""
    best = optimum(X, D, alpha1, alpha2, nonnegative)
    return (objective - best) / (0.5 * np.sum(X.astype(np.float64) ** 2))


@pytest.mark.parametrize(
    ("name", "alpha1", "alpha2", "nonnegative"),
    [
        *itertools.product(["K > P", "duplicate atoms", "K = 1"], [0.2], [0.0, 0.8], [False, True]),
        ("K > P", 0.0, 0.8, False),
        ("duplicate atoms", 0.0, 0.8, False),
        ("N = 1", 0.2, 0.8, False),
        ("N = 1", 0.0, 0.8, False),
    ],
)
def test_reaches_the_minimum(name, alpha1, alpha2, nonnegative, figure):
    X, D = PROBLEMS[name]()
    found = sparse_code(X, D, alpha1, alpha2, tol=1e-9, nonnegative=nonnegative)
    assert found.status.startswith("converged")
    assert found.codes.shape == (len(X), len(D))
    assert found.codes.dtype == np.float64
    assert found.objective == pytest.approx(energy(X, found.codes, D, alpha1, alpha2), rel=1e-12)
    excess = suboptimality(found.objective, X, D, alpha1, alpha2, nonnegative)
    assert -1e-12 < figure("sparse_code above a generic solver, relative", excess) <= 1e-9
    assert figure("suboptimality minus gap, float64", excess - found.gap) <= 0
    assert found.gap <= 1e-9
    if nonnegative:
        assert found.codes.min() >= 0


@pytest.mark.parametrize("nonnegative", [False, True])
def test_reaches_the_minimum_of_the_quadratic_program(nonnegative, figure):
    X, D = problem()
    found = sparse_code(X, D, 0.2, 0.8, tol=1e-10, nonnegative=nonnegative)
    expected = codes_by_quadratic_program(X, D, 0.2, 0.8, nonnegative)
    difference = abs(found.objective / energy(X, expected, D, 0.2, 0.8) - 1)
    assert figure("sparse_code against a quadratic program, relative", difference) < 1e-7


@pytest.mark.parametrize(("alpha1", "alpha2"), [(0.3, 5.0), (0.0, 8.0), (0.3, 0.0), (0.1, 60.0)])
def test_agrees_with_spams(alpha1, alpha2, figure):
    X, D = problem(5, n=200, p=16, k=40)
    found = sparse_code(X, D, alpha1, alpha2)
    assert found.status.startswith("converged")
    # SPAMS leaves all codes at zero when told that the l_inf weight is zero; its lasso does not.
    regul = {"regul": "l1linf+l1", "lambda1": alpha2, "lambda2": alpha1}
    if alpha2 == 0:
        regul = {"regul": "l1", "lambda1": alpha1}
    data, atoms, start = (np.asfortranarray(a) for a in (X.T, D.T, np.zeros((40, 200))))
    options = {"loss": "square", "tol": 1e-10, "max_it": 1000, "numThreads": 1}
    theirs = spams.fistaFlat(data, atoms, start, **regul, **options)
    difference = abs(found.objective / energy(X, theirs.T, D, alpha1, alpha2) - 1)
    assert figure("sparse_code against SPAMS, relative", difference) < 1e-6


@pytest.mark.parametrize(
    ("alpha1", "alpha2", "dtype"),
    [(0.2, 0.8, np.float64), (0.0, 0.8, np.float64), (0.2, 0.0, np.float64), (0.2, 0.8, np.float32)],
)
def test_the_gap_is_never_below_the_suboptimality_which_shrinks(alpha1, alpha2, dtype, figure):
    X, D = problem(6, dtype=dtype)
    last = 0.49 * np.sum(X.astype(float) ** 2)
    # A run that ends early may end with a Newton step that a longer one has not reached: tens are on one path.
    for max_iter in (1, 10, 20, 30, 400):
        found = sparse_code(X, D, alpha1, alpha2, tol=0.0, max_iter=max_iter)
        exact = energy(X.astype(float), found.codes.astype(float), D.astype(float), alpha1, alpha2)
        assert found.objective == pytest.approx(exact, rel=1e-13)
        below = suboptimality(exact, X, D, alpha1, alpha2) - found.gap
        assert figure(f"suboptimality minus gap, {np.dtype(dtype)}", below) <= 1e-14
        assert found.objective <= last * (1 + 10 * np.finfo(dtype).eps)
        assert found.n_iter <= max_iter
        last = found.objective
        assert not found.status.startswith("converged")


@pytest.mark.usefixtures("x64")
def test_momentum_never_raises_the_objective():
    X, D = problem(16)
    D = D[0] + 0.3 * D
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    rows = pad_rows(jnp.asarray(D), 0.02, 0.1)
    start = jnp.zeros((len(rows.atoms), len(X)))
    state, objectives, undone = row_descent.start(jnp.asarray(X.T), rows, start, 0.97), [], 0
    for _ in range(60):
        state = row_descent.momentum_sweep(row_descent.FASTEST, rows, state, nonnegative=False)
        codes = np.asarray(row_descent.codes_of(state)).T[:, : len(D)]
        objectives.append(energy(X, codes, D, 0.02, 0.1))
        undone += state.momentum < 0
    assert undone > 0
    assert np.all(np.diff(objectives) <= 1e-13 * objectives[0])


@pytest.mark.parametrize("nonnegative", [False, True])
def test_the_last_newton_steps_leave_only_rounding(nonnegative, figure):
    X, D = problem(6, n=200, p=20, k=40)
    most = alpha2_max(X, D, 1.0, nonnegative=nonnegative)
    for share in (0.5, 0.1, 0.0):
        found = sparse_code(X, D, 1.0, share * most, tol=1e-6, nonnegative=nonnegative)
        assert figure("gap where 1e-6 was asked", found.gap) < 1e-13


@pytest.mark.parametrize("alpha1", [0.3, 0.0])
def test_float32_certifies_a_millionth(alpha1, figure):
    # At alpha1 = 0 this problem is beyond float32, which stalls at 2e-6: float64 has to take over.
    X, D = problem(5, n=200, p=16, k=40, dtype=np.float32)
    found = sparse_code(X, D, alpha1, 8.0, tol=1e-6)
    assert found.codes.dtype == np.float32
    assert found.status.startswith("converged")
    excess = (
        found.objective / sparse_code(X.astype(float), D.astype(float), alpha1, 8.0, tol=1e-9).objective - 1
    )
    assert 0 <= figure("sparse_code in float32 above float64, relative", excess) <= 1e-6


@pytest.mark.parametrize(
    ("dtype", "nonnegative"), [(np.float64, False), (np.float64, True), (np.float32, False)]
)
def test_lambda_max_is_where_codes_vanish(dtype, nonnegative):
    X, D = problem(8, dtype=dtype)
    top = alpha2_max(X, D, 0.2, nonnegative=nonnegative)
    at = sparse_code(X, D, 0.2, top, nonnegative=nonnegative)
    assert np.all(at.codes == 0)
    assert at.gap <= 1e-12
    assert at.status.startswith("converged")
    below = sparse_code(X, D, 0.2, top * (1 - 1e-2), tol=1e-9, nonnegative=nonnegative)
    assert np.any(below.codes != 0)
    assert below.gap >= suboptimality(below.objective, X, D, 0.2, top * (1 - 1e-2), nonnegative) - 1e-14


def test_just_below_lambda_max_one_atom_wakes():
    X, D = problem(8)
    top = alpha2_max(X, D, 0.2)
    found = sparse_code(X, D, 0.2, top * (1 - 1e-8), tol=0.0, max_iter=50)
    assert (np.abs(found.codes).max(axis=0) > 0).sum() == 1
    assert np.abs(found.codes).max() < 1e-6


def test_alpha1_max_is_where_lasso_codes_vanish():
    X, D = problem(9)
    assert np.all(sparse_code(X, D, alpha1_max(X, D), 0.0).codes == 0)
    assert np.any(sparse_code(X, D, 0.99 * alpha1_max(X, D), 0.0, tol=1e-12).codes != 0)


def test_least_squares_when_nothing_is_penalised():
    for X, D in (problem(10), duplicates(), problem(11, k=3)):
        found = sparse_code(X, D, 0.0, 0.0)
        expected = np.linalg.lstsq(D.T, X.T, rcond=None)[0].T
        np.testing.assert_allclose(found.codes, expected, atol=1e-12)
        assert found.gap < 1e-14
    with pytest.raises(ValueError, match="alpha1 or alpha2 must be positive"):
        sparse_code(X, D, 0.0, 0.0, nonnegative=True)


def test_many_atoms_few_active():
    X, D = problem(12, n=40, p=20, k=300)
    alpha2 = 0.7 * alpha2_max(X, D, 0.5)
    found = sparse_code(X, D, 0.5, alpha2, tol=1e-9)
    active = (np.abs(found.codes).max(axis=0) > 0).sum()
    assert 0 < active < 100
    assert -1e-12 < suboptimality(found.objective, X, D, 0.5, alpha2) <= found.gap <= 1e-9


def test_warm_start_saves_sweeps_and_any_start_ends_at_the_minimum():
    X, D = problem()
    cold = sparse_code(X, D, 0.2, 0.8, tol=1e-10)
    warm = sparse_code(X, D, 0.2, 0.8, tol=1e-9, codes_init=cold.codes)
    assert warm.n_iter == 0
    wild = sparse_code(X, D, 0.2, 0.8, tol=1e-10, codes_init=100 * np.ones_like(cold.codes))
    assert wild.objective == pytest.approx(cold.objective, rel=1e-9)


def test_atoms_that_are_unit_norm_only_nearly_are_taken_as_they_are():
    X, D = problem()
    D = D * np.linspace(0.9992, 1.0008, len(D))[:, None]
    found = sparse_code(X, D, 0.2, 0.8, tol=1e-10)
    assert -1e-12 < suboptimality(found.objective, X, D, 0.2, 0.8) <= found.gap <= 1e-10


def test_zero_data_need_no_codes():
    X, D = problem()
    found = sparse_code(0 * X, D, 0.2, 0.8)
    assert np.all(found.codes == 0)
    assert found.objective == found.gap == 0


def test_float64_data_are_coded_in_float64_whatever_the_global_setting():
    X, D = problem()
    assert not jax.config.jax_enable_x64
    assert sparse_code(X, D, 0.2, 0.8, tol=1e-11).gap <= 1e-11


@pytest.mark.parametrize("nonnegative", [False, True])
def test_duality_gap_of_given_codes(nonnegative):
    X, D = problem(13)
    rng = np.random.default_rng(0)
    best = codes_by_proximal_gradient(X, D, 0.2, 0.8, nonnegative)
    optimum = energy(X, best, D, 0.2, 0.8)
    for noise in (0.0, 1e-3, 1.0):
        codes = best + noise * np.abs(rng.normal(size=best.shape))
        found = duality_gap(X, codes, D, 0.2, 0.8, nonnegative=nonnegative)
        assert found.objective == pytest.approx(energy(X, codes, D, 0.2, 0.8), rel=1e-13)
        assert found.bound <= optimum * (1 + 1e-14)
        assert found.gap * 0.5 * np.sum(X**2) >= found.objective - optimum
    assert duality_gap(X, best, D, 0.2, 0.8, nonnegative=nonnegative).gap < 1e-10


@pytest.mark.parametrize("nonnegative", [False, True])
def test_kkt_residuals_vanish_only_at_the_optimum(nonnegative):
    X, D = problem(14)
    best = codes_by_proximal_gradient(X, D, 0.2, 0.8, nonnegative)
    residuals = kkt_residuals(X, best, D, 0.2, 0.8, nonnegative=nonnegative)
    assert residuals.shape == (len(D),)
    assert residuals.max() < 1e-9
    best[:, 2] += 0.1
    assert kkt_residuals(X, best, D, 0.2, 0.8, nonnegative=nonnegative)[2] > 0.05


def test_padl_energy(x64):
    X, D = problem(15)
    codes = np.random.default_rng(1).normal(size=(len(X), len(D)))
    assert float(padl_energy(X, codes, D, 0.3, 0.7)) == pytest.approx(
        energy(X, codes, D, 0.3, 0.7), rel=1e-14
    )


X_GOOD, D_GOOD = problem()


@pytest.mark.parametrize(
    ("arguments", "options", "match"),
    [
        ((X_GOOD, D_GOOD, -0.1, 0.5), {}, "alpha1"),
        ((X_GOOD, D_GOOD, 0.1, np.nan), {}, "alpha2"),
        ((X_GOOD, 2 * D_GOOD, 0.1, 0.5), {}, "unit-norm"),
        ((X_GOOD[:, :4], D_GOOD, 0.1, 0.5), {}, "X has 4 features, expected 5"),
        ((X_GOOD[0], D_GOOD, 0.1, 0.5), {}, "2 dimensions"),
        ((X_GOOD * np.nan, D_GOOD, 0.1, 0.5), {}, "NaN"),
        ((X_GOOD, D_GOOD, 0.1, 0.5), {"tol": -1.0}, "tol"),
        ((X_GOOD, D_GOOD, 0.1, 0.5), {"max_iter": 0}, "max_iter"),
        ((X_GOOD, D_GOOD, 0.1, 0.5), {"codes_init": np.zeros((3, 7))}, "codes_init"),
        ((X_GOOD, D_GOOD, 0.1, 0.5), {"codes_init": np.zeros((12, 6))}, "codes_init"),
    ],
)
def test_bad_input_is_named(arguments, options, match):
    with pytest.raises(ValueError, match=match):
        sparse_code(*arguments, **options)


@pytest.mark.parametrize(
    ("codes", "alphas", "match"),
    [
        (np.zeros((3, 7)), (0.1, 0.5), "one per sample"),
        (-np.ones((12, 7)), (0.1, 0.5), "negative"),
        (np.zeros((12, 7)), (0.0, 0.0), "both zero"),
    ],
)
def test_duality_gap_refuses(codes, alphas, match):
    with pytest.raises(ValueError, match=match):
        duality_gap(X_GOOD, codes, D_GOOD, *alphas, nonnegative=True)


@pytest.mark.parametrize(("tol", "scale"), [(1e-9, 1.0), (1e-6, 1e-12), (1e-9, 1e30), (0.0, 1.0)])
def test_what_float32_brings_near_float64_finishes(tol, scale, monkeypatch):
    """Scaled so that float32 alone would over- or underflow."""
    X, D = problem(5, n=30)
    plain = sparse_code(X * scale, D, 0.2 * scale, 0.8 * scale, tol=1e-9)
    monkeypatch.setattr(working_set, "ROUGH_SIZE", 0)
    found = sparse_code(X * scale, D, 0.2 * scale, 0.8 * scale, tol=tol, max_iter=500)
    assert found.codes.dtype == np.float64
    assert found.gap <= max(tol, 1e-12)
    assert found.status.startswith("converged") == (tol > 0)
    half = 0.5 * np.sum((X * scale) ** 2)
    assert abs(found.objective - plain.objective) <= max(tol, 1e-9) * half
    assert found.objective == pytest.approx(
        energy(X * scale, found.codes, D, 0.2 * scale, 0.8 * scale), rel=1e-12
    )
    assert sparse_code(0 * X, D, 0.2, 0.8).gap == 0


@pytest.mark.parametrize("nonnegative", [False, True])
def test_a_path_is_its_points(nonnegative):
    X, D = problem(6, n=200, p=20, k=40)
    largest = alpha2_max(X, D, 0.1, nonnegative=nonnegative)
    alphas = [(0.1, largest * share) for share in (1, 0.6, 0.3, 0.3, 0.1, 0.05)]
    path = sparse_code_path(X, D, alphas, nonnegative=nonnegative)
    points = [sparse_code(X, D, *alpha, nonnegative=nonnegative) for alpha in alphas]
    half = 0.5 * np.sum(X**2)
    for one, other in zip(path, points, strict=True):
        assert one.status.startswith("converged")
        assert abs(one.objective - other.objective) <= 1e-6 * half
    assert not path[0].codes.any()
    assert path[3].n_iter == 0 < points[3].n_iter
    assert path[2].objective - path[3].objective <= 1e-6 * half
    np.testing.assert_allclose(path[3].codes, path[2].codes, atol=1e-2)


def test_a_path_has_least_squares_where_nothing_is_penalised():
    X, D = problem(7)
    first, last = sparse_code_path(X, D, [(0.1, 0.5), (0.0, 0.0)])
    assert "least squares" in last.status
    assert last.objective < first.objective


@pytest.mark.parametrize(
    ("alphas", "options", "words"),
    [
        ([0.1, 0.5], {}, "alphas must have shape"),
        ([(0.1, -0.5)], {}, r"alphas\[0, 1\]"),
        ([(0.1, 0.5), (0.0, 0.0)], {"nonnegative": True}, "must be positive"),
    ],
)
def test_bad_paths_get_one_clear_error(alphas, options, words):
    with pytest.raises(ValueError, match=words):
        sparse_code_path(*problem(), alphas, **options)
