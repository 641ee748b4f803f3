"""Bad input to a comparison gets one clear error."""

from collections.abc import Mapping

import numpy as np

from padl_bayes._options import check_sequence
from padl_bayes._validation import check_array, check_mask, check_matrix, check_scalar
from padl_bayes.comparison.entries import HeldOut, hide


def check_names(fits, names):
    """Fits in a tuple, and their names, or None where they are to be made."""
    if len(fits) == 1 and isinstance(fits[0], Mapping) and not hasattr(fits[0], "attrs"):
        if names is not None:
            raise ValueError("names go with fits, not with a mapping, which has its own")
        fits, names = tuple(fits[0].values()), list(fits[0])
    if not fits:
        raise ValueError("compare needs at least one fit")
    if names is None:
        return fits, None
    names = [names] if isinstance(names, str) else check_sequence(names, "names", "texts")
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"names must be texts, found {names!r}")
    if len(names) != len(fits) or len(set(names)) != len(fits):
        raise ValueError(f"names must be {len(fits)} different texts, found {names!r}")
    return fits, names


def check_levels(levels):
    levels = check_array(levels, "levels", ("n",)).astype(np.float64)
    if levels.min() <= 0 or levels.max() >= 1:
        raise ValueError(f"levels must lie in (0, 1), found {levels.tolist()}")
    return tuple(sorted(map(float, levels)))


def _check_truth(truth, shape):
    """Noiseless samples and true atoms, or None where they are not known."""
    if truth is None:
        return None, None
    get = truth.get if isinstance(truth, Mapping) else lambda name: getattr(truth, name, None)
    clean, dictionary = get("clean"), get("dictionary")
    if clean is None and dictionary is None:
        raise ValueError(f"truth must have clean or dictionary, found {type(truth).__name__} with neither")
    if clean is not None and np.shape(clean) != shape:
        raise ValueError(f"truth.clean must have the shape of X_held_out, {shape}, found {np.shape(clean)}")
    if clean is not None:
        clean = check_array(clean, "truth.clean", shape).astype(np.float64)
    if dictionary is not None:
        dictionary = check_matrix(dictionary, "truth.dictionary", n_features=shape[1])
    return clean, dictionary


def check_held_out(X, mask, truth, hidden, random_state):
    """`HeldOut`, and the true atoms or None."""
    mask = check_mask(mask, X, name="X_held_out")
    X = check_matrix(X, "X_held_out", mask=mask).astype(np.float64)
    clean, atoms = _check_truth(truth, X.shape)
    share = check_scalar(hidden, "hidden", strict=True, maximum=1.0)
    if share == 1:
        raise ValueError("hidden must be below 1: something has to be seen")
    hidden = hide(mask, X.shape, share, np.random.default_rng(random_state))
    if not hidden.any():
        raise ValueError("X_held_out needs a sample with at least 2 observed entries, to hide one of them")
    return HeldOut(X, mask, hidden, clean), atoms
