"""What a fit stores: its dictionary and sparse codes, rounded."""

from padl_bayes._validation import check_matrix
from padl_bayes.inference.em import code_em
from padl_bayes.inference.map import residual_scale
from padl_bayes.inference.recoding import sparse_codes
from padl_bayes.inference.results import EmFit, MapFit
from padl_bayes.tradeoff.storage import PRECISION, quantise, refit_on_support


def compress(fit, X=None, *, precision=None):
    """Round the dictionary and the sparse codes of a fit as the codec of `padl_bayes.save` stores them.

    Parameters
    ----------
    fit : PADL, EmFit or MapFit
        Codes of EM are ``E[r | used]`` where P(used) is at least 1/2; codes of MAP are refitted by least squares on
        their supports.
    X : array_like, shape (N, P), optional
        EM: samples to code; those of the fit by default. MAP: the samples of the fit, which a `PADL` has at hand.
    precision : float, optional
        Step of the codes in noise scales, see `quantise`: those of EM, or of the residual that refitted codes leave.
        By default the one of the estimator's ``operating_point_`` if it has one, which its weights were chosen for;
        else what makes most descriptions shortest, `storage.PRECISION`.

    Returns
    -------
    Stored
        Codes, dictionary, bits, and the distortion that rounding adds to the squared error of a sample. Of the
        samples as stored, ``codes @ dictionary`` is all there is: measure accuracy by it.

    Raises
    ------
    TypeError, ValueError
        No such fit, one without an atom, samples that are missing or do not fit, or a step that is too narrow.

    Examples
    --------
    >>> import numpy as np, padl_bayes as pb
    >>> data = pb.datasets.synthetic_a(n_samples=500, n_features=16, n_atoms=6, seed=0)
    >>> stored = pb.tradeoff.compress(pb.PADL(n_atoms=12).fit(data.X))
    >>> stored.storage.total / 8 < data.X.nbytes / 20
    True
    """
    found = getattr(fit, "fit_", fit)
    if not isinstance(found, (EmFit, MapFit)):
        raise TypeError(f"fit must be a fitted PADL, an EmFit or a MapFit, found {type(fit).__name__}")
    if len(found.dictionary) == 0:
        raise ValueError("the fit has no active atom: there is nothing to store")
    if X is None and isinstance(found, MapFit):
        X = getattr(fit, "_X", None)
    if X is not None:
        X = check_matrix(X, n_features=found.dictionary.shape[1]).astype(found.dictionary.dtype)
    if precision is None:
        precision = getattr(getattr(fit, "operating_point_", None), "precision", PRECISION)
    codes, noise_scale = _of_em(found, X) if isinstance(found, EmFit) else _of_map(found, X)
    return quantise(codes, found.dictionary, noise_scale, precision=precision, nonnegative=found.nonnegative)


def _of_em(fit, X):
    if X is None and fit.codes is None:
        raise ValueError("X must be given: a fit in batches does not hold its codes")
    return sparse_codes(fit if X is None else code_em(X, fit)), fit.noise_scale


def _of_map(fit, X):
    if X is None:
        raise ValueError(
            "X must be given: codes of MAP are refitted on the samples, which a MapFit does not hold"
        )
    if len(X) != len(fit.codes):
        raise ValueError(f"X must be the {len(fit.codes)} samples of the fit, found {len(X)}")
    codes = refit_on_support(X, fit.codes, fit.dictionary, nonnegative=fit.nonnegative)
    # the fit's own noise scale has the shrinkage of its codes in it
    return codes, residual_scale(X, fit.dictionary, codes)
