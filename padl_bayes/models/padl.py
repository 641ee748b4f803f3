"""Parsimoniously activated dictionary learning, as one NumPyro program."""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from padl_bayes._validation import check_choice
from padl_bayes.distributions import (
    BernoulliGaussian,
    BernoulliLaplace,
    Envelope,
    Gated,
    TruncatedLaplace,
)
from padl_bayes.models._sites import atoms_site, observe, plates, problem_shape, value_or_sample
from padl_bayes.models.hyperpriors import Hyperpriors, hyperpriors_from

SLABS = ("bernoulli_laplace", "bernoulli_gaussian", "l1linf")


def padl(
    X=None,
    n_atoms=None,
    *,
    slab="bernoulli_laplace",
    nonnegative=False,
    n_samples=None,
    n_features=None,
    dictionary=None,
    noise_scale=None,
    activation_rate=None,
    usage=None,
    rate=None,
    rate_l1=None,
    rate_linf=None,
    mask=None,
    hyperpriors=None,
    continuous=False,
    keep_reconstruction=False,
):
    """Draw a dictionary, which atoms are active, sparse codes, and the data.

    ::

        activation_rate ~ Beta                    active_k ~ Bernoulli(activation_rate)
        dictionary_k ~ Uniform(sphere)            noise_scale ~ HalfNormal
        codes_k = 0 where active_k = 0, else from the slab
        X_n ~ Normal(codes_n @ dictionary, noise_scale)

    The slabs of an active atom k:

    ``"bernoulli_laplace"``
        usage_k ~ Beta, rate_k ~ Gamma; codes_nk is 0 with probability 1 - usage_k, otherwise Laplace with
        rate rate_k.
    ``"bernoulli_gaussian"``
        the same with Normal(0, 1/rate_k): rate_k is a precision (beta-process factor analysis).
    ``"l1linf"``
        rate_l1, rate_linf ~ Gamma; envelope_k ~ `Envelope`, codes_nk ~ Laplace(rate_l1) cut to
        [-envelope_k, envelope_k]. Without the envelope that is `L1LinfLaplace`, whose MAP is PADL.

    Given the atoms' latents and the dictionary, samples are independent. The density of codes is with
    respect to a point mass at zero plus Lebesgue measure wherever they can be exactly zero.

    Parameters
    ----------
    X : array_like, shape (N, P), optional
        Data; None simulates them.
    n_atoms : int, optional
        Upper bound K on the number of atoms; not needed with a ``dictionary``.
    slab : {"bernoulli_laplace", "bernoulli_gaussian", "l1linf"}
    nonnegative : bool
        Codes >= 0: one-sided slabs.
    n_samples, n_features : int, optional
        N and P, where X is None.
    dictionary : array_like, shape (K, P), optional
        Fixes the atoms.
    noise_scale, activation_rate, rate_l1, rate_linf : float, optional
        Fix what would be drawn.
    usage, rate : array_like, shape () or (K,), optional
        Fix what would be drawn for each atom.
    mask : array_like of bool, shape (N, P), optional
        True where an entry was observed.
    hyperpriors : Hyperpriors, optional
        Default: `hyperpriors_from` the data.
    continuous : bool
        ``slab="l1linf"`` only: every atom active, in coordinates that gradient-based samplers move in, with
        ``dictionary_normal`` (K, P) normalised to ``dictionary`` and ``codes_unit`` (N, K) in [-1, 1] times
        ``envelope`` giving ``codes``. The log joint is the program's at active = 1, plus
        log Normal(dictionary_normal; 0, I), minus the sphere's log density, plus N sum_k log envelope_k.
    keep_reconstruction : bool
        Record ``reconstruction``, codes @ dictionary (N, P).

    Returns
    -------
    array, shape (N, P)
        The data.

    Raises
    ------
    TypeError, ValueError
        A size that is missing or contradictory, an unknown slab, ``continuous`` with a two-level slab.

    Notes
    -----
    Sites named as ArviZ's variables; also ``num_active`` and ``code_energy``, sum over n of codes_nk^2.

    References
    ----------
    Zhao, Tang, Li, arXiv 2606.22352; Zhao, Tang, Ren, Zhang, Li, arXiv 2509.25690.
    """
    check_choice(slab, "slab", SLABS)
    if continuous and slab != "l1linf":
        raise ValueError(f'continuous=True needs slab="l1linf", found {slab!r}: its codes have point masses')
    shape = problem_shape(X, n_atoms, n_samples, n_features, dictionary, mask)
    if hyperpriors is None:
        hyperpriors = Hyperpriors() if X is None else hyperpriors_from(X, slab=slab, mask=mask)
    axes = plates(shape)
    dictionary = atoms_site(dictionary, shape, axes.atom, continuous)
    noise_scale = value_or_sample("noise_scale", noise_scale, dist.HalfNormal(hyperpriors.noise_scale))
    activation_rate = value_or_sample(
        "activation_rate", activation_rate, dist.Beta(*hyperpriors.activation_rate)
    )
    with axes.atom:
        all_active = jnp.ones(shape.atoms, int) if continuous else None
        active = numpyro.sample("active", dist.Bernoulli(activation_rate), obs=all_active)
    if slab == "l1linf":
        draw = _unit_codes if continuous else _enveloped_codes
        codes = draw(active, rate_l1, rate_linf, shape, axes, nonnegative, hyperpriors)
    else:
        law = BernoulliLaplace if slab == "bernoulli_laplace" else BernoulliGaussian
        codes = _two_level_codes(law, active, usage, rate, shape, axes, nonnegative, hyperpriors)
    numpyro.deterministic("num_active", active.sum(-1))
    numpyro.deterministic("code_energy", jnp.square(codes).sum(-2))
    return observe(X, mask, codes, dictionary, noise_scale, axes, keep_reconstruction)


def _two_level_codes(law, active, usage, rate, shape, axes, nonnegative, hyperpriors):
    with axes.atom:
        usage = value_or_sample("usage", usage, dist.Beta(*hyperpriors.usage), (shape.atoms,))
        rate = value_or_sample("rate", rate, dist.Gamma(*hyperpriors.rate), (shape.atoms,))
    with axes.sample, axes.atom:
        return numpyro.sample("codes", law(active * usage, rate, nonnegative=nonnegative))


def _envelope(rate_l1, rate_linf, shape, axes, hyperpriors):
    rate_l1 = value_or_sample("rate_l1", rate_l1, dist.Gamma(*hyperpriors.rate_l1))
    rate_linf = value_or_sample("rate_linf", rate_linf, dist.Gamma(*hyperpriors.rate_linf))
    with axes.atom:
        return rate_l1, numpyro.sample("envelope", Envelope(rate_l1, rate_linf, shape.samples))


def _enveloped_codes(active, rate_l1, rate_linf, shape, axes, nonnegative, hyperpriors):
    rate_l1, envelope = _envelope(rate_l1, rate_linf, shape, axes, hyperpriors)
    with axes.sample, axes.atom:
        slab = TruncatedLaplace(rate_l1, envelope, nonnegative=nonnegative)
        return numpyro.sample("codes", Gated(slab, active))


def _unit_codes(active, rate_l1, rate_linf, shape, axes, nonnegative, hyperpriors):
    del active
    rate_l1, envelope = _envelope(rate_l1, rate_linf, shape, axes, hyperpriors)
    with axes.sample, axes.atom:
        unit = numpyro.sample(
            "codes_unit", TruncatedLaplace(rate_l1 * envelope, 1.0, nonnegative=nonnegative)
        )
    return numpyro.deterministic("codes", unit * envelope)
