"""Probabilities that stay inside (0, 1), so that their log odds are finite."""

import jax
import jax.numpy as jnp


def logit(probability):
    """Log odds."""
    return jnp.log(probability) - jnp.log1p(-probability)


def draw_beta(key, a, b):
    """A Beta draw that is never rounded to 0 or 1."""
    eps = jnp.finfo(a.dtype)
    return jnp.clip(jax.random.beta(key, a, b, dtype=a.dtype), eps.tiny, 1 - eps.epsneg)
