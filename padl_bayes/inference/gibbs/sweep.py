"""One Gibbs sweep over the atoms, and the conditionals of the noise and of the rate of activation.

Missing entries are drawn anew at the start of each sweep, so that every conditional sees complete data.
"""

import jax
import jax.numpy as jnp

from padl_bayes.kernels.slice_sampling import slice_sample
from padl_bayes.kernels.uniforms import draw_uniforms
from padl_bayes.kernels.von_mises_fisher import draw_turns, draw_uniform_directions, turn

from .probability import draw_beta

PER_ATOM = ("dictionary", "active", "codes", "activation_prob")


def residual_of(key, X, mask, z):
    """Residual (N, P) of the completed data: a missing entry's is a draw of the noise."""
    residual = X - z["codes"] @ z["dictionary"]
    if mask is None:
        return residual
    return jnp.where(mask, residual, z["noise_scale"] * jax.random.normal(key, X.shape, X.dtype))


def shared_of(z, rules):
    """What all atoms share."""
    return {name: value for name, value in z.items() if name not in (*PER_ATOM, *rules.names)}


def explained(codes, directions):
    """What atoms explain, (N, P): ``sum_j codes_j directions_j^T``.

    A product of matrices, as what is computed entry by entry would compute the codes anew for every feature.
    """
    return jnp.stack(codes, axis=1) @ jnp.stack(directions)


def _update_atom(rules, fixed, tau, shared, divided, residual, inputs):
    """Activation with the codes integrated out, then codes and the direction."""
    key, uniforms, turns, atom, active, old = inputs
    without = residual + jnp.outer(old, atom["dictionary"])
    linear = tau * (without @ atom["dictionary"])
    proposed, log_weight, log_odds = rules.flip(uniforms["flip"], linear, tau, atom, active == 1, shared)
    prior = shared["activation_log_odds"]
    uphill = jnp.where(active == 1, -1, 1) * (prior + log_weight)
    flipped = jnp.log(uniforms["accept"]) < uphill
    on = (active == 1) ^ flipped
    # The many of them are not drawn beforehand: together they would take more memory than the data.
    for_codes = draw_uniforms(key, rules.for_codes, (), linear.dtype, divided=divided)
    codes, atom = rules.draw_codes(for_codes, linear, tau, proposed, shared)
    codes, direction = jnp.where(on, codes, 0), atom["dictionary"]
    if "dictionary" not in fixed:
        # Without codes there is no pull: the direction comes from its prior.
        atom["dictionary"] = turn(turns, tau * (codes @ without))
    change = old, -codes
    residual = residual + explained(change, (direction, atom["dictionary"]))
    return residual, (atom, on.astype(active.dtype), codes, jax.nn.sigmoid(prior + log_odds))


def _padded(a, n_spare):
    """With ``n_spare`` more rows, like the first one."""
    return jnp.concatenate([a, jnp.broadcast_to(a[:1], (n_spare, *a.shape[1:]))])


def _draw_own(key, rules, shared, atoms, active, codes, n_spare):
    """What is an atom's own, (K, ...), and ``n_spare`` whole atoms from the prior."""
    key_direction, key_rest = jax.random.split(key)
    atoms = {name: _padded(a, n_spare) for name, a in atoms.items()}
    on = jnp.concatenate([active == 1, jnp.zeros(n_spare, bool)])
    keys = jax.random.split(key_rest, len(on))
    # In one go, also those that are spare: the loops of the draws are slow to compile.
    drawn = jax.vmap(lambda *of_one: rules.draw_atom(*of_one, shared))(
        keys, _padded(codes, n_spare) * on[:, None], on, atoms
    )
    own = {name: a[: len(active)] for name, a in drawn.items()}
    spare = {name: a[len(active) :] for name, a in drawn.items()}
    spare["dictionary"] = draw_uniform_directions(key_direction, spare["dictionary"].shape, codes.dtype)
    return own, spare


def sweep_atoms(key, rules, fixed, residual, z, n_spare=0, *, divided=False):
    """Update all atoms in turn.

    Parameters
    ----------
    key : PRNG key
    rules : Rules
    fixed : mapping
        Names of what is not sampled.
    residual : array, shape (N, P)
    z : dict
        Values of all sites.
    n_spare : int
    divided : bool
        Whether samples lie on several devices.

    Returns
    -------
    array, dict, dict
        The residual, the sites, and ``n_spare`` atoms from the prior, for moves on the number of atoms.
    """
    tau = z["noise_scale"] ** -2
    shared = shared_of(z, rules)
    atoms = {name: z[name] for name in ("dictionary", *rules.names)}
    key_atoms, key_uniforms, key_turns, key_own = jax.random.split(key, 4)
    keys = jax.random.split(key_atoms, len(z["active"]))
    shapes = {"accept": (), "flip": (rules.n_flip,)}
    uniforms = draw_uniforms(key_uniforms, shapes, keys.shape, residual.dtype)
    turns = draw_turns(key_turns, keys.shape, residual.shape[1], residual.dtype)
    inputs = (keys, uniforms, turns, atoms, z["active"], z["codes"].T)

    def step(residual, one):
        return _update_atom(rules, fixed, tau, shared, divided, residual, one)

    residual, (atoms, active, codes, probability) = jax.lax.scan(step, residual, inputs)
    # What is an atom's own has no part in the others' updates.
    own, spare = _draw_own(key_own, rules, shared, atoms, active, codes, n_spare)
    return residual, z | own | {"active": active, "codes": codes.T, "activation_prob": probability}, spare


def draw_activation_rate(key, priors, fixed, z):
    """Beta given how many atoms are active."""
    if "activation_rate" in fixed:
        return z
    a, b = priors.activation_rate
    count = jnp.sum(z["active"])
    return z | {"activation_rate": draw_beta(key, a + count, b + len(z["active"]) - count)}


def draw_noise_scale(key, priors, fixed, residual, z):
    """Slice in log sigma: ``sigma^-M exp(-S / 2 sigma^2)`` times the half-normal prior."""
    if "noise_scale" in fixed:
        return z
    energy = jnp.sum(residual**2)

    def log_density(v):
        precision = jnp.exp(-2 * v)
        return (1 - residual.size) * v - 0.5 * energy * precision - 0.5 / (precision * priors.noise_scale**2)

    # The scale is known to one part in sqrt(2 M).
    width = jnp.asarray(3 / (2 * residual.size) ** 0.5, residual.dtype)
    drawn = slice_sample(key, log_density, jnp.log(z["noise_scale"]), width)
    return z | {"noise_scale": jnp.exp(drawn)}
