"""The noise level of an image from its flat patches, which hold nothing else."""

import numpy as np
from scipy.stats import chi2

TAIL = 0.005
LEAST_SHARE = 0.1
LEAST_LEVEL = 1e-3
MOST_ROUNDS = 50
SETTLED = 1e-4


def _eigenvalues(X):
    return np.linalg.eigvalsh(X.T @ X / len(X))


def flat_noise_scale(X):
    """Standard deviation of white noise in patches of which some are flat.

    Patches whose energy is what noise alone would have are kept; the least eigenvalue of their covariance says which
    these are, in turn, and the median eigenvalue is the noise variance: the few directions that edges too faint to be
    told from noise take up do not move it. The selection is in the manner of Liu, Tanaka, Okutomi (IEEE TIP 22(12),
    2013), who keep weak gradients and take the least eigenvalue.

    Parameters
    ----------
    X : ndarray, shape (N, Q)
        Coefficients of patches in an orthonormal basis without the constant one, in which the noise is white.

    Returns
    -------
    float or None
        None where fewer than a tenth of the patches are flat, where there is next to no noise in them, or where they
        are so few (below about 100 Q) that the least eigenvalue sinks by itself. Patches of one and the same grey
        level, as where an image is clipped, do not count.
    """
    X = X.astype(np.float64)
    energy = np.sum(X**2, axis=1)
    # rounding leaves a constant patch a little
    noisy = energy > 1e-12 * energy.mean()
    X, energy, n_features = X[noisy], energy[noisy], X.shape[1]
    least = LEAST_SHARE * len(noisy)
    low, high = chi2.ppf([TAIL, 1 - TAIL], n_features)
    flat, threshold = np.ones(len(X), bool), np.inf
    for _ in range(MOST_ROUNDS):
        if flat.sum() < least:
            return None
        before, threshold = threshold, _eigenvalues(X[flat])[0]
        flat = energy < high * threshold
        if threshold > (1 - SETTLED) * before:
            break
    flat &= energy > low * threshold
    if flat.sum() < least:
        return None
    eigenvalues = _eigenvalues(X[flat])
    found = float(np.sqrt(np.median(eigenvalues)))
    return found if found > LEAST_LEVEL * np.sqrt(energy.mean() / n_features) else None
