r"""How many bits a dictionary and its codes take, and the two-part description length.

What is stored is the support of PADL's codes, and on it the codes of least squares: shrinkage has chosen the support
and would only cost accuracy in the values. The code that is priced is the one that `.codec` writes; ``step`` is
``precision`` noise scales:

* Of each atom two whole numbers, how many samples use it and the sum of ``q - 1`` over them (q below), coded by the
  uniform law up to N and up to the largest such sum. They are exact, so that a decoder finds the same laws whatever
  its arithmetic.
* Supports: one Bernoulli sequence of N flags an atom, at its own frequency.
* A nonzero code: its sign (not for one-sided codes) and ``q = ceil(|r| / step)``, coded by the geometric law of the
  atom's mean, decoded in the middle of its cell: no code is rounded to zero.
* An entry of an active atom: rounded to a multiple of ``step`` over the norm of the atom's decoded codes, coded by the
  normal law of variance 1 / P in units of `RESOLUTION`, at least one. An error of that size costs the fit as much as
  one of ``step`` in a code.

Rounding adds ``step^2 / 12`` for every nonzero code and, summed over samples and entries, for every entry of an atom.
A bit saved by a wider step pays for the error until ``step^2 / 12`` is the variance of what is left of the data,
rounding included: there the description is shortest. Where nothing but noise is left that is the root of 12 noise
scales; see `best_precision`.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import entr, ndtr

from padl_bayes._validation import check_array, check_scalar

PRECISION = math.sqrt(12)
COARSEST = 1e6
MOST_VALUES = 0.9
CHUNK = 64
RIDGE = 1e-10
RESOLUTION = 2.0**-24
MOST_CELLS = 2**20


class CodeStatistics(NamedTuple):
    """What storage depends on, of each atom; leading axes are pairs of weights."""

    share: np.ndarray
    """(..., K) share of samples with a nonzero code."""
    size: np.ndarray
    """(..., K) mean of ``|r|`` over all samples."""
    square: np.ndarray
    """(..., K) mean of ``r^2``."""
    residual: np.ndarray
    """(...,) mean of ``||x - r D||^2`` over samples."""


class Storage(NamedTuple):
    """Bits of a model, and what rounding adds to its error."""

    dictionary: np.ndarray | float
    supports: np.ndarray | float
    values: np.ndarray | float
    distortion: np.ndarray | float
    """Mean squared error that rounding adds to a sample, summed over features."""

    @property
    def total(self):
        """All bits."""
        return self.dictionary + self.supports + self.values


def statistics_of(X, codes, dictionary):
    """`CodeStatistics` of codes that are there.

    Parameters
    ----------
    X : ndarray, shape (N, P)
    codes : ndarray, shape (N, K)
    dictionary : ndarray, shape (K, P)

    Returns
    -------
    CodeStatistics
    """
    codes = codes.astype(np.float64)
    residual = np.sum(np.square(X - codes @ dictionary), axis=1).mean()
    return CodeStatistics(
        (codes != 0).mean(axis=0), np.abs(codes).mean(axis=0), np.square(codes).mean(axis=0), residual
    )


def refit_on_support(X, codes, dictionary, *, nonnegative=False):
    """Codes of least squares on the supports of others, many samples at a time.

    Parameters
    ----------
    X : array_like, shape (N, P)
    codes : array_like, shape (N, K)
    dictionary : array_like, shape (K, P)
    nonnegative : bool
        Codes that come out negative leave the support, and the others are found again.

    Returns
    -------
    ndarray, shape (N, K)
        In float64. Where a support's atoms depend on each other, of next to the least norm.
    """
    X, codes, dictionary = (np.asarray(a, np.float64) for a in (X, codes, dictionary))
    refitted = _least_squares(X, codes, dictionary)
    while nonnegative and len(rows := np.flatnonzero((refitted < 0).any(axis=1))):
        refitted[rows] = _least_squares(X[rows], np.maximum(refitted[rows], 0), dictionary)
    return refitted


def _least_squares(X, codes, dictionary):
    used = codes != 0
    count = used.sum(axis=1)
    gram, target = dictionary @ dictionary.T, X @ dictionary.T
    refitted = np.zeros_like(codes)
    order = np.argsort(count, kind="stable")
    for rows in np.split(order, range(CHUNK, len(order), CHUNK)):
        width = count[rows[-1]]
        if width == 0:
            continue
        members = np.argsort(~used[rows], axis=1, kind="stable")[:, :width]
        real = np.arange(width) < count[rows, None]
        both = real[:, :, None] & real[:, None, :]
        normal = np.where(both, gram[members[:, :, None], members[:, None, :]], 0)
        normal[:, np.arange(width), np.arange(width)] += np.where(real, RIDGE, 1)
        aim = np.where(real, np.take_along_axis(target[rows], members, axis=1), 0)
        found = np.linalg.solve(normal, aim[..., None])[..., 0]
        values = np.zeros((len(rows), codes.shape[1]))
        np.put_along_axis(values, members, np.where(real, found, 0), axis=1)
        refitted[rows] = values
    return refitted


def best_precision(statistics, n_samples, n_features, noise_scale):
    """Step, in noise scales, that makes the description shortest.

    With m values for NP entries of data, rounding to a step s leaves ``v = R + m/NP s^2 / 12``, R the mean square of
    the residual, and the length is ``1/2 NP log2 v - m log2 s`` and a constant. It is least at ``s^2 / 12 = v``, that
    is ``s^2 = 12 R / (1 - m/NP)``.

    Parameters
    ----------
    statistics : CodeStatistics
    n_samples, n_features : int
    noise_scale : float

    Returns
    -------
    ndarray
        At least the root of 12, as a residual below the noise is fitted noise; m/NP is taken for at most 0.9, as beyond
        the data are stored, not a model of them.
    """
    on = np.sum(statistics.share > 0, axis=-1)
    values = np.sum(statistics.share, axis=-1) / n_features + on / n_samples
    variance = np.asarray(statistics.residual) / n_features
    best = PRECISION * np.sqrt(variance / (1 - np.minimum(values, MOST_VALUES))) / noise_scale
    return np.maximum(best, PRECISION)


def storage_bits(statistics, n_samples, n_features, noise_scale, *, precision=PRECISION, nonnegative=False):
    """Predicted bits of the code that the module describes.

    Parameters
    ----------
    statistics : CodeStatistics
    n_samples, n_features : int
    noise_scale : float
    precision : float or ndarray
        Step of the codes in noise scales, one for all or one for each pair of weights. The root of 12 makes the
        description shortest where the residual is noise; 1 adds only a twelfth of the noise variance a nonzero code.
    nonnegative : bool
        One-sided codes have no sign.

    Returns
    -------
    Storage

    Raises
    ------
    TypeError, ValueError
        One precision for all that is none, or so narrow that codes take more than a million steps.
    """
    if np.ndim(precision) == 0:
        precision = check_scalar(precision, "precision", strict=True, maximum=COARSEST)
    width = precision * noise_scale
    step = np.expand_dims(width, -1)
    share, size, square = statistics[:3]
    on = share > 0
    if np.ndim(precision) == 0:
        _check_cells(
            _steps(np.max(np.where(on, size / np.where(on, share, 1), 0), initial=0), width), precision
        )
    norm = np.sqrt(n_samples * np.where(on, square, 1))
    entry = np.maximum(np.log2(norm / step * np.sqrt(2 * np.pi * np.e / n_features)), 0)
    mean = np.maximum(size / np.where(on, share, 1) / step + 0.5, 1)
    sums = n_samples * share * (mean - 1)
    numbers = np.log2(n_samples + 1) + np.log2(sums.max(axis=-1, initial=0, keepdims=True) + 1)
    value = geometric_bits(mean) + (0 if nonnegative else 1)
    flags = (entr(share) + entr(1 - share)) / np.log(2)
    return Storage(
        np.sum(np.where(on, n_features * entry + numbers, 0), axis=-1),
        n_samples * flags.sum(axis=-1),
        n_samples * np.sum(share * value, axis=-1),
        width**2 / 12 * np.sum(share + np.where(on, n_features / n_samples, 0), axis=-1),
    )


def geometric_bits(mean):
    """Entropy in bits of the geometric law on 1, 2, ... of this mean."""
    rest = mean - 1
    return mean * np.log2(mean) - np.where(rest > 0, rest * np.log2(np.where(rest > 0, rest, 1)), 0)


def description_length(storage, residual, n_samples, n_features):
    """Bits of the model plus those of the rounded model's residual under a normal law of the residual's variance.

    Parameters
    ----------
    storage : Storage
    residual : array_like
        Mean of ``||x - r D||^2`` over samples, before rounding.
    n_samples, n_features : int

    Returns
    -------
    ndarray
        Less what depends on the resolution of the data only; it may be negative.
    """
    variance = (np.asarray(residual) + storage.distortion) / n_features
    # samples that are all zero leave nothing over
    variance = np.maximum(variance, np.finfo(np.float64).tiny)
    return storage.total + 0.5 * n_samples * n_features * np.log2(2 * np.pi * np.e * variance)


class Stored(NamedTuple):
    """Codes and atoms after rounding, with the bits that the code spends on them."""

    codes: np.ndarray
    """(N, K)"""
    dictionary: np.ndarray
    """(K, P), rows not quite of unit norm; zero for an atom that no sample uses."""
    storage: Storage
    step: float
    """Codes are odd multiples of half of it."""
    nonnegative: bool


class Symbols(NamedTuple):
    """The whole numbers that are coded."""

    levels: np.ndarray
    """(N, K) q with the sign of the code; zero where there is none."""
    entries: np.ndarray
    """(K, P)"""


def quantise(codes, dictionary, noise_scale, *, precision=PRECISION, nonnegative=False):
    """Round codes and atoms, and count the bits that the module's code spends on just these symbols.

    Parameters
    ----------
    codes : array_like, shape (N, K)
    dictionary : array_like, shape (K, P)
    noise_scale, precision : float
    nonnegative : bool
        Codes have no sign.

    Returns
    -------
    Stored
        In float64; ``storage.distortion`` is the mean of ``||r D - decoded||^2``.

    Raises
    ------
    TypeError, ValueError
        Bad input, a negative code where there is to be none, or a step so narrow that it takes more than a million.
    """
    codes = check_array(codes, "codes", ("N", "K")).astype(np.float64)
    dictionary = check_array(dictionary, "dictionary", (codes.shape[1], "P")).astype(np.float64)
    step = check_scalar(precision, "precision", strict=True) * check_scalar(
        noise_scale, "noise_scale", strict=True
    )
    if nonnegative and codes.min() < 0:
        raise ValueError(f"codes must be at least zero with nonnegative=True, found {codes.min():.6g}")
    _check_cells(np.ceil(_steps(np.abs(codes).max(), step)), precision)
    levels = (np.sign(codes) * np.ceil(np.abs(codes) / step)).astype(np.int32)
    entries = np.round(dictionary * code_norms(levels)[:, None])
    _check_cells(np.abs(entries).max(), precision)
    symbols = Symbols(levels, entries.astype(np.int32))
    decoded, atoms = dequantise(symbols, step)
    missed = np.sum(np.square(codes @ dictionary - decoded @ atoms)) / len(codes)
    return Stored(decoded, atoms, count_bits(symbols, missed, nonnegative), step, bool(nonnegative))


def _steps(most, step):
    """Steps that the largest code takes, infinite where that is more than a number holds."""
    with np.errstate(over="ignore"):
        return np.divide(most, step) if step > 0 else np.inf


def _check_cells(most, precision):
    if most > MOST_CELLS:
        raise ValueError(
            f"precision {precision:.3g} is too fine: {most:.3g} steps are needed, at most {MOST_CELLS} can be stored"
        )


def code_norms(levels):
    """Norm of each atom's decoded codes, in steps: of sums of whole numbers, thus the same on every machine."""
    odd = np.where(levels == 0, 0, 2 * np.abs(levels).astype(np.int64) - 1)
    return 0.5 * np.sqrt(np.sum(odd**2, axis=0).astype(np.float64))


