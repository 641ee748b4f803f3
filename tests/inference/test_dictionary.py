"""Updates of unit-norm atoms against a generic minimiser on the sphere."""

import jax
import numpy as np
import pytest
from scipy.optimize import minimize

from padl_bayes.inference.dictionary import minimise_on_sphere, update_dictionary, update_dictionary_masked
from tests.inference.problems import sparse_data, unit_rows

N, P, K = 30, 5, 4
BOTH = pytest.mark.parametrize("dtype", [np.float64, np.float32])

pytestmark = pytest.mark.usefixtures("x64")
update = jax.jit(update_dictionary)
update_masked = jax.jit(update_dictionary_masked)
on_sphere = jax.jit(minimise_on_sphere)


def lowest_on_sphere(value_and_gradient, n_features, starts):
    """Least value over unit vectors: a quasi-Newton method on v / ||v|| from many starts."""

    def free(v):
        norm = np.linalg.norm(v)
        value, gradient = value_and_gradient(v / norm)
        return value, (gradient - (gradient @ v) * v / norm**2) / norm

    rng = np.random.default_rng(0)
    tries = [*np.atleast_2d(starts), *rng.standard_normal((12, n_features))]
    tries += [sign * axis for axis in np.eye(n_features) for sign in (-1, 1)]
    return min(minimize(free, v, jac=True, method="BFGS", options={"gtol": 1e-10}).fun for v in tries)


def case(seed=0, dtype=np.float64):
    """Data, codes and a dictionary that is not theirs."""
    rng = np.random.default_rng(seed)
    X, _ = sparse_data(rng, N, P, K, 0.3)
    codes = rng.laplace(size=(N, K)) * (rng.random((N, K)) < 0.5)
    return X.astype(dtype), codes.astype(dtype), unit_rows(rng, K, P).astype(dtype)


def energy(X, codes, dictionary):
    return 0.5 * np.sum((X - codes @ dictionary).astype(float) ** 2)


@BOTH
def test_each_atom_in_turn_is_the_best_given_the_others(dtype):
    X, codes, dictionary = case(dtype=dtype)
    found = np.asarray(update(codes.T @ codes, codes.T @ X, dictionary))
    assert found.dtype == dtype
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=4 * eps)
    current = dictionary.astype(float)
    for k in range(K):
        rest = X - np.delete(codes, k, 1) @ np.delete(current, k, 0)

        def quadratic(d, rest=rest, k=k):
            residual = rest - np.outer(codes[:, k], d)
            return 0.5 * np.sum(residual**2), -residual.T @ codes[:, k]

        current[k] = found[k]
        lowest = lowest_on_sphere(quadratic, P, dictionary[k])
        assert quadratic(current[k])[0] <= lowest + 100 * eps * energy(X, codes, 0 * current)
    assert energy(X, codes, found) < energy(X, codes, dictionary)


def test_no_update_raises_the_quadratic():
    for seed in range(20):
        X, codes, dictionary = case(seed)
        values = [energy(X, codes, dictionary)]
        for _ in range(10):
            dictionary = np.asarray(update(codes.T @ codes, codes.T @ X, dictionary))
            values.append(energy(X, codes, dictionary))
        assert np.all(np.diff(values) <= 1e-14 * values[0])


def test_an_atom_without_codes_stays_as_it_is():
    X, codes, dictionary = case()
    codes[:, 1] = 0
    found = update(codes.T @ codes, codes.T @ X, dictionary)
    np.testing.assert_array_equal(found[1], dictionary[1])
    observed = np.ones((1, P, N))
    residual = (X - codes @ dictionary).T[None]
    found = update_masked(residual, observed, codes.T[None], codes.T[None] ** 2, dictionary)
    np.testing.assert_array_equal(found[1], dictionary[1])


def sphere_cases():
    rng = np.random.default_rng(3)
    for _ in range(8):
        yield rng.uniform(0, 5, P), rng.standard_normal(P) * 10.0 ** rng.integers(-3, 3)
    equal = np.full(P, 2.0)
    yield equal, rng.standard_normal(P)
    # one curvature far below the others, its slope small; and negative ones, as a generic minimiser would not mind
    yield np.array([1e-6, 1, 2, 3, 4]), np.array([1e-6, 0.1, 0.1, 0.1, 0.1])
    yield np.array([-1.0, 1, 2, 3, 4]), rng.standard_normal(P)
    yield rng.uniform(0, 1e8, P), 1e3 * rng.standard_normal(P)
    # hard case: no slope along the flattest direction, too little slope elsewhere to fill the sphere
    yield np.array([0.0, 1, 2, 3, 4]), np.array([0.0, 0.2, 0.2, 0.2, 0.2])
    yield np.array([1.0, 1, 2, 3, 4]), np.array([0.0, 0.0, 0.2, 0.2, 0.2])


