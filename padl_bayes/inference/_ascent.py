"""Stochastic ascent of the ELBO: Adam, a step per batch, cooled and stopped where the ELBO rises no more."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from numpyro import optim
from numpyro.infer import Trace_ELBO

from padl_bayes.inference._guides import Known, Spec, guide_of, program_of

_WINDOW = 200
_EPOCHS = 100
_COOLING = (1.0, 0.3, 0.1)


class Task(NamedTuple):
    """What stays the same over a fit: (X, mask), what is not learned, and the sizes of steps."""

    spec: Spec
    known: Known
    data: tuple
    batch_size: int
    num_steps: int
    learning_rate: float
    tol: float


class _State(NamedTuple):
    """Optimisers' states, means of the parameters over the window, and how often it visited each sample (N,)."""

    shared: tuple
    local: tuple
    mean_shared: dict
    mean_local: dict
    visits: jax.Array


def climb(key, task, params, report):
    """Raise the ELBO; return the parameters, the trace, whether it converged, and why it stopped."""
    shared, local = params
    adam = optim.Adam(task.learning_rate)
    n_samples = task.spec.n_samples
    visits = jnp.zeros(n_samples, task.data[0].dtype)
    state = _State(adam.init(shared)[1], adam.init(local)[1], shared, local, visits)
    per_epoch = n_samples // task.batch_size
    length = per_epoch * max(-(-_WINDOW // per_epoch), _EPOCHS)
    trace, stage = [], 0
    fresh: list[np.ndarray] = []
    for first in range(0, task.num_steps, length):
        key, window_key = random.split(key)
        n_steps = min(length, task.num_steps - first)
        rate = task.learning_rate * _COOLING[stage]
        before = state
        fixed_args = task.spec, task.known, task.data, task.batch_size, n_steps
        state, elbo = _window(window_key, state, first, rate, *fixed_args)
        elbo = np.asarray(elbo)
        trace.append(elbo)
        report(first + n_steps, elbo.mean())
        if not np.isfinite(elbo).all():
            step = first + int(np.argmin(np.isfinite(elbo))) + 1
            status = f"stopped at step {step}, where the ELBO is not finite; lower learning_rate"
            return (before.mean_shared, before.mean_local), np.concatenate(trace), False, status
        if n_steps < length:
            break
        # an epoch visits all samples, but for what batches leave over: which of them a batch holds adds no noise
        fresh = [*fresh[-1:], elbo.reshape(-1, per_epoch).mean(1)]
        if len(fresh) == 2 and _rise(*fresh) < task.tol:
            stage, fresh = stage + 1, []
            if stage == len(_COOLING):
                break
    converged = stage == len(_COOLING)
    status = (
        f"converged: over {length} steps the ELBO rises by less than {task.tol:g} standard errors"
        if converged
        else f"stopped at num_steps = {task.num_steps} before the ELBO stopped rising"
    )
    return (state.mean_shared, state.mean_local), np.concatenate(trace), converged, status


def negative_elbo(params, key, spec, known, X, mask):
    """Minus an unbiased estimate of all the data's ELBO from one draw and a batch, with the batch's parameters."""
    return Trace_ELBO().loss(
        key, params[0] | params[1], program_of(spec, known), guide_of(spec, known), X, mask
    )


def _rise(earlier, later):
    """Difference of two windows' means in standard errors, epochs being independent draws."""
    error = np.sqrt(earlier.var(ddof=1) / len(earlier) + later.var(ddof=1) / len(later))
    return (later.mean() - earlier.mean()) / max(error, np.finfo(earlier.dtype).tiny)


def _batches(key, n_samples, batch_size, n_steps):
    """Rows of each step (n_steps, batch_size): epochs in random order, what is left of each dropped."""
    per_epoch = n_samples // batch_size
    keys = random.split(key, -(-n_steps // per_epoch))
    orders = jax.vmap(lambda key: random.permutation(key, n_samples))(keys)
    return orders[:, : per_epoch * batch_size].reshape(-1, batch_size)[:n_steps]


@partial(jax.jit, static_argnames=("spec", "batch_size", "n_steps"))
def _window(key, state, first, learning_rate, spec, known, data, batch_size, n_steps):
    """Take steps at one learning rate; return the state, with means over them, and their ELBOs (n_steps,).

    A step touches the optimiser's state of its batch's rows only, as if other rows had no step.
    """
    adam = optim.Adam(learning_rate)
    whole = batch_size == spec.n_samples
    order_key, noise_key = random.split(key)
    rows = None if whole else _batches(order_key, spec.n_samples, batch_size, n_steps)

    def step(state, inputs):
        count, key, rows = inputs
        pick = partial(jax.tree.map, lambda table: table if whole else table[rows])
        put = partial(jax.tree.map, lambda table, new: new if whole else table.at[rows].set(new))
        epoch = jnp.floor(count * (batch_size / spec.n_samples))
        shared, local = (count, state.shared), (epoch, pick(state.local))
        params = adam.get_params(shared), adam.get_params(local)
        loss, slopes = jax.value_and_grad(negative_elbo)(params, key, spec, known, *pick(data))
        shared, local = adam.update(slopes[0], shared), adam.update(slopes[1], local)
        visits = pick(state.visits) + 1
        mean_shared = _running_mean(state.mean_shared, adam.get_params(shared), count - first + 1)
        mean_local = _running_mean(pick(state.mean_local), adam.get_params(local), visits[:, None])
        local, mean_local = put(state.local, local[1]), put(state.mean_local, mean_local)
        return _State(shared[1], local, mean_shared, mean_local, put(state.visits, visits)), -loss

    # a row that the window does not visit keeps the value it has
    state = state._replace(visits=jnp.zeros_like(state.visits), mean_local=adam.get_params((0, state.local)))
    counts = first + jnp.arange(n_steps)
    return jax.lax.scan(step, state, (counts, random.split(noise_key, n_steps), rows))


def _running_mean(mean, new, count):
    return jax.tree.map(lambda mean, new: mean + (new - mean) / count, mean, new)
