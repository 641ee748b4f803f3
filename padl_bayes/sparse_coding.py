"""Sparse coding with a fixed dictionary: exact row updates on a working set of atoms, with a duality gap.

The problem and its dual are stated in `padl_bayes.objective`. The outer loop certifies the current codes
against all atoms and picks a working set: the atoms in use and those whose constraint is violated most. The
inner loop sweeps over that set only, so that cost follows the number of active atoms. Working sets that grow
by doubling and stop on their own gap follow Massias, Gramfort & Salmon (ICML 2018). In place of their
extrapolated dual point, which does not help here, the residual of a Newton step is projected on each
constraint in turn, and once few entries are on a wrong face, Newton steps alone end at the solution.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from padl_bayes._devices import gathered, mesh_of, mesh_over, padded_size, spread, zeros
from padl_bayes._options import check_flag
from padl_bayes._precision import precision_of
from padl_bayes._validation import check_array, check_count, check_dictionary, check_matrix, check_scalar
from padl_bayes.diagnostics import warn_of_gap
from padl_bayes.kernels.dual_bound import dual_bound
from padl_bayes.kernels.row_descent import DIVISIBLE, FASTEST, LEAST_MOMENTUM, descend, polish
from padl_bayes.kernels.row_sweep import BLOCK, matmul, pad_rows, penalty
from padl_bayes.objective import relative_gap

MOST_SWEEPS = 500
ROUGH_SIZE = 2**22
ROUGH_TOL = 1e-5


class SparseCode(NamedTuple):
    """Codes of samples for a fixed dictionary."""

    codes: np.ndarray
    """(N, K)"""
    objective: float
    """``1/2 ||X - R D||_F^2 + alpha1 ||R||_1 + alpha2 sum_k ||r_k||_inf``, computed in float64."""
    gap: float
    """Duality gap over ``1/2 ||X||_F^2``: at least how far the objective can be from its minimum."""
    n_iter: int
    """Sweeps over the working set."""
    status: str
    """Why the solver stopped."""


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


@partial(jax.jit, static_argnames=("nonnegative", "lasso"))
def _certify(X, dictionary, alpha1, alpha2, atoms, codes, F, *, nonnegative, lasso):
    """Objective, bound and levels of all atoms in float64, and which rows of the working set are in use."""
    X, dictionary, atoms, codes, F = (a.astype(jnp.float64) for a in (X, dictionary, atoms, codes, F))
    residual = X - matmul(atoms.T, codes)
    objective = 0.5 * jnp.sum(residual**2) + penalty(codes, alpha1, alpha2)
    rows = pad_rows(dictionary, alpha1, alpha2)
    bound, levels = dual_bound(X, F, rows, nonnegative=nonnegative, lasso=lasso)
    return objective, bound, levels[: dictionary.shape[0]], jnp.any(codes != 0, axis=1)


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


def _atoms_of(problem, working):
    capacity = working.codes.shape[0]
    rows = np.full(capacity, problem.dictionary.shape[0])
    rows[: len(working.members)] = working.members
    return jnp.take(problem.dictionary, rows, axis=0, mode="fill", fill_value=0)


def _rows_of(problem, working, atoms):
    return pad_rows(atoms, problem.alpha1, problem.alpha2)._replace(n_rows=jnp.asarray(len(working.members)))


def _choose(levels, used, alpha2):
    """Atoms in use and the worst violators, at most as many again (32 at least in all)."""
    violating = np.flatnonzero(levels > alpha2 * (1 + 1e-12))
    waiting = np.setdiff1d(violating, used)
    waiting = waiting[np.argsort(-levels[waiting], kind="stable")]
    room = max(2 * len(used), 32) - len(used)
    return np.sort(np.concatenate([used, waiting[:room]])), len(waiting)


def _solve(problem, codes, tol, max_sweeps, energy):
    n_atoms = problem.dictionary.shape[0]
    kernels = FASTEST if mesh_of(problem.X) is None else DIVISIBLE
    used = np.flatnonzero(np.asarray(jnp.any(codes != 0, axis=1)))
    working = _gather(problem, WorkingSet(np.arange(n_atoms), codes), used)
    atoms = _atoms_of(problem, working)
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
                problem.X, problem.dictionary, problem.alpha1, problem.alpha2, atoms, working.codes, F,
                **problem.options,
            )  # fmt: skip
            objective, bound, levels, in_use = (np.asarray(a) for a in found)
        best = max(best, float(bound))
        gap = relative_gap(float(objective), best, energy)
        used = working.members[in_use[: len(working.members)]]
        index, n_waiting = _choose(levels, used, problem.alpha2)
        stalled = stalled and n_waiting == 0
        if gap <= tol or n_sweeps >= max_sweeps or stalled:
            break
        working = _gather(problem, working, index)
        atoms = _atoms_of(problem, working)
        rows = _rows_of(problem, working, atoms)
        target = max(0.5 * tol, 0.1 * gap) * energy
        improved, F, strength, done, stuck = descend(
            problem.X, rows, working.codes, strength, target, min(max_sweeps - n_sweeps, MOST_SWEEPS),
            kernels=kernels, **problem.options,
        )  # fmt: skip
        working = working._replace(codes=improved)
        n_sweeps, stalled = n_sweeps + int(done), bool(stuck)
    full = jnp.zeros_like(codes).at[working.members].set(working.codes[: len(working.members)])
    return Solution(full, float(objective), best, gap, n_sweeps, gap <= tol, stalled)


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


def _least_squares(X, dictionary):
    """Codes of least norm when both weights are zero; the gap is the energy left in the atoms' span."""
    X, dictionary = X.astype(np.float64), dictionary.astype(np.float64)
    codes = np.linalg.lstsq(dictionary.T, X.T, rcond=None)[0].T
    residual = X - codes @ dictionary
    _, singular, basis = np.linalg.svd(dictionary, full_matrices=False)
    span = basis[singular > singular[0] * max(dictionary.shape) * np.finfo(np.float64).eps]
    objective = 0.5 * np.sum(residual**2)
    bound = objective - 0.5 * np.sum((residual @ span.T) ** 2)
    return codes, objective, relative_gap(objective, bound, 0.5 * np.sum(X**2))


