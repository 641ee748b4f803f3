"""Sufficient statistics of a batch of samples, and the M-step from their means.

All that a batch leaves behind is K-sized: on several devices each goes through samples of its own, and only these sums
meet (`padl_bayes._devices`).
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._devices import mesh_of
from ..kernels.code_sweep import Atoms, AtomSums
from ..kernels.slabs import SLABS
from .dictionary import second_moments, update_dictionary
from .recoding import code_afresh
from .variational import State, log_prior, precision_ceiling

SETTLE = 12


class Statistics(NamedTuple):
    """Sums over samples, or their means.

    Attributes
    ----------
    gram : array, shape (K, K)
        ``E[r].T @ E[r]``.
    cross : array, shape (K, P)
        ``E[r].T @ X``.
    atoms : AtomSums
    energy : array, shape ()
        ``||X||_F^2``.
    bound : array, shape ()
        Of the evidence, but for the constant of the Gaussian and the log priors.
    share : array, shape (K,)
        How many of the samples have come by since the atom was born: all, but in the running means of a newborn.
    """

    gram: jax.Array
    cross: jax.Array
    atoms: AtomSums
    energy: jax.Array
    bound: jax.Array
    share: jax.Array


@partial(jax.jit, static_argnums=(0, 1))
def _sums(slab, mesh, x, valid, atoms, precision, hot):
    done = code_afresh(slab, x, valid, atoms, precision, hot, SETTLE, mesh)
    fit = -0.5 * precision * jnp.sum(done.residual**2)
    count = jnp.sum(valid)
    gram, cross = second_moments(done.codes, x, mesh)
    return Statistics(
        gram=gram,
        cross=cross,
        atoms=jax.tree.map(partial(jnp.sum, axis=0), done.sums),
        energy=jnp.sum(x**2),
        bound=jnp.sum(done.bound) + fit,
        share=jnp.full_like(atoms.rate, count),
    ), count


def batch_means(slab, batch, state, hot):
    """Code a batch afresh and return the means of its statistics, float64 NumPy arrays, and its number of samples.

    Parameters
    ----------
    slab : tuple (str, bool)
    batch : tuple
        Samples x (tiles, P, n) and which are none but padding, valid (tiles, n); where they lie, they are coded.
    state : State
        Everything global, NumPy arrays.
    hot : scalar
        Noise precision from which to cool down.
    """
    sums, count = _sums(slab, mesh_of(batch[0]), *batch, state.atoms, state.precision, np.asarray(hot))
    count = float(count)
    return jax.tree.map(lambda a: np.asarray(a, np.float64) / count, sums), count


def blend(old, new, step):
    """``old`` moved towards ``new`` by a fraction ``step`` of the way."""
    return jax.tree.map(lambda a, b: a + step * (b - a), old, new)


def missed_of(means, dictionary):
    """Mean squared residual of the codes' posterior means."""
    explained = 2 * np.sum(means.cross * dictionary) - np.sum(means.gram * (dictionary @ dictionary.T))
    return means.energy - explained


def keep_only(means, dictionary, kept):
    """The statistics without atoms (``kept`` (K,) zero there), as if what they explained had not been in the data."""
    missed = missed_of(means, dictionary)
    left = means._replace(
        gram=means.gram * np.outer(kept, kept),
        cross=means.cross * kept[:, None],
        atoms=jax.tree.map(lambda a: a * kept, means.atoms),
        share=means.share * kept,
    )
    return left._replace(energy=means.energy + missed - missed_of(left, dictionary))


def elbo_of_means(problem, state, means):
    """Evidence lower bound of all samples, were they all like those that ``means`` are of."""
    precision = float(state.precision)
    data = float(problem.n_samples) * means.bound
    data += 0.5 * float(problem.n_observed) * math.log(precision / (2 * math.pi))
    prior = np.asarray(log_prior(problem, state.atoms), np.float64)
    return data + float(np.sum(prior[np.asarray(state.atoms.active) > 0]))


def maximise(slab, problem, state, means):
    """M-step for all samples from the means of their statistics.

    Parameters
    ----------
    slab : tuple (str, bool)
    problem : Problem
        Only its scalars and the precision of its numbers are used.
    state : State
    means : Statistics
        float64.

    Returns
    -------
    State
        NumPy arrays, without codes.
    """
    dtype = state.atoms.dictionary.dtype
    n_samples, sums = float(problem.n_samples), means.atoms
    share = np.where(means.share > 0, means.share, 1)
    with jax.enable_x64(True):
        dictionary = np.asarray(
            _update_dictionary(means.gram, means.cross, state.atoms.dictionary.astype(float))
        )
    usage = (n_samples * sums.used / share + 0.5) / (n_samples + 1)
    rate = SLABS[slab].shape * n_samples * sums.used / share + 1
    rate /= n_samples * sums.size / share + float(problem.rate_scale)
    expected = missed_of(means, dictionary) + sums.variance.sum()
    expected *= n_samples / float(problem.n_observed)
    ceiling = precision_ceiling(problem)
    arrays = (dictionary, np.log(usage) - np.log1p(-usage), rate, state.atoms.active)
    atoms: Any = (np.asarray(a, dtype) for a in arrays)
    sizes = (n_samples * sums.square / share, 1 / max(expected, 1 / ceiling))
    rest: Any = (np.asarray(a, dtype) for a in sizes)
    return State(None, Atoms(*atoms), *rest)


_update_dictionary = jax.jit(update_dictionary)
