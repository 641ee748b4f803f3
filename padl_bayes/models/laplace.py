"""Plain sparse coding, the baseline: independent Laplace codes, every atom in use."""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from padl_bayes.distributions import TruncatedLaplace
from padl_bayes.models._sites import atoms_site, observe, plates, problem_shape, value_or_sample
from padl_bayes.models.hyperpriors import Hyperpriors, hyperpriors_from


def laplace(
    X=None,
    n_atoms=None,
    *,
    nonnegative=False,
    n_samples=None,
    n_features=None,
    dictionary=None,
    noise_scale=None,
    rate=None,
    mask=None,
    hyperpriors=None,
    continuous=False,
    keep_reconstruction=False,
):
    """Draw a dictionary, independent Laplace codes, and the data; its MAP is l1 sparse coding.

    ::

        dictionary_k ~ Uniform(sphere)    rate ~ Gamma    noise_scale ~ HalfNormal
        codes_nk ~ Laplace(rate)          X_n ~ Normal(codes_n @ dictionary, noise_scale)

    Parameters
    ----------
    X : array_like, shape (N, P), optional
        Data; None simulates them.
    n_atoms : int, optional
        Number of atoms K; not needed with a ``dictionary``.
    nonnegative : bool
        Exponential codes.
    n_samples, n_features : int, optional
        N and P, where X is None.
    dictionary : array_like, shape (K, P), optional
        Fixes the atoms.
    noise_scale, rate : float, optional
        Fix what would be drawn.
    mask : array_like of bool, shape (N, P), optional
        True where an entry was observed.
    hyperpriors : Hyperpriors, optional
        Default: `hyperpriors_from` the data.
    continuous : bool
        Draw the dictionary through ``dictionary_normal`` (K, P), normalised: for gradient-based samplers.
    keep_reconstruction : bool
        Record ``reconstruction``, codes @ dictionary (N, P).

    Returns
    -------
    array, shape (N, P)
        The data.

    Raises
    ------
    TypeError, ValueError
        A size that is missing or contradictory.
    """
    shape = problem_shape(X, n_atoms, n_samples, n_features, dictionary, mask)
    if hyperpriors is None:
        hyperpriors = Hyperpriors() if X is None else hyperpriors_from(X, mask=mask)
    axes = plates(shape)
    dictionary = atoms_site(dictionary, shape, axes.atom, continuous)
    noise_scale = value_or_sample("noise_scale", noise_scale, dist.HalfNormal(hyperpriors.noise_scale))
    rate = value_or_sample("rate", rate, dist.Gamma(*hyperpriors.rate))
    with axes.sample, axes.atom:
        codes = numpyro.sample("codes", TruncatedLaplace(rate, nonnegative=nonnegative))
    numpyro.deterministic("code_energy", jnp.square(codes).sum(-2))
    return observe(X, mask, codes, dictionary, noise_scale, axes, keep_reconstruction)
