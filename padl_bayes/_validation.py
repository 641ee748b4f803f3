"""Bad input gets one clear error: the argument, what was found, what is expected."""

import numbers

import numpy as np


def _as_real_array(values, name):
    if hasattr(values, "toarray") and hasattr(values, "nnz"):
        raise TypeError(f"{name} is a sparse matrix; pass a dense array, e.g. {name}.toarray()")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from None
    if array.dtype == object:
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(
                f"{name} must hold numbers, found dtype object with non-numeric entries"
            ) from None
    if np.iscomplexobj(array):
        raise TypeError(f"{name} must be real, found dtype {array.dtype}; pass {name}.real or its modulus")
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise TypeError(f"{name} must hold numbers, found dtype {array.dtype}")
    if array.dtype.kind in "iu" and array.size and np.abs(array.astype(np.float64)).max() > 2.0**53:
        raise ValueError(f"{name} holds integers beyond 2**53, which floats cannot hold; rescale them first")
    if array.dtype.name in ("float32", "float64"):
        return array
    return array.astype(np.float32 if array.dtype.name in ("float16", "bfloat16") else np.float64)


def check_matrix(X, name="X", *, min_rows=1, n_features=None, mask=None):
    """Return ``X`` as a two-dimensional float32 or float64 array, entries outside ``mask`` set to zero.

    Parameters
    ----------
    X : array_like, shape (N, P)
        float32 and float64 are kept, half precision becomes float32, integers and booleans float64.
    name : str
        What to call the argument in errors.
    min_rows : int
        Fewest rows accepted.
    n_features : int, optional
        Number of columns that is required.
    mask : ndarray of bool, shape (N, P), optional
        True where an entry was observed; see `check_mask`.

    Raises
    ------
    TypeError
        Non-numeric, complex or sparse input.
    ValueError
        Wrong shape, too few rows, NaN or infinity where observed, or values whose squares overflow.
    """
    X = _as_real_array(X, name)
    if X.ndim != 2:
        hint = f"; reshape one sample to (1, {X.size})" if X.ndim == 1 else ""
        raise ValueError(f"{name} must have 2 dimensions (samples, features), found shape {X.shape}{hint}")
    if 0 in X.shape:
        raise ValueError(f"{name} is empty: found shape {X.shape}")
    if X.shape[0] < min_rows:
        raise ValueError(f"{name} has {X.shape[0]} sample(s); at least {min_rows} are needed")
    if n_features is not None and X.shape[1] != n_features:
        raise ValueError(f"{name} has {X.shape[1]} features, expected {n_features}")
    if mask is not None:
        X = np.where(mask, X, X.dtype.type(0))
    bad = ~np.isfinite(X)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        hint = (
            "impute or drop them"
            if mask is not None
            else "impute or drop them, or pass a mask of observed entries"
        )
        raise ValueError(
            f"{name} has {bad.sum()} NaN or infinite value(s), the first at [{row}, {column}]; {hint}"
        )
    with np.errstate(over="ignore"):
        energy = np.sum(np.square(X))
    if not np.isfinite(energy):
        raise ValueError(
            f"{name} holds values up to {np.abs(X).max():.3g}, whose squares overflow {X.dtype}; rescale"
        )
    return X


def check_mask(mask, X):
    """Return ``mask`` as a boolean array like ``X``; every row and column must have an observed entry."""
    if mask is None:
        return None
    mask = np.asarray(mask)
    shape = np.shape(X)
    if mask.shape != shape:
        raise ValueError(f"mask must have the shape of X, {shape}, found {mask.shape}")
    if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
        raise ValueError(
            f"mask must be boolean (True where observed), found dtype {mask.dtype} with other values"
        )
    mask = mask.astype(bool)
    for axis, what in ((1, "sample"), (0, "feature")):
        empty = np.flatnonzero(~mask.any(axis=axis))
        if empty.size:
            raise ValueError(f"mask leaves {what} {empty[0]} without an observed entry; drop it")
    return mask


def check_training_data(X, mask=None):
    """Return ``(X, mask)`` fit to learn from: at least two samples that are not all the same."""
    mask = check_mask(mask, X)
    X = check_matrix(X, min_rows=2, mask=mask)
    observed = X if mask is None else X[mask]
    if np.ptp(observed) == 0:
        raise ValueError(f"X is constant (every entry is {observed.flat[0]:.6g}): there is nothing to learn")
    if mask is None and (X[0] == X).all():
        raise ValueError(f"X is one sample repeated {X.shape[0]} times: there is nothing to learn")
    return X, mask


def check_count(value, name, *, minimum=1):
    """Return ``value`` as an int of at least ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, found {value!r} of type {type(value).__name__}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, found {value}")
    return int(value)


def check_scalar(value, name, *, minimum=0.0, strict=False):
    """Return ``value`` as a finite float that is at least (``strict``: above) ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, (numbers.Real, np.ndarray)) or np.ndim(value) > 0:
        raise TypeError(f"{name} must be a real number, found {value!r} of type {type(value).__name__}")
    number = float(value)
    if not np.isfinite(number) or number < minimum or (strict and number == minimum):
        relation = "above" if strict else "at least"
        raise ValueError(f"{name} must be finite and {relation} {minimum:g}, found {number:g}")
    return number


def check_choice(value, name, choices):
    """Return ``value`` if it is one of ``choices``."""
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {listed}, found {value!r}")
    return value


def check_dictionary(dictionary, name="dictionary", *, n_features=None):
    """Return ``dictionary`` as a matrix whose rows are unit norm to rounding.

    Raises
    ------
    ValueError
        As `check_matrix`, or a row whose norm is not one.
    """
    dictionary = check_matrix(dictionary, name, n_features=n_features)
    norms = np.linalg.norm(dictionary.astype(np.float64), axis=1)
    worst = int(np.argmax(np.abs(norms - 1)))
    if abs(norms[worst] - 1) > 1e-3:
        raise ValueError(
            f"{name} must have unit-norm rows (atoms); row {worst} has norm {norms[worst]:.6g}: "
            f"divide each row by its norm"
        )
    return dictionary
