"""Univariate slice sampling (Neal, Annals of Statistics 31(3), 2003), with stepping out and shrinkage."""

import jax
import jax.numpy as jnp

from .uniforms import uniform_open

STEPS = 64
SHRINKAGES = 64
N_UNIFORMS = 3 + SHRINKAGES


def slice_update(uniforms, log_density, position, width):
    """One slice-sampling update, which leaves the density invariant.

    Parameters
    ----------
    uniforms : array, shape (N_UNIFORMS,)
        Uniform random numbers.
    log_density : callable
        Scalar to scalar, up to a constant; -inf outside the support.
    position : array, shape ()
        Inside the support.
    width : array, shape ()
        First guess of the slice's width; anything positive is valid.

    Returns
    -------
    array, shape ()
    """
    level = log_density(position) + jnp.log(uniforms[0])
    start = position - width * uniforms[1] + jnp.stack([jnp.zeros_like(width), width])
    # How many steps each side may take is drawn beforehand: a fixed limit on each side would not be reversible.
    to_left = jnp.floor(uniforms[2] * (STEPS + 1))
    left, right = _step_out(log_density, level, start, width, jnp.stack([to_left, STEPS - to_left]))
    return _shrink(uniforms[3:], log_density, level, position, left, right)


def _step_out(log_density, level, edges, width, most):
    """Edges (2,) moved apart while they are in the slice, by ``most`` steps each."""
    step = jnp.stack([-width, width])

    # What decides whether to go on is computed once, in the body: under vmap, a condition is computed twice, and where
    # its two values differ by rounding the loop would not end.
    def body(carry):
        edges, count, _ = carry
        on = (jax.vmap(log_density)(edges) > level) & (count < most)
        return jnp.where(on, edges + step, edges), count + 1, jnp.any(on)

    carry = (edges, jnp.zeros_like(most), jnp.ones((), bool))
    return jax.lax.while_loop(lambda carry: carry[2], body, carry)[0]


def _shrink(uniforms, log_density, level, position, left, right):
    """A draw from the interval that is in the slice; the position where none is found, which is reversible, too."""

    def body(carry):
        count, left, right, *_ = carry
        proposal = left + (right - left) * uniforms[count]
        # Written so that not-a-number ends the loop.
        accepted = ~(log_density(proposal) < level)
        left = jnp.where(proposal < position, proposal, left)
        right = jnp.where(proposal >= position, proposal, right)
        done = accepted | (count + 1 == SHRINKAGES)
        return count + 1, left, right, jnp.where(accepted, proposal, position), done

    carry = (jnp.zeros((), int), left, right, position, jnp.zeros((), bool))
    return jax.lax.while_loop(lambda carry: ~carry[4], body, carry)[3]


def slice_sample(key, log_density, position, width):
    """`slice_update` with uniform numbers of its own."""
    return slice_update(uniform_open(key, (N_UNIFORMS,), position.dtype), log_density, position, width)