def sparse_code(
    X,
    dictionary,
    alpha1,
    alpha2,
    *,
    tol=1e-6,
    max_iter=10_000,
    codes_init=None,
    nonnegative=False,
    devices=None,
):
    """Sparse codes of ``X`` for a fixed dictionary, with a certificate.

    Minimises ``1/2 ||X - R D||_F^2 + alpha1 ||R||_1 + alpha2 sum_k ||r_k||_inf`` over R, a convex problem.
    The l1 norm makes single codes zero, the l_inf norm whole atoms.

    Parameters
    ----------
    X : array_like, shape (N, P)
        Samples. float64 data are coded in float64, float32 in float32; the gap is computed in float64.
    dictionary : array_like, shape (K, P)
        Atoms, unit-norm rows.
    alpha1, alpha2 : float
        Weights of the two norms, in units of X for alpha1 and of N times X for alpha2.
    tol : float
        Stop when the duality gap over ``1/2 ||X||_F^2`` is at most this.
    max_iter : int
        Most sweeps over the working set.
    codes_init : array_like, shape (N, K), optional
        A warm start.
    nonnegative : bool
        Restrict the codes to be nonnegative.
    devices : "all", int or sequence of Device, optional
        Samples are divided over them (a number: the first ones), and plain JAX codes them, to the same tolerance as the
        C++ kernels; codes do not depend on how many there are, but for rounding. Under `jax.distributed` every process
        makes the same call, with devices of all. JAX's default device if not given.

    Returns
    -------
    SparseCode

    Raises
    ------
    ValueError, TypeError
        Bad input. Nonnegative codes need one positive weight: without any the gap certifies nothing.

    Notes
    -----
    With both weights zero: the codes of least squares, of least norm where that leaves a choice.
    """
    alpha = check_scalar(alpha1, "alpha1"), check_scalar(alpha2, "alpha2")
    X, dictionary = _check_data(X, dictionary)
    shape = (X.shape[0], dictionary.shape[0])
    dtype = np.result_type(X, dictionary)
    if codes_init is not None:
        codes_init = check_matrix(codes_init, "codes_init", n_features=shape[1]).astype(dtype)
        if codes_init.shape != shape:
            raise ValueError(f"codes_init must have shape {shape}, found {codes_init.shape}")
        nonnegative = check_flag(nonnegative, "nonnegative")
        codes_init = (np.maximum(codes_init, 0) if nonnegative else codes_init).T
    return _follow(X, dictionary, [alpha], codes_init, tol, max_iter, nonnegative, devices)[0]


