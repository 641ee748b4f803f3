"""Rows for `code_evidence`, of many samples under many draws of everything global, in batches that fit in memory."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..kernels.atom_pass import BLOCK
from ..kernels.code_sweep import Atoms, Tile
from .code_evidence import Rows
from .recoding import recode_tile

_TILE = 256
_WORK_BYTES = 2**28
_FULL_USAGE = 1 - 1e-15
LEAST_POWER = 1e-200


class Draws(NamedTuple):
    """Everything global, one draw a row, float64: dictionary (S, K, P), noise_scale (S,), the rest (S, K)."""

    dictionary: np.ndarray
    usage: np.ndarray
    rate: np.ndarray
    noise_scale: np.ndarray
    envelope: Any = None


class Problem(NamedTuple):
    """Data (N, P), zero where unobserved, and the mask as 0 and 1 (N, P), or None; float64."""

    X: np.ndarray
    observed: Any


def compressed(draws):
    """The draws with atoms in use first, and no more places than the fullest draw needs; spare ones have usage 0."""
    count = int((draws.usage > 0).sum(axis=1).max())
    places = max(-(-count // BLOCK), 1) * BLOCK
    order = np.argsort(draws.usage == 0, axis=1, kind="stable")[:, :places]

    def take(table, spare):
        taken = np.take_along_axis(table, order.reshape(order.shape + (1,) * (table.ndim - 2)), axis=1)
        lacking = places - taken.shape[1]
        widths = [(0, 0), (0, lacking)] + [(0, 0)] * (taken.ndim - 2)
        return np.pad(taken, widths, constant_values=spare)

    envelope = None if draws.envelope is None else take(draws.envelope, 1.0)
    return Draws(
        take(draws.dictionary, 0.0),
        take(draws.usage, 0.0),
        take(draws.rate, 1.0),
        draws.noise_scale,
        envelope,
    )


@partial(jax.jit, static_argnums=0)
def _mean_field(key, x, observed, atoms, precision, hot):
    """Mean-field posterior means (B, K, n) of a tile of samples (P, n) under B draws."""
    n = x.shape[1]
    tile = Tile(jnp.ones(n, x.dtype), observed, jnp.full(n, -1))
    n_atoms = atoms.rate.shape[1]

    def one(atoms, precision):
        start = jnp.zeros((n_atoms, n), x.dtype)
        return recode_tile(key, x, start, atoms, precision, hot, tile, jnp.arange(n_atoms)).codes

    return jax.vmap(one)(atoms, precision)


def _gram(draws, observed):
    """D D' over the observed features (B, n, K, K), or (B, 1, K, K) where all are."""
    if observed is None:
        return (draws.dictionary @ draws.dictionary.transpose(0, 2, 1))[:, None]
    size, n_atoms, n_features = draws.dictionary.shape
    products = draws.dictionary[:, :, None] * draws.dictionary[:, None]
    flat = products.reshape(size, n_atoms * n_atoms, n_features)
    return (observed @ flat.transpose(0, 2, 1)).reshape(size, len(observed), n_atoms, n_atoms)


def make_rows(key, problem, draws, hot):
    """`Rows` of all pairs of draws and samples, samples fastest."""
    X, observed = problem
    size, n_atoms = draws.usage.shape
    n = len(X)
    repeat = partial(np.repeat, repeats=n, axis=0)
    tau = draws.noise_scale**-2
    usage = np.minimum(draws.usage, _FULL_USAGE)
    with np.errstate(divide="ignore"):
        logit = np.log(usage) - np.log1p(-usage)
    atoms = Atoms(draws.dictionary, logit, draws.rate, (usage > 0).astype(np.float64))
    plain = ("bernoulli_laplace", key[1]) if key[0] == "l1linf" else key
    seen = None if observed is None else observed.T
    mean = np.asarray(_mean_field(plain, X.T, seen, atoms, tau, hot)).transpose(0, 2, 1)
    prior_square = 1 / draws.rate if key[0] == "bernoulli_gaussian" else 2 / draws.rate**2
    rate: Any = repeat(draws.rate)
    if draws.envelope is not None:
        mean = np.clip(mean, -draws.envelope[:, None], draws.envelope[:, None])
        prior_square = np.minimum(prior_square, draws.envelope**2 / 3)
        rate = (rate, repeat(draws.envelope))

    quadratic = np.broadcast_to(
        tau[:, None, None, None] * _gram(draws, observed), (size, n, n_atoms, n_atoms)
    )
    n_observed = np.full(n, X.shape[1]) if observed is None else observed.sum(axis=1)
    constant = 0.5 * n_observed * np.log(tau[:, None] / (2 * np.pi)) - 0.5 * tau[:, None] * np.sum(
        X**2, axis=1
    )
    return Rows(
        linear=(tau[:, None, None] * (X @ draws.dictionary.transpose(0, 2, 1))).reshape(-1, n_atoms),
        quadratic=quadratic.reshape(-1, n_atoms, n_atoms),
        constant=constant.reshape(-1),
        usage_logit=repeat(logit),
        rate=rate,
        prior_square=repeat(prior_square),
        mean=mean.reshape(-1, n_atoms),
        precision=repeat(tau)[:, None],
    )


