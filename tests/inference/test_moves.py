"""Coding afresh, deletion scores, births and the moves built on them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from padl_bayes.datasets import synthetic_a
from padl_bayes.inference import moves
from padl_bayes.inference.moves import (
    Fit,
    Settings,
    active_of,
    compact,
    deletion_gains,
    evidence_of,
    give_birth,
    limit,
    prune,
    refresh,
    reheat,
    run,
    switch_off,
)
from padl_bayes.inference.recoding import cooling, recode, recode_all
from padl_bayes.inference.variational import elbo_of, log_prior, residuals, sweep, untile_rows
from tests.inference.problems import problem_with, unit_rows
from tests.oracles.spike_slab import sweep_by_loops

PLACES = 16
TRUE = 5

pytestmark = pytest.mark.usefixtures("x64")


class Silent:
    """A report that never runs out of passes and remembers the stages."""

    exhausted = False

    def __init__(self):
        self.stages = []

    def __call__(self, stage, trace, state):
        self.stages.append(stage)


class Case:
    """Data of five atoms and a fit of given atoms to them, run to where it stands still."""

    def __init__(self, extra=None, *, masked=False, seed=0, chunks=20):
        with jax.enable_x64(True):
            self.data = synthetic_a(0.1, n_samples=200, n_features=12, n_atoms=TRUE, usage=0.2, seed=seed)
            dictionary = self.data.dictionary
            if extra is not None:
                dictionary = np.concatenate([dictionary, extra(self.data)])
            mask = np.random.default_rng(9).random(self.data.X.shape) < 0.85 if masked else None
            self.settings = Settings(("bernoulli_laplace", False), 12, Silent())
            _, self.problem, state = problem_with(
                self.data.X,
                "laplace",
                dictionary,
                usage=0.2,
                rate=1.0,
                precision=100.0,
                mask=mask,
                places=PLACES,
            )
            self.fit = run(self.settings, self.problem, state, chunks=chunks, stage="fit")

    def scored(self, seed=0, most=10**9):
        """Fit with fresh codes, the codes, and the gains of deletion."""
        coded = recode_all(self.settings.slab, self.problem, self.fit.state)
        state = self.fit.state._replace(codes=coded.codes)
        rng = np.random.default_rng(seed)
        return state, coded, deletion_gains(self.settings, self.problem, state, coded, rng, most=most)


def twin(data):
    """A near copy of the first true atom."""
    near = data.dictionary[:1] + 0.05 * np.random.default_rng(1).standard_normal(
        (1, data.dictionary.shape[1])
    )
    return near / np.linalg.norm(near)


def composite(data):
    """An atom that stands for the sum of two true ones."""
    both = data.dictionary[:1] + data.dictionary[1:2]
    return both / np.linalg.norm(both)


@pytest.fixture(scope="module")
def plain():
    return Case()


@pytest.fixture(scope="module")
def with_twin():
    return Case(twin)


@pytest.fixture(scope="module")
def with_composite():
    return Case(composite)


def total_bound(case, state):
    """The bound of all codes at the state's own, by one more sweep: a scalar without priors."""
    _, _, energy, bound, sums = jax.jit(sweep, static_argnums=0)(
        case.settings.slab, case.problem, state, residuals(case.problem, state)
    )
    return float(elbo_of(case.problem, state, energy, bound, sums))


def test_the_noise_cools_down_in_equal_ratios():
    ladder = np.asarray(cooling(jnp.float64(0.5), jnp.float64(200.0)))
    assert ladder[0] == pytest.approx(0.5)
    ratios = ladder[1:] / ladder[:-1]
    np.testing.assert_allclose(ratios, (200 / 0.5) ** (1 / len(ladder)), rtol=1e-12)
    np.testing.assert_allclose(cooling(jnp.float64(300.0), jnp.float64(200.0)), 200.0, rtol=1e-12)


def followed(x, codes, atoms, ladder, order=None):
    """Tables and bounds after sweeps by plain loops at the given precisions in turn, the atoms in the given order."""
    order = np.arange(len(codes)) if order is None else order
    place = np.argsort(order)
    atoms = jax.tree.map(lambda a: np.asarray(a)[order], atoms)
    codes = codes[order]
    usage = 1 / (1 + np.exp(-atoms.usage_logit))
    for precision in ladder:
        done = sweep_by_loops("laplace", x, codes, atoms.dictionary, precision, usage, atoms.rate)
        codes = done["codes"]
    tables = {name: done[name][place] for name in ("codes", "probability", "square")}
    return tables, done["bound"] - precision / 2 * np.sum(done["residual"] ** 2, axis=0)