@pytest.mark.parametrize(("curvature", "linear"), list(sphere_cases()))
def test_minimum_on_the_sphere(curvature, linear):
    def quadratic(d):
        return 0.5 * np.sum(curvature * d * d) - linear @ d, curvature * d - linear

    fallback = np.eye(P)[0]
    found = np.asarray(on_sphere(curvature, linear, fallback))
    assert np.linalg.norm(found) == pytest.approx(1, rel=1e-14)
    scale = np.abs(curvature).max() + np.linalg.norm(linear)
    assert quadratic(found)[0] <= lowest_on_sphere(quadratic, P, [fallback, linear]) + 1e-12 * scale


def test_minimum_on_the_sphere_without_a_slope_is_the_fallback():
    fallback = np.array([0.6, 0.8, 0, 0, 0])
    np.testing.assert_array_equal(on_sphere(np.ones(P), np.zeros(P), fallback), fallback)


def masked_case(seed=0, dtype=np.float64):
    """Case with a third of the entries missing and posterior variances, and its expected quadratic."""
    X, codes, dictionary = case(seed, dtype)
    rng = np.random.default_rng(100 + seed)
    observed = (rng.random(X.shape) < 0.67).astype(dtype)
    square = codes**2 + rng.uniform(0, 0.3, codes.shape).astype(dtype)
    X = X * observed

    def expected(dictionary):
        residual = observed * (X - codes @ dictionary)
        variance = np.einsum("nk,np,kp->", square - codes**2, observed, dictionary.astype(float) ** 2)
        return 0.5 * np.sum(residual.astype(float) ** 2) + 0.5 * variance

    residual = (observed * (X - codes @ dictionary)).T[None]
    arguments = residual, observed.T[None], codes.T[None], square.T[None], dictionary
    return arguments, expected


@BOTH
def test_masked_atoms_in_turn_are_the_best_given_the_others(dtype):
    arguments, expected = masked_case(dtype=dtype)
    found = np.asarray(update_masked(*arguments))
    assert found.dtype == dtype
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=4 * eps)
    current = arguments[-1].astype(float)
    start = expected(current)
    for k in range(K):

        def quadratic(d, k=k):
            def at(v):
                return expected(np.concatenate([current[:k], v[None], current[k + 1 :]]))

            step = 1e-4
            slope = [(at(d + step * e) - at(d - step * e)) / (2 * step) for e in np.eye(P)]
            return at(d), np.array(slope)

        lowest = lowest_on_sphere(quadratic, P, current[k])
        current[k] = found[k]
        assert expected(current) <= lowest + 100 * max(eps, 1e-11) * start
    assert expected(current) < start


def test_no_masked_update_raises_the_expected_quadratic():
    for seed in range(20):
        (residual, observed, codes, square, dictionary), expected = masked_case(seed)
        values = [expected(dictionary)]
        X = residual[0].T + observed[0].T * (codes[0].T @ dictionary)
        for _ in range(10):
            dictionary = np.asarray(update_masked(residual, observed, codes, square, dictionary))
            residual = (observed[0].T * (X - codes[0].T @ dictionary)).T[None]
            values.append(expected(dictionary))
        assert np.all(np.diff(values) <= 1e-13 * values[0])


def test_with_everything_observed_both_updates_agree():
    X, codes, dictionary = case()
    square = codes.T[None] ** 2 + 0.1
    residual = (X - codes @ dictionary).T[None]
    masked = update_masked(residual, np.ones((1, P, N)), codes.T[None], square, dictionary)
    np.testing.assert_allclose(masked, update(codes.T @ codes, codes.T @ X, dictionary), atol=1e-12)


def test_a_feature_that_the_users_of_an_atom_lack_never_raises_the_expected_quadratic():
    """The flattest direction without a slope, as it comes about: the atom's norm can go there at no cost."""
    (_, observed, codes, square, dictionary), _ = masked_case(7)
    observed, codes, square = observed.copy(), codes.copy(), square.copy()
    codes[0, 0], square[0, 0] = 0, 0
    codes[0, 0, :6], square[0, 0, :6] = 0.05, 0.3
    observed[0, 0, :6] = 0
    rng = np.random.default_rng(0)
    X = observed[0].T * rng.standard_normal((N, P))

    def expected(dictionary):
        residual = observed[0].T * (X - codes[0].T @ dictionary)
        spread = np.einsum("kn,pn,kp->", square[0] - codes[0] ** 2, observed[0], dictionary**2)
        return 0.5 * np.sum(residual**2) + 0.5 * spread

    values = [expected(dictionary)]
    for _ in range(5):
        residual = (observed[0].T * (X - codes[0].T @ dictionary)).T[None]
        dictionary = np.asarray(update_masked(residual, observed, codes, square, dictionary))
        values.append(expected(dictionary))
    assert np.all(np.diff(values) <= 1e-13 * values[0])
