"""Draws, a chunk at a time, with the moments of codes that are not kept."""

from typing import NamedTuple

import numpy as np

from padl_bayes.alignment import Alignment, align

LABELS = ("permutation", "signs", "cosines")


class Part(NamedTuple):
    """Some draws of all chains.

    Attributes
    ----------
    samples, stats : dict of str to ndarray
        Sites and statistics (chain, draw, ...).
    labels : dict of str to ndarray
        permutation, signs and cosines (chain, draw, K) of the `Alignment`, and its reference (K, P): what the part was
        aligned to, and atoms of its own where that had none.
    sums : ndarray, shape (3, N, K)
        Sums over the draws of the aligned codes, of their squares, and of how often they were not zero.
    """

    samples: dict
    stats: dict
    labels: dict
    sums: np.ndarray


def make_part(kernel, reference, keep_codes, z, stats):
    """Return the `Part` of sites and statistics (chain, draw, ...), its codes summed and kept or not."""
    samples = dict(z)
    aligned = _align(kernel, reference, samples)
    codes = aligned.apply(samples["codes"], signed=True).astype(np.float64)
    codes = codes.reshape(-1, *codes.shape[2:])
    sums = np.stack([codes.sum(0), np.square(codes).sum(0), (codes != 0).sum(0)])
    if keep_codes == "moments":
        del samples["codes"]
    samples["num_active"] = samples["active"].sum(-1)
    labels = {name: getattr(aligned, name) for name in (*LABELS, "reference")}
    return Part(samples, dict(stats), labels, sums)


def count_draws(part):
    """Draws of a chain in the part."""
    return part.samples["num_active"].shape[1]


def _align(kernel, reference, samples):
    if "dictionary" not in kernel.fixed:
        flip = not kernel.config.nonnegative
        return align(samples["dictionary"], reference, active=samples["active"], flip=flip, max_iter=1)
    known = np.asarray(kernel.fixed["dictionary"])
    shape = samples["active"].shape
    return _alignment(
        np.broadcast_to(known, (*shape, known.shape[1])),
        dict(
            permutation=np.broadcast_to(np.arange(len(known)), shape),
            signs=np.ones(shape, int),
            cosines=np.ones(shape, known.dtype),
            reference=known,
        ),
    )


def _alignment(dictionary, labels):
    return Alignment(dictionary=dictionary, codes=None, n_iter=1, converged=True, **labels)


def join(parts, known=None):
    """Put parts together.

    Parameters
    ----------
    parts : sequence of Part
    known : array, shape (K, P), optional
        The dictionary, where it was not sampled.

    Returns
    -------
    samples, stats, moments : dict
        Draws as they came; mean, sd and p_used (N, K) of the codes.
    alignment : Alignment
    """
    samples, stats, labels = (
        {
            name: np.concatenate([table[name] for table in tables], axis=1)
            for name in tables[0]
            if name != "reference"
        }
        for tables in ([part[field] for part in parts] for field in range(3))
    )
    count = samples["num_active"].size
    mean, square, used = sum(part.sums for part in parts) / count
    sd = np.sqrt(np.maximum(square - mean**2, 0))
    dtype = samples["activation_prob"].dtype
    moments = {name: table.astype(dtype) for name, table in (("mean", mean), ("sd", sd), ("p_used", used))}
    labels["reference"] = parts[-1].labels["reference"]
    unmoved = (
        samples["dictionary"]
        if known is None
        else np.broadcast_to(known, (*labels["signs"].shape, known.shape[1]))
    )
    alignment = _alignment(unmoved, labels)
    if known is None:
        alignment = _alignment(alignment.apply(unmoved, axis=-2, signed=True), labels)
    return samples, stats, moments, alignment
