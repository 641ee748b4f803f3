"""Bytes on disk against predicted bits, and what was stored against what comes back."""

import struct
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import padl_bayes as pb
from padl_bayes.tradeoff import Codec, compress, quantise, storage_bits
from padl_bayes.tradeoff.codec import decode, encode
from padl_bayes.tradeoff.storage import statistics_of
from tests.made_fits import em_of, unit_atoms
from tests.same import assert_same


def spikes(rng, n, usage, nonnegative=False):
    codes = rng.laplace(size=(n, len(usage))) * (rng.random((n, len(usage))) < usage)
    return np.abs(codes) if nonnegative else codes


@settings(max_examples=80, deadline=None, derandomize=True)
@given(draw=st.data())
def test_what_was_stored_comes_back_to_the_bit(draw):
    n, k, p = (draw.draw(st.integers(1, most)) for most in (200, 6, 10))
    rng = np.random.default_rng(draw.draw(st.integers(0, 1000)))
    nonnegative, spread = draw.draw(st.booleans()), draw.draw(st.sampled_from([1e-3, 1.0, 1e3]))
    usage = draw.draw(st.lists(st.sampled_from([0, 0.03, 0.5, 1]), min_size=k, max_size=k))
    atoms = unit_atoms(rng, k, p)
    stored = quantise(
        spread * spikes(rng, n, np.array(usage), nonnegative), atoms, draw.draw(st.sampled_from([0.01, 0.3, 2.0])),
        nonnegative=nonnegative,
    )  # fmt: skip
    assert_same(decode(encode(stored)), stored)


@pytest.mark.parametrize(("n", "k"), [(70_000, 2), (3, 300)])
def test_whole_numbers_of_several_digits(n, k):
    rng = np.random.default_rng(0)
    stored = quantise(spikes(rng, n, np.full(k, 0.9)), unit_atoms(rng, k, 5), 1e-4)
    assert_same(decode(encode(stored)), stored)


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("precision", [1.0, 12**0.5])
@pytest.mark.parametrize("make", [unit_atoms, lambda rng, k, p: np.eye(p)[:k]], ids=["dense", "spikes"])
def test_bytes_are_the_bits_that_were_counted(nonnegative, precision, make, figure):
    rng = np.random.default_rng(1)
    codes = spikes(rng, 4000, np.array([0.01, 0.1, 0.3, 1.0, 0.0, 0.2]), nonnegative)
    stored = quantise(codes, make(rng, 6, 200), 0.05, precision=precision, nonnegative=nonnegative)
    size = 8 * len(encode(stored))
    # 36 bytes around at most 8 of the coder's own, and what 24 bits lack of a law
    assert 0 < figure("container bits", size - stored.storage.total) < 8 * (36 + 8)


def test_bits_of_codes_of_one_size_are_those_of_the_law(figure):
    rng = np.random.default_rng(3)
    codes = 0.125 * (rng.random((20_000, 3)) < [0.05, 0.3, 0.6])
    stored = quantise(codes, unit_atoms(rng, 3, 10), 0.05, precision=1.0)
    assert 0 < figure("container bits", 8 * len(encode(stored)) - stored.storage.total) < 8 * (36 + 8)


def within(bits, size, figure, name):
    return figure(name, abs(8 * size / bits - 1)) < 0.05


@pytest.mark.parametrize("n", [500, 5000])
def test_bytes_on_disk_are_those_predicted_of_codes_known(n, tmp_path, figure):
    data = pb.datasets.synthetic_a(0.1, n_samples=n, seed=0)
    codes = data.codes
    path = pb.save(quantise(codes, data.dictionary, 0.1), tmp_path / "codes.padl")
    predicted = storage_bits(statistics_of(data.X, codes, data.dictionary), n, data.X.shape[1], 0.1)
    assert within(predicted.total, path.stat().st_size, figure, "bytes against bits of statistics")


def accounts(fit, X, path, figure):
    """Check bytes, content and distortion of a fit's file; return what was stored."""
    stored = compress(fit)
    pb.save(fit, path, codec="padl")
    assert_same(pb.load(path), stored)
    assert within(stored.storage.total, path.stat().st_size, figure, "bytes against bits counted")
    found = statistics_of(X, stored.codes, stored.dictionary)
    predicted = storage_bits(found, *X.shape, stored.step, precision=1.0)
    assert within(predicted.total, path.stat().st_size, figure, "bytes against bits of statistics")
    return stored


def test_a_fit_by_em_on_disk(tmp_path, figure):
    X = pb.datasets.synthetic_a(0.1, n_samples=500, seed=0).X
    with pytest.warns(pb.ConvergenceWarning):
        est = pb.PADL(n_atoms=22, max_iter=40).fit(X)
    stored = accounts(est, X, tmp_path / "em.padl", figure)
    assert_same(stored, compress(est.fit_))
    used = est.fit_.probability >= 0.5
    np.testing.assert_array_equal(stored.codes != 0, used)
    assert np.abs(stored.codes - est.fit_.codes / est.fit_.probability)[used].max() <= stored.step * 0.5001
    # codes found afresh may settle in another optimum for a few samples
    again = quantise(est.transform(X), est.components_, est.noise_scale_)
    assert_same(compress(est, X), again)
    assert np.mean(np.any(again.codes != stored.codes, axis=1)) < 0.1
    residual = np.mean(np.sum(np.square(X - stored.codes @ stored.dictionary), axis=1))
    before = np.mean(np.sum(np.square(X - est.inverse_transform(est.transform(X))), axis=1))
    assert figure("distortion", abs((residual - before) / stored.storage.distortion - 1)) < 0.1
    whole = pb.load(pb.save(est, tmp_path / "whole.padl"))
    assert whole.score(X) == est.score(X)
    assert (tmp_path / "em.padl").stat().st_size < (tmp_path / "whole.padl").stat().st_size / 100


