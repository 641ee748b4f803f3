"""Univariate slice sampling (Neal, Annals of Statistics 31(3), 2003), with stepping out and shrinkage."""

import jax
import jax.numpy as jnp


def slice_sample(key, log_density, position, width, max_steps=64):
    """One slice-sampling update, which leaves the density invariant.

    Parameters
    ----------
    key : PRNG key
    log_density : callable
        Scalar to scalar, up to a constant; -inf outside the support.
    position : array, shape ()
        Inside the support.
    width : array, shape ()
        First guess of the slice's width; anything positive is valid.
    max_steps : int
        Most steps out on either side.

    Returns
    -------
    array, shape ()
    """
    key_level, key_place, key_split, key_shrink = jax.random.split(key, 4)
    dtype = position.dtype
    level = log_density(position) + jnp.log1p(-jax.random.uniform(key_level, dtype=dtype))
    left = position - width * jax.random.uniform(key_place, dtype=dtype)
    right = left + width
    # How many steps each side may take is drawn beforehand: a fixed limit on each side would not be reversible.
    steps_left = jax.random.randint(key_split, (), 0, max_steps + 1)

    def step_out(edge, direction, most):
        def inside(edge):
            return log_density(edge) > level

        def step(carry):
            edge, count, _ = carry
            edge = edge + direction * width
            return edge, count + 1, inside(edge)

        # Whether to go on is computed once: under vmap, a condition is computed twice, and where its two values differ
        # by rounding the loop would not end.
        carry = (edge, 0, inside(edge))
        return jax.lax.while_loop(lambda carry: (carry[1] < most) & carry[2], step, carry)[0]

    left = step_out(left, -1, steps_left)
    right = step_out(right, 1, max_steps - steps_left)

    def shrink(carry):
        key, left, right, *_ = carry
        key, key_draw = jax.random.split(key)
        proposal = left + (right - left) * jax.random.uniform(key_draw, dtype=dtype)
        # Written so that not-a-number ends the loop.
        accepted = ~(log_density(proposal) < level)
        left = jnp.where(proposal < position, proposal, left)
        right = jnp.where(proposal >= position, proposal, right)
        # In floating point the interval may shrink onto the position, which is always in the slice.
        stuck = right - left <= 4 * jnp.finfo(dtype).eps * jnp.abs(position)
        return key, left, right, jnp.where(accepted, proposal, position), accepted | stuck

    carry = (key_shrink, left, right, position, jnp.zeros((), bool))
    return jax.lax.while_loop(lambda carry: ~carry[4], shrink, carry)[3]
