"""Conditionals of an atom under the l1 + l_inf slab, through its envelope.

Given the envelope t an entry's law is ``exp(-tau / 2 r^2 + linear r - rate_l1 |r|)`` on [-t, t]; its integral I(t) is a
pair of truncated normals. The activation is decided with the codes integrated out, and so is the envelope drawn in
sweeps that are ``collapsed`` (in all of them it ends as a draw given the codes):
log p(t | rest) = -rate_linf t + sum_n log I_n(t), which is concave in t. An atom that is to be switched on needs an
envelope: it is proposed from an interpolation of that density, and the ratio of the two corrects for the difference.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from padl_bayes.distributions import Envelope, log_normaliser
from padl_bayes.kernels.cut_laplace import CUT_SLABS, log_integral
from padl_bayes.kernels.slice_sampling import N_UNIFORMS, slice_sample, slice_update

from .rules import Rules
from .shear import CodePrior, shear

# The proposal is corrected for what these leave out; the quadrature is good to 1e-10.
GOLDEN_STEPS = 30
EDGE_STEPS = 10
DROP = 30.0
NODES = 16


def rules(nonnegative, priors, fixed, n_samples):
    """Return the `Rules` of the l1 + l_inf slab.

    Parameters
    ----------
    nonnegative : bool
    priors : Hyperpriors
    fixed : mapping
        Values of dictionary, rate_l1 and rate_linf that are not sampled.
    n_samples : int

    Returns
    -------
    Rules
    """

    law = CUT_SLABS["l1linf", nonnegative]

    def log_mass(linear, tau, envelope, shared):
        """log p(envelope | rest without codes), up to the slab's normaliser."""
        entries = log_integral(linear, tau, (shared["rate_l1"], envelope), nonnegative)
        return jnp.sum(entries) - shared["rate_linf"] * envelope

    def flip(uniforms, linear, tau, atom, active, shared):
        log_density = partial(_log_envelope, lambda t: log_mass(linear, tau, t, shared))
        nodes, log_total = _scan(log_density, _far_end(linear, tau, shared, n_samples))
        proposed = _draw_interpolated(uniforms, nodes)
        v = jnp.where(active, jnp.log(atom["envelope"]), proposed)
        scale = jnp.log(shared["rate_linf"]) - log_normaliser(
            shared["rate_l1"], shared["rate_linf"], n_samples, nonnegative
        )
        log_weight = scale + log_density(v) - _log_interpolated(v, nodes)
        return atom | {"envelope": jnp.exp(v)}, log_weight, scale + log_total

    def draw_envelope(uniforms, linear, tau, atom, shared):
        # On the logarithm the width of the slice does not depend on the unit.
        log_envelope = slice_update(
            uniforms,
            partial(_log_envelope, lambda t: log_mass(linear, tau, t, shared)),
            jnp.log(atom["envelope"]),
            _width(linear, tau, shared),
        )
        return jnp.exp(log_envelope)

    def draw_codes(uniforms, linear, tau, atom, shared):
        envelope = jax.lax.cond(
            shared["collapsed"],
            lambda: draw_envelope(uniforms["slice"], linear, tau, atom, shared),
            lambda: atom["envelope"],
        )
        codes = law.draw(linear, tau, (shared["rate_l1"], envelope), uniforms["entries"])
        return codes, atom | {"envelope": envelope}

    def draw_atom(key, codes, active, atom, shared):
        return atom

    def draw_shared(key, z):
        key_shear, key_rates = jax.random.split(key)
        z = z if "dictionary" in fixed else shear(key_shear, z, _code_prior(z, n_samples, nonnegative))
        return _draw_rates(key_rates, z, priors, fixed, n_samples, nonnegative)

    for_codes = {"slice": (N_UNIFORMS,), "entries": (2, n_samples)}
    return Rules(flip, draw_codes, draw_atom, draw_shared, ("envelope",), 2, for_codes)


