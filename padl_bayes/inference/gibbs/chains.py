"""All chains side by side."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

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


class Chains:
    """The chains of one kernel on one data set; ``watch(sweeps, stage, states)`` is called on the way.

    The first ``n_anneal`` sweeps are annealed.
    """

    def __init__(self, kernel, X, mask, n_chains, watch, method="vectorized", n_anneal=0):
        self.method = method
        self.kernel, self.n_chains, self.watch = kernel, n_chains, watch
        self.arguments = (X, mask)
        self.data, self.mesh = kernel.data(X, mask, n_anneal=n_anneal), _mesh(n_chains)

    def start(self, random_state, start, n_active=None):
        """States of all chains: at a fit, with ``n_active`` (chains,) atoms, or at random."""
        keys = jax.random.split(jax.random.key(random_state), self.n_chains)
        if start is not None:
            padded = pad_start(start, self.kernel.config.n_atoms)
            start = jax.tree.map(lambda a: jnp.broadcast_to(a, (self.n_chains, *jnp.shape(a))), padded)
        elif n_active is not None:
            start = start_with(n_active, self.kernel.config.n_atoms)
        return self.place(self.kernel.init(keys, 0, start, self.arguments))

    def place(self, states):
        """Spread the states of all chains over the devices."""
        if self.mesh is None:
            return states
        return jax.device_put(states, jax.NamedSharding(self.mesh, jax.P("chain")))

    def _advance(self, states, n_sweeps):
        return advance(self.kernel.config, self.data, states, n_sweeps, method=self.method, mesh=self.mesh)

    def warm_up(self, states, n_sweeps, save):
        """States after ``n_sweeps`` that are not kept; ``save(states)`` is called on the way."""
        for first in range(0, n_sweeps, CHUNK):
            sweeps = min(CHUNK, n_sweeps - first)
            states = jax.block_until_ready(self._advance(states, sweeps))
            self.watch(sweeps, "warm-up", states)
            save(states)
        return states

    def collect(self, states, n_draws, thinning):
        """States after ``n_draws`` times ``thinning`` sweeps, and sites and statistics (chain, draw, ...)."""
        drawn = []
        for _ in range(n_draws):
            states = self._advance(states, thinning)
            stats = {"lp": states.lp, "move_acceptance": states.move_acceptance}
            drawn.append(jax.device_get((states.z, stats)))
        self.watch(n_draws * thinning, "sampling", states)
        return states, jax.tree.map(lambda *each: np.stack(each, axis=1), *drawn)