def test_each_sample_keeps_the_best_of_its_refined_and_its_fresh_codes():
    """Coherent atoms: some samples start from their true codes, which are hard to find, some from nonsense."""
    rng = np.random.default_rng(2)
    n, precision = 24, 400.0
    dictionary = unit_rows(rng, PLACES, 8)
    codes = 2 * rng.standard_normal((PLACES, n)) * (rng.random((PLACES, n)) < 0.3)
    X = codes.T @ dictionary + precision**-0.5 * rng.standard_normal((n, 8))
    key, problem, state = problem_with(
        X, "laplace", dictionary, usage=0.3, rate=0.7, precision=precision, places=PLACES
    )
    codes[:, ::2] = rng.permutation(codes[:, ::2].T).T
    hot = float(problem.hot)
    assert hot == pytest.approx(1 / np.mean(X**2))
    ladder = [hot ** (1 - i / 12) * precision ** (i / 12) for i in range(12)] + [precision] * 3
    order = rng.permutation(PLACES)
    blank = np.zeros((PLACES, n))
    tried = [
        followed(X.T, codes, state.atoms, [precision] * 3),
        followed(X.T, blank, state.atoms, ladder, order),
        followed(X.T, blank, state.atoms, ladder, order[::-1]),
    ]
    tables, bounds = zip(*tried, strict=True)
    best = np.argmax(bounds, axis=0)
    assert np.all(np.bincount(best) > 2)

    found = recode_all(key, problem, state._replace(codes=jnp.asarray(codes)[None]), order)
    assert found.codes.shape == (1, PLACES, n)
    np.testing.assert_allclose(found.bound[0], np.max(bounds, axis=0), rtol=1e-8)
    for name in ("codes", "probability", "square"):
        table = np.choose(best, [table[name] for table in tables])
        np.testing.assert_allclose(getattr(found, name)[0], table, atol=1e-8)


def test_an_excluded_atom_is_never_used(with_composite):
    case = with_composite
    state, problem = case.fit.state, case.problem
    excluded = np.full(problem.valid.shape, -1)
    excluded[0, ::2] = np.arange(len(excluded[0, ::2])) % (TRUE + 1)
    start = np.where(np.arange(PLACES)[:, None] == excluded[:, None, :], 0, np.asarray(state.codes))
    order = np.random.default_rng(0).permutation(PLACES)
    coded = recode(
        case.settings.slab,
        problem.x,
        problem.valid,
        problem.observed,
        jnp.asarray(start),
        state,
        problem.hot,
        jnp.asarray(excluded),
        order,
    )
    free = recode_all(case.settings.slab, problem, state, order)
    barred = np.arange(PLACES)[:, None] == excluded[:, None, :]
    assert barred.sum() == 100
    for table in (coded.codes, coded.probability, coded.square):
        assert not np.any(np.asarray(table)[barred])
    alone = excluded[0] == -1
    np.testing.assert_array_equal(np.asarray(coded.codes)[0][:, alone], np.asarray(free.codes)[0][:, alone])
    np.testing.assert_array_equal(np.asarray(coded.bound)[0, alone], np.asarray(free.bound)[0, alone])


def test_a_twin_and_a_composite_are_worth_deleting_and_true_atoms_are_not(plain, with_twin, with_composite):
    for case in (plain, with_twin, with_composite):
        gains = case.scored()[2]
        on = len(active_of(case.fit.state))
        assert np.all(gains[on:] == -np.inf)
        assert np.isfinite(gains[:on]).all()
        # an atom in use by a fifth of 200 samples at a signal-to-noise ratio of ten is worth hundreds of nats
        assert np.all(gains[1 if case is with_twin else 0 : TRUE] < -100)
    assert with_composite.scored()[2][TRUE] > 0
    assert with_twin.scored()[2][[0, TRUE]].max() > 0


@pytest.fixture(scope="module")
def with_composite_masked():
    return Case(composite, masked=True)


