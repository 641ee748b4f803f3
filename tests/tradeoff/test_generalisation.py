"""The bound's inequalities against losses that are solved, and the bound against gaps that are known exactly."""

import numpy as np
import pytest
from scipy.optimize import minimize

from padl_bayes.tradeoff.generalisation import generalisation_bound, sample_losses
from tests.made_fits import unit_atoms


def solved_loss(x, D, envelope, alpha1, nonnegative=False):
    """Loss of one sample by L-BFGS-B on positive and negative parts."""

    def energy(parts):
        plus, minus = np.split(parts, 2)
        residual = x - (plus - minus) @ D
        gradient = -D @ residual
        return 0.5 * residual @ residual + alpha1 * parts.sum(), np.concatenate(
            [gradient + alpha1, alpha1 - gradient]
        )

    bounds = [(0, t) for t in envelope] + [(0, 0 if nonnegative else t) for t in envelope]
    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 1000}
    return minimize(energy, np.zeros(2 * len(D)), jac=True, bounds=bounds, options=options).fun


@pytest.mark.parametrize("nonnegative", [False, True])
def test_losses_are_those_of_a_generic_solver(nonnegative):
    rng = np.random.default_rng(0)
    D, X, envelope = unit_atoms(rng, 4, 6), rng.normal(size=(12, 6)), np.array([0.3, 2.0, 0.1, 1.0])
    found = sample_losses(X, D, envelope, 0.2, nonnegative=nonnegative)
    wanted = [solved_loss(x, D, envelope, 0.2, nonnegative) for x in X]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def changes(alpha1, epsilon, eta, K):
    """The two changes that the bound allows for, written out, for norms up to one."""
    top = 1 / (2 * alpha1)
    atoms = epsilon / (3 * np.sqrt(3) * alpha1) + epsilon**2 / (8 * alpha1**2)
    return atoms, K * eta * top + 0.5 * (K * eta * top) ** 2, top


@pytest.mark.parametrize("alpha1", [0.02, 0.2])
def test_losses_change_no_more_than_the_grid_allows(alpha1):
    rng = np.random.default_rng(1)
    K, P, epsilon, eta = 3, 4, 0.05, 0.01
    atoms, envelopes, top = changes(alpha1, epsilon, eta, K)
    for _ in range(60):
        D = unit_atoms(rng, K, P)
        X = D[:1] + 0.5 * rng.normal(size=(30, P))
        X /= np.linalg.norm(X, axis=1, keepdims=True)
        moved = D + 0.7 * epsilon * unit_atoms(rng, K, P)
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        assert np.linalg.norm(moved - D, axis=1).max() <= epsilon
        t = np.minimum(rng.exponential(0.3, K), top)
        lower = np.floor(t / (eta * top)) * eta * top
        before = sample_losses(X, D, t, alpha1)
        assert np.abs(sample_losses(X, moved, t, alpha1) - before).max() <= atoms
        rise = sample_losses(X, D, lower, alpha1) - before
        assert rise.max() <= envelopes
        assert rise.min() >= -1e-6


def test_the_bound_is_the_formula_at_a_grid_of_its_choice():
    found = generalisation_bound(3, 5, 10**5, 0.1, norm_bound=1.0, n_atoms=20, delta=0.02, n_choices=7)
    least = np.inf
    for epsilon in np.geomspace(1e-4, 1e-1, 60):
        for eta in np.geomspace(1e-6, 1e-2, 60):
            atoms, envelopes, _ = changes(0.1, epsilon, eta, 3)
            members = 3 * (5 * np.log(1 + 2 / epsilon) - np.log(2) + np.log(np.ceil(1 / eta)))
            chance = np.sqrt((members + np.log(20 * 7 / 0.02)) / (2 * 10**5)) / 2
            least = min(least, 2 * (atoms + envelopes) + chance)
    assert found.gap == pytest.approx(least, rel=1e-2)
    assert found.gap == pytest.approx(found.discretisation + found.deviation, rel=1e-12)
    assert not found.trivial


def test_the_bound_holds_where_the_expectation_is_a_sum():
    # A discrete law in the plane, all directions of one atom and all envelopes on a fine grid: no gap passes the bound.
    rng = np.random.default_rng(2)
    support = rng.normal(size=(40, 2))
    support /= np.maximum(np.linalg.norm(support, axis=1, keepdims=True), 1)
    chance = rng.dirichlet(np.ones(40))
    angles = np.linspace(0, np.pi, 90, endpoint=False)
    losses = np.array(
        [
            sample_losses(support, np.array([[np.cos(a), np.sin(a)]]), [t], 0.3)
            for a in angles
            for t in (0.05, 0.2, 0.5, 2.0)
        ]
    )
    for n in (300, 3000):
        bound = generalisation_bound(1, 2, n, 0.3, norm_bound=1.0)
        assert not bound.trivial
        gaps = []
        for _ in range(200):
            share = rng.multinomial(n, chance) / n
            best = np.argmin(losses @ share)
            gaps.append((losses @ (chance - share)).max())
            sd = np.sqrt((share @ losses[best] ** 2 - (share @ losses[best]) ** 2) * n / (n - 1))
            own = generalisation_bound(1, 2, n, 0.3, norm_bound=1.0, loss_sd=sd)
            assert losses[best] @ (chance - share) < own.gap
        assert max(gaps) < bound.gap


def test_the_bound_falls_with_fewer_atoms_and_more_samples():
    def gap(active, samples, **more):
        return generalisation_bound(active, 16, samples, 0.1, norm_bound=1.0, n_atoms=50, **more).gap

    by_atoms = [gap(k, 10**6) for k in (1, 2, 5, 10, 20)]
    by_samples = [gap(5, n) for n in (10**4, 10**5, 10**6, 10**7)]
    assert (np.diff(by_atoms) > 0).all()
    assert (np.diff(by_samples) < 0).all()
    # a known small spread helps once samples are many
    assert gap(5, 10**7, loss_sd=0.01) < 0.5 * gap(5, 10**7)
    few = generalisation_bound(40, 64, 100, 0.1, norm_bound=2.0)
    assert few.trivial
    assert few.gap == 2.0


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"alpha1": 0.0}, "alpha1"),
        ({"norm_bound": 0.0}, "norm_bound"),
        ({"n_atoms": 1}, "n_atoms must be at least 3"),
        ({"n_samples": 1}, "n_samples must be at least 2"),
        ({"delta": 0.0}, "delta"),
    ],
)
def test_bad_input_is_named(changed, match):
    settings = dict(n_active=3, n_features=4, n_samples=50, alpha1=0.1, norm_bound=1.0) | changed
    with pytest.raises(ValueError, match=match):
        generalisation_bound(**settings)
