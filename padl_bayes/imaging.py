"""Restoration of grey images: noise taken out, missing pixels filled in, neither told how strong the noise is.

Every overlapping patch is coded with a dictionary learned on patches of the image itself, by posterior means, and the
patches are averaged, the surer a patch the greater its weight.
"""

from typing import NamedTuple

import numpy as np
from scipy.fft import dct
from scipy.ndimage import gaussian_filter

from ._options import check_generator_seed
from ._validation import as_real_array, check_choice, check_count, check_scalar
from .flat_noise import flat_noise_scale
from .inference.drawn_codes import moments_by_draws
from .inference.fixed_size import learn

MOST_ATOMS = 256
PATCHES_PER_ATOM = 1000
FEWEST_ATOMS = 16
ENOUGH_SIGNAL = 0.75
CODED_AT_ONCE = 32768
SWEEPS = 40
STEEPNESS = 1.5


class Restored(NamedTuple):
    """A restored image and what was learned from it."""

    image: np.ndarray
    """(H, W) in the units of the input, not clipped to any range."""
    sd: np.ndarray
    """(H, W) posterior standard deviation of each pixel given the dictionary, as if the errors of overlapping patches
    were the same: an upper bound under the model. Zero where a pixel was kept as observed."""
    noise_scale: float
    """Standard deviation of the noise in the units of the input: estimated, or as told."""
    n_active: int
    """Atoms that at least one patch uses with probability 1/2 or more."""
    dictionary: np.ndarray
    """(n_active, patch, patch) atoms, most used first."""
    status: str
    """What was done."""


class _Patches(NamedTuple):
    """Where features of patches come from."""

    image: np.ndarray
    """(H, W) what is divided into patches: the background is out already."""
    observed: np.ndarray | None
    """(H, W), or None where every pixel is."""
    background: np.ndarray
    """(H, W) what to add again."""
    basis: np.ndarray
    """(Q, P) from pixels to features."""
    scale: float
    """Divides features."""
    patch: int

    @property
    def grid(self):
        """Rows and columns of patches."""
        return tuple(side - self.patch + 1 for side in self.image.shape)

    def features(self, rows, columns):
        """Features (n, Q), which are observed (n, Q) or None, and means (n, 1) of patches, by their first pixels."""
        pixels = windows(self.image, self.patch)[rows, columns].reshape(-1, self.patch**2)
        if self.observed is not None:
            mask = windows(self.observed, self.patch)[rows, columns].reshape(pixels.shape)
            return pixels / self.scale, mask, np.zeros((len(pixels), 1), pixels.dtype)
        return pixels @ self.basis.T / self.scale, None, pixels.mean(axis=1, keepdims=True)


def _check_image(image, patch, name="image"):
    image = as_real_array(image, name)
    if image.ndim != 2:
        raise ValueError(f"{name} must be a grey image (height, width), found shape {image.shape}")
    patch = check_count(patch, "patch", minimum=2)
    if patch >= min(image.shape):
        raise ValueError(f"patch must be less than the sides of the image, {image.shape}, found {patch}")
    return image, patch


def _check_finite(image, observed):
    bad = ~np.isfinite(image) & observed
    if bad.any():
        first = np.argwhere(bad)[0].tolist()
        raise ValueError(
            f"image has {bad.sum()} NaN or infinite pixel(s), the first at {first}: leave them to inpaint's mask"
        )


def _check_pixels(mask, image):
    mask = np.asarray(mask)
    if mask.shape != image.shape:
        raise ValueError(f"mask must have the shape of the image, {image.shape}, found {mask.shape}")
    if mask.dtype != bool:
        raise TypeError(f"mask must be boolean (True where observed), found dtype {mask.dtype}")
    if not mask.any():
        raise ValueError("mask leaves no pixel observed")
    return mask


def windows(image, patch):
    """All overlapping patches, a view (H - patch + 1, W - patch + 1, patch, patch)."""
    return np.lib.stride_tricks.sliding_window_view(image, (patch, patch))


def add_patches(patches, weights, row, total, weight):
    """Add weighted patches to an image, in place.

    Parameters
    ----------
    patches : ndarray, shape (h, w, patch, patch)
        Those whose first pixels are in rows ``row`` to ``row + h`` and columns 0 to w.
    weights : ndarray, shape (h, w)
    row : int
    total, weight : ndarray, shape (H, W)
        Sums of weight times pixel, and of weights.
    """
    height, width, patch, _ = patches.shape
    for i in range(patch):
        for j in range(patch):
            rows, columns = slice(row + i, row + i + height), slice(j, j + width)
            total[rows, columns] += weights * patches[:, :, i, j]
            weight[rows, columns] += weights


def zero_mean_basis(patch, dtype=np.float64):
    """Orthonormal patches (patch^2 - 1, patch^2) that have zero mean: those of the cosine transform but the first.

    White noise has white coefficients in it, which it would not have were means just taken out.
    """
    line = dct(np.eye(patch), norm="ortho", axis=0)
    return np.kron(line, line)[1:].astype(dtype)


