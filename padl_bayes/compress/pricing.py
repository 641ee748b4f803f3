"""What codes of tokens cost at any step, and what is left of the tokens."""

from typing import NamedTuple

import numpy as np

from padl_bayes.tradeoff.storage import MOST_CELLS, bits_of_counts

MEAN_BITS = 16


class Cost(NamedTuple):
    """What codes of tokens cost, and what is left of the tokens."""

    n_atoms: int
    """Atoms that any of the tokens uses."""
    nonzeros: float
    """Mean of a token."""
    rmse: float
    """Of an entry, before rounding."""
    explained: float
    """Share of the variance about the training mean, before rounding."""
    n_bytes: float
    """Codes, atoms and mean, entropy-coded; the mean takes 16 bits an entry."""
    rmse_stored: float
    """After rounding."""
    n_bytes_half: float
    """In half precision and not entropy-coded: 2 bytes a nonzero code and an entry of the atoms and of the mean, and an
    index a nonzero code where a token does not use all atoms. It goes with ``rmse``."""
    n_bytes_supports: float
    """Of ``n_bytes``: which atoms each token uses."""
    n_bytes_values: float
    """Of ``n_bytes``: the nonzero codes."""

    @property
    def n_bytes_codes(self):
        """Of ``n_bytes``, without what is the same for any number of tokens: atoms and mean."""
        return self.n_bytes_supports + self.n_bytes_values


def half_bytes(codes, n_features):
    """Bytes of codes (N, K) in half precision, with atoms and mean; see `Cost`."""
    n_atoms = codes.shape[1]
    count = np.count_nonzero(codes)
    index = 0 if count == codes.size else np.ceil(np.log2(n_atoms)) / 8
    return float(count * (2 + index) + 2 * n_features * (n_atoms + 1))


class Priced:
    """Codes of tokens by the code of `padl_bayes.tradeoff.quantise`, priced at any step.

    Parameters
    ----------
    tokens : ndarray, shape (N, P)
    mean : ndarray, shape (P,)
    codes : ndarray, shape (N, K)
    dictionary : ndarray, shape (K, P)
    """

    def __init__(self, tokens, mean, codes, dictionary):
        self._centred = np.asarray(tokens, np.float64) - mean
        self._codes, self._dictionary = (np.asarray(a, np.float64) for a in (codes, dictionary))
        self._place = np.nonzero(self._codes)
        self._size = np.abs(self._codes[self._place])
        self._used = np.bincount(self._place[1], minlength=len(self._dictionary))
        self._plain = np.square(self._centred - self._codes @ self._dictionary).mean()

    def _rounded(self, step):
        """Cells of the nonzero codes, norms of the decoded codes in steps, entries of the atoms; or None."""
        with np.errstate(over="ignore"):
            cells = np.ceil(self._size / step)
        if cells.max(initial=0) > MOST_CELLS:
            return None
        norm = 0.5 * np.sqrt(self._sum(np.square(2 * cells - 1)))
        entries = np.round(self._dictionary * norm[:, None])
        return None if np.abs(entries).max() > MOST_CELLS else (cells, norm, entries)

    def _sum(self, values):
        """Of each atom's nonzero codes."""
        return np.bincount(self._place[1], values, len(self._dictionary))

    def _storage(self, cells, norm, entries):
        return bits_of_counts(self._used, self._sum(cells - 1), norm, entries, len(self._codes))

    def bytes_at(self, step):
        """Bytes of codes, atoms and mean, and of codes alone; infinite where the step is too fine."""
        rounded = self._rounded(step)
        if rounded is None:
            return np.inf, np.inf
        storage = self._storage(*rounded)
        mean = MEAN_BITS * self._centred.shape[1]
        return (storage.total + mean) / 8, (storage.supports + storage.values) / 8

    def cost(self, step):
        """`Cost` at a step.

        Raises
        ------
        ValueError
            The step is too fine.
        """
        rounded = self._rounded(step)
        if rounded is None:
            raise ValueError(f"step {step:.3g} is too fine: a number takes more than {MOST_CELLS} of it")
        cells, norm, entries = rounded
        storage = self._storage(*rounded)
        decoded = np.zeros_like(self._codes)
        decoded[self._place] = np.sign(self._codes[self._place]) * (cells - 0.5) * step
        atoms = entries / np.where(norm > 0, norm, 1)[:, None]
        n_features = self._centred.shape[1]
        return Cost(
            int(np.count_nonzero(self._used)),
            float(len(self._size) / len(self._codes)),
            float(np.sqrt(self._plain)),
            float(1 - self._plain / np.square(self._centred).mean()),
            float((storage.total + MEAN_BITS * n_features) / 8),
            float(np.sqrt(np.square(self._centred - decoded @ atoms).mean())),
            half_bytes(self._codes, n_features),
            float(storage.supports / 8),
            float(storage.values / 8),
        )
