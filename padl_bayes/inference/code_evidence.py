"""Evidence of single samples with their codes integrated out, by importance sampling; unbiased for the density.

A row is one sample under one draw of everything global. Given a row, the codes r have the density

    p(x, r) = prod_k p(r_k) exp(linear . r - r' quadratic r / 2) * constant,

p(r_k) spike and slab. A proposal replaces every prior factor by a Gaussian site, s_k and b_k being its precision and
linear coefficient, and draws the codes in turn, each from its own spike-and-slab factor times what the others leave:
the Gaussian of the likelihood and of the sites of the codes that are still to come, these integrated out. With the
Cholesky factor L of ``quadratic + diag(s)``, codes drawn from the last to the first, that is the entry posterior with

    precision_i = L_ii^2 - s_i,    linear_i = L_ii (y_i - sum_{j > i} L_ji r_j) - b_i,    y = L^-1 (linear + b).

The prior factors then cancel from the weights, and the last code drawn is integrated exactly. A third of the draws
comes from each of three choices of the sites, and weights are against the mixture of all, which is never more than
three times as bad as the best:

- those of the mean-field factors: safe, but they know of one mode only, and their product alone would be too narrow
  where atoms are correlated;
- expectation propagation, from the prior: close to the marginals, but it does not always converge;
- a slab twice as wide as the prior's: with lighter sites the weights of far-out codes would have no variance.

Minka, UAI 2001 (expectation propagation); Veach & Guibas, SIGGRAPH 1995, and Owen & Zhou, JASA 2000 (mixtures).
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from ..kernels.cut_laplace import CUT_SLABS
from ..kernels.slabs import SLABS, entry_moments
from ..kernels.uniforms import uniform_open

ALL_SLABS = SLABS | CUT_SLABS
PROPOSALS = 3
_EP_STEPS = 12
_DAMPING = 0.5
_STIFFEST = 1e3
_WIDENING = 2


class Rows(NamedTuple):
    """Rows to be integrated, all float64.

    Attributes
    ----------
    linear : array, shape (n, K)
        tau D x.
    quadratic : array, shape (n, K, K)
        tau D D', over the observed features.
    constant : array, shape (n,)
        log N(x; 0, 1 / tau).
    usage_logit : array, shape (n, K)
        -inf for atoms that are switched off.
    rate : array, shape (n, K), or tuple of two
        The slab's rate; with its bound where there is one.
    prior_square : array, shape (n, K)
        E r^2 under the slab.
    mean : array, shape (n, K)
        Mean-field posterior means.
    precision : array, shape (n, 1)
        tau.
    """

    linear: np.ndarray
    quadratic: np.ndarray
    constant: np.ndarray
    usage_logit: np.ndarray
    rate: Any
    prior_square: np.ndarray
    mean: np.ndarray
    precision: np.ndarray


class Sites(NamedTuple):
    """Gaussian factors in place of the priors: precision and linear coefficient (n, K)."""

    precision: Any
    linear: Any


class Proposal(NamedTuple):
    """A sequence of entry posteriors, in the order in which its arrays are sorted, last one first.

    Attributes
    ----------
    order : array of int, shape (n, K)
    factor : array, shape (n, K, K)
        L.
    pivot, target, site_linear, precision : array, shape (n, K)
        L_ii, y, b and the precision of an entry.
    usage_logit : array, shape (n, K)
    rate : array, shape (n, K), or tuple of two
    """

    order: np.ndarray
    factor: np.ndarray
    pivot: np.ndarray
    target: np.ndarray
    site_linear: np.ndarray
    precision: np.ndarray
    usage_logit: np.ndarray
    rate: Any


def _limits(rows):
    """Least and largest precision of a site: the slab twice as wide, and hardly any room."""
    softest = 1 / (_WIDENING**2 * rows.prior_square)
    return softest, _STIFFEST * rows.precision + softest


@partial(jax.jit, static_argnums=0)
def _matching_sites(key, linear, precision, rows):
    """Sites that give the entry's posterior under a Gaussian cavity its true mean and, within limits, variance."""
    q = entry_moments(ALL_SLABS[key], linear, precision, rows.usage_logit, rows.rate)
    variance = jnp.maximum(q.square - q.mean**2, jnp.finfo(linear.dtype).tiny)
    softest, stiffest = _limits(rows)
    site = jnp.clip(1 / variance - precision, softest, stiffest)
    return Sites(site, q.mean * (precision + site) - linear), variance