def _batches(n_samples, n_draws, n_atoms, n_codes, most):
    """Samples in a tile, and draws in a batch, that keep the work within its memory."""
    row = 8 * n_atoms * (8 * n_atoms + 6 * n_codes)
    rows = max(_WORK_BYTES // row, 1)
    tile = int(min(n_samples, _TILE, most, rows))
    return tile, min(n_draws, max(rows // tile, 1))


def _padded(array, start, size):
    """``size`` rows from ``start`` on, the last one repeated where there are fewer: one shape, one compilation."""
    return array[np.minimum(np.arange(start, start + size), len(array) - 1)]


class Batch(NamedTuple):
    """Some draws times some samples, padded to the shape that all batches have.

    Attributes
    ----------
    draw, sample : int
        Where they begin.
    draws : Draws
        B of them.
    rows : Rows
        B times n, samples fastest.
    random_keys : array of PRNG keys, shape (B n,)
        They depend on the draw and the sample, not on the batch.
    """

    draw: int
    sample: int
    draws: Draws
    rows: Rows
    random_keys: jax.Array

    def crop(self, table, shape):
        """``table`` (B n, ...) as (B, n, ...) without what was padded; ``shape`` is (draws, samples) of all."""
        size = len(self.draws.noise_scale)
        table = np.asarray(table)
        table = table.reshape(size, -1, *table.shape[1:])
        return table[: shape[0] - self.draw, : shape[1] - self.sample]


def count_batches(problem, draws, n_codes, *, most=np.inf):
    """How many times `each_batch` yields."""
    (n_draws, n_atoms), n_samples = draws.usage.shape, len(problem.X)
    tile, size = _batches(n_samples, n_draws, n_atoms, n_codes, most)
    return -(-n_samples // tile) * -(-n_draws // size)


def each_batch(key, problem, draws, n_codes, random_state, *, most=np.inf, watch=None):
    """Yield the `Batch` of every tile of samples, all draws of one tile before the next.

    Parameters
    ----------
    key : tuple (str, bool)
        Slab and whether codes are nonnegative.
    problem : Problem
    draws : Draws
        As `compressed` gives them.
    n_codes : int
        Codes to be drawn for each row.
    random_state : int
    most : int, optional
        Largest number of samples in a tile.
    watch : callable, optional
        Called as ``watch(done, total)`` after each batch.
    """
    n_draws, n_atoms = draws.usage.shape
    n_samples = len(problem.X)
    observed = problem.X.size if problem.observed is None else problem.observed.sum()
    hot = observed / max(np.sum(problem.X**2), LEAST_POWER * observed)
    tile, size = _batches(n_samples, n_draws, n_atoms, n_codes, most)
    root = jax.random.key(random_state)
    fold = jax.jit(jax.vmap(lambda s, n: jax.random.fold_in(jax.random.fold_in(root, s), n)))
    starts = [(s, n) for n in range(0, n_samples, tile) for s in range(0, n_draws, size)]
    for done, (s, n) in enumerate(starts, 1):
        part = jax.tree.map(lambda a, s=s: _padded(a, s, size), draws)
        rows = make_rows(key, jax.tree.map(lambda a, n=n: _padded(a, n, tile), problem), part, hot)
        pairs = np.divmod(np.arange(size * tile), tile)
        yield Batch(s, n, part, rows, fold(pairs[0] + s, pairs[1] + n))
        if watch is not None:
            watch(done, len(starts))