def _code_prior(z, n_samples, nonnegative):
    """Prior of an atom's codes, its envelope integrated out."""

    def energy(codes, scales):
        size = jnp.abs(codes)
        return scales[0] * jnp.sum(size) + scales[1] * jnp.max(size)

    def strength(scales):
        return scales[0] + scales[1] / n_samples

    atoms = z["active"].shape
    scales = tuple(jnp.broadcast_to(z[name], atoms) for name in ("rate_l1", "rate_linf"))
    return CodePrior(energy, strength, scales, nonnegative)


def _width(linear, tau, shared):
    """About the spread of the logarithm of an envelope: beyond all codes it is exponential with rate_linf."""
    reach = jnp.max(jnp.abs(linear)) / tau + jax.lax.rsqrt(tau)
    return jnp.log1p(3 / (shared["rate_linf"] * reach))


def _far_end(linear, tau, shared, n_samples):
    """An envelope beyond which its log density falls by more than `DROP` below its maximum."""
    unhindered = (jnp.max(jnp.abs(linear)) + jnp.sqrt(tau) * 12) / tau
    prior = (n_samples + 12 * math.sqrt(n_samples) + 2 * DROP) / shared["rate_linf"]
    return jnp.minimum(unhindered + 2 * DROP / shared["rate_linf"], prior + unhindered)


class Nodes(NamedTuple):
    """Increasing log envelopes and their log density."""

    at: jax.Array
    log_density: jax.Array


def _log_envelope(log_mass, v):
    """Log density of v = log(envelope)."""
    return log_mass(jnp.exp(v)) + v


def _mode(h, low, high):
    """Golden-section search."""
    ratio = (math.sqrt(5) - 1) / 2

    def narrow(_, carry):
        low, high, a, b, h_a, h_b = carry
        left = h_a > h_b
        low, high = jnp.where(left, low, a), jnp.where(left, b, high)
        new = jnp.where(left, high - ratio * (high - low), low + ratio * (high - low))
        h_new = h(new)
        return (
            low,
            high,
            jnp.where(left, new, b),
            jnp.where(left, a, new),
            jnp.where(left, h_new, h_b),
            jnp.where(left, h_a, h_new),
        )

    a, b = high - ratio * (high - low), low + ratio * (high - low)
    low, high, *_ = jax.lax.fori_loop(0, GOLDEN_STEPS, narrow, (low, high, a, b, h(a), h(b)))
    return (low + high) / 2


def _edge(h, mode, level, direction, furthest):
    """Distance from the mode at which ``h`` has fallen to ``level``, by bisection on its logarithm."""

    def halve(_, carry):
        inside, outside = carry
        middle = (inside + outside) / 2
        within = h(mode + direction * jnp.exp(middle)) > level
        return jnp.where(within, middle, inside), jnp.where(within, outside, middle)

    nearest = math.log(1e-7)
    carry = (jnp.full_like(mode, nearest), jnp.log(furthest))
    return jnp.exp(jax.lax.fori_loop(0, EDGE_STEPS, halve, carry)[1])


def _scan(h, far_end):
    """Nodes around the mode of a unimodal log density ``h``, and the log of its integral.

    Gauss-Legendre quadrature on either side of the mode, out to where ``h`` has fallen by `DROP`.
    """
    high = jnp.log(far_end)
    mode = _mode(h, high - 30, high)
    level = h(mode) - DROP
    gauss, weights = np.polynomial.legendre.leggauss(NODES)
    gauss, weights = (gauss + 1) / 2, weights / 2
    ends = _edge(h, mode, level, -1, jnp.full_like(mode, 30)), _edge(h, mode, level, 1, high - mode + 3)
    left, right = (jnp.asarray(gauss, mode.dtype) * end for end in ends)
    at = mode + jnp.concatenate([-left[::-1], right])
    values = jax.lax.map(h, at)
    shares = jnp.concatenate([weights[::-1] * ends[0], weights * ends[1]])
    return Nodes(at, values), jax.scipy.special.logsumexp(values, b=shares)