def _diagonal(matrices):
    return np.einsum("nkk->nk", matrices)


def _stiffened(quadratic, sites):
    """quadratic + diag(s)."""
    total = quadratic.copy()
    diagonal = _diagonal(total)
    diagonal += sites.precision
    return total


def mean_field_sites(key, rows):
    """Sites of the mean-field factors, and the variances (n, K) of these."""
    own = np.maximum(_diagonal(rows.quadratic), 1e-9 * rows.precision)
    linear = rows.linear - np.einsum("nkj,nj->nk", rows.quadratic, rows.mean) + own * rows.mean
    sites, variance = _matching_sites(key, linear, own, rows)
    return Sites(*map(np.asarray, sites)), np.asarray(variance)


def prior_sites(rows):
    """Sites with the prior's mean, at zero, and its second moment: spike included, and of a slab twice as wide."""
    softest, stiffest = _limits(rows)
    usage = 1 / (1 + np.exp(-rows.usage_logit))
    with np.errstate(divide="ignore"):
        matched = np.minimum(1 / (rows.prior_square * usage), stiffest)
    wide = np.where(usage > 0, softest, stiffest)
    blank = np.zeros_like(wide)
    return Sites(matched, blank), Sites(wide, blank)


def propagated_sites(key, rows, sites, n_steps=_EP_STEPS):
    """Sites after damped parallel expectation propagation from ``sites``, and the marginal variances (n, K)."""
    for step in range(n_steps + 1):
        covariance = np.linalg.inv(_stiffened(rows.quadratic, sites))
        variance = np.maximum(_diagonal(covariance), np.finfo(float).tiny)
        if step == n_steps:
            return sites, variance
        mean = np.einsum("nkj,nj->nk", covariance, rows.linear + sites.linear)
        cavity = np.maximum(1 / variance - sites.precision, 1e-6 * rows.precision)
        linear = mean / variance - sites.linear
        new, _ = _matching_sites(key, linear, cavity, rows)
        sites = Sites(
            sites.precision ** (1 - _DAMPING) * np.asarray(new.precision) ** _DAMPING,
            (1 - _DAMPING) * sites.linear + _DAMPING * np.asarray(new.linear),
        )


def make_proposal(rows, sites, variance):
    """`Proposal` that draws the codes of largest ``variance`` (n, K) first, while the rest is integrated out."""
    order = np.argsort(variance, axis=1)

    def sort(table):
        return np.take_along_axis(table, order, axis=1)

    quadratic = np.take_along_axis(rows.quadratic, order[:, :, None], axis=1)
    quadratic = np.take_along_axis(quadratic, order[:, None, :], axis=2)
    sites = Sites(sort(sites.precision), sort(sites.linear))
    factor = np.linalg.cholesky(_stiffened(quadratic, sites))
    target = np.linalg.solve(factor, (sort(rows.linear) + sites.linear)[..., None])[..., 0]
    pivot = _diagonal(factor)
    precision = np.maximum(pivot**2 - sites.precision, 1e-9 * rows.precision)
    rate = jax.tree.map(sort, rows.rate)
    return Proposal(order, factor, pivot, target, sites.linear, precision, sort(rows.usage_logit), rate)


@partial(jax.jit, static_argnums=(0, 3))
def draw_codes(key, proposal, random_keys, n_draws):
    """Codes (n, S, K) in the order of the rows; ``random_keys`` (n,) is one for each row."""
    slab = ALL_SLABS[key]
    n, n_atoms = proposal.order.shape
    shape = (n_atoms, n, n_draws)

    def step(codes, i):
        cross = jnp.einsum("kns,nk->ns", codes, proposal.factor[:, :, i])
        at = partial(jnp.take, indices=i, axis=1)
        linear = (at(proposal.pivot) * at(proposal.target) - at(proposal.site_linear))[:, None]
        linear = linear - at(proposal.pivot)[:, None] * cross
        precision, logit = at(proposal.precision)[:, None], at(proposal.usage_logit)[:, None]
        rate = jax.tree.map(lambda p: at(p)[:, None], proposal.rate)
        q = entry_moments(slab, linear, precision, logit, rate)
        keys = jax.vmap(jax.random.fold_in, (0, None))(random_keys, i)
        uniforms = jax.vmap(lambda k: uniform_open(k, (3, n_draws), linear.dtype))(keys)
        used = uniforms[:, 0] < q.probability
        full = jnp.broadcast_to(precision, linear.shape)
        entry = slab.draw(linear, full, rate, (uniforms[:, 1], uniforms[:, 2]))
        return codes.at[i].set(jnp.where(used, entry, 0)), None

    start = jnp.zeros(shape, proposal.pivot.dtype)
    codes, _ = jax.lax.scan(step, start, jnp.arange(n_atoms)[::-1])
    back = jnp.argsort(proposal.order, axis=1)
    return jnp.take_along_axis(codes.transpose(1, 2, 0), back[:, None, :], axis=2)


