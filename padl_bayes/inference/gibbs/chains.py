"""All chains side by side: compiled sweeps in chunks."""

import jax
import jax.numpy as jnp

from .start import pad_start

CHUNK = 50


class Chains:
    """Compiled sweeps of all chains."""

    def __init__(self, kernel, X, mask, n_chains):
        self.kernel, self.n_chains = kernel, n_chains
        self.arguments = (jnp.asarray(X),), {} if mask is None else {"mask": jnp.asarray(mask)}
        self._advance = jax.jit(self._sweeps)
        self._collect = jax.jit(self._draws, static_argnums=1)

    def start(self, random_state, start):
        """States of all chains, spread over the devices."""
        keys = jax.random.split(jax.random.key(random_state), self.n_chains)
        if start is not None:
            padded = pad_start(start, self.kernel.n_atoms)
            start = jax.tree.map(lambda a: jnp.broadcast_to(a, (self.n_chains, *jnp.shape(a))), padded)
        args, kwargs = self.arguments
        state = self.kernel.init(keys, 0, start, args, kwargs)
        devices = jax.devices()
        if len(devices) == 1 or self.n_chains % len(devices):
            return state
        mesh = jax.make_mesh((len(devices),), ("chain",))
        return jax.device_put(state, jax.NamedSharding(mesh, jax.P("chain")))

    def _sweep(self, state):
        args, kwargs = self.arguments
        return self.kernel.sample(state, args, kwargs)

    def _sweeps(self, state, n):
        return jax.lax.fori_loop(0, n, lambda _, state: self._sweep(state), state)

    def _draws(self, state, n, thinning):
        def one(state, _):
            state = self._sweeps(state, thinning)
            return state, (state.z, {"lp": state.lp, "move_acceptance": state.move_acceptance})

        state, drawn = jax.lax.scan(one, state, length=n)
        return state, jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), drawn)

    def warm_up(self, state, n, advance):
        """``n`` sweeps that are not kept."""
        while n:
            sweeps = min(n, CHUNK)
            state = jax.block_until_ready(self._advance(state, sweeps))
            advance(sweeps, "warm-up", state)
            n -= sweeps
        return state

    def collect(self, state, n, thinning, advance):
        """State after, and draws (chain, draw, ...) of, ``n`` times ``thinning`` sweeps."""
        state, drawn = self._collect(state, n, thinning)
        drawn = jax.device_get(drawn)
        advance(n * thinning, "sampling", state)
        return state, drawn