def sparse_code_path(X, dictionary, alphas, *, tol=1e-6, max_iter=10_000, nonnegative=False, devices=None):
    """`sparse_code` for several pairs of weights, each started from the codes of the pair before.

    Parameters
    ----------
    X : array_like, shape (N, P)
    dictionary : array_like, shape (K, P)
    alphas : array_like, shape (L, 2)
        Pairs ``(alpha1, alpha2)``, taken in their order: from large to small is fastest.
    tol, max_iter, nonnegative, devices
        As in `sparse_code`, for each pair.

    Returns
    -------
    list of SparseCode
        One a pair, in their order.

    Raises
    ------
    ValueError, TypeError
        As `sparse_code`.

    Examples
    --------
    >>> import numpy as np, padl_bayes as pb
    >>> data = pb.datasets.bars(n_samples=200, seed=0)
    >>> largest = pb.objective.alpha2_max(data.X, data.dictionary)
    >>> path = pb.sparse_code_path(data.X, data.dictionary, [(0, a) for a in largest * np.array([1, 0.5, 0.1])])
    >>> [int((found.codes != 0).any(axis=0).sum()) for found in path]
    [0, 10, 10]
    """
    alphas = check_array(alphas, "alphas", ("n_pairs", 2))
    pairs = [
        (check_scalar(float(a), f"alphas[{i}, 0]"), check_scalar(float(b), f"alphas[{i}, 1]"))
        for i, (a, b) in enumerate(alphas)
    ]
    X, dictionary = _check_data(X, dictionary)
    return _follow(X, dictionary, pairs, None, tol, max_iter, nonnegative, devices)


def _check_data(X, dictionary):
    dictionary = check_dictionary(dictionary)
    return check_matrix(X, n_features=dictionary.shape[1]), dictionary


def problem_of(X, dictionary, codes, alpha, nonnegative, mesh):
    """`Problem` of NumPy arrays and the codes (K, N) to start from, zero if None, over the devices of a mesh."""
    dtype = np.result_type(X, dictionary)
    shape = (len(dictionary), padded_size(mesh, len(X)))
    codes = zeros(mesh, shape, dtype, axis=1) if codes is None else spread(mesh, codes, axis=1)
    X = spread(mesh, X.T.astype(dtype, copy=False), axis=1)
    return Problem(X, jnp.asarray(dictionary, dtype), alpha[0], alpha[1], nonnegative), codes


def _follow(X, dictionary, alphas, codes, tol, max_iter, nonnegative, devices):
    """`SparseCode` of each pair of weights in turn, from ``codes`` (K, N), zero if None."""
    tol, max_iter = check_scalar(tol, "tol"), check_count(max_iter, "max_iter")
    nonnegative, mesh = check_flag(nonnegative, "nonnegative"), mesh_over(devices)
    if nonnegative and (0, 0) in alphas:
        raise ValueError("alpha1 or alpha2 must be positive for nonnegative codes, found both zero")
    dtype, results = np.result_type(X, dictionary), []
    energy = 0.5 * float(np.sum(np.square(X, dtype=np.float64)))
    with precision_of(X, dictionary):
        first, codes = problem_of(X, dictionary, codes, (0.0, 0.0), nonnegative, mesh)
        for alpha in alphas:
            if alpha == (0, 0):
                least, objective, gap = _least_squares(X, dictionary)
                status = "converged: least squares, no penalty"
                results.append(SparseCode(least.astype(dtype), objective, gap, 1, status))
                continue
            problem = first._replace(alpha1=alpha[0], alpha2=alpha[1])
            found = solve(problem, codes, tol=tol, max_sweeps=max_iter, energy=energy)
            codes, rows = found.codes, np.array(gathered(found.codes.T)[: len(X)])
            status = _describe(found, tol)
            results.append(SparseCode(rows, found.objective, found.gap, found.n_sweeps, status))
            warn_of_gap(results[-1], tol, dtype)
    return results


def _describe(found, tol):
    if found.converged:
        return f"converged: gap {found.gap:.2g} is within tol {tol:.2g}"
    if found.stalled:
        return f"stalled: gap {found.gap:.2g} is what this precision allows, tol is {tol:.2g}"
    return f"stopped after max_iter sweeps: gap {found.gap:.2g} is above tol {tol:.2g}"
