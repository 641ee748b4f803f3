"""Scores of atoms, against refits without each."""

from types import SimpleNamespace

import numpy as np
import pytest

from padl_bayes.compress.calibration import root_of, second_moment, weighted_error
from padl_bayes.compress.pruning import atom_scores, deletion_errors, pruned_weight


@pytest.fixture(scope="module")
def planted():
    """A weight of six atoms under correlated inputs, its root, V, and what a fit would say of it."""
    rng = np.random.default_rng(0)
    root = root_of(second_moment(rng.standard_normal((300, 10)) @ rng.standard_normal((10, 10))))
    atoms = rng.standard_normal((6, 10))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    used = rng.random((400, 6)) < 0.3
    codes = np.where(used, rng.laplace(size=(400, 6)), 0) * np.geomspace(2, 0.3, 6)
    V = codes @ atoms + 0.02 * rng.standard_normal((400, 10))
    probability = np.where(used, 0.9, 0.2)
    fit = SimpleNamespace(
        dictionary=atoms, codes=np.where(used, 0.9 * codes, 0.01), probability=probability,
        activation_log_odds=np.arange(6.0),
    )  # fmt: skip
    return np.linalg.solve(root.T, V.T).T, root, V, fit, codes


def test_deletion_errors_are_those_of_refits():
    rng = np.random.default_rng(1)
    atoms = rng.standard_normal((5, 7))
    X = rng.standard_normal((300, 7))
    used = rng.random((300, 5)) < 0.5

    def error(allowed):
        total = 0.0
        codes = np.zeros((300, 5))
        for n in range(300):
            own = np.flatnonzero(allowed[n])
            codes[n, own] = np.linalg.lstsq(atoms[own].T, X[n], rcond=None)[0]
            total += np.sum((X[n] - codes[n] @ atoms) ** 2)
        return total, codes

    before, codes = error(used)
    direct = [error(used & (np.arange(5) != k))[0] - before for k in range(5)]
    np.testing.assert_allclose(deletion_errors(codes, atoms), direct, rtol=1e-7)


def test_scores_order_atoms_of_falling_size(planted):
    _, root, V, fit, codes = planted
    scores = atom_scores(fit, V, root)
    for name in ("calibrated magnitude", "deletion error"):
        # planted codes fall by a factor of 1.5 from atom to atom
        assert np.all(np.diff(scores[name]) < 0), name
    np.testing.assert_array_equal(scores["log odds"], np.arange(6))
    np.testing.assert_allclose(scores["P(used)"], [0.2 * 400 + 0.7 * np.sum(r != 0) for r in codes.T])
    size, norm = np.abs(codes).mean(axis=0), np.linalg.norm(fit.dictionary @ np.linalg.inv(root), axis=1)
    np.testing.assert_allclose(scores["magnitude"], size * norm)
    np.testing.assert_allclose(scores["calibrated magnitude"], size)


def test_a_pruned_weight_loses_what_the_scores_say(planted):
    W, root, V, fit, _ = planted
    whole = weighted_error(W, pruned_weight(fit, V, root, np.arange(6)), root)
    assert whole < 2 * V.size * 0.02**2
    rise = atom_scores(fit, V, root)["deletion error"]
    for k in (0, 5):
        kept = np.flatnonzero(np.arange(6) != k)
        error = weighted_error(W, pruned_weight(fit, V, root, kept), root)
        assert error - whole == pytest.approx(rise[k], rel=1e-6)
