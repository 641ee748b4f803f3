"""The uniform law of an atom's direction."""

from math import lgamma, log, pi

import jax.numpy as jnp
from numpyro.distributions import ProjectedNormal, biject_to, constraints
from numpyro.distributions.transforms import ParameterFreeTransform
from numpyro.distributions.util import validate_sample

from padl_bayes._validation import check_count


def log_uniform_density(dim):
    """Log density of the uniform law on the unit sphere of R^dim, against the surface measure."""
    return lgamma(dim / 2) - log(2) - dim / 2 * log(pi)


class _UnitSphere(constraints.Constraint):
    """The unit sphere, as a support of its own that has a bijection with an unconstrained space."""

    event_dim = 1

    def __call__(self, x):
        return constraints.sphere(x)

    def feasible_like(self, prototype):
        return constraints.sphere.feasible_like(prototype)

    def tree_flatten(self):
        return (), ((), {})


class StereographicTransform(ParameterFreeTransform):
    """R^(P-1) onto the unit sphere of R^P less its pole (0, ..., 0, 1)."""

    domain = constraints.real_vector
    codomain = _UnitSphere()

    def __call__(self, x):
        square = jnp.square(x).sum(-1, keepdims=True)
        return jnp.concatenate([2 * x, square - 1], -1) / (square + 1)

    def _inverse(self, y):
        return y[..., :-1] / jnp.clip(1 - y[..., -1:], jnp.finfo(y.dtype).tiny)

    def log_abs_det_jacobian(self, x, y, intermediates=None):
        return x.shape[-1] * (log(2) - jnp.log1p(jnp.square(x).sum(-1)))

    def forward_shape(self, shape):
        return (*shape[:-1], shape[-1] + 1)

    def inverse_shape(self, shape):
        return (*shape[:-1], shape[-1] - 1)


@biject_to.register(_UnitSphere)
def _stereographic(constraint):
    return StereographicTransform()


class UniformSphere(ProjectedNormal):
    """Uniform law on the unit sphere of R^dim, with density against the surface measure.

    A projected normal with zero concentration, so that `numpyro.infer.reparam.ProjectedNormalReparam`
    turns it into normalised Gaussians, the better coordinates for HMC; unlike its parent it has a density
    for every ``dim``, ``Gamma(dim/2) / (2 pi^(dim/2))``, and an unconstrained form (stereographic).

    Parameters
    ----------
    dim : int
        Number of coordinates; the event shape is (dim,).
    """

    support = _UnitSphere()

    def __init__(self, dim, *, validate_args=None):
        super().__init__(jnp.zeros(check_count(dim, "dim")), validate_args=validate_args)

    @validate_sample
    def log_prob(self, value):
        log_density = log_uniform_density(self.event_shape[0])
        shape = jnp.broadcast_shapes(jnp.shape(value)[:-1], self.batch_shape)
        return jnp.full(shape, log_density, jnp.result_type(value, float))

    @property
    def mean(self):
        return jnp.zeros(self.shape(), jnp.result_type(float))

    @property
    def variance(self):
        return jnp.full(self.shape(), 1 / self.event_shape[0], jnp.result_type(float))
