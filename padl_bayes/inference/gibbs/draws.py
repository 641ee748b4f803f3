"""Draws collected chunk by chunk, with the moments of codes that are not kept."""

from typing import Any

import numpy as np

from padl_bayes.alignment import Alignment, align


class Draws:
    """Draws collected so far, and sums of their codes in common labels."""

    def __init__(self, kernel, reference, keep_codes):
        self.flip, self.keep = not kernel.config.nonnegative, keep_codes == "draws"
        self.known = kernel.fixed.get("dictionary")
        self.reference, self.count = reference, 0
        self.sums: Any = 0
        self.samples: list = []
        self.stats: list = []
        self.alignments: list = []

    def add(self, z, stats):
        """Align a chunk of sites and statistics and add it."""
        z = dict(z)
        aligned = self._align(z)
        codes = aligned.apply(z["codes"], signed=True).astype(np.float64)
        codes = codes.reshape(-1, *codes.shape[2:])
        self.sums = self.sums + np.stack([codes.sum(0), np.square(codes).sum(0), (codes != 0).sum(0)])
        self.count += len(codes)
        if not self.keep:
            del z["codes"]
        z["num_active"] = z["active"].sum(-1)
        self.samples.append(z)
        self.stats.append(stats)
        self.alignments.append(aligned)

    def _align(self, z):
        if self.known is None:
            return align(z["dictionary"], self.reference, active=z["active"], flip=self.flip, max_iter=1)
        known = np.asarray(self.known)
        shape = z["active"].shape
        return Alignment(
            dictionary=np.broadcast_to(known, (*shape, known.shape[1])),
            codes=None,
            permutation=np.broadcast_to(np.arange(len(known)), shape),
            signs=np.ones(shape, int),
            cosines=np.ones(shape, known.dtype),
            reference=known,
            n_iter=1,
            converged=True,
        )

    def result(self):
        """Draws, statistics, moments of the codes, and the alignment."""
        samples, stats = (
            {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
            for parts in (self.samples, self.stats)
        )
        mean, square, used = self.sums / self.count
        sd = np.sqrt(np.maximum(square - mean**2, 0))
        dtype = samples["activation_prob"].dtype
        moments = {
            name: table.astype(dtype) for name, table in (("mean", mean), ("sd", sd), ("p_used", used))
        }
        arrays = {
            name: np.concatenate([getattr(part, name) for part in self.alignments], axis=1)
            for name in ("dictionary", "permutation", "signs", "cosines")
        }
        alignment = Alignment(
            **arrays, codes=None, reference=self.alignments[0].reference, n_iter=1, converged=True
        )
        return samples, stats, moments, alignment
