"""MAP estimation, which is PADL: sparse coding and dictionary updates in turn, never raising the objective.

One iteration codes the data from the last codes on (a few sweeps, `padl_bayes.sparse_coding`), minimises over
each atom on the unit sphere from the statistics R'R and R'X, and then replaces atoms by two rules. An atom
without codes costs nothing wherever it points: it is pointed where it would get codes, at a maximiser of the
residual's violation of the dual constraint. Where no atom has codes the search is as thorough as that of
`padl_bayes.calibration`, so that noise wakes an atom at the rate that was asked for. Of two atoms with absolute
cosine above 0.99 one gives its codes to the other and becomes free to be pointed elsewhere, if the objective
does not rise.
"""

import time
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from padl_bayes._devices import gathered, mesh_of, mesh_over, over_samples
from padl_bayes._options import check_atoms_fit, check_callback, check_flag, check_seed
from padl_bayes._precision import precision_of
from padl_bayes._validation import check_count, check_dictionary, check_scalar, check_training_data
from padl_bayes.calibration import N_STEPS, calibrate_alpha, climb, principal_starts
from padl_bayes.inference.dictionary import update_dictionary
from padl_bayes.inference.results import MapFit
from padl_bayes.kernels.row_sweep import matmul, penalty
from padl_bayes.working_set import problem_of, solve

SWEEPS = 5
CYCLES = 5
SAME = 0.99
BIRTH_EVERY = 5
MOST_BIRTHS = 16
CLIMB_STEPS = 10
GAP_TOL = 1e-6
MAX_ITER = 200


class MapProgress(NamedTuple):
    """What a callback of `fit_map` is told after each coding step."""

    iteration: int
    objective: float
    gap: float
    n_active: int


class _State(NamedTuple):
    codes: jax.Array
    """(K, N)"""
    dictionary: jax.Array
    """(K, P)"""


@jax.jit
def _update(X, codes, dictionary):
    """Dictionary after a few cycles of exact updates, with the statistics that they need."""
    gram, cross = matmul(codes, codes.T), matmul(codes, X.T)
    dictionary = jax.lax.fori_loop(0, CYCLES, lambda _, d: update_dictionary(gram, cross, d), dictionary)
    return dictionary, gram, cross


def _merge_twins(state, gram, cross, problem):
    """Give the codes of an atom to its near-copy wherever that does not raise the objective."""
    atoms, gram, cross = (np.array(a, np.float64) for a in (state.dictionary, gram, cross))
    codes = state.codes
    cosine = np.triu(atoms @ atoms.T, 1)
    alike = (np.abs(cosine) > SAME) & np.outer(np.diag(gram) > 0, np.diag(gram) > 0)
    if problem.nonnegative:
        alike &= cosine > 0
    pairs = np.argwhere(alike)
    for i, j in pairs[np.argsort(-np.abs(cosine[alike]), kind="stable")]:
        keep, drop = (i, j) if gram[i, i] >= gram[j, j] else (j, i)
        if gram[drop, drop] == 0 or gram[keep, keep] == 0:
            continue
        sign = np.sign(cosine[i, j])
        # Moving row r_drop from one atom to the other changes the residual by r_drop times `shift`.
        shift = atoms[drop] - sign * atoms[keep]
        fit = (cross[drop] - gram[drop] @ atoms) @ shift + 0.5 * gram[drop, drop] * (shift @ shift)
        merged = codes[keep] + sign * codes[drop]
        saved = penalty(codes[np.array([keep, drop])], problem.alpha1, problem.alpha2)
        if fit + float(penalty(merged[None], problem.alpha1, problem.alpha2) - saved) > 0:
            continue
        codes = codes.at[keep].set(merged).at[drop].set(0)
        gram[keep] += sign * gram[drop]
        gram[:, keep] += sign * gram[:, drop]
        cross[keep] += sign * cross[drop]
        gram[drop] = gram[:, drop] = cross[drop] = 0
    return state._replace(codes=codes)


def _longest_rows(mesh, rows, count):
    """The longest of the rows (N, P), longest first, and their lengths: from the longest of each device."""

    def choose(split, _):
        rows, size = split
        longest = jnp.argsort(-size)[:count]
        return rows[longest], size[longest]

    best = over_samples(mesh, choose)((rows, jnp.linalg.norm(rows, axis=1)), ())
    return best if mesh is None else choose(best, ())


