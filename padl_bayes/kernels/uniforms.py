"""Random numbers drawn beforehand: the generator is a loop, slow to compile, and to run for a few numbers at a time.

What is drawn from them is a function of standard uniform numbers, never 0 or 1.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np


def uniform_open(key, shape, dtype):
    """Uniform draws that are never 0 or 1."""
    eps = float(jnp.finfo(dtype).eps)
    return jax.random.uniform(key, shape, dtype, minval=eps / 2, maxval=1 - eps / 2)


def draw_uniforms(key, shapes, lead, dtype):
    """Uniform numbers (*lead, *shape) for each name and shape in the mapping ``shapes``, all in one go."""
    sizes = [math.prod(shape) for shape in shapes.values()]
    pieces = jnp.split(uniform_open(key, (*lead, sum(sizes)), dtype), np.cumsum(sizes)[:-1], axis=-1)
    named = zip(shapes.items(), pieces, strict=True)
    return {name: piece.reshape(*lead, *shape) for (name, shape), piece in named}


def normal_of(uniform):
    """A standard normal number."""
    return math.sqrt(2) * jax.lax.erf_inv(2 * uniform - 1)


def gumbel_of(uniform):
    """A standard Gumbel number: the largest log weight plus one chooses in proportion to the weights."""
    return -jnp.log(-jnp.log(uniform))


def choice_of(uniform, options):
    """One of the options (n,), all alike."""
    return options[jnp.floor(uniform * len(options)).astype(int)]
