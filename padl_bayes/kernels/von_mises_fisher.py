"""Exact draws of directions from a von Mises-Fisher law, in any number of dimensions and at any concentration.

Wood's rejection sampler (Commun. Stat. Simul. 23(1), 1994) for the cosine with the mean direction, written in one
minus the cosine: in single precision the cosine itself is one long before the concentration is infinite.
"""

import jax
import jax.numpy as jnp


def _one_minus_cosine(key, concentration, dim):
    """Draw 1 - w, w the cosine with the mean direction."""
    half = (dim - 1) / 2
    b = half / (concentration + jnp.sqrt(concentration**2 + half**2))
    scaled = 2 * concentration * b  # at most dim - 1
    dtype = b.dtype

    def propose(carry):
        key, *_ = carry
        key, key_beta, key_accept = jax.random.split(key, 3)
        # The first coordinate of a uniform direction, moved to [0, 1], is Beta(half, half).
        normal = jax.random.normal(key_beta, (dim,), dtype)
        z = 0.5 * (1 + normal[0] / jnp.linalg.norm(normal))
        denominator = 1 - (1 - b) * z
        share = z / denominator
        gain = scaled * (1 / (1 + b) - share)
        ratio = 0.5 * (1 + b) * (1 + (1 - b) * share)
        log_accept = gain + 2 * half * jnp.log(ratio)
        # Written so that not-a-number ends the loop.
        accepted = ~(jnp.log(jax.random.uniform(key_accept, dtype=dtype)) > log_accept)
        return key, jnp.clip(2 * b * share, 0, 2), accepted

    start = (key, jnp.zeros((), dtype), jnp.zeros((), bool))
    return jax.lax.while_loop(lambda carry: ~carry[2], propose, start)[1]


def draw_uniform_directions(key, shape, dtype):
    """Unit vectors (..., P), uniform on the sphere."""
    normal = jax.random.normal(key, shape, dtype)
    return normal / jnp.linalg.norm(normal, axis=-1, keepdims=True)


def draw_direction(key, pull):
    """Draw a unit vector with density proportional to ``exp(pull @ d)``.

    Parameters
    ----------
    key : PRNG key
    pull : array, shape (P,)
        Concentration times mean direction; zero gives the uniform law.

    Returns
    -------
    array, shape (P,)
    """
    dim = pull.shape[0]
    concentration = jnp.linalg.norm(pull)
    if dim == 1:
        positive = jax.random.uniform(key, dtype=pull.dtype) < jax.nn.sigmoid(2 * pull[0])
        return jnp.where(positive, 1, -1).astype(pull.dtype)[None]
    key_cosine, key_tangent = jax.random.split(key)
    first = jnp.zeros_like(pull).at[0].set(1)
    mean = jnp.where(concentration > 0, pull / jnp.where(concentration > 0, concentration, 1), first)
    t = _one_minus_cosine(key_cosine, concentration, dim)
    normal = jax.random.normal(key_tangent, pull.shape, pull.dtype)
    tangent = normal - (normal @ mean) * mean
    tangent = tangent / jnp.maximum(jnp.linalg.norm(tangent), jnp.finfo(pull.dtype).tiny)
    direction = (1 - t) * mean + jnp.sqrt(t * (2 - t)) * tangent
    return direction / jnp.linalg.norm(direction)