def _background(image, observed, width):
    """Local means of the observed pixels, of wider and wider surroundings where there are none near."""
    filled = np.where(observed, image, 0).astype(np.float64)
    found = np.full(image.shape, np.nan)
    while np.isnan(found).any():
        weight = gaussian_filter(observed.astype(np.float64), width, mode="constant")
        mean = gaussian_filter(filled, width, mode="constant")
        near = np.isnan(found) & (2 * np.pi * width**2 * weight > 1)
        found[near] = mean[near] / weight[near]
        width *= 2
        if width > 2 * max(image.shape):
            return np.where(np.isnan(found), image[observed].mean(), found)
    return found


def _reconstruct(learned, source, rows, rng):
    """Pixels (N, P) of the patches in some rows, their variances (N, P), and how many use each atom (K,)."""
    X, mask, mean = source.features(rows, slice(None))
    atoms = learned.dictionary @ source.basis
    coded = moments_by_draws(
        X, learned, atoms, mask=mask, n_sweeps=SWEEPS, random_state=int(rng.integers(2**31))
    )
    # the mean, or what the background is off by, is known no better than this
    offset = learned.noise_scale**2 / atoms.shape[1]
    variance = source.scale**2 * (coded.variance + offset)
    return source.scale * coded.mean + mean, variance, (coded.probability >= 0.5).sum(axis=0)


