"""Splits and merges of atoms under the two-level slabs, with exact acceptance ratios.

A merge removes an atom k and lets another, j, take over: j keeps direction, usage and rate, and its codes r are drawn
anew with k gone. A split of j is the inverse: a new atom k, with a direction near that of j or along the residual
without j, and new codes of j given that k is there too. Codes of k are integrated out on one side, those of j on the
other; what is left is the density of j's codes beside k,

    q(r_n) = w_0 delta_0 + w_1 p(r_n | k unused) + w_2 p(r_n | k used, its code integrated out over the line),

the weights being approximate evidences of the four supports of the pair. Two copies of one atom, which birth and death
cannot remove because the samples of each are well explained, merge in one step.
"""

import math

import jax
import jax.numpy as jnp

from padl_bayes.kernels.truncated_normal import uniform_open
from padl_bayes.kernels.von_mises_fisher import draw_direction

from .birth_death import log_density_of, one_of, pull_towards, put
from .probability import logit
from .sweep import shared_of

NEAR = (8.0, 64.0, 512.0)
LIKENESS = 20.0


def _mixture(law, linear, linear_k, tau, overlap, atom, other):
    """Log weights (3, N) and the two (linear, precision, log evidence) of the laws of j's codes beside k."""
    alone = linear, tau
    # Both codes free: the one of k integrated out over the whole line.
    share = jnp.maximum(1 - overlap**2, 1e-6)
    beside = linear - overlap * linear_k, tau * share
    evidence = [law.moments(*one, atom["rate"]).log_evidence for one in (alone, beside)]
    k_only = logit(other["usage"]) + law.moments(linear_k, tau, other["rate"]).log_evidence
    j_only = logit(atom["usage"]) + evidence[0]
    both = k_only + logit(atom["usage"]) + evidence[1]
    log_weights = jax.nn.log_softmax(jnp.stack([jnp.logaddexp(0.0, k_only), j_only, both]), axis=0)
    return log_weights, ((*alone, evidence[0]), (*beside, evidence[1]))


def _log_density(law, codes, log_weights, laws, rate):
    """Log density (N,) of codes under the mixture."""
    prior = law.log_density(codes, rate)
    parts = [
        log_weight + prior + linear * codes - 0.5 * precision * codes**2 - evidence
        for log_weight, (linear, precision, evidence) in zip(log_weights[1:], laws, strict=True)
    ]
    return jnp.where(codes == 0, log_weights[0], jnp.logaddexp(*parts))


def _draw(key, law, log_weights, laws, rate):
    key_choice, key_codes = jax.random.split(key)
    choice = jax.random.categorical(key_choice, log_weights, axis=0)
    beside = choice == 2
    linear = jnp.where(beside, laws[1][0], laws[0][0])
    precision = jnp.where(beside, laws[1][1], laws[0][1])
    uniforms = uniform_open(key_codes, (2, *linear.shape), linear.dtype)
    return jnp.where(choice == 0, 0, law.draw(linear, precision, rate, uniforms))


def _draw_direction(key, proposal, atom, without, two_sided):
    """Direction of a new atom beside ``atom``: near it, or along the residual without it."""
    keys = jax.random.split(key, 5)
    dtype = without.dtype
    near = jax.random.bernoulli(keys[0])
    sign = jnp.where(jax.random.bernoulli(keys[1]) & two_sided, -1, 1).astype(dtype)
    concentration = jax.random.choice(keys[2], jnp.asarray(NEAR, dtype)) * proposal.concentrations[0]
    far = pull_towards(keys[3], proposal, without, two_sided)
    return draw_direction(keys[4], jnp.where(near, sign * concentration * atom, far))


def _log_direction(direction, proposal, atom, without, two_sided):
    """Log density of `_draw_direction`."""
    near = tuple(scale * proposal.concentrations[0] for scale in NEAR)
    log_near = proposal.log_mixture(direction @ atom, near, two_sided)
    log_data = log_density_of(direction, proposal, without, two_sided)
    return jnp.logaddexp(log_near, log_data) - math.log(2)