def dequantise(symbols, step):
    """Codes and dictionary of `Symbols`."""
    levels, entries = symbols
    norm = code_norms(levels)[:, None]
    atoms = entries / np.where(norm > 0, norm, 1)
    return np.where(levels == 0, 0, levels - 0.5 * np.sign(levels)) * step, atoms


def symbols_of(stored):
    """`Symbols` of a `Stored`."""
    cells = np.abs(stored.codes) / stored.step
    levels = np.where(cells > 0, np.sign(stored.codes) * np.round(cells + 0.5), 0).astype(np.int32)
    return Symbols(levels, np.round(stored.dictionary * code_norms(levels)[:, None]).astype(np.int32))


def count_bits(symbols, distortion, nonnegative):
    """`Storage` of `Symbols`, but for which atoms are off: a flag an atom, better left out of the dictionary."""
    levels, entries = symbols
    used = np.count_nonzero(levels, axis=0)
    excess = np.abs(levels).sum(axis=0, dtype=np.int64) - used
    return bits_of_counts(used, excess, code_norms(levels), entries, len(levels), distortion, nonnegative)


def bits_of_counts(used, excess, norm, entries, n_samples, distortion=0.0, nonnegative=False):
    """`count_bits` of what the code's laws depend on, of each atom.

    Parameters
    ----------
    used, excess : ndarray, shape (K,)
        Samples that use it, and the sum of ``q - 1`` over these.
    norm : ndarray, shape (K,)
        Of its decoded codes, in steps.
    entries : ndarray, shape (K, P)
        Whole numbers.
    n_samples : int
    distortion : float
    nonnegative : bool

    Returns
    -------
    Storage
    """
    on = used > 0
    used, excess, entries, norm = used[on], excess[on], entries[on], norm[on, None]
    numbers = np.log2(n_samples + 1) + np.log2(excess.max(initial=0) + 1)
    spread = norm / np.sqrt(entries.shape[1])
    cells = ndtr((entries + 0.5) / spread) - ndtr((entries - 0.5) / spread)
    alphabet = 2 * np.abs(entries).max(initial=0) + 1
    chance = RESOLUTION + (1 - alphabet * RESOLUTION) * cells
    share = used / n_samples
    value = geometric_bits(1 + excess / used) + (0 if nonnegative else 1)
    return Storage(
        float(numbers * len(used) - np.log2(chance).sum()),
        float(n_samples * (entr(share) + entr(1 - share)).sum() / np.log(2)),
        float(used @ value),
        float(distortion),
    )
