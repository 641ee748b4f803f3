"""Coordinate ascent on the evidence lower bound: pass over the samples, sufficient statistics, M-step.

Everything is a pure function of a `Problem` (the data, tiled) and a `State` (codes and global quantities). Which atoms
are active is not decided here: see `padl_bayes.inference.moves`.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._devices import gathered, over_samples, spread
from ..distributions.sphere import log_uniform_density
from ..kernels import sweep_tiles
from ..kernels.atom_pass import BLOCK
from ..kernels.code_sweep import Atoms, AtomSums, Tile, residual_of
from ..kernels.slabs import SLABS
from .dictionary import second_moments, update_dictionary, update_dictionary_masked

TILE = 512
PASSES = 5


class Problem(NamedTuple):
    """Data in tiles.

    Attributes
    ----------
    x : array, shape (tiles, P, n)
        Data, zero where unobserved. This and the next are None where only the scalars matter.
    valid : array, shape (tiles, n)
        1.0 for samples, 0.0 for padding.
    observed : array, shape (tiles, P, n), or None
    n_samples, n_observed : array, shape ()
        Number of samples and of observed entries.
    rate_scale : array, shape ()
        Scale of the weak exponential prior of the slab's rates: the root mean square of the data, to the power of
        the rate's statistic.
    hot : array, shape ()
        Noise precision at which the data are all noise, where annealing starts.
    """

    x: Any
    valid: Any
    observed: Any
    n_samples: jax.Array
    n_observed: jax.Array
    rate_scale: jax.Array
    hot: jax.Array


class State(NamedTuple):
    """Variational posterior of the codes and point estimates of everything global.

    Attributes
    ----------
    codes : array, shape (tiles, K, n), or None
        Posterior means.
    atoms : Atoms
    energy : array, shape (K,)
        Sum over samples of E r^2, weighted by the observed share of the atom's energy.
    precision : array, shape ()
        Noise precision.
    """

    codes: Any
    atoms: Atoms
    energy: jax.Array
    precision: jax.Array


class Trace(NamedTuple):
    """Per pass: the bound (see `elbo_of`) and the noise precision; ``sums`` of the last pass."""

    elbo: jax.Array
    precision: jax.Array
    sums: AtomSums


def tile_rows(array, tile=TILE):
    """Rows (N, P) as (tiles, P, n), zero padded."""
    n_rows, width = array.shape
    tile = min(tile, -(-n_rows // 8) * 8)
    tiles = -(-n_rows // tile)
    padded = np.zeros((tiles * tile, width), array.dtype)
    padded[:n_rows] = array
    return np.ascontiguousarray(padded.reshape(tiles, tile, width).transpose(0, 2, 1))


def untile_rows(array, n_rows):
    """Inverse of `tile_rows`."""
    array = gathered(array)
    return array.transpose(0, 2, 1).reshape(-1, array.shape[1])[:n_rows]


def rate_scale_of(slab, mean_square):
    """Scale of the weak prior of a slab's rates, for data of this mean square."""
    return mean_square if slab == "bernoulli_gaussian" else math.sqrt(mean_square)


def make_problem(X, mask=None, *, slab="bernoulli_laplace", mesh=None):
    """Tile ``X`` (N, P), zero outside ``mask`` (N, P), and spread it over a mesh; tiles do not depend on the mesh."""
    dtype = X.dtype
    x = tile_rows(X)
    valid = tile_rows(np.ones((X.shape[0], 1), dtype))[:, 0]
    n_observed = X.size if mask is None else int(mask.sum())
    # New samples to be coded may all be zero.
    mean_square = float(np.sum(np.square(X, dtype=np.float64)) / n_observed) or 1.0
    observed = None if mask is None else spread(mesh, tile_rows(mask.astype(dtype)))
    numbers = (
        jnp.asarray(v, dtype)
        for v in (X.shape[0], n_observed, rate_scale_of(slab, mean_square), 1 / mean_square)
    )
    return Problem(spread(mesh, x), spread(mesh, valid), observed, *numbers)