def test_a_fit_by_map_on_disk(tmp_path, figure):
    X = pb.datasets.synthetic_a(0.1, n_samples=500, seed=0).X
    est = pb.PADL(20, method="map", alpha=(0.1, 1.0), tol=1e-3, max_iter=100).fit(X)
    stored = accounts(est, X, tmp_path / "map.padl", figure)
    np.testing.assert_array_equal(stored.codes != 0, est.fit_.codes != 0)
    for n in range(5):
        used = np.flatnonzero(est.fit_.codes[n])
        found = np.linalg.lstsq(est.components_[used].T, X[n], rcond=None)[0]
        assert np.abs(stored.codes[n, used] - found).max() <= stored.step * 0.5001
    finer = pb.load(pb.save(est, tmp_path / "finer.padl", codec=Codec(precision=1.0)))
    assert_same(finer, compress(est.fit_, X, precision=1.0))
    assert finer.step == pytest.approx(stored.step / 12**0.5, rel=1e-12)


@pytest.mark.slow
def test_natural_patches_on_disk(tmp_path, figure):
    X = pb.datasets.natural_patches(20_000, seed=0).X
    with pytest.warns(pb.ConvergenceWarning):
        em = pb.PADL(n_atoms=64, max_iter=40).fit(X)
    accounts(em, X, tmp_path / "em.padl", figure)
    est = pb.PADL(64, method="map", alpha=(0.6, 0.0), tol=1e-3, max_iter=30)
    accounts(est.fit(X), X, tmp_path / "map.padl", figure)


@pytest.fixture(scope="module")
def stored():
    rng = np.random.default_rng(2)
    return quantise(spikes(rng, 60, np.array([0.3, 0.7])), unit_atoms(rng, 2, 6), 0.1)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(position=st.integers(0, 10_000), change=st.integers(0, 255))
def test_bytes_that_were_changed_or_cut_off_are_refused(stored, position, change):
    data = encode(stored)
    position %= len(data)
    damaged = bytearray(data)
    damaged[position] ^= change
    with pytest.raises(ValueError, match=r"it is damaged|it holds no entropy-coded dictionary"):
        decode(bytes(damaged) if change else data[:position])


def rewritten(data, position, byte):
    """Bytes with one of them changed, and a check sum that says nothing of it."""
    body = bytearray(data[:-4])
    body[position] = byte
    return bytes(body) + struct.pack("<I", zlib.crc32(body))


def test_a_newer_version_is_refused(stored):
    with pytest.raises(ValueError, match="it has format version 2, expected at most 1; update padl_bayes"):
        decode(rewritten(encode(stored), 4, 2))


def test_a_decoder_whose_laws_differ_says_so(stored):
    data = encode(stored)
    for position in range(40, len(data) - 8):
        for byte in {data[position] ^ 1, data[position] ^ 128, 255, 0} - {data[position]}:
            with pytest.raises(ValueError, match="laws come out otherwise on this machine"):
                decode(rewritten(data, position, byte))


def test_codes_that_are_not_rounded_are_refused(stored):
    with pytest.raises(ValueError, match=r"stored must be what tradeoff\.quantise returns"):
        encode(stored._replace(codes=stored.codes * 1.01))


def test_without_constriction_the_extra_is_named(stored, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(ImportError, match=r"pip install 'padl-bayes\[codec\]'"):
        pb.save(stored, tmp_path / "codes.padl")
    assert not list(tmp_path.iterdir())


EM = em_of(np.eye(2), np.array([0.5, 0.5]), np.ones(2), 0.1)
MAP = pb.inference.MapFit(
    np.eye(2), np.ones((3, 2)), 1.0, 0.0, (1.0, 0.0), 0.1, np.ones(2), np.ones(1), 1, "", 0.0
)


@pytest.mark.parametrize(
    ("fit", "X", "error", "message"),
    [
        (np.eye(2), None, TypeError, "fit must be a fitted PADL, an EmFit or a MapFit, found ndarray"),
        (pb.PADL(), None, TypeError, "fit must be a fitted PADL"),
        (EM, None, ValueError, "X must be given: a fit in batches does not hold its codes"),
        (MAP, None, ValueError, "X must be given: codes of MAP are refitted on the samples"),
        (MAP, np.ones((4, 2)), ValueError, "X must be the 3 samples of the fit, found 4"),
        (MAP, np.ones((3, 5)), ValueError, "X has 5 features, expected 2"),
        (EM._replace(dictionary=np.zeros((0, 2))), None, ValueError, "no active atom: there is nothing to store"),
    ],
)  # fmt: skip
def test_what_cannot_be_compressed_is_named(fit, X, error, message):
    with pytest.raises(error, match=message):
        compress(fit, X)


@pytest.mark.parametrize("codec", ["zip", 3.0, True])
def test_an_unknown_codec_is_refused(codec, tmp_path):
    with pytest.raises(TypeError, match=rf"codec must be None, 'padl' or a tradeoff\.Codec, found {codec!r}"):
        pb.save(MAP, tmp_path / "fit.padl", codec=codec)


def test_a_posterior_takes_no_codec(tmp_path):
    from tests.golden.objects import posterior

    with pytest.raises(TypeError, match="codec stores the dictionary and codes of a fit, found a posterior"):
        pb.save(posterior(), tmp_path / "draws.nc", codec="padl")
