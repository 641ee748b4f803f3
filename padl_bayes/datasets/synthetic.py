"""Synthetic data with their truth."""

from typing import NamedTuple

import numpy as np

from padl_bayes._validation import check_choice, check_count, check_scalar
from padl_bayes.datasets._common import float_type, generator


class Synthetic(NamedTuple):
    """Data drawn from a known model: ``X = clean + noise``, ``clean = codes @ dictionary``.

    Attributes
    ----------
    X : ndarray, shape (N, P)
    dictionary : ndarray, shape (K, P)
        True atoms, unit norm.
    codes : ndarray, shape (N, K)
    noise_scale : float
        Standard deviation of the noise.
    clean : ndarray, shape (N, P)
    """

    X: np.ndarray
    dictionary: np.ndarray
    codes: np.ndarray
    noise_scale: float
    clean: np.ndarray


def _unit_atoms(rng, n_atoms, n_features):
    """Atoms uniform on the unit sphere, shape (K, P)."""
    atoms = rng.standard_normal((n_atoms, n_features))
    return atoms / np.linalg.norm(atoms, axis=1, keepdims=True)


def _with_noise(rng, dictionary, codes, noise_scale, dtype):
    clean = codes @ dictionary
    X = clean + noise_scale * rng.standard_normal(clean.shape)
    X, dictionary, codes, clean = (array.astype(dtype) for array in (X, dictionary, codes, clean))
    return Synthetic(X, dictionary, codes, float(noise_scale), clean)


def synthetic_a(
    noise=0.1,
    amplitude="laplace",
    *,
    n_samples=2000,
    n_features=32,
    n_atoms=20,
    usage=0.15,
    seed,
    dtype=np.float64,
):
    """Draw codes of the two-level slab: each sample uses each atom with probability ``usage``.

    Parameters
    ----------
    noise : float
        Standard deviation of the white noise.
    amplitude : {"laplace", "gaussian"}
        Law of a code where its atom is used: Laplace of scale 1 or standard normal.
    n_samples, n_features, n_atoms : int
        N, P and K.
    usage : float
        Probability in [0, 1].
    seed : int
    dtype : dtype
        float64 or float32.

    Returns
    -------
    Synthetic

    Raises
    ------
    TypeError, ValueError
        An argument of the wrong type or out of range.
    """
    dtype = float_type(dtype)
    noise = check_scalar(noise, "noise")
    check_choice(amplitude, "amplitude", ("laplace", "gaussian"))
    shape = (check_count(n_samples, "n_samples"), check_count(n_atoms, "n_atoms"))
    usage = check_scalar(usage, "usage", maximum=1.0)
    rng = generator(seed)
    dictionary = _unit_atoms(rng, n_atoms, check_count(n_features, "n_features"))
    used = rng.random(shape) < usage
    draw = rng.laplace if amplitude == "laplace" else rng.normal
    return _with_noise(rng, dictionary, used * draw(size=shape), noise, dtype)


def synthetic_b(
    snr_db=20.0,
    *,
    n_features=20,
    n_atoms=50,
    n_samples=1500,
    sparsity=3,
    coefficients="uniform",
    seed,
    dtype=np.float64,
):
    """Draw the dictionary recovery test of Aharon, Elad and Bruckstein (IEEE TSP 54(11), 2006, section V).

    Each sample is a combination of ``sparsity`` distinct atoms at random positions. White noise is added at
    a signal-to-noise ratio taken over the whole data set, ``10 log10(E clean^2 / noise_scale^2)``.

    Parameters
    ----------
    snr_db : float
        Signal-to-noise ratio in decibels.
    n_features, n_atoms, n_samples, sparsity : int
        P, K, N and the number of atoms in a sample.
    coefficients : {"uniform", "gaussian"}
        Uniform on (-1, 1), as the paper says, or standard normal, as the authors' toolbox draws them.
    seed : int
    dtype : dtype
        float64 or float32.

    Returns
    -------
    Synthetic

    Raises
    ------
    TypeError, ValueError
        An argument of the wrong type or out of range, among them ``sparsity`` above ``n_atoms``.
    """
    dtype = float_type(dtype)
    snr_db = check_scalar(snr_db, "snr_db", minimum=-np.inf)
    n_samples, n_atoms = check_count(n_samples, "n_samples"), check_count(n_atoms, "n_atoms")
    sparsity = check_count(sparsity, "sparsity")
    if sparsity > n_atoms:
        raise ValueError(f"sparsity must be at most n_atoms = {n_atoms}, found {sparsity}")
    check_choice(coefficients, "coefficients", ("uniform", "gaussian"))
    rng = generator(seed)
    dictionary = _unit_atoms(rng, n_atoms, check_count(n_features, "n_features"))
    positions = np.argsort(rng.random((n_samples, n_atoms)), axis=1)[:, :sparsity]
    shape = (n_samples, sparsity)
    values = rng.uniform(-1.0, 1.0, shape) if coefficients == "uniform" else rng.standard_normal(shape)
    codes = np.zeros((n_samples, n_atoms))
    np.put_along_axis(codes, positions, values, axis=1)
    noise_scale = np.sqrt(np.mean(np.square(codes @ dictionary))) * 10 ** (-snr_db / 20)
    return _with_noise(rng, dictionary, codes, noise_scale, dtype)


def bars(n_samples=1000, size=5, amplitude=10.0, usage=0.2, noise=2.0, *, seed, dtype=np.float64):
    """Draw the bars test: images that add up horizontal and vertical bars, plus white noise; not centred.

    Parameters
    ----------
    n_samples : int
        N.
    size : int
        Height and width of an image, P = size^2; there are K = 2 size bars, the horizontal ones first.
    amplitude : float
        Grey level of the pixels of one bar; where two bars cross they add.
    usage : float
        Probability that an image has a given bar, in [0, 1].
    noise : float
        Standard deviation of the noise.
    seed : int
    dtype : dtype
        float64 or float32.

    Returns
    -------
    Synthetic
        Codes are ``amplitude * sqrt(size)`` or zero, as atoms have unit norm.

    Raises
    ------
    TypeError, ValueError
        An argument of the wrong type or out of range.
    """
    dtype = float_type(dtype)
    n_samples, size = check_count(n_samples, "n_samples"), check_count(size, "size", minimum=2)
    amplitude = check_scalar(amplitude, "amplitude", strict=True)
    usage = check_scalar(usage, "usage", maximum=1.0)
    noise = check_scalar(noise, "noise")
    rng = generator(seed)
    line = np.eye(size)
    images = np.concatenate([np.repeat(line, size, axis=1), np.tile(line, (1, size))])
    used = rng.random((n_samples, 2 * size)) < usage
    length = np.sqrt(size)
    return _with_noise(rng, images / length, amplitude * length * used, noise, dtype)


def pure_noise(n_samples, n_features, noise_scale=1.0, *, seed, dtype=np.float64):
    """Draw white noise without any atom: a fit should find nothing.

    Parameters
    ----------
    n_samples, n_features : int
        N and P.
    noise_scale : float
        Its standard deviation.
    seed : int
    dtype : dtype
        float64 or float32.

    Returns
    -------
    Synthetic
        With K = 0 atoms.

    Raises
    ------
    TypeError, ValueError
        An argument of the wrong type or out of range.
    """
    dtype = float_type(dtype)
    n_samples, n_features = check_count(n_samples, "n_samples"), check_count(n_features, "n_features")
    noise_scale = check_scalar(noise_scale, "noise_scale", strict=True)
    nothing = np.zeros((0, n_features)), np.zeros((n_samples, 0))
    return _with_noise(generator(seed), *nothing, noise_scale, dtype)
