"""Every sample of a source once an epoch, whatever it is read from, and one clear error where it cannot be."""

import itertools

import jax
import numpy as np
import pytest

from padl_bayes.inference.batches import Feed, open_source


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


class Chunks:
    """Rows in chunks of uneven size, any number of times."""

    def __init__(self, X, sizes=(3, 1, 7)):
        self.X, self.sizes = X, sizes

    def __iter__(self):
        start = 0
        for size in itertools.cycle(self.sizes):
            if start >= len(self.X):
                return
            yield self.X[start : start + size]
            start += size


def numbered(n=23, p=3, dtype=np.float64):
    X = np.random.default_rng(0).normal(size=(n, p)).astype(dtype)
    X[:, 0] = np.arange(n)
    return X


def on_disk(X, folder):
    np.save(folder / "X.npy", X)
    return folder / "X.npy"


SOURCES = {
    "array": lambda X, folder: X,
    "file": on_disk,
    "memory map": lambda X, folder: np.load(on_disk(X, folder), mmap_mode="r"),
    "chunks": lambda X, folder: Chunks(X),
    "list of arrays": lambda X, folder: list(Chunks(X)),
    "nested lists": lambda X, folder: X.tolist(),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_an_epoch_has_every_sample_once(kind, tmp_path):
    X = numbered()
    source = open_source(SOURCES[kind](X, tmp_path))
    assert (source.n_samples, source.n_features, source.dtype) == (23, 3, np.float64)
    assert source.mean_square == pytest.approx(np.mean(X**2), rel=1e-13)
    feed = Feed(source, 5, "bernoulli_laplace", 0)
    assert feed.n_batches == 5
    orders = []
    for _ in range(2):
        batches = [feed.gathered() for _ in range(feed.n_batches)]
        assert [len(batch) for batch in batches] == [5, 5, 5, 5, 3]
        rows = np.concatenate(batches)
        orders.append(rows[:, 0].astype(int))
        np.testing.assert_array_equal(np.sort(orders[-1]), np.arange(23))
        np.testing.assert_array_equal(rows, X[orders[-1]])
    feed.gathered()
    feed.start_epoch()
    rows = np.concatenate([feed.gathered() for _ in range(feed.n_batches)])
    np.testing.assert_array_equal(np.sort(rows[:, 0]), np.arange(23))
    in_order = kind in ("chunks", "list of arrays")
    assert (orders[0].tolist() == orders[1].tolist()) == in_order


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64, np.float16])
def test_numbers_become_floats_batch_by_batch(dtype, tmp_path):
    X = numbered(dtype=dtype)
    expected = np.float32 if dtype in (np.float32, np.float16) else np.float64
    for kind in ("array", "memory map", "chunks"):
        source = open_source(SOURCES[kind](X, tmp_path))
        assert source.dtype == expected
        x, valid = Feed(source, 10, "bernoulli_laplace", 0).spread()
        assert x.shape == (1, 3, 16)
        assert valid.sum() == 10


def test_what_is_padded_is_not_valid():
    X = numbered(11)
    feed = Feed(open_source(X), 8, "bernoulli_gaussian", 0)
    feed.spread()
    x, valid = feed.spread()
    np.testing.assert_array_equal(valid[0], np.arange(8) < 3)
    assert not np.asarray(x)[0, :, 3:].any()
    whole = feed.whole()
    assert (float(whole.n_samples), float(whole.n_observed)) == (11, 33)
    assert float(whole.rate_scale) == pytest.approx(np.mean(X**2), rel=1e-6)


def broken(X, row, value):
    X = X.copy()
    X[row] = value
    return X


@pytest.mark.parametrize(
    ("X", "error", "words"),
    [
        (iter([numbered()]), TypeError, "iterator"),
        (3, TypeError, "X must be an array"),
        ("X.csv", ValueError, ".npy"),
        (numbered()[0], ValueError, "2 dimensions"),
        (numbered()[:1], ValueError, "at least 2"),
        (np.ones((5, 2)), ValueError, "one sample repeated"),
        (broken(numbered(), 20, np.nan), ValueError, r"NaN.*\[20, 0\]"),
        (Chunks(broken(numbered(), 20, np.inf)), ValueError, r"X\[15:\] has .* infinite"),
        ([numbered(), numbered(p=4)], ValueError, r"X\[23:\] has 4 features, expected 3"),
        (numbered().astype(complex), TypeError, "real"),
        (np.array([["a", "b"], ["c", "d"]]), TypeError, "numbers"),
        ([], ValueError, "X"),
    ],
)
def test_bad_sources_get_one_clear_error(X, error, words):
    with pytest.raises(error, match=words):
        open_source(X)