def _log_partner(dictionary, direction, candidates):
    """Log probability (K,) that a merge which removes an atom of this direction chooses each other one."""
    likeness = LIKENESS * (dictionary @ direction) ** 2
    return jax.nn.log_softmax(jnp.where(candidates, likeness, -1e9))


def split_merge(key, spare, law, rules, proposal, two_sided, residual, z):
    """Try to split an atom, or to merge two, each with probability one half.

    Parameters
    ----------
    key : PRNG key
    spare : dict
        An atom from the prior.
    law : Slab
    rules : Rules
    proposal : Proposal
    two_sided : bool
        Whether an atom and its negative are the same.
    residual : array, shape (N, P)
    z : dict

    Returns
    -------
    array, dict, array
        Residual, sites, and whether the move was accepted.
    """
    keys = jax.random.split(key, 9)
    tau = z["noise_scale"] ** -2
    shared = shared_of(z, rules)
    names = ("dictionary", *rules.names)
    on = z["active"] == 1
    split = jax.random.bernoulli(keys[0])
    k = one_of(keys[1], jnp.where(split, ~on, on))
    others = on & (jnp.arange(len(on)) != k)
    log_partner = _log_partner(z["dictionary"], z["dictionary"][k], others)
    j = jnp.where(split, one_of(keys[2], others), jax.random.categorical(keys[3], log_partner))
    count = jnp.sum(others)
    possible = (count > 0) & (jnp.where(split, jnp.sum(~on), count) > 0)

    atom, old = ({name: z[name][i] for name in names} for i in (j, k))
    codes, codes_k = z["codes"][:, j], z["codes"][:, k]
    without = residual + jnp.outer(codes, atom["dictionary"]) + jnp.outer(codes_k, old["dictionary"])
    direction = _draw_direction(keys[4], proposal, atom["dictionary"], without, two_sided)
    fresh = spare | {"dictionary": direction}
    other = {name: jnp.where(split, fresh[name], old[name]) for name in names}

    overlap = atom["dictionary"] @ other["dictionary"]
    linear, linear_k = (tau * (without @ one["dictionary"]) for one in (atom, other))
    log_weights, laws = _mixture(law, linear, linear_k, tau, overlap, atom, other)
    codes = jnp.where(split, _draw(keys[6], law, log_weights, laws, atom["rate"]), codes)
    log_codes = jnp.sum(_log_density(law, codes, log_weights, laws, atom["rate"]))

    prior = jnp.where(
        codes == 0, jnp.log1p(-atom["usage"]), jnp.log(atom["usage"]) + law.log_density(codes, atom["rate"])
    )
    beside = linear_k - tau * overlap * codes
    evidence_k = rules.flip(keys[7], beside, tau, other, True, shared)[1]
    log_two = jnp.sum(prior + linear * codes - 0.5 * tau * codes**2) + evidence_k
    log_one = rules.flip(keys[7], linear, tau, atom, True, shared)[1]
    log_pair = _log_partner(z["dictionary"], other["dictionary"], others)[j] - jnp.log(count + 1)
    log_ratio = (
        shared["activation_log_odds"]
        + log_two
        - log_one
        - log_codes
        + proposal.log_uniform
        - _log_direction(other["dictionary"], proposal, atom["dictionary"], without, two_sided)
        + log_pair
        + jnp.log(count)
        + jnp.log(len(on) - count)
    )
    log_uniform = jnp.log(jax.random.uniform(keys[8], dtype=linear.dtype))
    accepted = possible & (log_uniform < jnp.where(split, log_ratio, -log_ratio))

    drawn_for = {name: jnp.where(split, other[name], atom[name]) for name in names}
    drawn, _ = rules.draw_codes(keys[5], jnp.where(split, beside, linear), tau, drawn_for, shared)
    new = {name: jnp.where(split, other[name], spare[name]) for name in names}
    new_codes = jnp.where(split, drawn, 0)
    codes = jnp.where(split, codes, drawn)
    moved = without - jnp.outer(codes, atom["dictionary"]) - jnp.outer(new_codes, new["dictionary"])
    z |= {"codes": z["codes"].at[:, j].set(jnp.where(accepted, codes, z["codes"][:, j]))}
    z = put(z, rules, k, accepted, new, new_codes, split)
    return jnp.where(accepted, moved, residual), z, accepted
