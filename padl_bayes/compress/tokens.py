"""Dictionaries of tokens: fitted, coded, and what they cost."""

import contextlib
from typing import Any, NamedTuple

import numpy as np

from padl_bayes._options import check_seed
from padl_bayes._validation import check_choice, check_count, check_matrix, check_scalar
from padl_bayes.alignment import match
from padl_bayes.compress.pricing import Priced
from padl_bayes.inference.em import code_em, fit_em
from padl_bayes.inference.fixed_size import learn
from padl_bayes.inference.map import fit_map
from padl_bayes.inference.recoding import sparse_codes
from padl_bayes.inference.results import EmFit, MapFit
from padl_bayes.sparse_coding import sparse_code
from padl_bayes.tradeoff.storage import PRECISION, refit_on_support


class TokenFit(NamedTuple):
    """A dictionary of tokens less their mean."""

    mean: np.ndarray
    """(P,)"""
    fit: Any
    """EmFit, MapFit, or `padl_bayes.inference.fixed_size.Learned`."""
    n_tokens: int

    @property
    def dictionary(self):
        """(K_active, P)"""
        return self.fit.dictionary


def check_tokens(tokens, name="tokens", *, n_features=None):
    """Return tokens as a float32 or float64 matrix; one leading axis of images more is allowed."""
    with contextlib.suppress(ValueError):  # rows of different lengths, which `check_matrix` refuses
        if np.ndim(tokens) == 3:
            tokens = np.asarray(tokens)
            tokens = tokens.reshape(-1, tokens.shape[2])
    return check_matrix(tokens, name, n_features=n_features)


def check_found(found, name="found"):
    """Return a `TokenFit`."""
    if not isinstance(found, TokenFit):
        raise TypeError(f"{name} must be a TokenFit of fit_tokens, found {type(found).__name__}")
    return found


def fit_tokens(
    tokens, n_atoms=128, *, method="em", alpha=None, noise_scale=None, max_iter=300, random_state=0
):
    """Fit a dictionary to tokens less their mean.

    Parameters
    ----------
    tokens : array_like, shape (N, P) or (images, tokens, P)
        Of a layer of many images.
    n_atoms : int
        Upper bound; with "fixed" the number, rounded up to a multiple of 8.
    method : {"em", "map", "fixed"}
        `padl_bayes.inference.fit_em`, `fit_map`, or `padl_bayes.inference.fixed_size.learn`, which keeps all atoms.
    alpha : tuple of float, optional
        Weights of MAP, in units of the tokens.
    noise_scale : float, optional
        Held by "fixed": the error to aim at. A larger one makes fewer nonzeros, and atoms for codes of few bytes.
    max_iter : int
        With "fixed" the number of sweeps of draws.
    random_state : int

    Returns
    -------
    TokenFit

    Raises
    ------
    TypeError, ValueError
        Bad input: NaN, nothing at all, one dimension, or no atom found.
    """
    tokens = check_tokens(tokens)
    check_choice(method, "method", ("em", "map", "fixed"))
    n_atoms, random_state = check_count(n_atoms, "n_atoms"), check_seed(random_state)
    if alpha is not None and method != "map":
        raise ValueError("alpha goes with method='map': the others have no weights")
    if noise_scale is not None:
        noise_scale = check_scalar(noise_scale, "noise_scale", strict=True)
        if method != "fixed":
            raise ValueError("noise_scale goes with method='fixed': the others estimate it")
    if not np.any(tokens != tokens[0]):
        raise ValueError("tokens must not be constant, found all the same: there is nothing to learn")
    mean = tokens.mean(axis=0)
    centred = tokens - mean
    if method == "em":
        fit = fit_em(centred, n_atoms, max_iter=max_iter, random_state=random_state)
    elif method == "fixed":
        n_sweeps = check_count(max_iter, "max_iter")
        fit = learn(centred, n_atoms, noise_scale=noise_scale, n_sweeps=n_sweeps, random_state=random_state)
    else:
        fit = fit_map(centred, n_atoms, alpha=alpha, max_iter=max_iter, random_state=random_state)
    if len(fit.dictionary) == 0:
        raise ValueError("no atom is active: give more tokens or smaller weights")
    return TokenFit(mean, fit, len(tokens))


def code_tokens(found, tokens, *, tol=1e-5):
    """Sparse codes of tokens: ``E[r | used]`` where P(used) is at least 1/2, or MAP's refitted on their support.

    Parameters
    ----------
    found : TokenFit
    tokens : array_like, shape (N, P) or (images, tokens, P)
    tol : float
        Of the duality gap of MAP's codes.

    Returns
    -------
    ndarray, shape (N, K_active)
    """
    tokens = check_tokens(tokens, n_features=len(check_found(found).mean))
    centred = (tokens - found.mean).astype(found.dictionary.dtype)
    if not isinstance(found.fit, MapFit):
        return sparse_codes(code_em(centred, found.fit))
    alpha1, alpha2 = found.fit.alpha
    scaled = alpha2 * len(centred) / found.n_tokens
    codes = sparse_code(centred, found.dictionary, alpha1, scaled, tol=tol).codes
    return refit_on_support(centred, codes, found.dictionary)


def cost_of(tokens, mean, codes, dictionary, step):
    """`Cost` of codes, rounded to odd multiples of half a step.

    Parameters
    ----------
    tokens : ndarray, shape (N, P)
    mean : ndarray, shape (P,)
    codes : ndarray, shape (N, K)
    dictionary : ndarray, shape (K, P)
    step : float

    Returns
    -------
    Cost
    """
    return Priced(tokens, mean, codes, dictionary).cost(step)


def default_step(found):
    """Step at which the description of a fit is about shortest: the root of 12 noise scales."""
    return PRECISION * found.fit.noise_scale


def describe(found, tokens):
    """`Cost` of tokens under a fit, at its default step: of training tokens, or of held-out ones with the same atoms.

    Parameters
    ----------
    found : TokenFit
    tokens : array_like, shape (N, P) or (images, tokens, P)

    Returns
    -------
    Cost
    """
    tokens = check_tokens(tokens, n_features=len(check_found(found).mean))
    return cost_at_default(found, tokens, code_tokens(found, tokens), "tokens")


def cost_at_default(found, tokens, codes, name):
    """`cost_of` at the default step of a fit; tokens far larger than those that it was fitted to are refused."""
    try:
        return cost_of(tokens, found.mean, codes, found.dictionary, default_step(found))
    except ValueError as error:
        raise ValueError(f"{name} must be of the size of those that the fit has seen: {error}") from error


def stability(fits, *, threshold=0.9):
    """Which atoms of the first fit come again in fits of other seeds, beside how probable each is.

    Parameters
    ----------
    fits : sequence of TokenFit
        Two or more, of EM.
    threshold : float
        Absolute cosine to exceed.

    Returns
    -------
    probability, reappearance, cosine : ndarray, shape (K,)
        P(active) of the atoms of the first fit, share of the other fits that hold each, and the mean over fits of the
        absolute cosine to the atom it is paired with.
    """
    from padl_bayes.agreement import reappearance

    if len(fits) < 2 or not all(isinstance(found.fit, EmFit) for found in fits):
        raise ValueError(f"fits must be two or more fits by EM, found {len(fits)}")
    first, others = fits[0].dictionary, [found.dictionary for found in fits[1:]]
    probability = 1 / (1 + np.exp(-fits[0].fit.activation_log_odds))
    cosine = np.mean([match(other, first).cosines for other in others], axis=0)
    return probability, reappearance(first, others, threshold=threshold), np.abs(cosine)