def _average(learned, source, random_state):
    """Weighted mean of all reconstructed patches, root of the mean of their variances, and users of each atom (K,)."""
    rng = np.random.default_rng(random_state)
    total, spread, weight, again = np.zeros((4, *source.image.shape))
    users = np.zeros(len(learned.dictionary), int)
    n_rows, n_columns = source.grid
    step = max(1, CODED_AT_ONCE // n_columns)
    for start in range(0, n_rows, step):
        found, variance, count = _reconstruct(learned, source, slice(start, start + step), rng)
        shape = (-1, n_columns, source.patch, source.patch)
        # errors of overlapping patches go together, which favours the surer one beyond the inverse of its variance
        weights = (variance.mean(axis=1) / source.scale**2).reshape(shape[:2]) ** -STEEPNESS
        add_patches(found.reshape(shape), weights, start, total, weight)
        add_patches(variance.reshape(shape), weights, start, spread, again)
        users += count
    return total / weight, np.sqrt(spread / weight), users


def _affordable_atoms(X, n_patches):
    """Atoms to learn: in proportion to the patches, and to the signal-to-noise ratio where that is low.

    Each atom fits as much of the noise whatever its strength, and finds less of the image in more of it. The least
    eigenvalue of the covariance of complete patches X is nearly noise.
    """
    share = 1.0
    if X is not None:
        eigenvalues = np.linalg.eigvalsh(X.T.astype(np.float64) @ X / len(X))
        noise, total = max(eigenvalues[0], 1e-12 * eigenvalues[-1]), eigenvalues.mean()
        share = min(1.0, np.sqrt(max(total / noise - 1, 0)) / ENOUGH_SIGNAL)
    return int(np.clip(share * n_patches // PATCHES_PER_ATOM, FEWEST_ATOMS, MOST_ATOMS))


def _learn(source, settings):
    """Learn from patches at random positions of which something is observed."""
    rng = np.random.default_rng(settings.random_state)
    n_rows, n_columns = source.grid
    usable = np.arange(n_rows * n_columns)
    if source.observed is not None:
        usable = usable[windows(source.observed, source.patch).any(axis=(2, 3)).ravel()]
    chosen = rng.permutation(usable)[: settings.n_patches]
    X, mask, _ = source.features(*np.unravel_index(chosen, source.grid))
    n_atoms = settings.n_atoms or _affordable_atoms(X if mask is None else None, n_rows * n_columns)
    if settings.noise_scale is not None:
        noise_scale = settings.noise_scale / source.scale
    else:
        noise_scale = flat_noise_scale(X) if mask is None else None
    return learn(
        X, n_atoms, mask=mask, noise_scale=noise_scale, slab=settings.slab, random_state=settings.random_state
    )


def _restore(source, settings):
    """Learn, code, average."""
    learned = _learn(source, settings)
    image, sd, users = _average(learned, source, settings.random_state)
    order = np.argsort(-users, kind="stable")
    kept = order[users[order] > 0]
    atoms = (learned.dictionary @ source.basis)[kept].reshape(-1, source.patch, source.patch)
    dtype = source.image.dtype
    told = "told" if settings.noise_scale is not None else "estimated"
    status = f"{len(kept)} of {len(users)} atoms in use, noise {told}"
    noise_scale = learned.noise_scale * source.scale
    image = (image + source.background).astype(dtype)
    return Restored(image, sd.astype(dtype), noise_scale, len(kept), atoms, status)


class _Settings(NamedTuple):
    n_atoms: int | None
    noise_scale: float | None
    n_patches: int
    slab: str
    random_state: int


def _check_settings(n_atoms, noise_scale, n_patches, slab, random_state):
    check_choice(slab, "slab", ("bernoulli_laplace", "bernoulli_gaussian"))
    return _Settings(
        None if n_atoms is None else check_count(n_atoms, "n_atoms"),
        None if noise_scale is None else check_scalar(noise_scale, "noise_scale", strict=True),
        check_count(n_patches, "n_patches", minimum=2),
        slab,
        check_generator_seed(random_state),
    )


def _constant(image, patch, noise_scale):
    blank = np.zeros_like(image)
    atoms = np.zeros((0, patch, patch), image.dtype)
    return Restored(image.copy(), blank, noise_scale or 0.0, 0, atoms, "constant: nothing to learn")


def denoise(
    image,
    *,
    patch=8,
    n_atoms=None,
    noise_scale=None,
    n_patches=60_000,
    slab="bernoulli_laplace",
    random_state=0,
):
    """Take white noise out of a grey image; how strong it is, is learned too.

    Parameters
    ----------
    image : array_like, shape (H, W)
        Grey levels in any unit. float32 is computed in float32, all else in float64.
    patch : int
        Height and width of a patch.
    n_atoms : int, optional
        Atoms to learn; one for every 1000 patches of the image if not given, fewer where the noise is stronger than 1.3
        times the signal, but 16 to 256. With more, noise is explained by atoms too.
    noise_scale : float, optional
        Standard deviation of the noise, in the units of the image, where it is known.
    n_patches : int
        How many patches, at random positions, to learn from. All are coded.
    slab : {"bernoulli_laplace", "bernoulli_gaussian"}
    random_state : int

    Returns
    -------
    Restored

    Raises
    ------
    TypeError, ValueError
        No grey image of finite numbers, a patch too large for it, or a setting out of range.

    Notes
    -----
    Each patch's mean is kept and the rest of it coded. What overlapping patches say of a pixel is averaged (Elad,
    Aharon, IEEE TIP 15(12), 2006), each weighted by its posterior variance to the power -1.5. The noise level is that
    of flat patches, where a tenth of the image is flat (within 1.2 % on photographs); elsewhere it is learned with the
    dictionary, and texture that no atom explains counts as noise.

    Examples
    --------
    >>> import numpy as np, padl_bayes as pb
    >>> rng = np.random.default_rng(0)
    >>> clean = np.kron(rng.integers(0, 2, (8, 8)) * 100.0, np.ones((8, 8)))
    >>> noisy = clean + 10 * rng.standard_normal(clean.shape)
    >>> restored = pb.imaging.denoise(noisy.astype("float32"))
    >>> bool(np.std(restored.image - clean) < 7)
    True
    """
    settings = _check_settings(n_atoms, noise_scale, n_patches, slab, random_state)
    image, patch = _check_image(image, patch)
    _check_finite(image, np.ones(image.shape, bool))
    if np.ptp(image) == 0:
        return _constant(image, patch, noise_scale)
    basis = zero_mean_basis(patch, image.dtype)
    source = _Patches(image, None, np.zeros_like(image), basis, 1.0, patch)
    return _restore(source._replace(scale=float(windows(image, patch).std(axis=(2, 3)).mean())), settings)


def inpaint(
    image,
    mask,
    *,
    patch=8,
    n_atoms=None,
    noise_scale=None,
    n_patches=20_000,
    slab="bernoulli_laplace",
    random_state=0,
):
    """Fill in missing pixels of a grey image.

    Parameters
    ----------
    image : array_like, shape (H, W)
        As for `denoise`; pixels outside ``mask`` are ignored and may be NaN.
    mask : array_like of bool, shape (H, W)
        True where observed.
    patch, n_atoms, noise_scale, n_patches, slab, random_state
        As for `denoise`.

    Returns
    -------
    Restored
        Observed pixels as they were, with an sd of zero.

    Raises
    ------
    TypeError, ValueError
        As for `denoise`; a mask of another shape or kind, or with nothing observed.

    Notes
    -----
    Local means of the observed pixels are taken out first, and added again. Nothing is used but observed pixels: the
    dictionary is learned from incomplete patches, as in Zhou et al., IEEE TIP 21(1), 2012.
    """
    settings = _check_settings(n_atoms, noise_scale, n_patches, slab, random_state)
    image, patch = _check_image(image, patch)
    mask = _check_pixels(mask, image)
    _check_finite(image, mask)
    if np.ptp(image[mask]) == 0:
        return _constant(np.full_like(image, image[mask][0]), patch, noise_scale)
    background = _background(image, mask, patch / 4).astype(image.dtype)
    rest = np.where(mask, image - background, 0)
    basis = np.eye(patch**2, dtype=image.dtype)
    found = _restore(_Patches(rest, mask, background, basis, float(rest[mask].std()), patch), settings)
    return found._replace(image=np.where(mask, image, found.image), sd=np.where(mask, 0, found.sd))
