"""Which atoms the certificate leaves out: none that the optimum needs."""

import jax
import numpy as np
import pytest

from padl_bayes import working_set
from padl_bayes.objective import alpha2_max
from tests.oracles.convex import codes_by_proximal_gradient


@pytest.mark.parametrize(
    ("alpha1", "share", "nonnegative"), [(0.5, 0.7, False), (0.2, 0.4, True), (0.0, 0.5, False)]
)
def test_screened_atoms_are_zero_at_the_optimum(alpha1, share, nonnegative, figure):
    rng = np.random.default_rng(12)
    D = rng.normal(size=(300, 20))
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    X = rng.normal(size=(40, 20))
    alpha2 = share * alpha2_max(X, D, alpha1, nonnegative=nonnegative)
    best = codes_by_proximal_gradient(X, D, alpha1, alpha2, nonnegative)
    needed = np.abs(best).max(axis=0) > 1e-9
    screened = []
    for far in np.geomspace(1, 1e-6, 13):
        codes = (1 - far) * best
        F = X - codes @ D + far * rng.normal(size=X.shape)
        with jax.enable_x64(True):
            found = working_set._certify(
                X.T, D, len(D), alpha1, alpha2, D, codes.T, F.T, nonnegative=nonnegative, lasso=False
            )
        assert not (np.asarray(found.inactive) & needed).any()
        screened.append(int(found.inactive.sum()))
    assert screened[0] == 0
    assert figure("screened near the optimum, of those not needed", screened[-1] / (~needed).sum()) > 0.9


@pytest.mark.parametrize(("x", "f"), [((0.9, 0.0), (0.35, 0.0)), ((0.501, 0.9), (0.35, 0.5))])
def test_an_atom_barely_needed_is_not_screened(x, f):
    """Orthogonal atoms, equal samples: the optimum is known, the best dual point as far as the rule allows.

    In the first, the feasible multiple of F is all that is far; in the second, the gap.
    """
    n, alpha1, alpha2 = 9, 0.3, 1.8
    X, F = np.tile(x, (n, 1)), np.tile(f, (n, 1))
    codes = np.maximum(X - alpha1 - alpha2 / n, 0)
    with jax.enable_x64(True):
        found = working_set._certify(
            X.T, np.eye(2), 2, alpha1, alpha2, np.eye(2), codes.T, F.T, nonnegative=False, lasso=False
        )
    assert np.asarray(found.levels)[0] < alpha2
    assert not np.asarray(found.inactive)[0]


def test_samples_that_only_pad_do_not_count():
    n, x = 9, np.array([0.9, 0.1])
    verdicts = []
    for padding in (0, 40):
        X = np.concatenate([np.tile(x, (n, 1)), np.zeros((padding, 2))])
        codes = np.maximum(X - 0.5, 0)
        F = 0.98 * (X - codes)
        with jax.enable_x64(True):
            found = working_set._certify(
                X.T, np.eye(2), 2, 0.3, 1.8, np.eye(2), codes.T, F.T, nonnegative=False, lasso=False
            )
        verdicts.append(np.asarray(found.inactive).tolist())
    assert verdicts == [[False, True]] * 2
