"""One pass over the codes against a plain loop over atoms that forms every residual from scratch."""

import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from padl_bayes import kernels
from padl_bayes.kernels import cpu
from padl_bayes.kernels.atom_pass import BLOCK
from padl_bayes.kernels.code_sweep import Atoms, Tile, residual_of
from padl_bayes.kernels.slabs import SLABS
from tests.oracles import spike_slab
from tests.oracles.spike_slab import sweep_by_loops

P, N, K = 6, 10, 3 * BLOCK
PRECISION = 6.0
KEYS = {
    "laplace": ("bernoulli_laplace", False),
    "exponential": ("bernoulli_laplace", True),
    "gaussian": ("bernoulli_gaussian", False),
    "half_normal": ("bernoulli_gaussian", True),
}

pytestmark = pytest.mark.usefixtures("x64", "implementation")


@functools.cache
def _compiled(level):
    return jax.jit(lambda slab, *arguments: kernels.sweep_tile(slab, *arguments), static_argnums=0)


def run(*arguments):
    """One pass, by the implementation under test."""
    return _compiled(cpu.level())(*arguments)


class Case:
    """A random tile in which everything that can be switched off is, here and there."""

    def __init__(self, *, masked, excluding=True, seed=0, n_atoms=K):
        rng = np.random.default_rng(seed)
        dictionary = rng.standard_normal((n_atoms, P))
        self.dictionary = dictionary / np.linalg.norm(dictionary, axis=1, keepdims=True)
        self.usage = rng.uniform(0.05, 0.6, n_atoms)
        self.rate = rng.uniform(0.5, 3.0, n_atoms)
        self.active = (rng.random(n_atoms) < 0.8).astype(float)
        self.valid = (np.arange(N) < N - 2).astype(float)
        self.observed = (rng.random((P, N)) < 0.7).astype(float) if masked else None
        self.excluded = (
            np.where(np.arange(N) % 3 == 0, rng.integers(0, n_atoms, N), -1) if excluding else None
        )
        self.x = (
            2 * rng.standard_normal((P, N)) * (1 if self.observed is None else self.observed) * self.valid
        )
        codes = rng.standard_normal((n_atoms, N)) * (rng.random((n_atoms, N)) < 0.3)
        self.codes = codes * self.active[:, None] * self.valid

    def arguments(self, dtype=np.float64):
        def cast(value):
            return None if value is None else jnp.asarray(value, dtype)

        logit = np.log(self.usage) - np.log1p(-self.usage)
        atoms = Atoms(*map(cast, (self.dictionary, logit, self.rate, self.active)))
        excluded = None if self.excluded is None else jnp.asarray(self.excluded)
        tile = Tile(cast(self.valid), cast(self.observed), excluded)
        residual = residual_of(cast(self.x), cast(self.codes), cast(self.dictionary), cast(self.observed))
        return residual, cast(self.codes), atoms, cast(PRECISION), tile

    def truth(self, kind, codes=None):
        return sweep_by_loops(
            kind,
            self.x,
            self.codes if codes is None else codes,
            self.dictionary,
            PRECISION,
            self.usage,
            self.rate,
            active=self.active,
            valid=self.valid,
            observed=self.observed,
            excluded=self.excluded,
        )


def assert_agree(done, truth, tolerance):
    """Every array and every sum, to ``tolerance`` of its largest entry."""
    found = done._asdict() | done.sums._asdict()
    found["log_evidence"] = done.log_evidence
    expected = truth | truth["sums"]
    expected["log_evidence"] = truth["log_evidence"]
    names = {
        "residual",
        "codes",
        "probability",
        "square",
        "bound",
        "used",
        "size",
        "variance",
        "log_evidence",
    }
    for name in names:
        scale = max(np.abs(expected[name]).max(), 1e-300)
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=tolerance * scale, err_msg=name)
    for name in ("square", "log_evidence"):
        total = truth["sums"][name]
        np.testing.assert_allclose(
            getattr(done.sums, name),
            total,
            rtol=0,
            atol=tolerance * np.abs(total).max(),
            err_msg=f"sum {name}",
        )


@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
@pytest.mark.parametrize("kind", list(KEYS))
def test_one_pass(kind, masked):
    case = Case(masked=masked)
    done = run(SLABS[KEYS[kind]], *case.arguments())
    assert_agree(done, case.truth(kind), 1e-11)


@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
def test_one_pass_in_float32(masked):
    case = Case(masked=masked)
    done = run(SLABS[KEYS["laplace"]], *case.arguments(np.float32))
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(done))
    # errors of K sequential updates of numbers of order PRECISION * x
    assert_agree(done, case.truth("laplace"), 40 * K * np.finfo(np.float32).eps)


def test_a_second_pass_goes_on_from_the_residual_that_the_first_left():
    case = Case(masked=False)
    residual, codes, *rest = case.arguments()
    for _ in range(3):
        done = run(SLABS[KEYS["laplace"]], residual, codes, *rest)
        truth = case.truth("laplace", np.asarray(codes))
        assert_agree(done, truth, 1e-11)
        residual, codes = done.residual, done.codes


