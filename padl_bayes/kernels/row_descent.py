"""Descent on a fixed set of rows: sweeps with momentum, and Newton steps, until the set's own duality gap is small."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from padl_bayes.kernels import dual_bound, feasibility_sweep, newton, newton_step, row_sweep, sweep_rows
from padl_bayes.kernels.row_sweep import Iterate, matmul, penalty

LEAST_MOMENTUM, MOST_MOMENTUM = 0.5, 0.97
CHECK_EVERY = 10
PATIENCE = 5
RARE = 25
MOST_NEWTON_STEPS = 6


class RowKernels(NamedTuple):
    """What goes over whole rows of codes."""

    sweep: Callable
    project: Callable
    newton: Callable


FASTEST = RowKernels(sweep_rows, feasibility_sweep, newton_step)
# JAX divides these over devices: rows go over all samples.
DIVISIBLE = RowKernels(row_sweep.sweep, dual_bound.feasibility_sweep, newton.newton_step)


class _Progress(NamedTuple):
    iterate: Iterate
    objective: jax.Array
    momentum: jax.Array
    strength: jax.Array
    step: jax.Array
    n_sweeps: jax.Array
    bound: jax.Array
    dual_point: jax.Array
    least: jax.Array
    gap: jax.Array
    idle: jax.Array


def _tune(strength, step, last_step):
    """Momentum from how much the steps shrank over `CHECK_EVERY` sweeps.

    A mode that plain sweeps contract by rho has, with momentum b, the rate l of
    ``l^2 - rho (1 + b) l + rho b = 0``. That gives rho from the rate seen, and the b with the least rate, the
    one that makes the discriminant zero.
    """
    rate = (step / jnp.where(last_step > 0, last_step, jnp.inf)) ** (1 / CHECK_EVERY)
    rho = jnp.minimum(rate**2 / jnp.maximum((1 + strength) * rate - strength, 1e-6), 1)
    root = jnp.sqrt(1 - rho)
    best = jnp.clip((1 - root) / (1 + root), LEAST_MOMENTUM, MOST_MOMENTUM)
    return jnp.where((rate > strength) & (rate < 1), best, strength)


def momentum_sweep(kernels, rows, state, *, nonnegative):
    """Sweep with momentum; where that raised the objective, let the next sweep start from before it."""
    iterate, objective = kernels.sweep(rows, state.iterate, state.momentum, nonnegative=nonnegative)
    slack = 4 * jnp.finfo(objective.dtype).eps * jnp.abs(state.objective)
    accepted = (state.momentum <= 0) | (objective <= state.objective + slack)
    # The sweep that follows an undone one has no momentum either: its predecessor is the rejected point.
    momentum = jnp.where(accepted, jnp.where(state.momentum < 0, 0.0, state.strength), -1.0)
    weaker = jnp.maximum(0.8 * state.strength, LEAST_MOMENTUM)
    return state._replace(
        iterate=iterate,
        strength=jnp.where(accepted, state.strength, weaker),
        objective=jnp.where(accepted, objective, state.objective),
        momentum=momentum.astype(objective.dtype),
        n_sweeps=state.n_sweeps + 1,
    )


class _Walk(NamedTuple):
    """Newton steps from face to face."""

    codes: jax.Array
    residual: jax.Array
    dual_point: jax.Array
    """The last step's."""
    crossed: jax.Array
    """Entries that the last step put on another face."""
    waning: jax.Array
    """Whether these are few, and much fewer than before."""
    n_steps: jax.Array


def codes_of(state):
    """The codes with the objective of the state: those of before, where the last sweep is to be undone."""
    return state.iterate.history[jnp.where(state.momentum < 0, 1, 0)]


def _take(state, codes, residual, objective):
    """Go on from these codes."""
    iterate = Iterate(jnp.stack([codes, codes]), residual, residual, jnp.max(jnp.abs(codes), axis=1))
    # Sweeps before and after a jump say nothing of how fast steps shrink.
    return state._replace(
        iterate=iterate, objective=objective, momentum=state.strength, step=jnp.zeros_like(state.step)
    )


def _newton_steps(kernels, X, rows, state, nonnegative, lasso):
    """A Newton step, and more while each finds much fewer entries on a wrong face; better codes and bounds are kept.

    The last of them leave only rounding, which float32 has no use for.
    """

    def step(walk):
        change = kernels.newton(rows, matmul(rows.atoms, walk.residual), walk.codes)
        dual_point = walk.residual - matmul(rows.atoms.T, change)
        correlations = matmul(rows.atoms, dual_point)
        codes = newton.next_face(rows, walk.codes, change, correlations, nonnegative=nonnegative)
        residual = dual_point - matmul(rows.atoms.T, codes - walk.codes - change)
        crossed, used = newton.crossed(walk.codes, codes, rows.alpha2)
        waning = (crossed > 0) & (crossed * RARE <= used) & (2 * crossed < walk.crossed)
        return _Walk(codes, residual, dual_point, crossed, waning, walk.n_steps + 1)

    iterate = state.iterate
    codes, residual = iterate.history[0], iterate.residual
    walk = step(
        _Walk(codes, residual, residual, jnp.asarray(codes.size), jnp.asarray(True), jnp.zeros((), int))
    )
    if X.dtype == jnp.float64:
        walk = lax.while_loop(lambda w: w.waning & (w.n_steps < MOST_NEWTON_STEPS), step, walk)
    codes, residual, dual_point = walk[:3]
    objective = 0.5 * jnp.sum(residual**2) + penalty(codes, rows.alpha1, rows.alpha2)
    state = lax.cond(
        objective < state.objective, lambda: _take(state, codes, residual, objective), lambda: state
    )
    F = kernels.project(rows, dual_point, nonnegative=nonnegative)
    bound = dual_bound.dual_bound(X, F, rows, nonnegative=nonnegative, lasso=lasso).bound
    better = bound > state.bound
    return state._replace(
        bound=jnp.where(better, bound, state.bound), dual_point=jnp.where(better, F, state.dual_point)
    )


