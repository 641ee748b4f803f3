"""Probabilities that stay inside (0, 1), so that their log odds are finite."""

import jax
import jax.numpy as jnp


def logit(probability):
    """Log odds."""
    return jnp.log(probability) - jnp.log1p(-probability)


def draw_beta_and_gamma(key, a, b, shape):
    """A Beta(a, b) draw that is never rounded to 0 or 1, and one of the gamma law of that shape and rate one.

    Together, as the sampler of the gamma law is slow to compile.
    """
    log_gamma = jax.random.loggamma(key, jnp.stack([a, b, shape]))
    eps = jnp.finfo(a.dtype)
    share = jnp.clip(jax.nn.sigmoid(log_gamma[0] - log_gamma[1]), eps.tiny, 1 - eps.epsneg)
    return share, jnp.exp(log_gamma[2])


def draw_beta(key, a, b):
    """A Beta draw that is never rounded to 0 or 1."""
    return draw_beta_and_gamma(key, a, b, jnp.ones_like(a))[0]
