"""All chains side by side, each device with chains of its own, or all of them with samples of their own."""

from functools import partial
from typing import Any

import jax
import numpy as np

from padl_bayes._devices import mesh_over

from .divided import Divided
from .start import pad_start, start_with
from .transition import transition

CHUNK = 50


@partial(jax.jit, static_argnums=0, static_argnames=("method", "mesh"))
def advance(config, data, states, n_sweeps, *, method="vectorized", mesh=None):
    """``n_sweeps`` transitions of all chains; compiled once for all calls of one `Config` and shape.

    On the devices of a ``mesh`` each has its chains to itself: none waits for another's loops.
    """

    def sweeps(data, states, n_sweeps):
        def run(states):
            return jax.lax.fori_loop(0, n_sweeps, lambda _, states: transition(config, data, states), states)

        return run(states) if method == "vectorized" else jax.lax.map(run, states)

    if mesh is not None:
        whole, split = jax.P(), jax.P("chain")
        sweeps = jax.shard_map(
            sweeps, mesh=mesh, in_specs=(whole, split, whole), out_specs=split, check_vma=False
        )
    return sweeps(data, states, n_sweeps)


def _mesh(n_chains):
    """All devices, if they can share the chains evenly."""
    devices = jax.devices()
    if len(devices) == 1 or n_chains % len(devices):
        return None
    return jax.make_mesh((len(devices),), ("chain",), (jax.sharding.AxisType.Auto,))


class Together:
    """Chains that each lie on one device with all samples; devices have chains of their own if they can share evenly.

    Parameters
    ----------
    kernel : Gibbs
    data : Data
    n_chains : int
    method : {"vectorized", "sequential"}
    """

    def __init__(self, kernel, data, n_chains, method):
        self.mesh = _mesh(n_chains)
        self._kernel, self._data = kernel, data
        self.advance = partial(advance, kernel.config, data, method=method, mesh=self.mesh)

    def start(self, keys, init):
        """States to start from: ``init``, one row a chain, and what it lacks at random."""
        return self.place(self._kernel.init(keys, 0, init, (self._data.X, self._data.mask)))

    def place(self, states):
        """Spread the states of all chains over the devices."""
        if self.mesh is None:
            return states
        return jax.device_put(states, jax.NamedSharding(self.mesh, jax.P("chain")))

    def own(self, z):
        """Sites with the codes of the samples of this process."""
        return z

    def fetch(self, states):
        """States with all codes, NumPy."""
        return jax.device_get(states)


class Chains:
    """The chains of one kernel on one data set; ``watch(sweeps, stage, states)`` is called on the way.

    The first ``n_anneal`` sweeps are annealed. Samples are spread over ``devices`` if any are named.
    """

    def __init__(self, kernel, X, mask, n_chains, watch, method="vectorized", n_anneal=0, devices=None):
        self.kernel, self.n_chains, self.watch = kernel, n_chains, watch
        self.data, self.mesh = kernel.data(X, mask, n_anneal=n_anneal), mesh_over(devices)
        if self.mesh is None:
            self.program: Any = Together(kernel, self.data, n_chains, method)
        else:
            # No device is to hold all samples.
            self.data = jax.device_get(self.data)
            self.program = Divided(kernel.config, self.data, self.mesh, method)

    def start(self, random_state, start, n_active=None):
        """States of all chains: at a fit, with ``n_active`` (chains,) atoms, or at random."""
        keys = jax.random.split(jax.random.key(random_state), self.n_chains)
        if start is not None:
            padded = pad_start(start, self.kernel.config.n_atoms)
            start = jax.tree.map(lambda a: np.broadcast_to(a, (self.n_chains, *np.shape(a))), padded)
        elif n_active is not None:
            start = start_with(n_active, self.kernel.config.n_atoms)
        return self.program.start(keys, start)

    def warm_up(self, states, n_sweeps, save):
        """States after ``n_sweeps`` that are not kept; ``save(states)`` is called on the way."""
        for first in range(0, n_sweeps, CHUNK):
            sweeps = min(CHUNK, n_sweeps - first)
            states = jax.block_until_ready(self.program.advance(states, sweeps))
            self.watch(sweeps, "warm-up", states)
            save(states)
        return states

    def collect(self, states, n_draws, thinning):
        """States after ``n_draws`` times ``thinning`` sweeps, and sites and statistics (chain, draw, ...).

        Codes are those of the samples of this process.
        """
        drawn = []
        for _ in range(n_draws):
            states = self.program.advance(states, thinning)
            stats = {"lp": states.lp, "move_acceptance": states.move_acceptance}
            drawn.append(jax.device_get((self.program.own(states.z), stats)))
        self.watch(n_draws * thinning, "sampling", states)
        return states, jax.tree.map(lambda *each: np.stack(each, axis=1), *drawn)