@partial(jax.jit, static_argnames=("count", "thorough", "nonnegative", "mesh"))
def _wanted_atoms(X, codes, dictionary, alpha1, *, count, thorough, nonnegative, mesh):
    """Directions that the residual wants most, from its longest samples, and their dual levels.

    A ``thorough`` search is the one of the calibration.
    """
    residual = (X - matmul(dictionary.T, codes)).T
    longest, size = _longest_rows(mesh, residual, count)
    starts = longest / jnp.where(size > 0, size, 1)[:, None]
    if not thorough:
        return climb(residual, starts, alpha1, CLIMB_STEPS, nonnegative=nonnegative)
    starts = jnp.concatenate([starts, principal_starts(residual)])
    return climb(residual, starts, alpha1, N_STEPS, nonnegative=nonnegative)


def _point_idle_atoms(state, problem):
    """Point atoms without codes where they would get some; returns the state and how many were moved."""
    active = np.asarray(jnp.any(state.codes != 0, axis=1))
    idle = np.flatnonzero(~active)
    if len(idle) == 0:
        return state, 0
    wanted, levels = _wanted_atoms(
        problem.X, state.codes, state.dictionary, problem.alpha1,
        count=min(MOST_BIRTHS, problem.X.shape[1]), thorough=not active.any(), nonnegative=problem.nonnegative,
        mesh=mesh_of(problem.X),
    )  # fmt: skip
    wanted, levels = np.asarray(wanted), np.asarray(levels)
    taken = list(np.asarray(state.dictionary)[active])
    n_active = len(taken)
    for candidate in np.argsort(-levels, kind="stable"):
        atom = wanted[candidate]
        fresh = all(abs(atom @ other) <= SAME for other in taken)
        if fresh and levels[candidate] > problem.alpha2:
            taken.append(atom)
    born = taken[n_active:][: len(idle)]
    if not born:
        return state, 0
    return state._replace(dictionary=state.dictionary.at[idle[: len(born)]].set(np.stack(born))), len(born)


def _starting_atoms(X, n_atoms, random_state):
    """Distinct samples, normalised: permuting or flipping the features does the same to the atoms."""
    norms = np.linalg.norm(X.astype(np.float64), axis=1)
    usable = np.flatnonzero(norms > 1e-6 * norms.max())
    chosen = np.random.default_rng(random_state).permutation(usable)[:n_atoms]
    return (X[chosen] / norms[chosen, None]).astype(X.dtype)


def _alternate(problem, state, energy, max_iter, tol, callback):
    """Iterate until the objective falls by less than ``tol`` of it and pointing idle atoms does not help."""
    history, settled = [], np.inf
    reason = f"stopped after max_iter={max_iter} iterations, the objective still falling: raise max_iter"
    for iteration in range(max_iter):
        problem = problem._replace(dictionary=state.dictionary)
        found = solve(problem, state.codes, tol=0.0, max_sweeps=SWEEPS, energy=energy)
        state = state._replace(codes=found.codes)
        history.append(found.objective)
        if callback is not None:
            n_active = int(jnp.sum(jnp.any(state.codes != 0, axis=1)))
            callback(MapProgress(iteration, found.objective, found.gap, n_active))
        dictionary, gram, cross = _update(problem.X, state.codes, state.dictionary)
        state = _merge_twins(state._replace(dictionary=dictionary), gram, cross, problem)
        small = iteration > 0 and history[-2] - history[-1] <= tol * history[-1]
        if small and settled - history[-1] <= tol * history[-1]:
            reason = f"converged: the objective fell by less than {tol:g} of it"
            break
        if small or iteration % BIRTH_EVERY == 0:
            state, n_born = _point_idle_atoms(state, problem)
            if small and n_born == 0:
                reason = f"converged: the objective fell by less than {tol:g} of it"
                break
        if small:
            settled = history[-1]
    return state, history, reason


def residual_scale(X, dictionary, codes):
    """Noise from the residual, less one degree of freedom for each free code, envelope and atom direction."""
    residual = X - codes @ dictionary
    clipped = np.isclose(np.abs(codes), np.abs(codes).max(axis=0, initial=0), rtol=1e-5) & (codes != 0)
    spent = np.sum(codes != 0) - np.sum(clipped) + dictionary.size
    return float(np.sqrt(np.sum(residual**2) / max(X.size - spent, 1)))


def _check_alpha(alpha):
    try:
        alpha1, alpha2 = alpha
    except (TypeError, ValueError):
        raise ValueError(f"alpha must be a pair (alpha1, alpha2), found {alpha!r}") from None
    alpha = check_scalar(alpha1, "alpha[0]"), check_scalar(alpha2, "alpha[1]")
    if alpha == (0.0, 0.0):
        raise ValueError("alpha must have a positive weight, found (0, 0)")
    return alpha


