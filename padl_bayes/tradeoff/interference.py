r"""What atoms do to each other's channels: the lasso's state evolution for a given dictionary.

At the optimum :math:`\langle e, d_k \rangle = v_k (c_k - r_k)`, with e the sample's residual, v_k the curvature that
is left for atom k once the other codes follow it, and c_k what the sample says of it without its own penalty. Let p_k
be the share of samples in which r_k can move (neither zero nor at its envelope), n the noise and

.. math:: G = (D D' + \mathrm{diag}(m))^{-1}, \qquad m_k = v_k (1 - p_k) / p_k .

Consistency of the two descriptions of the response wants :math:`v_k = 1 / G_{kk} - m_k`. Writing
:math:`c_k = r^*_k + w_k` and splitting off what is linear, :math:`r_k - r^*_k = p_k w_k + u_k`, the same equations give

.. math:: r - r^* = G (D n + \mathrm{diag}(1/G_{kk}) u) , \qquad
          p_k w_k = (G D n)_k + \sum_{j \ne k} (G_{kj} / G_{jj}) u_j ,

and with u uncorrelated over atoms the variance and the mean of w_k. Random dictionaries have ``v = 1 - nonzeros / P``,
the reaction term of approximate message passing (Donoho, Maleki & Montanari, PNAS 106, 2009; Bayati & Montanari, IEEE
Transactions on Information Theory 58, 2012); the diagonal form is that of expectation consistency (Opper & Winther,
JMLR 6, 2005). What it misses: w_k is taken as normal, which the few samples whose codes are clipped hard make it not.
"""

from typing import NamedTuple

import numpy as np

from padl_bayes.tradeoff.channel import CodeMoments, code_moments, envelope, missed_square

MOST_PASSES = 300
TOL = 1e-6
LEAST_RESPONSE = 1e-7
DAMPING = 0.7
LEAST_DAMPING = 0.05


class Channels(NamedTuple):
    """Scalar channels of all atoms, and what PADL makes of them."""

    response: np.ndarray
    """(K,) curvature v; the threshold is ``alpha1 / v``."""
    scale: np.ndarray
    """(K,) standard deviation of ``c - r*``."""
    shift: np.ndarray
    """(K,) mean of ``c - r*``."""
    theta: np.ndarray
    """(K,) envelopes, zero where the atom is off."""
    moments: CodeMoments
    residual: float
    """Mean of ``||x - r D||^2`` over samples."""
    error: float
    """Mean of ``||r* D - r D||^2``."""
    refitted: float
    """Mean of ``||x - r D||^2`` for codes of least squares on the supports."""


def decoupled(law, noise_scale, n_features, alpha1, alpha2, n_samples):
    """Channels of atoms that do not see each other, vectorised over weights.

    Parameters
    ----------
    law : SpikeSlab or Empirical
    noise_scale : float
    n_features : int
    alpha1, alpha2 : array_like, shape (...,)
    n_samples : int
        What ``alpha2`` is shared by.

    Returns
    -------
    Channels
        Arrays (..., K), and (...,) for residual and error.
    """
    threshold = np.asarray(alpha1, float)[..., None]
    theta = envelope(law, threshold, noise_scale, np.asarray(alpha2, float)[..., None] / n_samples)
    found = code_moments(law, threshold, theta, noise_scale)
    free = found.nonzero - found.clipped
    error = found.error.sum(axis=-1)
    # a code that can move takes noise out of the residual: E eps r = scale P(free), by Stein's identity
    residual = n_features * noise_scale**2 + error - 2 * noise_scale**2 * free.sum(axis=-1)
    # noise in the dimensions that no support spans, and c where the code is zero
    refitted = noise_scale**2 * (n_features - found.nonzero.sum(axis=-1)) + found.missed.sum(axis=-1)
    one = np.ones_like(theta)
    return Channels(one, noise_scale * one, 0 * one, theta, found, residual, error, refitted)


class _Stage(NamedTuple):
    """What the linear half of an iteration says of the other one's channels."""

    response: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    missed: float
    """Energy of the signal that the codes miss."""
    leverage: float
    """Trace of the map from noise to reconstruction."""
    followed: float
    """Trace of its square."""


