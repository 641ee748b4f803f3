"""The uniform law of an atom's direction."""

from math import lgamma, log, pi

import jax.numpy as jnp
from numpyro.distributions import ProjectedNormal
from numpyro.distributions.util import validate_sample

from padl_bayes._validation import check_count


class UniformSphere(ProjectedNormal):
    """Uniform law on the unit sphere of R^dim, with density against the surface measure.

    A projected normal with zero concentration, so that `numpyro.infer.reparam.ProjectedNormalReparam`
    turns it into normalised Gaussians for HMC; unlike its parent it has a density for every ``dim``:
    ``Gamma(dim/2) / (2 pi^(dim/2))``.

    Parameters
    ----------
    dim : int
        Number of coordinates; the event shape is (dim,).
    """

    def __init__(self, dim, *, validate_args=None):
        super().__init__(jnp.zeros(check_count(dim, "dim")), validate_args=validate_args)

    @validate_sample
    def log_prob(self, value):
        dim = self.event_shape[0]
        log_density = lgamma(dim / 2) - log(2) - dim / 2 * log(pi)
        shape = jnp.broadcast_shapes(jnp.shape(value)[:-1], self.batch_shape)
        return jnp.full(shape, log_density, jnp.result_type(value, float))

    @property
    def mean(self):
        return jnp.zeros(self.shape(), jnp.result_type(float))

    @property
    def variance(self):
        return jnp.full(self.shape(), 1 / self.event_shape[0], jnp.result_type(float))
