"""Where mini-batches come from: an array, a memory-mapped file, or chunks that are read again in every epoch.

Under `jax.distributed` each process has samples of its own, and a batch is made of as many from each.
"""

import itertools
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._devices import mesh_over, over_processes, spread_own
from .._validation import as_real_array, check_matrix
from .variational import TILE, Problem, rate_scale_of, tile_rows

PIECE = 65536


def _pieces(X):
    """Consecutive rows of an array, few at a time."""
    return (X[start : start + PIECE] for start in range(0, len(X), PIECE))


class _Rows:
    """Rows of an array, in another random order in each epoch."""

    def __init__(self, X):
        self.X = X

    def chunks(self):
        return _pieces(self.X)

    def epoch(self, size, rng):
        order = rng.permutation(len(self.X))
        # A memory-mapped file is read in its own order.
        return (self.X[np.sort(order[start : start + size])] for start in range(0, len(order), size))


class _Chunks:
    """Chunks of rows, in the order in which they come."""

    def __init__(self, iterable):
        self.iterable = iterable

    def chunks(self):
        return (as_real_array(chunk, "a chunk of X") for chunk in self.iterable)

    def epoch(self, size, rng):
        waiting: list[Any] = []
        for chunk in self.chunks():
            waiting.append(chunk)
            while sum(map(len, waiting)) >= size:
                rows = np.concatenate(waiting)
                yield rows[:size]
                waiting = [rows[size:]]
        if sum(map(len, waiting)):
            yield np.concatenate(waiting)


class Source(NamedTuple):
    """Samples to be read in batches.

    Attributes
    ----------
    rows : object
        Its ``epoch(size, rng)`` yields all samples once.
    n_samples : int
        Of all processes together.
    n_local : int
        Of this process.
    n_features : int
    dtype : dtype
        float32 or float64.
    mean_square : float
        Of all entries.
    """

    rows: Any
    n_samples: int
    n_local: int
    n_features: int
    dtype: Any
    mean_square: float


