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

from padl_bayes.kernels.uniforms import choice_of, gumbel_of
from padl_bayes.kernels.von_mises_fisher import turn

from .birth_death import log_density_of, one_of, pull_towards, put, total, uniforms_towards
from .probability import logit
from .sweep import explained, shared_of

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


def _draw(uniforms, law, log_weights, laws, rate):
    """Codes (N,) from the mixture, from uniform numbers (3, N)."""
    weights = jnp.exp(log_weights)
    unused = uniforms[2] < weights[0]
    beside = uniforms[2] > 1 - weights[2]
    linear = jnp.where(beside, laws[1][0], laws[0][0])
    precision = jnp.where(beside, laws[1][1], laws[0][1])
    return jnp.where(unused, 0, law.draw(linear, precision, rate, uniforms[:2]))


def _draw_direction(uniforms, turns, proposal, atom, without, two_sided):
    """Direction of a new atom beside ``atom``: near it, or along the residual without it."""
    near = uniforms["near"] < 0.5
    sign = jnp.where((uniforms["side"] < 0.5) & two_sided, -1, 1).astype(without.dtype)
    concentration = (
        choice_of(uniforms["nearness"], jnp.asarray(NEAR, without.dtype)) * proposal.concentrations[0]
    )
    far = pull_towards(uniforms, proposal, without, two_sided)
    return turn(turns, jnp.where(near, sign * concentration * atom, far))


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


def uniforms_of(rules, n_samples, n_atoms):
    """Shapes of the uniform numbers that `split_merge` takes."""
    scalars = dict.fromkeys(("split", "accept", "near", "side", "nearness"), ())
    places = dict.fromkeys(("place", "first", "partner"), (n_atoms,))
    return scalars | places | uniforms_towards(n_samples) | {"beside": (3, n_samples)} | rules.for_codes


def split_merge(uniforms, turns, spare, rules, proposal, two_sided, residual, z, *, law):
    """Try to split an atom, or to merge two, each with probability one half.

    Parameters
    ----------
    uniforms : dict
        Random numbers, see `uniforms_of`.
    turns : Turns
    spare : dict
        An atom from the prior.
    rules : Rules
    proposal : Proposal
    two_sided : bool
        Whether an atom and its negative are the same.
    residual : array, shape (N, P)
    z : dict
    law : Slab

    Returns
    -------
    array, dict, array
        Residual, sites, and whether the move was accepted.
    """
    tau = z["noise_scale"] ** -2
    shared = shared_of(z, rules)
    names = ("dictionary", *rules.names)
    on = z["active"] == 1
    split = uniforms["split"] < 0.5
    wanted = jnp.where(split, ~on, on)
    k = one_of(uniforms["place"], wanted)
    others = on & (jnp.arange(len(on)) != k)
    log_partner = _log_partner(z["dictionary"], z["dictionary"][k], others)
    partner = jnp.argmax(log_partner + gumbel_of(uniforms["partner"]))
    j = jnp.where(split, one_of(uniforms["first"], others), partner)
    count = jnp.sum(others)
    possible = wanted[k] & others[j]

    atom, old = ({name: z[name][i] for name in names} for i in (j, k))
    before, before_k = z["codes"][:, j], z["codes"][:, k]
    without = residual + explained((before, before_k), (atom["dictionary"], old["dictionary"]))
    direction = _draw_direction(uniforms, turns, proposal, atom["dictionary"], without, two_sided)
    fresh = spare | {"dictionary": direction}
    other = {name: jnp.where(split, fresh[name], old[name]) for name in names}

    overlap = atom["dictionary"] @ other["dictionary"]
    linear, linear_k = (tau * (without @ one["dictionary"]) for one in (atom, other))
    log_weights, laws = _mixture(law, linear, linear_k, tau, overlap, atom, other)
    codes = jnp.where(split, _draw(uniforms["beside"], law, log_weights, laws, atom["rate"]), before)
    log_codes = jnp.sum(_log_density(law, codes, log_weights, laws, atom["rate"]))

    prior = jnp.where(
        codes == 0, jnp.log1p(-atom["usage"]), jnp.log(atom["usage"]) + law.log_density(codes, atom["rate"])
    )
    beside = linear_k - tau * overlap * codes
    evidence_k = rules.flip(None, beside, tau, other, True, shared)[1]
    log_two = jnp.sum(prior + linear * codes - 0.5 * tau * codes**2) + evidence_k
    log_one = rules.flip(None, linear, tau, atom, True, shared)[1]
    log_pair = _log_partner(z["dictionary"], other["dictionary"], others)[j] - jnp.log(count + 1)
    log_ratio = total(
        shared["activation_log_odds"],
        log_two,
        -log_one,
        -log_codes,
        proposal.log_uniform,
        -_log_direction(other["dictionary"], proposal, atom["dictionary"], without, two_sided),
        log_pair,
        jnp.log(count * (len(on) - count)),
    )
    accepted = possible & (jnp.log(uniforms["accept"]) < jnp.where(split, log_ratio, -log_ratio))

    drawn_for = {name: jnp.where(split, other[name], atom[name]) for name in names}
    drawn, _ = rules.draw_codes(uniforms, jnp.where(split, beside, linear), tau, drawn_for, shared)
    new = {name: jnp.where(split, other[name], spare[name]) for name in names}
    new_codes = jnp.where(split, drawn, 0)
    codes = jnp.where(split, codes, drawn)
    z |= {"codes": z["codes"].at[:, j].set(jnp.where(accepted, codes, before))}
    change = [jnp.where(accepted, one, 0) for one in (before - codes, before_k, -new_codes)]
    residual = residual + explained(change, (atom["dictionary"], old["dictionary"], new["dictionary"]))
    return residual, put(z, rules, k, accepted, new, new_codes, split), accepted