def _segments(nodes):
    """Log mass of each segment of the log-linear interpolation."""
    slope = jnp.diff(nodes.log_density)
    steep = jnp.abs(slope) > 1e-3
    safe = jnp.where(steep, slope, 1)
    mean = jnp.where(steep, jnp.expm1(safe) / safe, 1 + slope / 2)
    return nodes.log_density[:-1] + jnp.log(mean) + jnp.log(jnp.diff(nodes.at))


def _draw_interpolated(uniforms, nodes):
    """Draw from the log-linear interpolation between the nodes, from two uniform numbers."""
    masses = jax.nn.softmax(_segments(nodes))
    below = masses @ jnp.triu(jnp.ones((len(masses),) * 2, masses.dtype))
    i = jnp.minimum(jnp.sum(below <= uniforms[0]), len(masses) - 1)
    slope, uniform = jnp.diff(nodes.log_density)[i], uniforms[1]
    steep = jnp.abs(slope) > 1e-3
    safe = jnp.where(steep, slope, 1)
    tilted = jnp.log1p(uniform * jnp.expm1(safe)) / safe
    # To first order in the slope.
    level = uniform * (1 - slope * (1 - uniform) / 2)
    share = jnp.clip(jnp.where(steep, tilted, level), 0, 1)
    return nodes.at[i] + share * (nodes.at[i + 1] - nodes.at[i])


def _log_interpolated(v, nodes):
    """Log density of `_draw_interpolated`."""
    inside = (v >= nodes.at[0]) & (v <= nodes.at[-1])
    height = jnp.interp(v, nodes.at, nodes.log_density)
    return jnp.where(inside, height - jax.scipy.special.logsumexp(_segments(nodes)), -jnp.inf)


def _draw_rates(key, z, priors, fixed, n_samples, nonnegative):
    """(rate_l1, rate_linf) by slices given the codes of active atoms, then all envelopes anew.

    The rates are drawn with the envelopes integrated out, so that every envelope must be redrawn afterwards.
    """
    dtype = z["codes"].dtype
    on = z["active"].astype(dtype)
    sizes = jnp.abs(z["codes"])
    l1 = jnp.sum(on * sizes.sum(axis=0))
    linf = jnp.sum(on * sizes.max(axis=0))
    count = jnp.sum(on)

    def log_density(log_l1, log_linf):
        rate_l1, rate_linf = jnp.exp(log_l1), jnp.exp(log_linf)
        prior = priors.rate_l1[0] * log_l1 - priors.rate_l1[1] * rate_l1
        prior += priors.rate_linf[0] * log_linf - priors.rate_linf[1] * rate_linf
        log_z = log_normaliser(rate_l1, rate_linf, n_samples, nonnegative)
        return prior - rate_l1 * l1 - rate_linf * linf - count * log_z

    rates = {"rate_l1": jnp.log(z["rate_l1"]), "rate_linf": jnp.log(z["rate_linf"])}
    key_rates, key_active, key_inactive = jax.random.split(key, 3)
    width = jnp.asarray(1.0, dtype)
    for round_key in jax.random.split(key_rates, 2):
        key_l1, key_linf = jax.random.split(round_key)
        if "rate_l1" not in fixed:
            rates["rate_l1"] = slice_sample(
                key_l1, lambda v: log_density(v, rates["rate_linf"]), rates["rate_l1"], width
            )
        if "rate_linf" not in fixed:
            rates["rate_linf"] = slice_sample(
                key_linf, lambda v: log_density(rates["rate_l1"], v), rates["rate_linf"], width
            )
    drawn = {name: jnp.exp(value) for name, value in rates.items() if name not in fixed}
    z = z | drawn
    excess = jax.random.exponential(key_active, on.shape, dtype) / z["rate_linf"]
    prior = Envelope(z["rate_l1"], z["rate_linf"], n_samples).sample(key_inactive, on.shape)
    return z | {"envelope": jnp.where(z["active"] == 1, sizes.max(axis=0) + excess, prior)}