def _mapped(path):
    """A .npy file, memory-mapped."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"X: file {path!r} does not exist")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        raise ValueError(f"X: file {path!r} is no readable .npy file: {error}") from error


def _open(X):
    if isinstance(X, (str, os.PathLike)):
        if not str(X).endswith(".npy"):
            raise ValueError(f"X must name a .npy file, found {os.fspath(X)!r}")
        X = _mapped(os.fspath(X))
    if hasattr(X, "toarray"):
        as_real_array(X, "X")
    listed = isinstance(X, (list, tuple))
    if hasattr(X, "__array__") or (listed and not (X and all(getattr(x, "ndim", 0) == 2 for x in X))):
        # Integers are turned into floats batch by batch: a memory-mapped file of bytes stays one.
        rows = X if isinstance(X, np.ndarray) and X.dtype.kind in "fiub" else as_real_array(X, "X")
        if rows.ndim != 2:
            raise ValueError(f"X must have 2 dimensions (samples, features), found shape {rows.shape}")
        return _Rows(rows)
    if not hasattr(X, "__iter__"):
        raise TypeError(f"X must be an array, the name of a .npy file or an iterable of arrays, found {X!r}")
    if iter(X) is X:
        raise TypeError(
            "X is an iterator, which can be read only once: pass an object whose __iter__ starts anew, for example "
            "a class with a generator as __iter__"
        )
    return _Chunks(X)


def open_source(X):
    """Read all samples once: count them, check them, find their scale.

    Parameters
    ----------
    X : array_like, path or iterable
        An array (N, P), which may be memory-mapped; the name of a ``.npy`` file; or an iterable of arrays (n_i, P)
        that can be read any number of times. Chunks are used in their own order: shuffle them if that means anything.

    Returns
    -------
    Source

    Raises
    ------
    TypeError, ValueError
        As `check_matrix`, for the first bad batch; an iterator that can be read only once; one sample, or all alike.
    """
    rows = _open(X)
    count, squares, kinds, alike = 0, 0.0, set(), True
    width: Any = None
    first: Any = None
    for chunk in rows.chunks():
        chunk = check_matrix(chunk, f"X[{count}:]" if count else "X", n_features=width)
        width, first = chunk.shape[1], chunk[0] if first is None else first
        alike = alike and bool((chunk == first).all())
        kinds.add(chunk.dtype)
        count += len(chunk)
        squares += float(np.sum(np.square(chunk, dtype=np.float64)))
    if count < 2:
        raise ValueError(f"X has {count} sample(s); at least 2 are needed")
    if alike:
        raise ValueError(f"X is one sample repeated {count} times: there is nothing to learn")
    total, energy = over_processes(np.array([count, squares])).sum(axis=0)
    return Source(rows, int(total), count, width, np.result_type(*kinds), energy / (total * width))


class Feed:
    """Batches without end.

    Parameters
    ----------
    source : Source
    batch_size : int
        Samples in a batch, of all processes together.
    slab : str
    seed : int
        Another order in each process.
    devices : "all", int or sequence of Device, optional
        Of all processes; samples are divided over them. If not given, JAX's default device; all devices where there are
        several processes.
    """

    def __init__(self, source, batch_size, slab, seed, devices=None):
        processes = jax.process_count()
        if devices is None and processes > 1:
            devices = "all"
        self.source, self.slab = source, slab
        self.mesh = mesh_over(devices)
        self._size = -(-batch_size // processes)
        most = over_processes(np.array(source.n_local)).max()
        self.n_batches = -(-int(most) // self._size)
        """Batches in an epoch."""
        self._rng = np.random.default_rng([seed, jax.process_index()])
        self.start_epoch()

    def start_epoch(self):
        """Let the next `n_batches` batches hold every sample once."""
        self._stream = itertools.chain.from_iterable(self._epoch() for _ in itertools.count())

    def _epoch(self):
        """Batches of this process, as many as of any other; those beyond its samples are empty."""
        blank = np.zeros((0, self.source.n_features))
        batches = itertools.chain(self.source.rows.epoch(self._size, self._rng), itertools.repeat(blank))
        return itertools.islice(batches, self.n_batches)

    def _next(self):
        """Rows of this process (size, P), zero padded, and which are samples (size,)."""
        found = next(self._stream)
        batch = np.zeros((self._size, self.source.n_features), self.source.dtype)
        if len(found):
            batch[: len(found)] = check_matrix(found, "a batch of X", n_features=batch.shape[1])
        return batch, np.arange(self._size) < len(found)

    def gathered(self):
        """The next batch (n, P), the same rows in every process."""
        batch, valid = (over_processes(part) for part in self._next())
        return batch[valid]

    def problem(self, rows):
        """`Problem` of some rows on JAX's default device, all of whose scalars speak of all samples."""
        width = self._size * jax.process_count()
        padded = np.zeros((width, rows.shape[1]), self.source.dtype)
        padded[: len(rows)] = rows
        valid = (np.arange(width) < len(rows)).astype(padded.dtype)
        return self.whole()._replace(
            x=jnp.asarray(tile_rows(padded)), valid=jnp.asarray(tile_rows(valid[:, None])[:, 0])
        )

    def whole(self):
        """`Problem` without samples."""
        source = self.source
        sizes = (source.n_samples, source.n_samples * source.n_features)
        numbers = (*sizes, rate_scale_of(self.slab, source.mean_square), 1 / source.mean_square)
        return Problem(None, None, None, *(jnp.asarray(v, source.dtype) for v in numbers))

    def spread(self):
        """The next batch in tiles over all devices: x (tiles, P, n) and valid (tiles, n)."""
        batch, valid = self._next()
        tile = TILE
        if self.mesh is not None:
            tile = min(TILE, -(-self._size // len(self.mesh.local_devices)))
        x, valid = (tile_rows(a, tile) for a in (batch, valid.astype(batch.dtype)[:, None]))
        return spread_own(self.mesh, x), spread_own(self.mesh, valid[:, 0])
