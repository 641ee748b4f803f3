"""Parts that the programs share: shapes, plates, the dictionary, and the observed matrix."""

from contextlib import nullcontext
from typing import NamedTuple

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.handlers import mask as mask_handler
from numpyro.handlers import reparam
from numpyro.infer.reparam import ProjectedNormalReparam

from padl_bayes._validation import check_count
from padl_bayes.distributions import UniformSphere


class Shape(NamedTuple):
    """N samples, K atoms, P features."""

    samples: int
    atoms: int
    features: int


class Plates(NamedTuple):
    """Plates named as ArviZ's dimensions: atom and feature at -1, sample at -2."""

    sample: numpyro.plate
    atom: numpyro.plate
    feature: numpyro.plate


def problem_shape(X, n_atoms, n_samples, n_features, dictionary, mask):
    """Return the `Shape` that the arguments agree on.

    Raises
    ------
    ValueError
        A size that nothing tells, or two arguments that disagree.
    """
    for name, array in (("X", X), ("mask", mask), ("dictionary", dictionary)):
        if array is not None and jnp.ndim(array) != 2:
            raise ValueError(f"{name} must have 2 dimensions, found shape {jnp.shape(array)}")
    rows, columns = (None, None) if X is None else jnp.shape(X)
    if mask is not None and X is not None and jnp.shape(mask) != (rows, columns):
        raise ValueError(f"mask must have the shape of X, {(rows, columns)}, found {jnp.shape(mask)}")
    masked = (None, None) if mask is None else jnp.shape(mask)
    known = (None, None) if dictionary is None else jnp.shape(dictionary)
    return Shape(
        _agreed("n_samples", n_samples, rows, masked[0]),
        _agreed("n_atoms", n_atoms, known[0]),
        _agreed("n_features", n_features, columns, masked[1], known[1]),
    )


def _agreed(name, *sizes):
    given = {check_count(size, name) for size in sizes if size is not None}
    if not given:
        raise ValueError(f"{name} must be given where no array tells it")
    if len(given) > 1:
        raise ValueError(f"{name} must agree with the arrays, found {' and '.join(map(str, sorted(given)))}")
    return given.pop()


def plates(shape):
    """Return the `Plates` of a `Shape`."""
    return Plates(
        numpyro.plate("sample", shape.samples, dim=-2),
        numpyro.plate("atom", shape.atoms, dim=-1),
        numpyro.plate("feature", shape.features, dim=-1),
    )


def value_or_sample(name, value, law, shape=()):
    """Record ``value`` under ``name`` if there is one, draw it from ``law`` otherwise."""
    if value is None:
        return numpyro.sample(name, law)
    return numpyro.deterministic(name, jnp.broadcast_to(jnp.asarray(value), shape))


def atoms_site(dictionary, shape, plate, continuous):
    """The dictionary (K, P): rows uniform on the sphere, for HMC as normalised Gaussians."""
    if dictionary is not None:
        return numpyro.deterministic("dictionary", jnp.asarray(dictionary))
    config = {"dictionary": ProjectedNormalReparam()} if continuous else {}
    with plate, reparam(config=config):
        return numpyro.sample("dictionary", UniformSphere(shape.features))


def observe(X, mask, codes, dictionary, noise_scale, plates, keep_reconstruction):
    """The data (N, P) given codes and dictionary; entries outside ``mask`` do not count."""
    mean = codes @ dictionary
    if keep_reconstruction:
        numpyro.deterministic("reconstruction", mean)
    if mask is not None:
        mask = jnp.asarray(mask, bool)
        X = None if X is None else jnp.where(mask, X, 0.0)
    with plates.sample, plates.feature, nullcontext() if mask is None else mask_handler(mask=mask):
        return numpyro.sample("X", dist.Normal(mean, noise_scale), obs=X)