def _linear_stage(gram, noise_scale, response, free, spread, offset):
    """Channels that codes of this freedom leave each other; ``spread`` and ``offset`` are variance and mean of u."""
    held = response * (1 - free) / free
    G = np.linalg.inv(gram + np.diag(held))
    own, hat = np.diag(G), G @ gram
    through = np.einsum("ij,ji->i", hat, G)
    mixing = G / own - np.eye(len(gram))
    variance = noise_scale**2 * through + np.square(mixing) @ spread
    pull = offset / own
    missed = np.sum(through * spread / own**2) + pull @ hat @ G @ pull
    shift = mixing @ offset / free
    return _Stage(1 / own - held, np.sqrt(variance) / free, shift, missed, np.trace(hat), np.sum(hat * hat.T))


def interfering(law, dictionary, noise_scale, alpha1, alpha2, n_samples, start=None):
    """Channels of atoms of a dictionary at one pair of weights, by iteration to a fixed point.

    Parameters
    ----------
    law : SpikeSlab or Empirical
        Codes of different atoms are taken as independent.
    dictionary : ndarray, shape (K, P)
    noise_scale, alpha1, alpha2 : float
    n_samples : int
    start : Channels, optional
        Those of weights near by.

    Returns
    -------
    Channels
    """
    n_atoms, n_features = dictionary.shape
    gram = dictionary @ dictionary.T
    if start is None:
        one, zero = np.ones(n_atoms), np.zeros(n_atoms)
        response, scale, shift, theta = one, noise_scale * one, zero, zero
    else:
        response, scale, shift, theta = start.response, start.scale, start.shift, start.theta
    damping, least = DAMPING, np.inf
    for _ in range(MOST_PASSES):
        threshold, share = alpha1 / response, alpha2 / n_samples / response
        theta = envelope(law, threshold, scale, share, shift, np.where(np.isfinite(theta), theta, 0))
        found = code_moments(law, threshold, theta, scale, shift)
        free = np.clip(found.nonzero - found.clipped, LEAST_RESPONSE, 1 - LEAST_RESPONSE)
        bias = found.mean - law.mean
        spread = np.maximum(found.error - bias**2 - (free * scale) ** 2, 0)
        new = _linear_stage(gram, noise_scale, response, free, spread, bias - free * shift)
        moved = _change(new, response, scale, shift)
        if moved <= TOL:
            break
        if moved > least:
            damping = max(0.7 * damping, LEAST_DAMPING)
        least = min(least, moved)
        response = np.maximum(response + damping * (new.response - response), 0.1 * response)
        scale = scale + damping * (new.scale - scale)
        shift = shift + damping * (new.shift - shift)
    error = noise_scale**2 * new.followed + new.missed
    residual = error + noise_scale**2 * (n_features - 2 * new.leverage)
    refitted = _refitted(law, gram, noise_scale, n_features, (response, scale, shift, theta), alpha1, found)
    return Channels(response, scale, shift, theta, found, residual, error, refitted)


def _refitted(law, gram, noise_scale, n_features, channel, alpha1, found):
    """Mean square of what least squares on the supports leave.

    Noise in the dimensions that no support spans, signal below the thresholds, and less noise than average there: of
    what a threshold selects against in c only the data's own noise stays out of the residual of a refit.
    """
    response, scale, shift, theta = channel
    signal = np.where(theta > 0, missed_square(law, alpha1 / response, scale, shift), law.square)
    selected = np.square(noise_scale / scale) * (found.missed - signal)
    unspanned = max(n_features - found.nonzero.sum(), 0)
    return noise_scale**2 * unspanned + _least_squares_response(gram, found.nonzero) @ (signal + selected)


def _least_squares_response(gram, share):
    """What is left of each atom off a random support of least squares, an atom on it with probability ``share``."""
    free = np.clip(share, LEAST_RESPONSE, 1 - LEAST_RESPONSE)
    response = np.ones(len(gram))
    for _ in range(MOST_PASSES):
        held = response * (1 - free) / free
        new = 1 / np.diag(np.linalg.inv(gram + np.diag(held))) - held
        moved = np.abs(new - response).max()
        response = np.maximum(response + 0.5 * (new - response), 0.1 * response)
        if moved <= TOL:
            break
    return response


def _change(new, response, scale, shift):
    """Largest relative change of a channel."""
    changes = (new.response - response) / response, (new.scale - scale) / scale, (new.shift - shift) / scale
    return max(np.abs(change).max() for change in changes)
