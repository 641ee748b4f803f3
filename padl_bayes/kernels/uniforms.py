"""Random numbers drawn beforehand: the generator is a loop, slow to compile, and to run for a few numbers at a time.

What is drawn from them is a function of standard uniform numbers, never 0 or 1.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry2x32_p


def _bounds(dtype):
    eps = float(jnp.finfo(dtype).eps)
    return eps / 2, 1 - eps / 2


def uniform_open(key, shape, dtype):
    """Uniform draws that are never 0 or 1."""
    low, high = _bounds(dtype)
    return jax.random.uniform(key, shape, dtype, minval=low, maxval=high)


def uniform_at(key, index, dtype):
    """The draws of `uniform_open` at these places (uint32) of an array, its axes taken together.

    Number i is threefry of the key and i, as `jax.random.bits` has it; see Salmon et al., SC 2011.
    """
    first, second = jax.random.key_data(key)
    high, low = threefry2x32_p.bind(first, second, jnp.zeros_like(index), index)
    kind = np.dtype(dtype)
    n_bits, n_mantissa = 8 * kind.itemsize, jnp.finfo(kind).nmant
    unsigned = np.dtype(f"uint{n_bits}")
    bits = high ^ low if n_bits == 32 else (high.astype(unsigned) << unsigned.type(32)) | low.astype(unsigned)
    bits = (bits >> unsigned.type(n_bits - n_mantissa)) | np.ones((), kind).view(unsigned)
    least, most = (np.asarray(bound, kind) for bound in _bounds(kind))
    unit = jax.lax.bitcast_convert_type(bits, kind) - kind.type(1)
    return jnp.maximum(least, unit * (most - least) + least)


def _places(start, shape, strides):
    """``start`` plus the distances that the indices of an array of this shape are from it."""
    iotas = (jax.lax.broadcasted_iota(jnp.uint32, shape, axis) for axis in range(len(shape)))
    steps = (iota * np.uint32(stride) for iota, stride in zip(iotas, strides, strict=True))
    return sum(steps, jnp.full(shape, np.uint32(start)))


def draw_uniforms(key, shapes, lead, dtype, *, divided=False):
    """Uniform numbers (*lead, *shape) for each name and shape in the mapping ``shapes``, all in one go.

    Where they are to be ``divided`` over devices each array is drawn apart, as JAX cannot divide what they are cut
    from; the numbers are the same.
    """
    sizes = [math.prod(shape) for shape in shapes.values()]
    starts, total = [0, *np.cumsum(sizes)[:-1]], sum(sizes)
    if not divided or math.prod(lead) * total >= 2**32 or jax.random.key_impl(key) != "threefry2x32":
        pieces = jnp.split(uniform_open(key, (*lead, total), dtype), starts[1:], axis=-1)
        named = zip(shapes.items(), pieces, strict=True)
        return {name: piece.reshape(*lead, *shape) for (name, shape), piece in named}

    def strides(shape, step):
        return [step * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]

    def draw(start, shape):
        places = _places(start, (*lead, *shape), strides(lead, total) + strides(shape, 1))
        return uniform_at(key, places, dtype)

    return {name: draw(start, shape) for start, (name, shape) in zip(starts, shapes.items(), strict=True)}


def normal_of(uniform):
    """A standard normal number."""
    return math.sqrt(2) * jax.lax.erf_inv(2 * uniform - 1)


def gumbel_of(uniform):
    """A standard Gumbel number: the largest log weight plus one chooses in proportion to the weights."""
    return -jnp.log(-jnp.log(uniform))


def choice_of(uniform, options):
    """One of the options (n,), all alike."""
    return options[jnp.floor(uniform * len(options)).astype(int)]