def padded_atoms(n_atoms):
    """Smallest multiple of the sweep's block that holds ``n_atoms``."""
    return -(-n_atoms // BLOCK) * BLOCK


def atoms_of(fit, dtype):
    """`Atoms` of a fit's dictionary, usage and rate, filled up with atoms that are off to `padded_atoms`."""
    n_atoms = len(fit.dictionary)
    missing = padded_atoms(max(n_atoms, 1)) - n_atoms

    def fill(values, value):
        values = np.asarray(values, dtype)
        widths = [(0, missing)] + [(0, 0)] * (values.ndim - 1)
        return jnp.asarray(np.pad(values, widths, constant_values=value))

    usage = np.clip(fit.usage, 1e-12, 1 - 1e-7)
    logit = np.log(usage) - np.log1p(-usage)
    return Atoms(fill(fit.dictionary, 0), fill(logit, 0), fill(fit.rate, 1), fill(np.ones(n_atoms), 0))


def precision_ceiling(problem):
    """Largest noise precision that the arithmetic resolves: noise-free data have no largest likelihood."""
    return float(problem.hot) * float(jnp.finfo(problem.hot.dtype).eps) ** -0.8


@partial(jax.jit, static_argnames="mesh")
def residuals(problem, state, mesh=None):
    """Residuals (tiles, P, n) of the posterior means; ``mesh`` is what the samples are spread over."""

    def run(split, dictionary):
        return jax.lax.map(lambda t: residual_of(t[0], t[1], dictionary, t[2]), split)

    return over_samples(mesh, run)((problem.x, state.codes, problem.observed), state.atoms.dictionary)


def elbo_of(problem, state, residual_energy, sample_bound, sums):
    """Evidence lower bound of the codes plus the log priors of usage and rate.

    The codes' bound holds for the dictionary, usage, rates and precision in ``state``. The priors are those whose
    maximisers are the M-step's closed forms: Jeffreys for the usage, exponential for the rate, each as a density of
    the logit or logarithm.
    """
    atoms, precision = state.atoms, state.precision
    data = 0.5 * problem.n_observed * jnp.log(precision / (2 * math.pi)) - 0.5 * precision * residual_energy
    return data + sample_bound + jnp.sum(atoms.active * log_prior(problem, atoms))


def log_prior(problem, atoms):
    """Log prior density of each atom's logit usage and log rate (K,)."""
    usage = 0.5 * jax.nn.log_sigmoid(atoms.usage_logit) + 0.5 * jax.nn.log_sigmoid(-atoms.usage_logit)
    rate = atoms.rate * problem.rate_scale
    return usage - math.log(math.pi) + jnp.log(rate) - rate


def slack_of(n_features):
    """What is added to ``tau sum E r^2`` where a direction is integrated out by Laplace's method.

    It makes the cost vanish for an atom without energy, where Laplace's method does not hold.
    """
    return n_features / math.e


def atom_cost(problem, state):
    """What each atom costs in nats (K,), over and above `elbo_of`.

    The direction integrated out by Laplace's method, ``-log p(d) - (P - 1)/2 log 2 pi + (P - 1)/2 log(tau sum E r^2)``
    with p uniform on the sphere and `slack_of` added in the logarithm, and half a log N for each of usage and rate.
    """
    n_features = state.atoms.dictionary.shape[1]
    spread = jnp.log(state.precision * state.energy + slack_of(n_features))
    direction = -log_uniform_density(n_features) + 0.5 * (n_features - 1) * (spread - math.log(2 * math.pi))
    return direction + jnp.log(problem.n_samples)


def log_active_prior(n_active, n_atoms):
    """Log prior of an activation pattern, its rate integrated out under Beta(1, 1)."""
    return math.lgamma(n_active + 1) + math.lgamma(n_atoms - n_active + 1) - math.lgamma(n_atoms + 2)


def _variances(codes, square, atoms, observed):
    """Sum of the posterior variances (K,), each weighted by the observed share of its atom's energy."""
    weight = jnp.einsum("kp,tpn->tkn", atoms.dictionary**2, observed)
    return jnp.sum(weight * (square - codes * codes), axis=(0, 2))


def _maximise(slab, problem, state, codes, square, sums, cap, mesh=None):
    """M-step: dictionary, usage, rate and noise precision (at most ``cap``)."""
    if problem.observed is None:
        gram, cross = second_moments(codes, problem.x, mesh)
        dictionary = update_dictionary(gram, cross, state.atoms.dictionary)
        variance = sums.variance
    else:
        residual = residuals(problem, state._replace(codes=codes), mesh)
        dictionary = update_dictionary_masked(
            residual, problem.observed, codes, square, state.atoms.dictionary
        )
        variance = _variances(codes, square, state.atoms._replace(dictionary=dictionary), problem.observed)
    usage = (sums.used + 0.5) / (problem.n_samples + 1)
    atoms = Atoms(
        dictionary,
        jnp.log(usage) - jnp.log1p(-usage),
        (SLABS[slab].shape * sums.used + 1) / (sums.size + problem.rate_scale),
        state.atoms.active,
    )
    state = State(codes, atoms, sums.square, state.precision)
    residual = residuals(problem, state, mesh)
    expected = jnp.sum(residual**2) + jnp.sum(variance)
    precision = jnp.minimum(problem.n_observed / expected, cap)
    return state._replace(precision=precision), residual


def sweep(slab, problem, state, residual, mesh=None):
    """One pass over all samples.

    Returns
    -------
    codes, square : array, shape (tiles, K, n)
        ``square`` is None where nothing is missing: nobody needs it then.
    residual_energy, bound : array, shape ()
    sums : AtomSums
    """

    entries = problem.observed is not None

    def run(split, whole):
        (residual, codes, tile), (atoms, precision) = split, whole
        return sweep_tiles(SLABS[slab], residual, codes, atoms, precision, tile, entries=entries)

    split = (residual, state.codes, Tile(problem.valid, problem.observed))
    done = over_samples(mesh, run)(split, (state.atoms, state.precision))
    sums = jax.tree.map(partial(jnp.sum, axis=0), done.sums)
    return done.codes, done.square, jnp.sum(done.residual**2), jnp.sum(done.bound), sums


@partial(jax.jit, static_argnums=0, static_argnames="mesh")
def run_passes(slab, problem, state, cap, mesh=None):
    """`PASSES` passes of sweep and M-step.

    Parameters
    ----------
    slab : tuple (str, bool)
        Key of `SLABS`: name of the slab, whether codes are nonnegative.
    problem : Problem
    state : State
    cap : array, shape ()
        Largest noise precision allowed; annealing raises it in steps.
    mesh : Mesh, optional
        What the samples are spread over.

    Returns
    -------
    State, Trace
        The bound never falls from one pass to the next while ``cap`` does not bind.
    """

    def step(carry, _):
        state, residual = carry
        codes, square, energy, bound, sums = sweep(slab, problem, state, residual, mesh)
        elbo = elbo_of(problem, state, energy, bound, sums)
        new, residual = _maximise(slab, problem, state, codes, square, sums, cap, mesh)
        return (new, residual), (elbo, new.precision, sums)

    (state, _), (elbo, precision, sums) = jax.lax.scan(
        step, (state, residuals(problem, state, mesh)), length=PASSES
    )
    return state, Trace(elbo, precision, jax.tree.map(lambda a: a[-1], sums))