@pytest.mark.parametrize("name", ["with_twin", "with_composite", "with_composite_masked"])
def test_the_score_is_what_deletion_brings_with_all_but_the_codes_held(name, request):
    """Deleting for real and coding all samples again, the dictionary and all else held."""
    case = request.getfixturevalue(name)
    state, _, gains = case.scored()
    before = evidence_of(case.settings, case.problem, state, total_bound(case, state))
    for atom in range(TRUE + 1):
        without = switch_off(state, [atom])
        without = without._replace(codes=recode_all(case.settings.slab, case.problem, without).codes)
        after = evidence_of(case.settings, case.problem, without, total_bound(case, without))
        # the evidence also has the prior of the number of active atoms, a few nats, which the score leaves out
        n_active = TRUE + 1
        prior = np.log((case.settings.n_atoms - n_active + 1) / n_active)
        assert gains[atom] == pytest.approx(after - before - prior, abs=0.02 * abs(gains[atom]) + 1.0)


def test_a_part_of_the_users_stands_for_all_of_them(with_composite):
    _, _, exact = with_composite.scored()
    on = np.isfinite(exact)
    draws = np.array([with_composite.scored(seed, most=16)[2][on] for seed in range(12)])
    error = draws.mean(0) - exact[on]
    assert np.all(np.abs(error) < 4 * draws.std(0, ddof=1) / np.sqrt(len(draws)) + 1e-6)
    np.testing.assert_array_equal(with_composite.scored(3, most=16)[2][on], draws[3])


def test_an_atom_that_nobody_uses_is_worth_its_cost():
    case = Case(lambda data: np.eye(12)[:1], chunks=1)
    state = case.fit.state
    logit = state.atoms.usage_logit.at[TRUE].set(-20.0)
    state = state._replace(
        atoms=state.atoms._replace(usage_logit=logit), energy=state.energy.at[TRUE].set(0.0)
    )
    coded = recode_all(case.settings.slab, case.problem, state)
    assert float(coded.probability[:, TRUE].max()) < 0.05
    gains = deletion_gains(
        case.settings, case.problem, state._replace(codes=coded.codes), coded, np.random.default_rng(0)
    )
    cost = float(moves.atom_cost(case.problem, state)[TRUE] - log_prior(case.problem, state.atoms)[TRUE])
    assert gains[TRUE] == pytest.approx(cost, abs=0.1)
    assert gains[TRUE] > 0


@pytest.mark.parametrize("name", ["plain", "with_twin", "with_composite"])
def test_pruning_leaves_the_true_atoms_and_never_lowers_the_evidence(name, request):
    case = request.getfixturevalue(name)
    fit = prune(case.settings, case.problem, case.fit, np.random.default_rng(0))
    assert fit.evidence >= case.fit.evidence
    on = active_of(fit.state)
    assert len(on) == TRUE
    cosine = np.abs(np.asarray(fit.state.atoms.dictionary)[on] @ case.data.dictionary.T)
    assert np.all(cosine.max(0) > 0.99)
    if name == "plain":
        assert fit is case.fit


def test_pruning_takes_back_what_lowered_the_evidence(plain, monkeypatch):
    """Whatever the scores say, here that all true atoms are to go."""
    monkeypatch.setattr(
        moves, "deletion_gains", lambda settings, problem, state, *_: np.asarray(state.atoms.active)
    )
    assert prune(plain.settings, plain.problem, plain.fit, np.random.default_rng(0)) is plain.fit


@pytest.mark.parametrize("births", [0, 8])
def test_reheating_never_lowers_the_evidence(plain, births):
    fit = reheat(plain.settings, plain.problem, plain.fit, np.random.default_rng(0), births)
    assert fit.evidence >= plain.fit.evidence
    assert len(active_of(fit.state)) == TRUE


def test_reheating_with_births_finds_atoms_that_are_missing():
    case = Case()
    state = switch_off(case.fit.state, [1, 3])
    poor = run(case.settings, case.problem, state, chunks=10, stage="fit")
    fit = reheat(case.settings, case.problem, poor, np.random.default_rng(0), 8)
    assert fit.evidence > poor.evidence + 100
    found = np.asarray(fit.state.atoms.dictionary)[active_of(fit.state)]
    assert np.all(np.abs(found @ case.data.dictionary.T).max(0) > 0.99)


def test_refreshing_never_lowers_the_evidence(with_composite):
    fit = refresh(
        with_composite.settings, with_composite.problem, with_composite.fit, np.random.default_rng(0)
    )
    assert fit.evidence >= with_composite.fit.evidence


