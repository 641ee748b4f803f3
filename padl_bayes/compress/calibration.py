r"""What an error in a weight costs: the second moment of what the layer is given.

A linear layer gives ``x W'``, W of shape (out, in). With ``M = E x x'`` over calibration data and its Cholesky factor
``M = L L'`` the mean squared error of the output is ``E ||x (W - What)'||^2 = ||(W - What) L||_F^2``. Where there are
fewer samples than features M is singular, and an error outside their span would cost nothing: `RIDGE` times the mean
of the diagonal is added to the diagonal.
"""

import numpy as np

from padl_bayes._validation import check_matrix, check_scalar

RIDGE = 1e-3


def second_moment(activations, name="activations"):
    """``E x x'`` of activations (n_samples, in), in float64."""
    X = check_matrix(activations, name).astype(np.float64)
    return X.T @ X / len(X)


def root_of(moment, *, ridge=RIDGE):
    """Lower Cholesky factor of a second moment with the ridge.

    Parameters
    ----------
    moment : array_like, shape (in, in)
    ridge : float
        Added to the diagonal, in units of its mean.

    Returns
    -------
    ndarray, shape (in, in)

    Raises
    ------
    ValueError
        Not a second moment: not square, not symmetric, negative, or all zero.
    """
    moment = check_matrix(moment, "moment").astype(np.float64)
    ridge = check_scalar(ridge, "ridge", strict=True)
    size = float(np.mean(np.diag(moment))) if moment.shape[0] == moment.shape[1] else 0.0
    if not size > 0 or not np.allclose(moment, moment.T, atol=1e-6 * size):
        raise ValueError(
            f"moment must be a symmetric matrix of positive diagonal, found one of shape {moment.shape}"
        )
    try:
        return np.linalg.cholesky(0.5 * (moment + moment.T) + ridge * size * np.eye(len(moment)))
    except np.linalg.LinAlgError:
        raise ValueError("moment must have no negative eigenvalue beyond the ridge") from None


def weighted_error(weight, approximation, root):
    """``||(W - What) L||_F^2``, the mean squared error of the layer's output.

    Parameters
    ----------
    weight, approximation : ndarray, shape (out, in)
    root : ndarray, shape (in, in)

    Returns
    -------
    float
    """
    return float(np.sum(((weight.astype(np.float64) - approximation) @ root) ** 2))
