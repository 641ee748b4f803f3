"""PADL's MAP fit: a monotone objective, a certificate, and what it may and may not depend on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from padl_bayes.calibration import calibrate_alpha
from padl_bayes.datasets import bars, pure_noise, synthetic_a
from padl_bayes.inference.map import _merge_twins, _point_idle_atoms, _starting_atoms, _State, fit_map
from padl_bayes.objective import duality_gap
from padl_bayes.working_set import Problem
from tests.oracles.convex import codes_by_proximal_gradient, energy

N, P, K = 24, 6, 8
# All examples add to one record of figures.
ONE_RECORD = [HealthCheck.function_scoped_fixture]


def small(seed=0, dtype=np.float64):
    """Sparse combinations of five atoms in noise."""
    rng = np.random.default_rng(seed)
    atoms = rng.normal(size=(5, P))
    codes = rng.laplace(size=(N, 5)) * (rng.random((N, 5)) < 0.5)
    return (codes @ atoms + 0.2 * rng.normal(size=(N, P))).astype(dtype)


@functools.cache
def fitted(sign=1, alpha=(0.1, 0.5), random_state=0):
    return fit_map(sign * small(), K, alpha=alpha, random_state=random_state)


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=ONE_RECORD)
@given(
    seed=st.integers(0, 10**6),
    alpha1=st.floats(0, 1.0),
    alpha2=st.floats(0.01, 5.0),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
    nonnegative=st.booleans(),
)
def test_the_objective_never_rises(figure, seed, alpha1, alpha2, scale, nonnegative):
    X = scale * small(seed)
    alpha = (scale * alpha1, scale * alpha2)
    fit = fit_map(X, K, alpha=alpha, nonnegative=nonnegative, max_iter=10, random_state=seed)
    assert fit.objective == pytest.approx(energy(X, fit.codes, fit.dictionary, *alpha), rel=1e-12)
    rounding = 100 * np.finfo(np.float64).eps * fit.history[0]
    figure(
        "largest rise of the MAP objective, relative",
        np.diff(fit.history).max(initial=-np.inf) / fit.history[0],
    )
    assert np.all(np.diff(fit.history) <= rounding)
    assert fit.history[0] <= 0.5 * np.sum(X**2) + rounding
    if nonnegative:
        assert fit.codes.min(initial=0) >= 0


def test_what_a_fit_consists_of():
    X, fit = small(), fitted()
    k = len(fit.dictionary)
    assert 0 < k <= K
    assert fit.codes.shape == (N, k)
    np.testing.assert_allclose(np.linalg.norm(fit.dictionary, axis=1), 1, rtol=1e-14)
    assert fit.objective == pytest.approx(energy(X, fit.codes, fit.dictionary, *fit.alpha), rel=1e-13)
    assert fit.history[-1] == fit.objective
    assert len(fit.history) == fit.n_iter + 1
    np.testing.assert_array_equal(fit.usage, (fit.codes != 0).mean(axis=0))
    assert fit.usage.min() > 0
    assert np.all(np.diff(np.sum(fit.codes**2, axis=0)) <= 0)
    assert fit.alpha == (0.1, 0.5)
    assert fit.wall_time > 0
    assert fit.status.startswith("converged")


def test_codes_are_optimal_for_the_dictionary_within_the_gap():
    X, fit = small(), fitted()
    best = energy(X, codes_by_proximal_gradient(X, fit.dictionary, *fit.alpha), fit.dictionary, *fit.alpha)
    excess = (fit.objective - best) / (0.5 * np.sum(X**2))
    assert excess <= fit.gap <= 1e-6
    assert duality_gap(X, fit.codes, fit.dictionary, *fit.alpha).gap <= 1e-5


def test_no_atom_can_be_turned_to_lower_the_objective():
    # At a minimum over the sphere the gradient with respect to each atom is along the atom.
    X = small()
    fit = fit_map(X, K, alpha=(0.1, 0.5), tol=1e-9, max_iter=1500, gap_tol=1e-10)
    gradient = fit.codes.T @ (X - fit.codes @ fit.dictionary)
    tangent = gradient - np.sum(gradient * fit.dictionary, axis=1, keepdims=True) * fit.dictionary
    weight = np.sum(fit.codes**2, axis=0)[:, None]
    # Turning atom k to its best direction gains |tangent|^2 / (2 weight), far below tol times the iterations.
    assert np.sum(tangent**2 / (2 * weight)) < 1e-6 * fit.objective


def test_two_runs_with_one_seed_are_identical():
    again = fit_map(small(), K, alpha=(0.1, 0.5))
    for name in ("dictionary", "codes", "history"):
        np.testing.assert_array_equal(getattr(again, name), getattr(fitted(), name))
    assert not np.array_equal(fitted(random_state=1).dictionary, again.dictionary)


def test_flipping_the_sign_of_the_data_flips_the_atoms():
    flipped = fitted(sign=-1)
    np.testing.assert_array_equal(flipped.dictionary, -fitted().dictionary)
    np.testing.assert_array_equal(flipped.codes, fitted().codes)


def test_permuting_features_permutes_the_atoms():
    order = np.random.default_rng(0).permutation(P)
    permuted = fit_map(small()[:, order], K, alpha=(0.1, 0.5))
    assert permuted.n_iter == fitted().n_iter
    # Sums in another order differ in the last bit, which the iterations carry along.
    np.testing.assert_allclose(permuted.dictionary, fitted().dictionary[:, order], atol=1e-8)
    np.testing.assert_allclose(permuted.codes, fitted().codes, atol=1e-7)


def test_precision_follows_the_data():
    assert not jax.config.jax_enable_x64
    single = fit_map(small(dtype=np.float32), K, alpha=(0.1, 0.5))
    assert single.dictionary.dtype == single.codes.dtype == np.float32
    assert fitted().dictionary.dtype == np.float64
    assert single.gap <= 1e-6
    rounding = 10 * np.finfo(np.float32).eps * single.history[0]
    assert np.all(np.diff(single.history) <= rounding)


def test_weights_are_calibrated_when_not_given():
    X = small()
    fit = fit_map(X, K)
    assert fit.alpha == calibrate_alpha(X)[:2]
    assert fit_map(X, K, alpha=fit.alpha).objective == fit.objective


def test_calibrated_weights_keep_atoms_out_of_noise():
    counts = []
    for seed in range(10):
        noise = pure_noise(N, P, seed=seed).X
        alpha = calibrate_alpha(shape=noise.shape, noise_scale=1.0, delta=0.05, n_simulations=99)[:2]
        counts.append(len(fit_map(noise, K, alpha=alpha).dictionary))
    # Ten fits wake an atom with probability 0.05 each: three or more have probability 0.012.
    assert np.count_nonzero(counts) <= 2


def test_no_atom_at_all_is_an_answer():
    X = small()
    fit = fit_map(X, K, alpha=(0.1, 1e6))
    assert fit.dictionary.shape == (0, P)
    assert fit.codes.shape == (N, 0)
    assert fit.objective == pytest.approx(0.5 * np.sum(X**2), rel=1e-14)
    assert fit.gap <= 1e-14
    assert "no atom" in fit.status


def test_idle_atoms_are_pointed_where_they_are_wanted():
    # Orthogonal to all data, no starting atom ever gets a code by itself.
    X, start = small(), np.zeros((K, P))
    X[:, 4:] = 0
    start[:, 4:] = np.random.default_rng(0).normal(size=(K, 2))
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    fit = fit_map(X, K, alpha=(0.1, 0.5), dictionary_init=start)
    assert len(fit.dictionary) >= 4
    assert fit.history[0] == pytest.approx(0.5 * np.sum(X**2), rel=1e-14)
    assert np.all(np.diff(fit.history) <= 1e-12 * fit.history[0])


def state_of(X, codes, dictionary, alpha, nonnegative=False):
    state = _State(jnp.asarray(codes.T), jnp.asarray(dictionary))
    return state, Problem(jnp.asarray(X.T), state.dictionary, *alpha, nonnegative)


def statistics(X, state):
    return state.codes @ state.codes.T, state.codes @ X


def energy_of(X, state, alpha):
    return energy(X, np.asarray(state.codes).T, np.asarray(state.dictionary), *alpha)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_twins_merge_where_that_does_not_raise_the_objective(x64, nonnegative):
    rng, alpha = np.random.default_rng(0), (0.1, 0.5)
    atoms = np.linalg.qr(rng.normal(size=(P, P)))[0]
    atoms[1] = atoms[0] + 0.01 * atoms[1]
    atoms[3] = -atoms[2] + 0.01 * atoms[3]
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    codes = np.abs(rng.normal(size=(N, P)))
    X = codes @ atoms + 0.1 * rng.normal(size=(N, P))
    state, problem = state_of(X, codes, atoms, alpha, nonnegative)
    merged = _merge_twins(state, *statistics(X, state), problem)
    assert energy_of(X, merged, alpha) <= energy_of(X, state, alpha)
    active = np.asarray(merged.codes).any(axis=1)
    # Opposite atoms cannot stand in for each other where codes are nonnegative.
    assert active.sum() == (5 if nonnegative else 4)
    assert active[4:].all()


def test_twins_that_earn_their_keep_stay(x64):
    rng, alpha = np.random.default_rng(1), (1e-4, 1e-4)
    atoms = np.linalg.qr(rng.normal(size=(P, P)))[0][:2]
    atoms[1] = atoms[0] + 0.1 * atoms[1]
    atoms[1] /= np.linalg.norm(atoms[1])
    codes = 10 * rng.normal(size=(N, 2))
    X = codes @ atoms
    state, problem = state_of(X, codes, atoms, alpha)
    assert abs(atoms[0] @ atoms[1]) > 0.99
    merged = _merge_twins(state, *statistics(X, state), problem)
    np.testing.assert_array_equal(merged.codes, state.codes)


def test_pointing_idle_atoms_costs_nothing_and_spares_the_active_ones(x64):
    X, alpha = small(), (0.1, 0.5)
    codes, atoms = np.zeros((N, K)), np.eye(K, P)
    atoms[P:, 0] = 1
    codes[:, 2] = np.random.default_rng(0).normal(size=N)
    state, problem = state_of(X, codes, atoms, alpha)
    moved, count = _point_idle_atoms(state, problem)
    assert 0 < count < K
    np.testing.assert_array_equal(moved.codes, state.codes)
    np.testing.assert_array_equal(moved.dictionary[2], state.dictionary[2])
    fresh = np.flatnonzero(np.any(np.asarray(moved.dictionary) != atoms, axis=1))
    residual = X - codes @ atoms
    levels = np.maximum(np.abs(residual @ np.asarray(moved.dictionary)[fresh].T) - alpha[0], 0).sum(axis=0)
    assert np.all(levels > alpha[1])
    cosines = np.abs(np.asarray(moved.dictionary)[[2, *fresh]] @ np.asarray(moved.dictionary)[[2, *fresh]].T)
    assert np.max(np.triu(cosines, 1)) <= 0.99


def test_finds_the_atoms_of_synthetic_data():
    data = synthetic_a(0.1, n_samples=400, n_features=12, n_atoms=8, seed=0, usage=0.2)
    fit = fit_map(data.X, 12, alpha=(0.1, 0.0), tol=1e-3)
    assert (np.abs(fit.dictionary @ data.dictionary.T).max(axis=0) > 0.95).sum() == 8


def test_nonnegative_codes_find_bars():
    data = bars(200, seed=0)
    fit = fit_map(data.X, 14, alpha=(4.0, 50.0), nonnegative=True, tol=1e-4)
    assert fit.codes.min() >= 0
    assert (np.abs(fit.dictionary @ data.dictionary.T).max(axis=0) > 0.9).sum() == 10


def test_starting_atoms_are_as_many_as_nonzero_samples_at_most():
    X = small()[:5]
    X[2] = 0
    atoms = _starting_atoms(X, 50, 0)
    assert atoms.shape == (4, P)
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1, rtol=1e-14)
    cosines = atoms @ X.T / np.maximum(np.linalg.norm(X, axis=1), 1e-300)
    assert sorted(cosines.argmax(axis=1)) == [0, 1, 3, 4]
    np.testing.assert_allclose(cosines.max(axis=1), 1, rtol=1e-14)


def test_the_callback_hears_every_iteration_and_may_interrupt():
    heard = []
    fit = fit_map(small(), K, alpha=(0.1, 0.5), max_iter=4, callback=heard.append)
    assert [h.iteration for h in heard] == [0, 1, 2, 3]
    np.testing.assert_array_equal([h.objective for h in heard], fit.history[:-1])
    assert "stopped after max_iter=4 iterations" in fit.status

    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_map(small(), K, alpha=(0.1, 0.5), callback=interrupt)


@pytest.mark.parametrize(
    ("X", "options", "error", "match"),
    [
        (small(), {"n_atoms": 0}, ValueError, "n_atoms"),
        (small(), {"n_atoms": 2.5}, TypeError, "n_atoms"),
        (small(), {"alpha": 0.1}, ValueError, "pair"),
        (small(), {"alpha": (0.1, -1.0)}, ValueError, r"alpha\[1\]"),
        (small(), {"alpha": (0.0, 0.0)}, ValueError, "positive"),
        (small(), {"max_iter": 0}, ValueError, "max_iter"),
        (small(), {"tol": -1.0}, ValueError, "tol"),
        (small(), {"random_state": -1}, ValueError, "random_state"),
        (small(), {"dictionary_init": np.eye(K, P)}, ValueError, "unit-norm"),
        (small(), {"dictionary_init": np.eye(P)}, ValueError, "n_atoms=8 rows, found 6"),
        (np.ones((4, 3)), {}, ValueError, "constant"),
        (np.arange(3.0), {}, ValueError, "2 dimensions"),
        (small()[:1], {}, ValueError, "at least 2"),
    ],
)
def test_bad_input_is_named(X, options, error, match):
    with pytest.raises(error, match=match):
        fit_map(X, **{"n_atoms": K, **options})
