"""Learning with a given number of atoms: variational EM annealed, then Monte Carlo EM, nothing switched off.

To restore an image, atoms that the evidence could do without are of use: on noisy patches variational EM keeps too
few, as mean field has each atom explain away what others share. Here all stay, and codes drawn from their exact
conditionals take the place of mean field's in the E-step, so that the noise comes out right. Sums of draws are averaged
over the second half of the sweeps (Delyon, Lavielle, Moulines, Annals of Statistics 27(1), 1999).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._options import check_generator_seed
from .._precision import precision_of
from .._validation import check_count, check_training_data
from ..kernels.code_draw import DrawnSums
from ..kernels.slabs import SLABS
from . import em, moves
from .dictionary import second_moments, update_dictionary
from .drawn_codes import draw_codes
from .variational import make_problem, padded_atoms, precision_ceiling, residuals, slack_of

DECAY = 0.7
SETTLING_CHUNKS = 4


class Learned(NamedTuple):
    """A dictionary and what codes samples with it: as much of an `EmFit` as `padl_bayes.inference.em.code_em` takes."""

    dictionary: np.ndarray
    """(K, P) unit-norm atoms."""
    usage: np.ndarray
    """(K,) probability that a sample uses the atom."""
    rate: np.ndarray
    """(K,) rate of the slab."""
    noise_scale: float
    coding_noise_scale: float
    data_scale: float
    slab: str
    nonnegative: bool = False


def _averaged(old, new, step):
    return jax.tree.map(lambda a, b: a + step * (b - a), old, new)


@partial(jax.jit, static_argnums=0)
def _sweep(slab, problem, state, sums, key, step, cap):
    """One sweep of draws and the M-step from ``sums``, into which its sums are blended by ``step``."""
    residual = residuals(problem, state)
    done = draw_codes(slab, problem, state.atoms, state.precision, state.codes, residual, key)
    found = *second_moments(done.codes, problem.x), jax.tree.map(lambda a: jnp.sum(a, axis=0), done.sums)
    gram, cross, entries = sums = _averaged(sums, found, step)
    dictionary = update_dictionary(gram, cross, state.atoms.dictionary)
    usage = (entries.used + 0.5) / (problem.n_samples + 1)
    atoms = state.atoms._replace(
        dictionary=dictionary,
        usage_logit=jnp.log(usage) - jnp.log1p(-usage),
        rate=(SLABS[slab].shape * entries.used + 1) / (entries.size + problem.rate_scale),
    )
    energy = jnp.sum(problem.x**2)
    missed = energy - 2 * jnp.sum(cross * dictionary) + jnp.sum(gram * (dictionary @ dictionary.T))
    # The directions are integrated out by Laplace's method, as in `padl_bayes.inference.noise`.
    n_features = problem.x.shape[1]
    spread = entries.square / (state.precision * entries.square + slack_of(n_features))
    variance = (missed + (n_features - 1) * jnp.sum(spread)) / problem.n_observed
    precision = jnp.minimum(1 / variance, cap[1])
    state = state._replace(codes=done.codes, atoms=atoms, precision=jnp.maximum(precision, cap[0]))
    return state, sums


def _draw(slab, problem, state, caps, n_sweeps, rng):
    """``n_sweeps`` of Monte Carlo EM; steps are 1 in the first half and shrink in the second."""
    n_atoms, n_features = state.atoms.dictionary.shape
    dtype = state.codes.dtype
    blank = jnp.zeros(n_atoms, dtype)
    sums: Any = (
        jnp.zeros((n_atoms, n_atoms), dtype),
        jnp.zeros((n_atoms, n_features), dtype),
        DrawnSums(blank, blank, blank),
    )
    caps = jnp.asarray(caps, dtype)
    key = jax.random.key(int(rng.integers(2**31)))
    for i, one in enumerate(jax.random.split(key, n_sweeps)):
        step = max(i - n_sweeps // 2, 0) + 1
        state, sums = _sweep(slab, problem, state, sums, one, jnp.asarray(step**-DECAY, dtype), caps)
    return state


def learn(X, n_atoms, *, mask=None, noise_scale=None, slab="bernoulli_laplace", n_sweeps=80, random_state=0):
    """Learn a dictionary of a given size, and with it usages, rates and the noise.

    Parameters
    ----------
    X : array_like, shape (N, P)
    n_atoms : int
        Rounded up to a multiple of 8.
    mask : array_like of bool, shape (N, P), optional
        True where observed. With it, passes of variational EM take the place of draws.
    noise_scale : float, optional
        Held if given.
    slab : {"bernoulli_laplace", "bernoulli_gaussian"}
    n_sweeps : int
        Sweeps of draws.
    random_state : int

    Returns
    -------
    Learned
    """
    X, mask = check_training_data(X, mask)
    rng = np.random.default_rng(check_generator_seed(random_state))
    key = (slab, False)
    n_atoms = padded_atoms(check_count(n_atoms, "n_atoms"))
    settings = moves.Settings(key, n_atoms, em.History(10**6))
    with precision_of(X):
        problem = make_problem(X, mask, slab=slab)
        state = em.initial_state(key, problem, X, n_atoms, rng)
        caps = (0.0, precision_ceiling(problem)) if noise_scale is None else (noise_scale**-2,) * 2
        state = em.anneal(settings, problem, state).state
        if mask is None:
            state = _draw(key, problem, state, caps, n_sweeps, rng)
        else:
            cap = caps[1]
            state = moves.run(settings, problem, state, chunks=SETTLING_CHUNKS, stage="settle", cap=cap).state
        precision = float(np.clip(float(state.precision), *caps))
        return Learned(
            dictionary=np.asarray(state.atoms.dictionary),
            usage=1 / (1 + np.exp(-np.asarray(state.atoms.usage_logit))),
            rate=np.asarray(state.atoms.rate),
            noise_scale=precision**-0.5,
            coding_noise_scale=precision**-0.5,
            data_scale=float(problem.hot) ** -0.5,
            slab=slab,
        )
