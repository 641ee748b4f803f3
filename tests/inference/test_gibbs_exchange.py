"""Exchange of samples between atoms against quadrature and enumeration over supports."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from padl_bayes.inference.gibbs import exchange
from padl_bayes.kernels.slabs import SLABS

# The second is nearly the first, the third is between others, the last is not active.
ATOMS = np.array([[1, 0, 0], [0.95, 0.3, 0.1], [0.6, -0.6, 0.5], [0.5, 0.5, 0.5]])
ATOMS /= np.linalg.norm(ATOMS, axis=1, keepdims=True)
ACTIVE = np.array([1, 1, 1, 0])
USAGE = np.array([0.2, 0.35, 0.15, 0.5])
RATE = np.array([0.6, 1.0, 1.5, 1.0])
NOISE = 0.7
SAMPLE = np.array([1.0, -0.1, 0.2])
COPIES = 40_000

DENSITIES = {
    "bernoulli_laplace": lambda r, rate: stats.laplace.pdf(r, scale=1 / rate),
    "bernoulli_gaussian": lambda r, rate: stats.norm.pdf(r, scale=rate**-0.5),
}


def single_use(slab, nonnegative):
    """Weights of the supports of one atom, and mean and mean square of its code, by quadrature."""
    rows = []
    for atom, usage, rate in zip(ATOMS[:3], USAGE, RATE, strict=False):

        def joint(r, power, atom=atom, rate=rate):
            error = np.sum((SAMPLE - r * atom) ** 2) - np.sum(SAMPLE**2)
            return r**power * DENSITIES[slab](r, rate) * np.exp(-0.5 * error / NOISE**2)

        lowest, sides = (0, 2) if nonnegative else (-20, 1)
        mass, first, second = (
            sides * integrate.quad(joint, lowest, 20, args=(power,), points=[0, 1], limit=200)[0]
            for power in range(3)
        )
        rows.append((mass * usage / (1 - usage), first / mass, second / mass))
    weights, means, squares = np.transpose(rows)
    return weights / weights.sum(), means, squares


def double_use():
    """Weights of the supports of two atoms under the Gaussian slab, in the order 01, 02, 12."""
    logs = []
    for used in itertools.combinations(range(3), 2):
        atoms, usage = ATOMS[list(used)], USAGE[list(used)]
        covariance = NOISE**2 * np.eye(3) + atoms.T @ (atoms / RATE[list(used), None])
        logs.append(
            np.log(usage / (1 - usage)).sum() + stats.multivariate_normal(cov=covariance).logpdf(SAMPLE)
        )
    weights = np.exp(logs - np.max(logs))
    return weights / weights.sum()


@functools.cache
def exchanged(slab, nonnegative, used, n_tries=60):
    """Codes (COPIES, 4) of copies of the sample that start with the atoms ``used``."""
    codes = np.zeros((COPIES, 4))
    codes[:, list(used)] = 0.3
    given = dict(dictionary=ATOMS, active=ACTIVE, usage=USAGE, rate=RATE, noise_scale=NOISE, codes=codes)
    z = {name: jnp.asarray(value) for name, value in given.items()}
    residual = jnp.asarray(SAMPLE - codes @ ATOMS)
    move = jax.jit(
        lambda residual, z: exchange.exchange(
            jax.random.key(0), SLABS[slab, nonnegative], n_tries, residual, z
        )
    )
    residual, z = move(residual, z)
    codes = np.asarray(z["codes"])
    np.testing.assert_allclose(residual, SAMPLE - codes @ ATOMS, atol=1e-12)
    assert ((codes != 0).sum(1) == len(used)).all()
    assert not codes[:, 3].any()
    return codes


def p_value_of_single(slab="bernoulli_gaussian", nonnegative=False, run=exchanged):
    codes = run(slab, nonnegative, (0,))
    counts = np.sum(codes[:, :3] != 0, axis=0)
    return stats.chisquare(counts, COPIES * single_use(slab, nonnegative)[0]).pvalue


pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("slab", ["bernoulli_laplace", "bernoulli_gaussian"])
def test_which_atom_is_used_has_the_law_that_quadrature_gives(slab, nonnegative):
    assert p_value_of_single(slab, nonnegative) > 1e-3


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("slab", ["bernoulli_laplace", "bernoulli_gaussian"])
def test_codes_have_the_moments_that_quadrature_gives(slab, nonnegative):
    codes = exchanged(slab, nonnegative, (0,))
    _, means, squares = single_use(slab, nonnegative)
    for column, mean, square in zip(codes.T, means, squares, strict=False):
        used = column[column != 0]
        for values, truth in ((used, mean), (used**2, square)):
            assert abs(values.mean() - truth) < 4.5 * values.std() / np.sqrt(len(used))


def test_supports_of_two_atoms_have_the_law_that_enumeration_gives():
    used = exchanged("bernoulli_gaussian", False, (0, 1), 500)[:, :3] != 0
    counts = [np.sum(~used[:, k]) for k in (2, 1, 0)]
    assert stats.chisquare(counts, COPIES * double_use()).pvalue > 1e-3


def test_leaving_out_the_usage_is_found(monkeypatch):
    monkeypatch.setattr(exchange, "logit", jnp.zeros_like)
    assert p_value_of_single(run=exchanged.__wrapped__) < 1e-12


def test_leaving_out_the_evidence_is_found(monkeypatch):
    law = SLABS["bernoulli_gaussian", False]

    def moments(linear, precision, rate):
        used = law.moments(linear, precision, rate)
        return used._replace(log_evidence=jnp.zeros_like(used.log_evidence))

    monkeypatch.setitem(SLABS, ("bernoulli_gaussian", False), law._replace(moments=moments))
    assert p_value_of_single(run=exchanged.__wrapped__) < 1e-12


@pytest.mark.parametrize("active", [[0, 0, 0, 0], [0, 1, 0, 0]])
def test_one_atom_or_none_changes_nothing(active):
    codes = jnp.asarray(np.array(active) * np.array([[0.5], [0.0]]))
    z = dict(dictionary=ATOMS, active=np.array(active), usage=USAGE, rate=RATE, noise_scale=NOISE)
    z = {name: jnp.asarray(value) for name, value in z.items()} | {"codes": codes}
    residual = SAMPLE - codes @ ATOMS
    after, changed = exchange.exchange(jax.random.key(0), SLABS["bernoulli_laplace", False], 8, residual, z)
    np.testing.assert_array_equal(changed["codes"], codes)
    np.testing.assert_array_equal(after, residual)
