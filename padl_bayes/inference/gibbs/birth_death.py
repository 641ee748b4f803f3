"""Births and deaths of atoms: data-driven directions, exact acceptance ratios.

What an inactive atom holds does not touch the data, so it is integrated out. A birth takes a free place, draws usage
and rate (or the envelope) as `Rules` says and a direction along the residual of some sample,

    q(d) = uniform / 10 + 9/10 sum_n w_n vMF(d; +-residual_n, concentration),    w_n proportional to ||residual_n||^4,

and integrates the codes out. With A atoms active beside the one in question and K places, it is accepted with
probability min(1, pi / (1 - pi) * evidence * p(d) / q(d) * (K - A) / (A + 1)); a death with the inverse.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from scipy.special import ive

from padl_bayes.distributions.sphere import log_uniform_density
from padl_bayes.kernels.uniforms import choice_of, gumbel_of
from padl_bayes.kernels.von_mises_fisher import turn

from .sweep import explained, shared_of

UNIFORM_SHARE = 0.1


class Proposal(NamedTuple):
    """Of directions in R^P: concentrations of its von Mises-Fisher laws, and the sphere's log density."""

    n_features: int
    concentrations: tuple[float, ...]
    log_uniform: float

    def log_normaliser(self, concentration):
        """Log of the factor that makes ``exp(concentration * cosine)`` a density on the sphere."""
        order = self.n_features / 2 - 1
        log_bessel = math.log(ive(order, concentration)) + concentration
        return order * math.log(concentration) - (order + 1) * math.log(2 * math.pi) - log_bessel

    def log_mixture(self, cosine, concentrations, two_sided):
        """Log density of an equal mixture of laws of one mean direction, at this cosine with it."""
        parts = []
        for concentration in concentrations:
            ahead = concentration * cosine
            ahead = jnp.logaddexp(ahead, -ahead) - math.log(2) if two_sided else ahead
            parts.append(ahead + self.log_normaliser(concentration))
        return jax.scipy.special.logsumexp(jnp.stack(parts), axis=0) - math.log(len(parts))


def make_proposal(n_features):
    """Proposal for directions in R^P: from vague to concentrated."""
    return Proposal(
        n_features, tuple(scale * n_features for scale in (1.0, 8.0, 64.0)), log_uniform_density(n_features)
    )


def _log_weights(residual):
    return jax.nn.log_softmax(2 * jnp.log(jnp.sum(residual**2, axis=1) + jnp.finfo(residual.dtype).tiny))


def _unit(residual):
    norm = jnp.linalg.norm(residual, axis=1, keepdims=True)
    return residual / jnp.maximum(norm, jnp.finfo(residual.dtype).tiny)


def uniforms_towards(n_samples):
    """Shapes of the uniform numbers that `pull_towards` takes."""
    return {"sample": (n_samples,), "concentration": (), "sign": (), "vague": ()}


def pull_towards(uniforms, proposal, residual, two_sided):
    """Concentration times mean direction (P,) of one law of the mixture, given the residual (N, P)."""
    sample = jnp.argmax(_log_weights(residual) + gumbel_of(uniforms["sample"]))
    concentration = choice_of(uniforms["concentration"], jnp.asarray(proposal.concentrations, residual.dtype))
    sign = jnp.where((uniforms["sign"] < 0.5) & two_sided, -1, 1).astype(residual.dtype)
    vague = uniforms["vague"] < UNIFORM_SHARE
    # Of samples on several devices: one is looked up, where JAX would gather all to take a slice.
    chosen = jnp.take(residual, sample[None], axis=0, mode="clip")
    return jnp.where(vague, 0, sign * concentration) * _unit(chosen)[0]


def log_density_of(direction, proposal, residual, two_sided):
    """Log density of a direction drawn by way of `pull_towards`."""
    log_mixture = proposal.log_mixture(_unit(residual) @ direction, proposal.concentrations, two_sided)
    log_mixture = jax.scipy.special.logsumexp(log_mixture + _log_weights(residual))
    vague = math.log(UNIFORM_SHARE) + proposal.log_uniform
    return jnp.logaddexp(vague, math.log1p(-UNIFORM_SHARE) + log_mixture)


def put(z, rules, k, accepted, atom, codes, active):
    """Sites with place ``k`` replaced where ``accepted``."""
    values = {name: atom[name] for name in ("dictionary", *rules.names)} | {"active": active}
    placed = {
        name: z[name].at[k].set(jnp.where(accepted, value, z[name][k]).astype(z[name].dtype))
        for name, value in values.items()
    }
    column = jnp.where(accepted, codes, z["codes"][:, k])
    return z | placed | {"codes": z["codes"].at[:, k].set(column)}


def one_of(uniforms, wanted):
    """A place chosen evenly among those wanted; any if there is none."""
    return jnp.argmax(jnp.where(wanted, uniforms, 0))


def total(*terms):
    """Sum of numbers, as a product: what is added one by one would be computed anew wherever the sum is used."""
    return jnp.stack(jnp.broadcast_arrays(*terms)) @ jnp.ones(len(terms), jnp.result_type(*terms))


def uniforms_of(rules, n_samples, n_atoms):
    """Shapes of the uniform numbers that `birth_death` takes."""
    shapes = {"birth": (), "accept": (), "place": (n_atoms,)}
    return shapes | uniforms_towards(n_samples) | {"flip": (rules.n_flip,)} | rules.for_codes


def birth_death(uniforms, turns, spare, rules, proposal, two_sided, residual, z):
    """Try to give birth to an atom, or to let one die, each with probability one half.

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

    Returns
    -------
    array, dict, array
        Residual, sites, and whether the move was accepted.
    """
    tau = z["noise_scale"] ** -2
    shared = shared_of(z, rules)
    on = z["active"] == 1
    birth = uniforms["birth"] < 0.5
    wanted = jnp.where(birth, ~on, on)
    k = one_of(uniforms["place"], wanted)
    codes_before = z["codes"][:, k]
    old = {name: z[name][k] for name in ("dictionary", *rules.names)}
    without = residual + jnp.outer(codes_before, old["dictionary"])

    direction = turn(turns, pull_towards(uniforms, proposal, without, two_sided))
    fresh = spare | {"dictionary": direction}
    atom = {name: jnp.where(birth, fresh[name], old[name]) for name in old}
    linear = tau * (without @ atom["dictionary"])
    atom, log_weight, _ = rules.flip(uniforms["flip"], linear, tau, atom, ~birth, shared)
    others = jnp.sum(on) - jnp.where(birth, 0, 1)
    log_ratio = total(
        shared["activation_log_odds"],
        log_weight,
        proposal.log_uniform,
        -log_density_of(atom["dictionary"], proposal, without, two_sided),
        jnp.log((len(on) - others) / (others + 1)),
    )
    accepted = wanted[k] & (jnp.log(uniforms["accept"]) < jnp.where(birth, log_ratio, -log_ratio))

    codes, born = rules.draw_codes(uniforms, linear, tau, atom, shared)
    new = {name: jnp.where(birth, born[name], spare[name]) for name in old}
    codes = jnp.where(birth, codes, 0)
    change = jnp.where(accepted, codes_before, 0), -jnp.where(accepted, codes, 0)
    residual = residual + explained(change, (old["dictionary"], new["dictionary"]))
    return residual, put(z, rules, k, accepted, new, codes, birth), accepted
