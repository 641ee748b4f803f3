"""Chains whose samples lie on several devices.

The program is that of one device; JAX divides it. Between calls the samples are padded to a number that the devices
divide; inside there are as many as there are, so that nothing of the model sees the padding.
"""

from functools import partial

import jax
import jax.numpy as jnp

from padl_bayes._devices import gathered, own, padded_size, sharding_over, spread

from .transition import first_state, transition

AXIS = 1
"""Of the samples, in the codes of all chains."""


def _cut(mesh, array, n_samples, axis):
    """The samples of a padded array; the devices may have unequal numbers of them."""
    array = jax.lax.slice_in_dim(array, 0, n_samples, axis=axis)
    return jax.lax.with_sharding_constraint(array, sharding_over(mesh, axis))


def _cut_data(mesh, data, n_samples):
    cut = partial(_cut, mesh, n_samples=n_samples, axis=0)
    return data._replace(X=cut(data.X), mask=None if data.mask is None else cut(data.mask))


def _pad(mesh, states):
    """States with padded codes, and all else on all devices."""
    codes = states.z["codes"]
    width = [(0, 0)] * codes.ndim
    width[AXIS] = (0, padded_size(mesh, codes.shape[AXIS]) - codes.shape[AXIS])
    rest = jax.NamedSharding(mesh, jax.P())
    sharding = jax.tree.map(lambda _: rest, states)
    sharding = sharding._replace(z=sharding.z | {"codes": sharding_over(mesh, AXIS)})
    states = states._replace(z=states.z | {"codes": jnp.pad(codes, width)})
    return jax.lax.with_sharding_constraint(states, sharding)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _start(config, mesh, n_samples, data, keys, init):
    data = _cut_data(mesh, data, n_samples)
    if "codes" in (init or {}):
        init = init | {"codes": _cut(mesh, init["codes"], n_samples, AXIS)}
    one = partial(first_state, config, data)
    return _pad(mesh, jax.vmap(one, (0, None if init is None else 0))(keys, init))


@partial(jax.jit, static_argnums=(0, 1, 2), static_argnames="method")
def _advance(config, mesh, n_samples, data, states, n_sweeps, *, method):
    data = _cut_data(mesh, data, n_samples)
    states = states._replace(z=states.z | {"codes": _cut(mesh, states.z["codes"], n_samples, AXIS)})

    def run(states):
        return jax.lax.fori_loop(0, n_sweeps, lambda _, states: transition(config, data, states), states)

    return _pad(mesh, run(states) if method == "vectorized" else jax.lax.map(run, states))


class Divided:
    """As `chains.Together`, for chains whose samples are divided over the devices of a mesh.

    Parameters
    ----------
    config : Config
    data : Data
        Of all samples.
    mesh : Mesh
    method : {"vectorized", "sequential"}
    """

    def __init__(self, config, data, mesh, method):
        self.mesh, self.n_samples = mesh, len(data.X)
        mask = None if data.mask is None else spread(mesh, data.mask)
        data = data._replace(X=spread(mesh, data.X), mask=mask)
        fixed = (config._replace(divided=True), mesh, self.n_samples, data)
        self._start = partial(_start, *fixed)
        self.advance = partial(_advance, *fixed, method=method)

    def start(self, keys, init):
        """States to start from: ``init``, one row a chain, and what it lacks at random."""
        if "codes" in (init or {}):
            init = init | {"codes": spread(self.mesh, init["codes"], AXIS)}
        return self._start(keys, init)

    def place(self, states):
        """Spread the states of all chains, NumPy arrays, over the devices."""
        return states._replace(z=states.z | {"codes": spread(self.mesh, states.z["codes"], AXIS)})

    def own(self, z):
        """Sites with the codes of the samples of this process, NumPy."""
        return z | {"codes": own(z["codes"], AXIS, self.n_samples)}

    def fetch(self, states):
        """States with all codes, in every process, NumPy."""
        codes = gathered(states.z["codes"])[:, : self.n_samples]
        return jax.device_get(states._replace(z=states.z | {"codes": codes}))
