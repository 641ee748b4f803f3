"""Scores of atoms, against refits without each."""

import numpy as np
import pytest

from padl_bayes.compress.calibration import root_of, second_moment, weighted_error
from padl_bayes.compress.pruning import atom_scores, deletion_errors, pruned_weight
from padl_bayes.inference import fit_em


@pytest.fixture(scope="module")
def planted():
    """A weight of six atoms under correlated inputs, its root, V and a fit."""
    rng = np.random.default_rng(0)
    root = root_of(second_moment(rng.standard_normal((300, 10)) @ rng.standard_normal((10, 10))))
    atoms = rng.standard_normal((6, 10))
    codes = np.where(rng.random((400, 6)) < 0.3, rng.laplace(size=(400, 6)), 0) * np.geomspace(2, 0.3, 6)
    V = codes @ (atoms / np.linalg.norm(atoms, axis=1, keepdims=True)) + 0.02 * rng.standard_normal((400, 10))
    return np.linalg.solve(root.T, V.T).T, root, V, fit_em(V, 12)


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
    _, root, V, fit = planted
    assert len(fit.dictionary) == 6
    scores = atom_scores(fit, V, root)
    for name in ("log odds", "calibrated magnitude", "deletion error"):
        # the fit lists atoms by energy, here far apart
        assert np.all(np.diff(scores[name]) < 0), name
    np.testing.assert_allclose(scores["P(used)"], fit.usage * (len(V) + 1) - 0.5, rtol=0.02)
    sizes = np.abs(np.where(fit.probability >= 0.5, fit.codes / fit.probability, 0)).mean(axis=0)
    atoms = fit.dictionary @ np.linalg.inv(root)
    np.testing.assert_allclose(scores["magnitude"], sizes * np.linalg.norm(atoms, axis=1))


def test_a_pruned_weight_loses_what_the_scores_say(planted):
    W, root, V, fit = planted
    whole = weighted_error(W, pruned_weight(fit, V, root, np.arange(6)), root)
    assert whole < 2 * V.size * 0.02**2
    rise = atom_scores(fit, V, root)["deletion error"]
    for k in (0, 5):
        kept = np.flatnonzero(np.arange(6) != k)
        error = weighted_error(W, pruned_weight(fit, V, root, kept), root)
        assert error - whole == pytest.approx(rise[k], rel=1e-6)