def test_nothing_excluded_is_the_same_as_no_exclusions():
    case = Case(masked=False, excluding=False)
    plain = run(SLABS[KEYS["laplace"]], *case.arguments())
    assert_agree(plain, case.truth("laplace"), 1e-11)
    case.excluded = np.full(N, -1)
    for one, other in zip(
        jax.tree.leaves(plain), jax.tree.leaves(run(SLABS[KEYS["laplace"]], *case.arguments())), strict=True
    ):
        # Two programs: the same up to the order of operations.
        np.testing.assert_allclose(one, other, rtol=1e-13)


def test_what_is_switched_off_stays_off():
    case = Case(masked=True)
    done = run(SLABS[KEYS["laplace"]], *case.arguments())
    off = (case.active[:, None] == 0) | (case.valid == 0) | (np.arange(K)[:, None] == case.excluded)
    for table in (done.codes, done.probability, done.square, done.log_evidence):
        assert not np.any(np.asarray(table)[off])
    assert not np.any(np.asarray(done.bound)[case.valid == 0])
    assert not np.any(np.asarray(done.residual)[case.observed == 0])
    for total in done.sums:
        assert not np.any(np.asarray(total)[case.active == 0])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", list(KEYS))
def test_entries_over_many_orders_of_magnitude(kind, dtype):
    """One atom, one feature: each sample is an entry, up to far out, where moments are from a continued fraction."""
    eps, usage = np.finfo(dtype).eps, 0.25
    # E r^2 is 1 - u E r up to a u of 80 (float32: 16): so many roundings.
    cancelled = (80 if dtype == np.float64 else 16) ** 2 / 2 * eps
    tail = np.logspace(-3, 4, 29)
    slope = np.concatenate([-tail, [0.0], tail])
    for precision in np.array([1e-6, 1.0, 1e4], dtype):
        for rate in np.array([1e-2, 1.0, 30.0, 1e7], dtype):
            x = np.concatenate([slope / np.sqrt(precision), slope * rate / precision]).astype(dtype)
            own = jnp.ones(BLOCK, dtype)
            atoms = Atoms(
                own[:, None], own * np.log(usage / (1 - usage)).astype(dtype), own * rate, own.at[1:].set(0)
            )
            tile = Tile(jnp.ones(len(x), dtype))
            residual, codes = jnp.asarray(x[None]), jnp.zeros((BLOCK, len(x)), dtype)
            done = run(SLABS[KEYS[kind]], residual, codes, atoms, jnp.asarray(precision), tile)
            linear = (precision * x).astype(float)
            truth = spike_slab.entry(kind, linear, *(np.full(len(x), v) for v in (precision, usage, rate)))
            scale = (
                linear**2 / precision + np.abs(np.log(rate**2 / precision)) + np.abs(truth.log_evidence) + 3
            )
            odds = 16 * eps * scale
            allowed = np.minimum(odds, 1) + cancelled
            uncertain = odds * truth.probability * (1 - truth.probability)
            found = {
                name: np.asarray(getattr(done, name), float)[0] for name in ("probability", "codes", "square")
            }
            np.testing.assert_array_less(
                np.abs(found["probability"] - truth.probability), uncertain + 16 * eps
            )
            np.testing.assert_array_less(
                np.abs(found["codes"] - truth.mean), allowed * np.sqrt(truth.given_use[2])
            )
            np.testing.assert_array_less(np.abs(found["square"] - truth.square), allowed * truth.given_use[2])


def test_an_entry_of_which_nothing_is_seen_keeps_its_prior():
    """A feature that the atom alone lives on, missing; and a sample of padding, of which all is missing."""
    case = Case(masked=True, excluding=False)
    case.active[:] = 1
    case.excluded = np.full(N, -1)
    case.dictionary[0] = np.eye(P)[0]
    case.observed[0, 0] = 0
    case.observed[:, -1] = 0
    case.x *= case.observed
    for kind, key in KEYS.items():
        done = run(SLABS[key], *case.arguments())
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(done)), kind
        assert float(done.probability[0, 0]) == pytest.approx(case.usage[0], rel=1e-9)
        assert float(done.log_evidence[0, 0]) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("masked", [False, True], ids=["complete", "masked"])
def test_vmap_over_tiles(masked):
    cases = [Case(masked=masked, seed=seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(case.arguments() for case in cases))
    together = jax.jit(jax.vmap(partial(kernels.sweep_tile, SLABS[KEYS["laplace"]])))(*stacked)
    for i, case in enumerate(cases):
        assert_agree(jax.tree.map(lambda leaf, i=i: leaf[i], together), case.truth("laplace"), 1e-11)


def test_a_pass_never_lowers_the_bound_of_any_sample():
    """Coordinate ascent: each sample's bound, squared residual included, rises from pass to pass."""
    case = Case(masked=False)
    residual, codes, *rest = case.arguments()
    bounds = []
    for _ in range(12):
        done = run(SLABS[KEYS["laplace"]], residual, codes, *rest)
        residual, codes = done.residual, done.codes
        bounds.append(np.asarray(done.bound) - 0.5 * PRECISION * np.sum(np.asarray(residual) ** 2, axis=0))
    rounding = 100 * np.finfo(float).eps * np.abs(bounds).max()
    assert np.diff(bounds, axis=0).min() > -rounding
    assert np.diff(bounds, axis=0)[0].max() > 1e-3
