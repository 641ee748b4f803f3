"""Images restored: averages by plain loops, gains that follow from how few dimensions a texture has."""

import numpy as np
import pytest

import padl_bayes as pb
from padl_bayes import imaging
from padl_bayes.inference.drawn_codes import Moments
from padl_bayes.inference.fixed_size import Learned, learn

SIGMA = 20.0
SIDE = 96
# Patches of a wave of one direction and a mean that varies slowly: two dimensions and one.
DIMENSIONS = 3


def picture(side=SIDE):
    """A wave on the left half and nothing on the right one."""
    rows, columns = np.mgrid[:side, :side]
    return np.where(columns < side // 2, 60 * np.sin(2 * np.pi * (rows + 2 * columns) / 11), 0) + 100.0


def rms(error):
    return float(np.sqrt(np.mean(np.square(error))))


@pytest.fixture(scope="module", params=[np.float64, np.float32], ids=["float64", "float32"])
def denoised(request):
    clean = picture()
    noisy = (clean + SIGMA * np.random.default_rng(0).standard_normal(clean.shape)).astype(request.param)
    return clean, noisy, imaging.denoise(noisy)


def test_noise_falls_to_what_the_dimensions_of_a_patch_let_through(denoised):
    clean, noisy, found = denoised
    assert found.image.dtype == found.sd.dtype == noisy.dtype
    # Twice the dimensions of a patch, of 64: atoms are learned, and edges of the texture take more of them.
    assert rms(found.image - clean) < SIGMA * np.sqrt(2 * DIMENSIONS / 64)
    assert found.dictionary.shape == (found.n_active, 8, 8)
    np.testing.assert_allclose(found.dictionary.mean(axis=(1, 2)), 0, atol=1e-6)


def test_the_noise_is_found(denoised):
    clean, _, found = denoised
    # Three standard errors of that many pixels, and what so few atoms can fit of the noise of so few pixels.
    error = 3 / np.sqrt(2 * clean.size)
    fitted = 0.5 * DIMENSIONS * 64 / clean.size
    assert abs(found.noise_scale / SIGMA - 1) < error + fitted


def test_the_stated_error_bounds_the_true_one(denoised):
    clean, _, found = denoised
    truth, stated = rms(found.image - clean), rms(found.sd)
    assert truth < stated < 3 * truth


def test_noise_that_is_told_is_held():
    noisy = picture() + SIGMA * np.random.default_rng(1).standard_normal((SIDE, SIDE))
    found = imaging.denoise(noisy, noise_scale=17.0)
    assert found.noise_scale == pytest.approx(17.0)
    assert rms(found.image - picture()) < SIGMA * np.sqrt(2 * DIMENSIONS / 64)
    assert found.status.endswith("told")


def some_learned(n_features):
    rng = np.random.default_rng(2)
    atoms = rng.standard_normal((8, n_features))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    return Learned(atoms, np.full(8, 0.3), np.full(8, 0.7), 0.5, 0.5, 1.0, "bernoulli_laplace")


def made_moments(X, learned, outputs, *, mask=None, n_sweeps, random_state):
    """Moments that are a plain function of each sample."""
    codes = X @ learned.dictionary.T
    return Moments(codes @ outputs, (codes**2) @ outputs**2, 1 / (1 + np.exp(1 - np.abs(codes))))


def test_overlapping_patches_are_averaged_by_their_precision(monkeypatch):
    monkeypatch.setattr(imaging, "CODED_AT_ONCE", 25)
    monkeypatch.setattr(imaging, "moments_by_draws", made_moments)
    image = 3 * np.random.default_rng(3).standard_normal((11, 13))
    learned, basis, scale = some_learned(15), imaging.zero_mean_basis(4), 1.7
    source = imaging._Patches(image, None, np.zeros_like(image), basis, scale, 4)
    found, sd, users = imaging._average(learned, source, 0)
    total, spread, weight = np.zeros((3, *image.shape))
    used = np.zeros(8, int)
    for i in range(8):
        for j in range(10):
            piece = image[i : i + 4, j : j + 4]
            codes = learned.dictionary @ basis @ piece.ravel() / scale
            pixels, variance = np.full((4, 4), piece.mean()), np.full((4, 4), 0.5**2 * scale**2 / 16)
            for k in range(8):
                atom = (learned.dictionary[k] @ basis).reshape(4, 4)
                pixels = pixels + scale * codes[k] * atom
                variance = variance + scale**2 * codes[k] ** 2 * atom**2
            w = variance.mean() ** -1.5
            total[i : i + 4, j : j + 4] += w * pixels
            spread[i : i + 4, j : j + 4] += w * variance
            weight[i : i + 4, j : j + 4] += w
            used += np.abs(codes) >= 1
    np.testing.assert_allclose(found, total / weight, rtol=1e-12)
    np.testing.assert_allclose(sd, np.sqrt(spread / weight), rtol=1e-12)
    np.testing.assert_array_equal(users, used)


def test_fewer_atoms_are_learned_where_there_is_more_noise():
    rng = np.random.default_rng(7)
    noise, signal = rng.standard_normal((2, 200_000, 15), np.float32)
    signal[:, 5:] = 0

    def atoms(size, n_patches=200_000):
        return imaging._affordable_atoms(noise + size * signal, n_patches)

    # The signal's mean square is a third of size^2; of ten dimensions of noise the least eigenvalue is
    # (1 - sqrt(10 / 200,000))^2.
    expected = 200 * np.sqrt((1 + 0.09) / (1 - np.sqrt(10 / 200_000)) ** 2 - 1) / imaging.ENOUGH_SIGNAL
    assert atoms(np.sqrt(3 * 0.09)) == pytest.approx(expected, rel=0.02)
    assert atoms(3.0) == 200
    assert atoms(3.0, 10**6) == imaging.MOST_ATOMS
    assert atoms(0.0, 20_000) == imaging.FEWEST_ATOMS
    assert imaging._affordable_atoms(None, 200_000) == 200


def test_white_noise_is_white_in_the_basis():
    basis = imaging.zero_mean_basis(5)
    np.testing.assert_allclose(basis @ basis.T, np.eye(24), atol=1e-13)
    np.testing.assert_allclose(basis.sum(axis=1), 0, atol=1e-13)


def test_the_background_is_a_local_mean_and_never_missing():
    observed = np.zeros((40, 40), bool)
    observed[:4, :4] = True
    image = np.where(observed, 7.0, np.nan)
    np.testing.assert_allclose(imaging._background(image, observed, 1.0), 7.0, rtol=1e-9)


def test_missing_pixels_are_filled_in_and_others_kept():
    clean = picture(56)[:, :28] + np.random.default_rng(4).standard_normal((56, 28))
    mask = np.random.default_rng(5).random(clean.shape) < 0.5
    found = imaging.inpaint(np.where(mask, clean, np.nan), mask, n_atoms=16)
    np.testing.assert_array_equal(found.image[mask], clean[mask])
    assert (found.sd[mask] == 0).all()
    assert (found.sd[~mask] > 0).all()
    # A tenth of the wave's amplitude; local means are off by most of it.
    error = (found.image - clean)[~mask]
    assert rms(error) < 6
    assert rms((imaging._background(clean, mask, 2.0) - clean)[~mask]) > 30
    other = imaging.inpaint(np.where(mask, clean, 1e4), mask, n_atoms=16)
    np.testing.assert_array_equal(other.image, found.image)


def test_nothing_is_learned_from_a_constant_image():
    found = imaging.denoise(np.full((20, 20), 7, np.uint8))
    assert (found.image == 7).all()
    assert found.n_active == found.noise_scale == 0
    assert found.status.startswith("constant")
    mask = np.eye(20, dtype=bool)
    found = imaging.inpaint(np.where(mask, 3.0, 8.0), mask)
    assert (found.image == 3).all()


@pytest.mark.parametrize("given", ["free", "told"])
def test_learning_finds_atoms_and_noise(given):
    data = pb.datasets.synthetic_a(0.1, n_samples=1500, n_features=16, n_atoms=8, seed=0)
    told = None if given == "free" else 0.12
    # Rounded up to eight.
    fit = learn(data.X, 7, noise_scale=told, random_state=1)
    np.testing.assert_allclose(np.linalg.norm(fit.dictionary, axis=1), 1, rtol=1e-12)
    assert pb.recovered(fit.dictionary, data.dictionary, 0.95) == 8
    if given == "told":
        assert fit.noise_scale == pytest.approx(0.12)
        return
    # Three standard errors of so many entries, of which codes take one in seven.
    assert fit.noise_scale == pytest.approx(0.1, rel=3 / np.sqrt(2 * data.X.size * 6 / 7))
    # And three of the usage of 0.15, in 1,500 samples; the smallest codes are not told from the noise.
    assert fit.usage.mean() == pytest.approx(0.15, abs=3 * np.sqrt(0.15 * 0.85 / (8 * 1500)) + 0.01)


GREY = np.random.default_rng(6).random((20, 20))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: imaging.denoise(GREY[None]), ValueError, r"grey image .*found shape \(1, 20, 20\)"),
        (lambda: imaging.denoise(GREY, patch=20), ValueError, "patch must be less than the sides"),
        (lambda: imaging.denoise(GREY, patch=1.5), TypeError, "patch must be an integer"),
        (lambda: imaging.denoise(np.where(GREY > 0.9, np.nan, GREY)), ValueError, "NaN or infinite pixel"),
        (lambda: imaging.denoise(1j * GREY), TypeError, "image must be real"),
        (lambda: imaging.denoise(GREY, noise_scale=0), ValueError, "noise_scale must be finite and above 0"),
        (lambda: imaging.denoise(GREY, slab="horseshoe"), ValueError, "slab must be one of"),
        (lambda: imaging.denoise(GREY, n_atoms=0), ValueError, "n_atoms must be at least 1"),
        (lambda: imaging.inpaint(GREY, GREY[1:] > 0), ValueError, "mask must have the shape of the image"),
        (lambda: imaging.inpaint(GREY, GREY), TypeError, "mask must be boolean"),
        (lambda: imaging.inpaint(GREY, GREY > 2), ValueError, "no pixel observed"),
    ],
)
def test_bad_input_is_told_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()
