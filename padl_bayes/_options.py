"""Options of any kind that is no number: seeds, switches, callbacks, mappings, fits to start from."""

from collections.abc import Mapping

import numpy as np

from ._memory import check_fits
from ._validation import check_count

_LARGEST_SEED = 2**32 - 1


def check_seed(value, name="random_state"):
    """Return a seed as an int below 2**32, beyond which JAX takes different seeds for the same."""
    seed = check_count(value, name, minimum=0)
    if seed > _LARGEST_SEED:
        raise ValueError(f"{name} must be at most {_LARGEST_SEED}, found {value}")
    return seed


def check_generator_seed(value, name="random_state"):
    """Return a seed of NumPy's generators, an int of any size."""
    return check_count(value, name, minimum=0)


def check_flag(value, name):
    """Return a switch as a bool."""
    if isinstance(value, (bool, np.bool_)) or (type(value) is int and value in (0, 1)):
        return bool(value)
    raise TypeError(f"{name} must be True or False, found {value!r} of type {type(value).__name__}")


def check_callback(value, name="callback"):
    """Return something to call, or None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be callable or None, found {value!r} of type {type(value).__name__}")
    return value


def check_mapping(value, name):
    """Return a mapping of names as a dict, empty for None."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TypeError(
            f"{name} must be a mapping of names to values, found {value!r} of type {type(value).__name__}"
        )
    return dict(value)


def check_sequence(value, name, of):
    """Return a list of what can be gone through."""
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__iter__") or isinstance(value, type):
        raise TypeError(f"{name} must be a sequence of {of}, found {value!r} of type {type(value).__name__}")
    try:
        return list(value)
    except TypeError as error:
        raise TypeError(f"{name} must be a sequence of {of}: {error}") from None


def check_start(init, name="init"):
    """Return a fit to start from, or None."""
    missing = [what for what in ("dictionary", "codes", "noise_scale") if getattr(init, what, None) is None]
    if init is not None and missing:
        raise TypeError(
            f"{name} must be a fit with dictionary, codes and noise_scale, found {type(init).__name__} without "
            f"{missing[0]}"
        )
    return init


def check_atoms_fit(shape, n_atoms, dtype):
    """Refuse an upper bound on the atoms whose codes and dictionary cannot be held, for data of this shape."""
    n_samples, n_features = shape
    nbytes = np.dtype(dtype).itemsize * n_atoms * (n_samples + n_features)
    what = f"n_atoms={n_atoms} with {n_samples} samples of {n_features} features"
    check_fits(nbytes, what, "allow fewer atoms (n_atoms)")
