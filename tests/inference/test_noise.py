"""The noise estimate that ends a fit: the precision of most evidence, codes integrated out on a grid."""

import jax
import numpy as np
import pytest

from padl_bayes.inference import drawn_codes, noise
from padl_bayes.kernels import draw_tiles
from tests.inference.problems import problem_with
from tests.oracles import noise_level

TRUE = 0.35
USAGE, RATE = np.array([0.6, 0.4]), np.array([1.2, 1.6])


def data(kind, masked, n_samples=60):
    """Samples of two correlated atoms."""
    rng = np.random.default_rng(5)
    dictionary = np.array([[0.8, 0.6, 0.0], [0.8, 0.0, 0.6]])
    shape = (n_samples, 2)
    if kind in ("laplace", "exponential"):
        size = rng.exponential(1 / RATE, shape)
    else:
        size = np.abs(rng.standard_normal(shape)) / np.sqrt(RATE)
    if kind in ("laplace", "gaussian"):
        size *= rng.choice([-1, 1], shape)
    X = (size * (rng.random(shape) < USAGE)) @ dictionary + TRUE * rng.standard_normal((n_samples, 3))
    mask = rng.random(X.shape) < 0.8 if masked else np.ones(X.shape, bool)
    return X, mask, dictionary


def estimates(kind, masked, n_keys=24):
    """Noise scales by `noise_scale_of` from as many keys, and that of the oracle."""
    X, mask, dictionary = data(kind, masked)
    key, problem, state = problem_with(
        X, kind, dictionary, usage=USAGE, rate=RATE, precision=4.0, mask=mask if masked else None
    )
    keys = jax.random.split(jax.random.key(3), n_keys)
    found = np.array([noise.noise_scale_of(key, problem, state, one) for one in keys])
    return found, noise_level.best_precision(kind, X, mask, dictionary, USAGE, RATE) ** -0.5


def standard_errors_off(found, wanted):
    return abs(found.mean() - wanted) / (found.std(ddof=1) / np.sqrt(len(found)))


CASES = [("laplace", False), ("exponential", True), ("gaussian", True), ("half_normal", False)]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("kind", "masked"), CASES)
def test_it_is_the_noise_of_most_evidence(kind, masked):
    found, wanted = estimates(kind, masked)
    assert standard_errors_off(found, wanted) < 4
    # What one estimate varies by is well below what it would by other data.
    assert found.std(ddof=1) < 0.5 * wanted / np.sqrt(2 * 180)


@pytest.fixture
def traced_anew():
    """Compile with what a test plants, and leave nothing of it behind."""
    noise._run_sweeps.clear_cache()
    yield
    noise._run_sweeps.clear_cache()


def without_directions(monkeypatch):
    monkeypatch.setattr(noise, "slack_of", lambda n_features: np.inf)


def with_every_code_in_use(monkeypatch):
    def draw(slab, residual, codes, atoms, *others):
        return draw_tiles(slab, residual, codes, atoms._replace(usage_logit=atoms.usage_logit + 50), *others)

    monkeypatch.setattr(drawn_codes, "draw_tiles", draw)


@pytest.mark.usefixtures("x64", "traced_anew")
@pytest.mark.parametrize("plant", [without_directions, with_every_code_in_use])
def test_a_wrong_statistic_is_found(plant, monkeypatch):
    plant(monkeypatch)
    assert standard_errors_off(*estimates("half_normal", False)) > 6