def test_births_fill_free_places_only_with_unit_atoms_along_residuals(plain):
    state = switch_off(plain.fit.state, [2])
    born = give_birth(plain.problem, state, np.random.default_rng(0), 6)
    old, new = active_of(state), np.setdiff1d(active_of(born), active_of(state))
    assert len(new) == 6
    assert set(new) <= set(range(PLACES)) - set(old)
    dictionary = np.asarray(born.atoms.dictionary)
    np.testing.assert_allclose(np.linalg.norm(dictionary[new], axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(dictionary[old], np.asarray(state.atoms.dictionary)[old])
    residual = untile_rows(residuals(plain.problem, state), 200)
    directions = residual / np.linalg.norm(residual, axis=1, keepdims=True)
    assert np.all((dictionary[new] @ directions.T).max(1) > 1 - 1e-9)
    # samples that need the atom that was taken away are the badly explained ones
    assert np.mean(np.abs(dictionary[new] @ plain.data.dictionary[2]) > 0.8) > 0.5
    for name in ("usage_logit", "rate"):
        values = np.asarray(getattr(born.atoms, name))
        np.testing.assert_allclose(values[new], np.median(values[old]))
    again = give_birth(plain.problem, state, np.random.default_rng(0), 6)
    np.testing.assert_array_equal(again.atoms.dictionary, dictionary)
    other = give_birth(plain.problem, state, np.random.default_rng(1), 6)
    assert np.any(np.asarray(other.atoms.dictionary) != dictionary)
    assert len(active_of(give_birth(plain.problem, state, np.random.default_rng(0), 100))) == PLACES
    assert len(active_of(give_birth(plain.problem, state, np.random.default_rng(0), 0))) == TRUE - 1


def test_births_stay_within_the_upper_bound(plain):
    most = []

    def watch(stage, trace, state):
        most.append(len(active_of(state)))

    watch.exhausted = False
    settings = Settings(plain.settings.slab, TRUE + 1, watch)
    fit = plain.fit._replace(evidence=evidence_of(settings, plain.problem, plain.fit.state, plain.fit.elbo))
    reheat(settings, plain.problem, fit, np.random.default_rng(0), 8)
    assert max(most) <= TRUE + 1


@pytest.mark.parametrize("n_atoms", [5, 3, 1])
def test_the_limit_is_kept_by_deleting_what_is_missed_least(with_composite, n_atoms):
    case = with_composite
    fit = limit(case.settings, case.problem, case.fit, np.random.default_rng(0), n_atoms)
    assert len(active_of(fit.state)) == n_atoms
    if n_atoms == TRUE:
        assert TRUE not in active_of(fit.state)
    assert limit(case.settings, case.problem, fit, np.random.default_rng(0), n_atoms) is fit


def test_dropping_places_keeps_every_active_atom_as_it_is(plain):
    state = plain.fit.state
    wide = jax.tree.map(
        lambda a: jnp.concatenate([a, jnp.zeros((48, *a.shape[1:]))]), (state.atoms, state.energy)
    )
    codes = jnp.concatenate([state.codes, jnp.zeros((1, 48, state.codes.shape[2]))], axis=1)
    small = compact(state._replace(atoms=wide[0], energy=wide[1], codes=codes))
    assert len(small.atoms.active) < 32
    assert len(small.atoms.active) % 8 == 0
    on = active_of(small)
    assert len(on) == TRUE
    for one, other in ((small.atoms, state.atoms), (small.energy, state.energy)):
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[on], b[:TRUE]), one, other)
    np.testing.assert_array_equal(small.codes[:, on], state.codes[:, :TRUE])
    assert compact(small) is small


def test_the_evidence_is_the_bound_less_the_cost_of_active_atoms(with_twin):
    state = with_twin.fit.state
    cost = np.asarray(moves.atom_cost(with_twin.problem, state))[: TRUE + 1].sum()
    n, most = TRUE + 1, with_twin.settings.n_atoms
    prior = -np.log((most + 1) * float(np.prod([(most - i) / (i + 1) for i in range(n)])))
    assert with_twin.fit.evidence == pytest.approx(with_twin.fit.elbo - cost + prior, rel=1e-12)
    assert isinstance(with_twin.fit, Fit)
