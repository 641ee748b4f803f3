"""What tokens are else stored by: principal components, k-means, and codes of the k best atoms."""

import numpy as np
from scipy.special import ndtr

from padl_bayes._equal_sparsity import code_omp
from padl_bayes.compress.pricing import MEAN_BITS, Cost
from padl_bayes.tradeoff.storage import RESOLUTION

MOD_ROUNDS = 6


def pca(train, held_out, n_components):
    """Codes of principal components: every one is used by every token.

    Parameters
    ----------
    train, held_out : ndarray, shapes (N, P) and (M, P)
        Less the training mean.
    n_components : int

    Returns
    -------
    tuple of ndarray
        Dictionary (K, P) and held-out codes (M, K).
    """
    energy, directions = np.linalg.eigh(train.T @ train)
    dictionary = directions[:, np.argsort(-energy)[:n_components]].T
    return dictionary, held_out @ dictionary.T


def k_means(train, held_out, n_clusters, *, random_state=0):
    """Centres, and held-out codes that are 1 at the nearest.

    Parameters
    ----------
    train, held_out : ndarray, shapes (N, P) and (M, P)
    n_clusters, random_state : int

    Returns
    -------
    tuple of ndarray
        Centres (K, P) and held-out codes (M, K).
    """
    from sklearn.cluster import KMeans

    found = KMeans(n_clusters, n_init=2, random_state=random_state).fit(train)
    codes = np.zeros((len(held_out), n_clusters))
    codes[np.arange(len(held_out)), found.predict(held_out)] = 1
    return found.cluster_centers_, codes


def top_k(train, n_atoms, nonzeros, *, n_rounds=MOD_ROUNDS, random_state=0):
    """Dictionary for codes of exactly ``nonzeros`` atoms a token: OMP and least squares in turn (MOD).

    Engan, Aase and Husoy, ICASSP 1999. Atoms start on tokens drawn at random; one that no token uses moves to the
    token that is explained worst.

    Parameters
    ----------
    train : ndarray, shape (N, P)
    n_atoms, nonzeros, n_rounds, random_state : int

    Returns
    -------
    ndarray, shape (K, P)
    """
    rng = np.random.default_rng(random_state)
    dictionary = _unit(train[rng.choice(len(train), n_atoms, replace=False)])
    for _ in range(n_rounds):
        codes = code_omp(train, dictionary, n_nonzero=nonzeros)
        gram = codes.T @ codes
        gram[np.diag_indices_from(gram)] += 1e-8 * np.trace(gram) / n_atoms
        updated = np.linalg.solve(gram, codes.T @ train)
        idle = np.flatnonzero(~codes.any(axis=0))
        worst = np.argsort(-np.square(train - codes @ dictionary).sum(axis=1))
        updated[idle] = train[worst[: len(idle)]]
        dictionary = _unit(updated)
    return dictionary


def _unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


class PricedClusters:
    """Centres of k-means with an index a token at the entropy of the indices, priced at any step; see `Priced`.

    A centre that n tokens have is rounded to ``step / sqrt(n)``, its entries are coded as normal ones of its own scale,
    and that scale takes 16 bits.
    """

    def __init__(self, tokens, mean, codes, centres):
        self._centred = np.asarray(tokens, np.float64) - mean
        count = codes.sum(axis=0)
        kept = count > 0
        self._count, self._codes, self._centres = count[kept], codes[:, kept], centres[kept]

    def _rounded(self, step):
        """Whole numbers of the entries, what they are multiples of, and their bytes with those of scales and mean."""
        grid = step / np.sqrt(self._count)[:, None]
        entries = np.round(self._centres / grid)
        spread = np.maximum(np.sqrt(np.square(entries).mean(axis=1, keepdims=True)), 0.5)
        cells = ndtr((entries + 0.5) / spread) - ndtr((entries - 0.5) / spread)
        bits = MEAN_BITS * (self._centred.shape[1] + len(self._count)) - np.log2(cells + RESOLUTION).sum()
        return entries, grid, bits / 8

    def _indices(self):
        return float(-self._count @ np.log2(self._count / len(self._codes)) / 8)

    def bytes_at(self, step):
        """Bytes of centres, mean and indices, and of indices alone."""
        return self._rounded(step)[2] + self._indices(), self._indices()

    def cost(self, step):
        """`Cost` at a step."""
        entries, grid, size = self._rounded(step)
        plain = np.square(self._centred - self._codes @ self._centres).mean()
        rounded = np.square(self._centred - self._codes @ (entries * grid)).mean()
        index = np.ceil(np.log2(len(self._centres))) / 8
        n_features = self._centred.shape[1]
        return Cost(
            len(self._count),
            1.0,
            float(plain**0.5),
            float(1 - plain / np.square(self._centred).mean()),
            float(size + self._indices()),
            float(rounded**0.5),
            float(len(self._codes) * index + 2 * n_features * (len(self._centres) + 1)),
            self._indices(),
            0.0,
        )