def _log_proposal(key, proposal, codes):
    """log density (n, S) of a proposal at codes (n, S, K), relative to the prior."""
    codes = jnp.take_along_axis(codes, proposal.order[:, None, :], axis=2)
    cross = jnp.einsum("nsj,nji->nsi", codes, jnp.tril(proposal.factor, -1))
    linear = proposal.pivot[:, None] * (proposal.target[:, None] - cross) - proposal.site_linear[:, None]
    precision, logit = proposal.precision[:, None], proposal.usage_logit[:, None]
    rate = jax.tree.map(lambda p: p[:, None], proposal.rate)
    q = entry_moments(ALL_SLABS[key], linear, precision, logit, rate)
    return jnp.sum(linear * codes - 0.5 * precision * codes**2 - q.log_evidence, axis=-1)


@partial(jax.jit, static_argnums=0)
def log_weights(key, rows, proposals, codes):
    """log p(x, r) / q(r) (n, S), q the equal mixture of the proposals."""
    fit = jnp.einsum("nk,nsk->ns", rows.linear, codes)
    fit = fit - 0.5 * jnp.sum(jnp.einsum("nsk,nkj->nsj", codes, rows.quadratic) * codes, axis=-1)
    stacked = jax.tree.map(lambda *tables: jnp.stack(tables), *proposals)
    densities = jax.lax.map(lambda proposal: _log_proposal(key, proposal, codes), stacked)
    return rows.constant[:, None] + fit - logsumexp(densities, axis=0) + math.log(len(proposals))


@jax.jit
def summarise(weights):
    """log of the mean (n,) and its standard error, from log weights in strata of equal size (V, n, S / V)."""
    top = jnp.max(weights, axis=(0, 2))
    relative = jnp.exp(weights - top[None, :, None])
    mean = jnp.mean(relative, axis=(0, 2))
    strata, _, size = weights.shape
    variance = jnp.mean(jnp.var(relative, axis=2, ddof=1), axis=0) / (strata * size)
    return top + jnp.log(mean), jnp.sqrt(variance) / mean


def weighted_codes(key, rows, random_keys, n_draws):
    """Codes (n, S, K) drawn for rows, and log p(x, r) / q(r) (n, S): see `estimate`."""
    factored, spread = mean_field_sites(key, rows)
    matched, wide = prior_sites(rows)
    refined, marginal = propagated_sites(key, rows, matched)
    proposals = (
        make_proposal(rows, factored, spread),
        make_proposal(rows, refined, marginal),
        make_proposal(rows, wide, marginal),
    )
    split = jax.vmap(lambda k: jax.random.split(k, PROPOSALS))(random_keys)
    drawn = [draw_codes(key, p, split[:, v], n_draws // PROPOSALS) for v, p in enumerate(proposals)]
    codes = jnp.concatenate(drawn, axis=1)
    return codes, log_weights(key, rows, proposals, codes)


def estimate(key, rows, random_keys, n_draws):
    """log evidence (n,) of rows and its standard error, from ``n_draws`` draws a row, a multiple of `PROPOSALS`.

    Parameters
    ----------
    key : tuple (str, bool)
        Of `ALL_SLABS`.
    rows : Rows
    random_keys : array of PRNG keys, shape (n,)
    n_draws : int
    """
    _, weights = weighted_codes(key, rows, random_keys, n_draws)
    strata = weights.reshape(len(weights), PROPOSALS, -1).transpose(1, 0, 2)
    return summarise(strata)
