"""Bad input gets one clear error: the argument, what was found, what is expected."""

import numbers
from collections.abc import Hashable

import numpy as np

from .exceptions import UnboundedPosteriorWarning, warn

_LARGEST_EXACT_INTEGER = 2**53
_LARGEST_COUNT = 2**63 - 1


class _ComplexError(TypeError, ValueError):
    """A TypeError, and the ValueError that scikit-learn's tools expect."""


def _same_kind(error, message):
    """Return a plain TypeError or ValueError: subclasses may not take a single message."""
    return TypeError(message) if isinstance(error, TypeError) else ValueError(message)


def _from_objects(array, name):
    """Turn an object array of numbers (Python ints, fractions, decimals, None for missing) into float64."""
    for entry in array.flat:
        if isinstance(entry, (str, bytes)):
            raise TypeError(f"{name} must hold numbers, found the text {entry!r}; convert it first")
        if isinstance(entry, numbers.Integral) and abs(int(entry)) > _LARGEST_EXACT_INTEGER:
            raise ValueError(
                f"{name} holds integers beyond 2**53, which floats cannot hold; rescale them first"
            )
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(
            f"{name} must hold numbers, found dtype object with non-numeric entries: {error}"
        ) from None


def as_real_array(values, name):
    """Return ``values`` as an array of float32 or float64, of any shape; errors as those of `check_matrix`."""
    if values is None:
        raise TypeError(f"{name} is None; pass an array of numbers")
    if hasattr(values, "get_params") and hasattr(values, "fit"):
        raise TypeError(
            f"{name} must be an array of numbers, found the estimator {type(values).__name__}; pass what it has found, "
            "such as its components_"
        )
    if hasattr(values, "toarray") and hasattr(values, "nnz"):
        raise TypeError(f"{name} is a sparse matrix; pass a dense array, e.g. {name}.toarray()")
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array; pass {name}.data, with mask=~{name}.mask where a mask is taken"
        )
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise _same_kind(error, f"{name} must be a rectangular array of numbers: {error}") from None
    if array.dtype == object:
        array = _from_objects(array, name)
    if np.iscomplexobj(array):
        raise _ComplexError(
            f"{name} must be real, found dtype {array.dtype}; pass {name}.real or its modulus. "
            "Complex data not supported"
        )
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise TypeError(f"{name} must hold numbers, found dtype {array.dtype}")
    if (
        array.dtype.kind in "iu"
        and array.size
        and np.abs(array.astype(np.float64)).max() > _LARGEST_EXACT_INTEGER
    ):
        raise ValueError(f"{name} holds integers beyond 2**53, which floats cannot hold; rescale them first")
    if array.dtype in (np.float32, np.float64):
        return array
    narrow = array.dtype.name in ("float16", "bfloat16", "float32")
    # a long double may overflow to infinity here, which is reported as such by the caller
    with np.errstate(over="ignore"):
        return array.astype(np.float32 if narrow else np.float64)


def _as_filled_matrix(values, name):
    X = as_real_array(values, name)
    if X.ndim != 2:
        hint = f". Reshape your data: one sample to (1, {X.size})" if X.ndim == 1 else ""
        raise ValueError(f"{name} must have 2 dimensions (samples, features), found shape {X.shape}{hint}")
    if 0 in X.shape:
        rows, columns = X.shape
        raise ValueError(
            f"{name} is empty: found {rows} sample(s), {columns} feature(s) (shape={X.shape}) while a minimum of 1 is "
            "required."
        )
    return X


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
    X = _as_filled_matrix(X, name)
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


def check_array(values, name, shape):
    """Return ``values`` as a filled array of finite float32 or float64.

    Parameters
    ----------
    values : array_like
    name : str
        What to call the argument in errors.
    shape : tuple
        Integers are sizes that are required, strings stand for any size, a leading ``"..."`` for any axes.

    Raises
    ------
    TypeError
        Non-numeric, complex or sparse input.
    ValueError
        Another shape, nothing in it, NaN or infinity.
    """
    array = as_real_array(values, name)
    last = shape[1:] if shape[:1] == ("...",) else shape
    found = array.shape[array.ndim - len(last) :] if array.ndim >= len(last) else ()
    fits = len(found) == len(last) and (len(last) < len(shape) or array.ndim == len(last))
    if not fits or any(
        isinstance(want, int) and want != size for want, size in zip(last, found, strict=True)
    ):
        wanted = ", ".join(str(size) for size in shape)
        raise ValueError(f"{name} must have shape ({wanted}), found {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} is empty: found shape {array.shape}")
    bad = ~np.isfinite(array)
    if bad.any():
        raise ValueError(
            f"{name} has {bad.sum()} NaN or infinite value(s), the first at {np.argwhere(bad)[0].tolist()}"
        )
    return array