def _package(X, dictionary, found, alpha, history, reason):
    """`MapFit` of the active atoms, those of most code energy first."""
    codes = np.array(gathered(found.codes)[:, : len(X)]).T
    energy = np.sum(codes.astype(np.float64) ** 2, axis=0)
    order = np.argsort(-energy, kind="stable")[: np.count_nonzero(energy)]
    codes, dictionary = codes[:, order], dictionary[order]
    if len(order) == 0:
        reason = "converged: no atom is worth its cost, all codes are zero"
    return MapFit(
        dictionary=dictionary,
        codes=codes,
        objective=found.objective,
        gap=found.gap,
        alpha=alpha,
        noise_scale=residual_scale(X, dictionary, codes),
        usage=np.mean(codes != 0, axis=0),
        history=np.array([*history, found.objective]),
        n_iter=len(history),
        status=reason,
        wall_time=0.0,
    )


def fit_map(
    X,
    n_atoms,
    *,
    alpha=None,
    nonnegative=False,
    max_iter=MAX_ITER,
    tol=1e-5,
    gap_tol=GAP_TOL,
    random_state=0,
    dictionary_init=None,
    devices=None,
    callback=None,
):
    """Fit a dictionary and codes by minimising PADL's objective over both.

    The objective ``1/2 ||X - R D||_F^2 + alpha1 ||R||_1 + alpha2 sum_k ||r_k||_inf`` over codes R and
    unit-norm atoms D is minus the log posterior of the l1 + l_inf model, up to constants and an atom's prior
    odds. It is convex in R, not in both: the dictionary is a local minimiser, the codes are optimal for it
    within ``gap``.

    Parameters
    ----------
    X : array_like, shape (N, P)
        Samples. float64 data are fitted in float64, float32 in float32.
    n_atoms : int
        Upper bound on the atoms; at most the number of nonzero samples are used.
    alpha : tuple of float, optional
        ``(alpha1, alpha2)``; `calibrate_alpha` of X by default.
    nonnegative : bool
        Restrict the codes to be nonnegative.
    max_iter : int
        Most iterations.
    tol : float
        Stop when an iteration lowers the objective by at most this fraction.
    gap_tol : float
        Relative duality gap of the codes at the end.
    random_state : int
        Seed of the choice of samples to start from.
    dictionary_init : array_like, shape (n_atoms, P), optional
        Unit-norm atoms to start from instead.
    devices : "all", int or sequence of Device, optional
        Samples are divided over them, as in `sparse_code`: plain JAX codes them, and what it finds does not depend on
        how many there are, but for rounding.
    callback : callable, optional
        Called with a `MapProgress` after each coding step.

    Returns
    -------
    MapFit

    Raises
    ------
    ValueError, TypeError
        Bad input.
    """
    started = time.perf_counter()
    X, _ = check_training_data(X)
    n_atoms, max_iter = check_count(n_atoms, "n_atoms"), check_count(max_iter, "max_iter")
    tol, gap_tol = check_scalar(tol, "tol"), check_scalar(gap_tol, "gap_tol")
    random_state, mesh = check_seed(random_state), mesh_over(devices)
    nonnegative, callback = check_flag(nonnegative, "nonnegative"), check_callback(callback)
    check_atoms_fit(X.shape, n_atoms, X.dtype)
    if dictionary_init is None:
        atoms = _starting_atoms(X, n_atoms, random_state)
    else:
        atoms = check_dictionary(dictionary_init, "dictionary_init", n_features=X.shape[1]).astype(X.dtype)
        if len(atoms) != n_atoms:
            raise ValueError(f"dictionary_init must have n_atoms={n_atoms} rows, found {len(atoms)}")
    alpha1, alpha2 = calibrate_alpha(X, nonnegative=nonnegative)[:2] if alpha is None else _check_alpha(alpha)
    energy = 0.5 * float(np.sum(np.square(X, dtype=np.float64)))
    with precision_of(X):
        problem, codes = problem_of(X, atoms, None, (alpha1, alpha2), nonnegative, mesh)
        state = _State(codes, problem.dictionary)
        state, history, reason = _alternate(problem, state, energy, max_iter, tol, callback)
        problem = problem._replace(dictionary=state.dictionary)
        found = solve(problem, state.codes, tol=gap_tol, max_sweeps=10_000, energy=energy)
        fit = _package(X, np.array(state.dictionary), found, (alpha1, alpha2), history, reason)
    return fit._replace(wall_time=time.perf_counter() - started, nonnegative=nonnegative)
