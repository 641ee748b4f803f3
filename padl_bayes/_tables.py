"""Tables of pandas and polars, of which neither is needed: names of columns in, tables out."""

import importlib

import numpy as np

from .exceptions import FeatureNamesWarning, warn

CONTAINERS = ("default", "pandas", "polars")
_MOST_LISTED = 5


def names_of(X):
    """Column names of a table as an array of str; None if it has none.

    Raises
    ------
    TypeError
        Some names are texts and some are not.
    """
    columns = getattr(X, "columns", None)
    if columns is None or not hasattr(columns, "__len__"):
        return None
    texts = [isinstance(name, str) for name in columns]
    if not any(texts):
        return None
    if not all(texts):
        kinds = ", ".join(sorted({type(name).__name__ for name in columns}))
        raise TypeError(
            "Feature names are only supported if all input features have string names, but X has names of type "
            f"{kinds}: convert them all with X.columns = X.columns.astype(str), or pass X.to_numpy()"
        )
    return np.asarray(columns, dtype=object)


def _in_short(names):
    return ", ".join(names[:_MOST_LISTED]) + (", ..." if len(names) > _MOST_LISTED else "")


def _listed(names):
    shown = "".join(f"- {name}\n" for name in names[:_MOST_LISTED])
    return shown + ("- ...\n" if len(names) > _MOST_LISTED else "")


def check_names(found, fitted, owner):
    """Refuse columns with other names than were fitted; warn where only one of the two has names.

    Parameters
    ----------
    found, fitted : ndarray of str or None
    owner : str
        Class of the estimator, for messages.
    """
    if found is None and fitted is None:
        return
    if found is None:
        message = f"X does not have valid feature names, but {owner} was fitted with feature names"
        warn(f"{message}: pass a table with columns {_in_short(fitted)}", FeatureNamesWarning)
        return
    if fitted is None:
        message = f"X has feature names, but {owner} was fitted without feature names"
        warn(f"{message}: pass X.to_numpy(), or fit a table", FeatureNamesWarning)
        return
    if np.array_equal(found, fitted):
        return
    message = "The feature names should match those that were passed during fit.\n"
    unseen, missing = sorted(set(found) - set(fitted)), sorted(set(fitted) - set(found))
    if unseen:
        message += "Feature names unseen at fit time:\n" + _listed(unseen)
    if missing:
        message += "Feature names seen at fit time, yet now missing:\n" + _listed(missing)
    if not unseen and not missing:
        message += "Feature names must be in the same order as they were in fit.\n"
    raise ValueError(message)


def as_table(values, names, X, kind):
    """``values`` (N, K) as a table of pandas, with the index of ``X``, or of polars.

    Raises
    ------
    ImportError
        The package is not installed.
    """
    try:
        package = importlib.import_module(kind)
    except ImportError as error:
        raise ImportError(f"set_output(transform={kind!r}) needs {kind}: pip install {kind}") from error
    if kind == "polars":
        return package.DataFrame(values, schema=list(names), orient="row")
    index = X.index if isinstance(X, package.DataFrame) else None
    return package.DataFrame(values, index=index, columns=list(names), copy=False)
