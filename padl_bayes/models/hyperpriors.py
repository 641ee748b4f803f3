"""Weakly informative hyperpriors, set from the data's scale."""

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike

from padl_bayes._validation import check_scalar


class Hyperpriors(NamedTuple):
    """Parameters of the hyperpriors of `padl` and `laplace`.

    Attributes
    ----------
    activation_rate : tuple
        (a, b) of the Beta law of the prior probability that an atom is active. (a / K, b) gives the
        beta-process limit.
    usage : tuple
        (a, b) of the Beta law of an atom's usage; the default is Jeffreys'.
    rate : tuple
        (shape, rate) of the Gamma law of the slab's rate (two-level slabs, and `laplace`).
    rate_l1, rate_linf : tuple
        (shape, rate) of the Gamma laws of the two rates of the l1 + l_inf slab.
    noise_scale : float
        Scale of the half-normal law of the noise's standard deviation.
    """

    activation_rate: tuple = (1.0, 1.0)
    usage: tuple = (0.5, 0.5)
    rate: tuple = (1.0, 1.0)
    rate_l1: tuple = (1.0, 1.0)
    rate_linf: tuple = (1.0, 1.0)
    noise_scale: ArrayLike = 1.0


def check_hyperpriors(value, name="hyperpriors"):
    """Return `Hyperpriors` whose parameters are all positive, or None."""
    if value is None:
        return None
    if not isinstance(value, Hyperpriors):
        raise TypeError(f"{name} must be Hyperpriors or None, found {value!r} of type {type(value).__name__}")
    for field, given in value._asdict().items():
        for number in given if isinstance(given, tuple) else (given,):
            check_scalar(number, f"{name}.{field}", strict=True)
    return value


def hyperpriors_from(X, *, slab="bernoulli_laplace", mask=None):
    """Hyperpriors that scale with the data: multiplying X by c multiplies codes and noise by c.

    Parameters
    ----------
    X : array_like, shape (N, P)
        Data; may be traced by JAX.
    slab : {"bernoulli_laplace", "bernoulli_gaussian", "l1linf"}
        With a Gaussian slab ``rate`` is a precision and scales with the square.
    mask : array_like of bool, shape (N, P), optional
        True where an entry was observed.

    Returns
    -------
    Hyperpriors
        Exponential laws of mean 1/s for the rates (1/s^2 for a precision, N/s for ``rate_linf``, whose
        norm grows with the sum over samples slowly), and a half-normal law of scale s for the noise, s the
        root mean square of the observed entries.
    """
    X = jnp.asarray(X)
    scale = jnp.sqrt(jnp.mean(jnp.square(X), where=None if mask is None else jnp.asarray(mask, bool)))
    return Hyperpriors(
        rate=(1.0, scale**2 if slab == "bernoulli_gaussian" else scale),
        rate_l1=(1.0, scale),
        rate_linf=(1.0, scale / X.shape[0]),
        noise_scale=scale,
    )
