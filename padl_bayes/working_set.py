"""Sparse coding by working sets: the inner problem of `padl_bayes.sparse_coding` and `padl_bayes.inference.map`.

The outer loop certifies the current codes against all atoms and picks a working set: the atoms in use and those whose
constraint is violated most. The inner loop sweeps over that set only, so that cost follows the number of active atoms.
Working sets that grow by doubling and stop on their own gap follow Massias, Gramfort & Salmon (ICML 2018). In place of
their extrapolated dual point, which does not help here, the residual of a Newton step is projected on each constraint
in turn, and once few entries are on a wrong face, Newton steps alone end at the solution. Atoms that the gap shows to
be zero at the optimum are left out (gap-safe screening: Ndiaye, Fercoq, Gramfort & Salmon, JMLR 18(128), 2017).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from padl_bayes._devices import mesh_of, padded_size, spread, zeros
from padl_bayes.kernels.dual_bound import dual_bound
from padl_bayes.kernels.row_descent import DIVISIBLE, FASTEST, LEAST_MOMENTUM, descend, polish
from padl_bayes.kernels.row_sweep import BLOCK, matmul, pad_rows, penalty
from padl_bayes.objective import relative_gap

MOST_SWEEPS = 500
ROUGH_SIZE = 2**22
ROUGH_TOL = 1e-5
ROUNDING = 1e-14


class Problem(NamedTuple):
    """Data on the device and the two weights."""

    X: jax.Array
    """(P, N), features first."""
    dictionary: jax.Array
    """(K, P)"""
    alpha1: float
    alpha2: float
    nonnegative: bool

    @property
    def options(self):
        """Static arguments of the jitted steps."""
        return {"nonnegative": self.nonnegative, "lasso": self.alpha2 == 0}


def problem_of(X, dictionary, codes, alpha, nonnegative, mesh):
    """`Problem` of NumPy arrays and the codes (K, N) to start from, zero if None, over the devices of a mesh."""
    dtype = np.result_type(X, dictionary)
    shape = (len(dictionary), padded_size(mesh, len(X)))
    codes = zeros(mesh, shape, dtype, axis=1) if codes is None else spread(mesh, codes, axis=1)
    X = spread(mesh, X.T.astype(dtype, copy=False), axis=1)
    return Problem(X, jnp.asarray(dictionary, dtype), alpha[0], alpha[1], nonnegative), codes


class WorkingSet(NamedTuple):
    """Which atoms are being swept, and their codes; all other codes are zero."""

    members: np.ndarray
    """(w,) atom numbers."""
    codes: jax.Array
    """(W, N), W >= w."""


class Solution(NamedTuple):
    """Where `solve` stopped, on the device."""

    codes: jax.Array
    """(K, N)"""
    objective: float
    bound: float
    gap: float
    n_sweeps: int
    converged: bool
    stalled: bool


class _Certificate(NamedTuple):
    """Objective, its bound, levels of the candidates, those that are surely zero, and which swept rows are in use."""

    objective: Any
    bound: Any
    levels: Any
    inactive: Any
    in_use: Any


@partial(jax.jit, static_argnames=("nonnegative", "lasso"))
def _certify(X, candidates, n_candidates, alpha1, alpha2, atoms, codes, F, *, nonnegative, lasso):
    """`_Certificate` in float64."""
    X, candidates, atoms, codes, F = (a.astype(jnp.float64) for a in (X, candidates, atoms, codes, F))
    residual = X - matmul(atoms.T, codes)
    objective = 0.5 * jnp.sum(residual**2) + penalty(codes, alpha1, alpha2)
    rows = pad_rows(candidates, alpha1, alpha2)._replace(n_rows=n_candidates)
    bound, levels, distance = dual_bound(X, F, rows, nonnegative=nonnegative, lasso=lasso)
    levels = levels[: candidates.shape[0]]
    # The dual is strongly concave: its best point is within the root of twice the gap of any feasible one. The level of
    # an atom changes by no more than that distance times sqrt(N) and the atom's norm. Samples that are zero, as those
    # that only pad, have zero in both points and do not count.
    gap = jnp.maximum(objective - bound, ROUNDING * objective)
    radius = jnp.sqrt(2 * gap) + distance
    norms = jnp.sqrt(jnp.sum(candidates**2, axis=1))
    n_samples = jnp.sum(jnp.any((X != 0) | (F != 0), axis=0))
    inactive = levels + radius * norms * jnp.sqrt(n_samples) < alpha2
    return _Certificate(objective, bound, levels, inactive, jnp.any(codes != 0, axis=1))


@jax.jit
def _residual(X, atoms, codes):
    return X - matmul(atoms.T, codes)


def _capacity(count, n_atoms, n_samples):
    """Rows to reserve: few distinct sizes, so that few programs are compiled, unless running them takes longer."""
    capacity = 32 if n_atoms * n_samples >= ROUGH_SIZE else 128
    while capacity < count:
        capacity *= 4
    return min(capacity, -(-n_atoms // BLOCK) * BLOCK)


def _gather(problem, working, index):
    """The same codes as a working set of other atoms, which must include those in use."""
    capacity = _capacity(len(index), len(problem.dictionary), problem.X.shape[1])
    place = np.full(problem.dictionary.shape[0], working.codes.shape[0])
    place[working.members] = np.arange(len(working.members))
    rows = np.full(capacity, working.codes.shape[0])
    rows[: len(index)] = place[index]
    return WorkingSet(index, jnp.take(working.codes, rows, axis=0, mode="fill", fill_value=0))


def _atoms_of(problem, members, capacity):
    rows = np.full(capacity, problem.dictionary.shape[0])
    rows[: len(members)] = members
    return jnp.take(problem.dictionary, rows, axis=0, mode="fill", fill_value=0)


def _rows_of(problem, working, atoms):
    return pad_rows(atoms, problem.alpha1, problem.alpha2)._replace(n_rows=jnp.asarray(len(working.members)))


class _Candidates(NamedTuple):
    """Atoms that the optimum may use, as far as is known."""

    members: np.ndarray
    """(c,) atom numbers."""
    atoms: jax.Array
    """(K, P), the first c of which are theirs."""


def _screen(problem, candidates, inactive, used):
    """Leave out atoms that are surely zero at the optimum, but for those still in use."""
    kept = candidates.members[~inactive[: len(candidates.members)] | np.isin(candidates.members, used)]
    if len(kept) == len(candidates.members):
        return candidates
    return _Candidates(kept, _atoms_of(problem, kept, len(problem.dictionary)))


def _choose(candidates, levels, used, alpha2):
    """Atoms in use and the worst violators, at most as many again (32 at least in all)."""
    levels = levels[: len(candidates.members)]
    waiting = np.flatnonzero((levels > alpha2 * (1 + 1e-12)) & ~np.isin(candidates.members, used))
    waiting = candidates.members[waiting[np.argsort(-levels[waiting], kind="stable")]]
    room = max(2 * len(used), 32) - len(used)
    return np.sort(np.concatenate([used, waiting[:room]])), len(waiting)


def _solve(problem, codes, tol, max_sweeps, energy):
    n_atoms = problem.dictionary.shape[0]
    kernels = FASTEST if mesh_of(problem.X) is None else DIVISIBLE
    used = np.flatnonzero(np.asarray(jnp.any(codes != 0, axis=1)))
    working = _gather(problem, WorkingSet(np.arange(n_atoms), codes), used)
    atoms = _atoms_of(problem, used, len(working.codes))
    candidates = _Candidates(np.arange(n_atoms), problem.dictionary)
    if len(used) > 0 and tol > 0:
        rows = _rows_of(problem, working, atoms)
        polished, F = polish(problem.X, rows, working.codes, kernels=kernels, **problem.options)
        working = working._replace(codes=polished)
    else:
        F = _residual(problem.X, atoms, working.codes)
    best, n_sweeps, stalled, strength = -np.inf, 0, False, LEAST_MOMENTUM
    while True:
        with jax.enable_x64(True):
            found = _certify(
                problem.X, candidates.atoms, len(candidates.members), problem.alpha1, problem.alpha2,
                atoms, working.codes, F, **problem.options,
            )  # fmt: skip
            found = _Certificate(*map(np.asarray, found))
        best = max(best, float(found.bound))
        gap = relative_gap(float(found.objective), best, energy)
        used = working.members[found.in_use[: len(working.members)]]
        index, n_waiting = _choose(candidates, found.levels, used, problem.alpha2)
        stalled = stalled and n_waiting == 0
        if gap <= tol or n_sweeps >= max_sweeps or stalled:
            break
        candidates = _screen(problem, candidates, found.inactive, used)
        working = _gather(problem, working, index)
        atoms = _atoms_of(problem, index, len(working.codes))
        rows = _rows_of(problem, working, atoms)
        target = max(0.5 * tol, 0.1 * gap) * energy
        improved, F, strength, done, stuck = descend(
            problem.X, rows, working.codes, strength, target, min(max_sweeps - n_sweeps, MOST_SWEEPS),
            kernels=kernels, **problem.options,
        )  # fmt: skip
        working = working._replace(codes=improved)
        n_sweeps, stalled = n_sweeps + int(done), bool(stuck)
    full = jnp.zeros_like(codes).at[working.members].set(working.codes[: len(working.members)])
    return Solution(full, float(found.objective), best, gap, n_sweeps, gap <= tol, stalled)


def _roughly(problem, codes, tol, max_sweeps, energy):
    """`_solve` in float32, the data scaled to a mean square of one; codes come back in float64."""
    scale = (2 * energy / problem.X.size) ** 0.5
    narrow = Problem(
        (problem.X / scale).astype(jnp.float32), problem.dictionary.astype(jnp.float32),
        problem.alpha1 / scale, problem.alpha2 / scale, problem.nonnegative,
    )  # fmt: skip
    found = _solve(narrow, (codes / scale).astype(jnp.float32), tol, max_sweeps, energy / scale**2)
    return found._replace(codes=found.codes.astype(jnp.float64) * scale)


def solve(problem, codes, *, tol, max_sweeps, energy):
    """Minimise over the codes of ``problem`` until the relative gap is within ``tol``.

    Where there are many float64 codes, float32 brings them near first, at half the cost of a sweep. Where float32 codes
    stop making progress, float64 takes over, and they are rounded at the end.

    Parameters
    ----------
    problem : Problem
    codes : Array, shape (K, N)
        Where to start; the objective never ends above its value there, but for rounding.
    tol : float
    max_sweeps : int
    energy : float
        ``1/2 ||X||_F^2``, what gaps are relative to.

    Returns
    -------
    Solution
    """
    if codes.dtype == np.float64:
        if codes.size < ROUGH_SIZE or energy == 0:
            return _solve(problem, codes, tol, max_sweeps, energy)
        rough = _roughly(problem, codes, max(tol, ROUGH_TOL), max_sweeps, energy)
        found = _solve(problem, rough.codes, tol, max_sweeps - rough.n_sweeps, energy)
        return found._replace(n_sweeps=found.n_sweeps + rough.n_sweeps)
    found = _solve(problem, codes, tol, max_sweeps, energy)
    if not found.stalled:
        return found
    with jax.enable_x64(True):
        wide = problem._replace(
            X=problem.X.astype(jnp.float64), dictionary=problem.dictionary.astype(jnp.float64)
        )
        start = found.codes.astype(jnp.float64)
        finer = _solve(wide, start, tol, max_sweeps - found.n_sweeps, energy)
        rounded = finer.codes.astype(codes.dtype)
        reached = rounded.astype(jnp.float64)
        fit = 0.5 * jnp.sum(_residual(wide.X, wide.dictionary, reached) ** 2)
        objective = float(fit + penalty(reached, problem.alpha1, problem.alpha2))
    bound = max(found.bound, finer.bound)
    gap = relative_gap(objective, bound, energy)
    n_sweeps = found.n_sweeps + finer.n_sweeps
    return finer._replace(
        codes=rounded, objective=objective, bound=bound, gap=gap, n_sweeps=n_sweeps, converged=gap <= tol
    )