def _check(kernels, X, rows, state, nonnegative, lasso):
    """Renew the momentum and, by Newton steps, codes and the working set's bound; count checks without progress."""
    step = jnp.sqrt(jnp.sum((state.iterate.residual - state.iterate.previous_residual) ** 2))
    strength = jnp.where(state.momentum > 0, _tune(state.strength, step, state.step), state.strength)
    state = state._replace(strength=strength, step=step)
    state = _newton_steps(kernels, X, rows, state, nonnegative, lasso)
    gap = state.objective - state.bound
    slack = 4 * jnp.finfo(gap.dtype).eps * jnp.abs(state.objective)
    progress = (state.objective < state.least - slack) | (gap < 0.99 * state.gap)
    return state._replace(
        least=jnp.where(progress, state.objective, state.least),
        gap=jnp.where(progress, gap, state.gap),
        idle=jnp.where(progress, 0, state.idle + 1),
    )


def start(X, rows, codes, strength):
    """State before the first sweep."""
    residual = X - matmul(rows.atoms.T, codes)
    # Starting where the previous codes are the current ones makes the first sweep free of momentum.
    iterate = Iterate(jnp.stack([codes, codes]), residual, residual, jnp.max(jnp.abs(codes), axis=1))
    dtype = X.dtype
    worst = jnp.asarray(jnp.inf, dtype)
    return _Progress(
        iterate=iterate,
        objective=0.5 * jnp.sum(residual**2) + penalty(codes, rows.alpha1, rows.alpha2),
        momentum=jnp.zeros((), dtype),
        strength=jnp.asarray(strength, dtype),
        step=jnp.zeros((), dtype),
        n_sweeps=jnp.zeros((), int),
        bound=-worst,
        dual_point=residual,
        least=worst,
        gap=worst,
        idle=jnp.zeros((), int),
    )


@partial(jax.jit, static_argnames=("nonnegative", "lasso", "kernels"))
def polish(X, rows, codes, *, nonnegative, lasso, kernels=FASTEST):
    """Newton steps only: for codes that are nearly optimal.

    Parameters
    ----------
    X, rows, codes, nonnegative, lasso, kernels
        As in `descend`.

    Returns
    -------
    codes : Array, shape (W, N)
        With an objective no higher.
    dual_point : Array, shape (P, N)
        Nearly feasible.
    """
    state = start(X, rows, codes, LEAST_MOMENTUM)
    state = _newton_steps(kernels, X, rows, state, nonnegative, lasso)
    return state.iterate.history[0], state.dual_point


@partial(jax.jit, static_argnames=("nonnegative", "lasso", "kernels"))
def descend(X, rows, codes, strength, target, max_sweeps, *, nonnegative, lasso, kernels=FASTEST):
    """Sweep over the rows until their gap is below ``target``, progress ends or ``max_sweeps`` are done.

    Parameters
    ----------
    X : Array, shape (P, N)
    rows : Rows
    codes : Array, shape (W, N)
        Where to start.
    strength : float or Array, shape ()
        Momentum to start with.
    target : float
        Duality gap of the problem restricted to these rows, in the objective's units.
    max_sweeps : int
    nonnegative : bool
    lasso : bool
        Whether ``rows.alpha2`` is zero.
    kernels : RowKernels
        `DIVISIBLE` ones where samples are spread over devices.

    Returns
    -------
    codes : Array, shape (W, N)
    dual_point : Array, shape (P, N)
    strength : Array, shape ()
        Momentum to start the next call with.
    n_sweeps : Array, shape ()
    stalled : Array, shape (), bool
    """
    state = start(X, rows, codes, strength)

    def round_of_sweeps(state):
        count = jnp.minimum(CHECK_EVERY, max_sweeps - state.n_sweeps)
        state = lax.fori_loop(
            0, count, lambda _, s: momentum_sweep(kernels, rows, s, nonnegative=nonnegative), state
        )
        return _check(kernels, X, rows, state, nonnegative, lasso)

    def unfinished(state):
        open_gap = state.objective - state.bound > target
        return open_gap & (state.n_sweeps < max_sweeps) & (state.idle < PATIENCE)

    state = lax.while_loop(unfinished, round_of_sweeps, state)
    return codes_of(state), state.dual_point, state.strength, state.n_sweeps, state.idle >= PATIENCE
