"""Exact draws of directions from a von Mises-Fisher law, in any number of dimensions and at any concentration.

Wood's rejection sampler (Commun. Stat. Simul. 23(1), 1994) for the cosine with the mean direction, written in one
minus the cosine: in single precision the cosine itself is one long before the concentration is infinite.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .uniforms import draw_uniforms, normal_of

# A candidate is accepted with probability 0.656 at least (in two dimensions, at high concentration): that all are
# rejected, and the last one is taken as it is, has a probability below 1e-11.
TRIES = 24


class Turns(NamedTuple):
    """Random numbers that `turn` takes: uniform ones (..., 3, TRIES) and standard normal ones (..., P)."""

    uniforms: jax.Array
    normal: jax.Array


def draw_turns(key, shape, dim, dtype):
    """Random numbers for directions in R^dim, an array of this shape."""
    drawn = draw_uniforms(key, {"uniforms": (3, TRIES), "normal": (dim,)}, shape, dtype)
    return Turns(drawn["uniforms"], normal_of(drawn["normal"]))


def _one_minus_cosine(uniforms, concentration, dim):
    """1 - w, w the cosine with the mean direction, from uniform numbers (3, TRIES)."""
    half = (dim - 1) / 2
    b = half / (concentration + jnp.sqrt(concentration**2 + half**2))
    scaled = 2 * concentration * b  # at most dim - 1
    # The first coordinate of a uniform direction, moved to [0, 1], is Beta(half, half): Ulrich, Applied Statistics
    # 33(2), 1984.
    power = 2 / (dim - 2) if dim > 2 else np.inf
    radius = jnp.sqrt(-jnp.expm1(power * jnp.log(uniforms[0])))
    z = 0.5 * (1 + radius * jnp.cos(2 * np.pi * uniforms[1]))
    share = z / (1 - (1 - b) * z)
    gain = scaled * (1 / (1 + b) - share)
    ratio = 0.5 * (1 + b) * (1 + (1 - b) * share)
    accepted = jnp.log(uniforms[2]) <= gain + 2 * half * jnp.log(ratio)
    first = jnp.where(jnp.any(accepted), jnp.argmax(accepted), TRIES - 1)
    return jnp.clip(2 * b * share, 0, 2)[first]


def draw_uniform_directions(key, shape, dtype):
    """Unit vectors (..., P), uniform on the sphere."""
    normal = jax.random.normal(key, shape, dtype)
    return normal / jnp.linalg.norm(normal, axis=-1, keepdims=True)


def turn(numbers, pull):
    """The unit vector that random numbers become, with density proportional to ``exp(pull @ d)``.

    Parameters
    ----------
    numbers : Turns
    pull : array, shape (P,)
        Concentration times mean direction; zero gives the uniform law.

    Returns
    -------
    array, shape (P,)
    """
    dim = pull.shape[0]
    concentration = jnp.linalg.norm(pull)
    if dim == 1:
        return jnp.where(numbers.uniforms[0, 0] < jax.nn.sigmoid(2 * pull), 1, -1).astype(pull.dtype)
    first = jnp.zeros_like(pull).at[0].set(1)
    mean = jnp.where(concentration > 0, pull / jnp.where(concentration > 0, concentration, 1), first)
    t = _one_minus_cosine(numbers.uniforms, concentration, dim)
    tangent = numbers.normal - (numbers.normal @ mean) * mean
    tangent = tangent / jnp.maximum(jnp.linalg.norm(tangent), jnp.finfo(pull.dtype).tiny)
    direction = (1 - t) * mean + jnp.sqrt(t * (2 - t)) * tangent
    return direction / jnp.linalg.norm(direction)


def draw_direction(key, pull):
    """`turn` with random numbers of its own."""
    return turn(draw_turns(key, (), len(pull), pull.dtype), pull)