def check_mask(mask, X, *, name="X", all_features=True):
    """Return ``mask`` as a boolean array like ``X``; every row (and column) must have an observed entry."""
    if mask is None:
        return None
    shape = _as_filled_matrix(X, name).shape
    if isinstance(mask, np.ma.MaskedArray):
        raise TypeError("mask is itself a masked array; pass a boolean array, True where observed")
    try:
        mask = np.asarray(mask)
    except (TypeError, ValueError) as error:
        raise _same_kind(error, f"mask must be a rectangular boolean array: {error}") from None
    if mask.shape != shape:
        raise ValueError(f"mask must have the shape of {name}, {shape}, found {mask.shape}")
    if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
        raise ValueError(
            f"mask must be boolean (True where observed), found dtype {mask.dtype} with other values"
        )
    mask = mask.astype(bool)
    for axis, what in ((1, "sample"), (0, "feature"))[: 1 + all_features]:
        empty = np.flatnonzero(~mask.any(axis=axis))
        if empty.size:
            raise ValueError(f"mask leaves {what} {empty[0]} without an observed entry; drop it")
    return mask


def check_training_data(X, mask=None, name="X"):
    """Return ``(X, mask)`` fit to learn from: at least two samples that are not all the same."""
    mask = check_mask(mask, X, name=name)
    X = check_matrix(X, name, min_rows=2, mask=mask)
    observed = np.ones(X.shape, bool) if mask is None else mask
    lowest = np.min(X, axis=0, initial=np.inf, where=observed)
    highest = np.max(X, axis=0, initial=-np.inf, where=observed)
    if lowest.min() == highest.max():
        raise ValueError(f"{name} is constant (every entry is {lowest[0]:.6g}): there is nothing to learn")
    if (lowest == highest).all():
        raise ValueError(f"{name} is one sample repeated {X.shape[0]} times: there is nothing to learn")
    limits = np.finfo(X.dtype)
    largest = np.abs(X).max()
    if largest < np.sqrt(limits.tiny) / limits.eps:
        raise ValueError(
            f"{name} holds values of at most {largest:.3g}, whose squares underflow {X.dtype}; rescale"
        )
    return X, mask


def check_count(value, name, *, minimum=1):
    """Return ``value`` as an int of at least ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, found {value!r} of type {type(value).__name__}")
    count = int(value)
    if count < minimum:
        raise ValueError(f"{name} must be at least {minimum}, found {value}")
    if count > _LARGEST_COUNT:
        raise ValueError(f"{name} must be at most 2**63 - 1, found a larger number")
    return count


def warn_if_unbounded(X, n_atoms, mask=None, fixed=()):
    """Warn where atoms can explain the data exactly: the posterior then has no limit as the noise goes to zero."""
    if (
        mask is not None
        or "noise_scale" in fixed
        or "dictionary" in fixed
        or len(X) <= max(n_atoms, X.shape[1])
    ):
        return
    wide = X.astype(np.float64)
    energy = np.linalg.eigvalsh(wide.T @ wide)
    rank = int(np.sum(energy > 1e-10 * energy[-1]))
    if rank < X.shape[1] and n_atoms >= rank:
        warn(
            f"X has rank {rank} with {X.shape[1]} features, so that {n_atoms} atoms can explain it without any noise, "
            "where the posterior density is not bounded: leave out constant or dependent features, "
            "allow fewer atoms, or add noise of the data's own resolution",
            UnboundedPosteriorWarning,
        )


def check_draws(num_samples, num_chains, thinning):
    """Return the counts by name; at least one draw of a chain must be kept."""
    counts = dict(num_samples=num_samples, num_chains=num_chains, thinning=thinning)
    counts = {name: check_count(value, name) for name, value in counts.items()}
    if thinning > num_samples:
        raise ValueError(f"thinning must be at most num_samples = {num_samples}, found {thinning}")
    return counts


def check_scalar(value, name, *, minimum=0.0, strict=False, maximum=np.inf):
    """Return ``value`` as a finite float in [minimum, maximum], or (``strict``) above ``minimum``."""
    # a zero-dimensional NumPy or JAX array is a number too
    is_array = isinstance(getattr(value, "dtype", None), np.dtype)
    scalar = value.item() if is_array and np.ndim(value) == 0 else value
    if isinstance(scalar, bool) or not isinstance(scalar, numbers.Real):
        raise TypeError(f"{name} must be a real number, found {value!r} of type {type(value).__name__}")
    try:
        number = float(scalar)
    except OverflowError:
        number = np.inf
    if not np.isfinite(number) or number < minimum or (strict and number == minimum) or number > maximum:
        bounds = f"{'above' if strict else 'at least'} {minimum:g}"
        if np.isfinite(maximum):
            bounds += f" and at most {maximum:g}"
        raise ValueError(f"{name} must be finite and {bounds}, found {number:g}")
    return number


def check_choice(value, name, choices):
    """Return ``value`` if it is one of ``choices``."""
    if not isinstance(value, Hashable) or value not in choices:
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
