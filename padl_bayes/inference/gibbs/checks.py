"""What `sample_gibbs` is given, checked."""

import numpy as np

from padl_bayes._options import check_mapping, check_sequence
from padl_bayes._validation import check_array, check_count, check_dictionary, check_scalar

_SCALARS = ("noise_scale", "activation_rate", "rate_l1", "rate_linf")


def check_fixed(fixed, X):
    """Return the checked values of sites that are not sampled."""
    fixed = check_mapping(fixed, "fixed")
    for name, value in fixed.items():
        if name == "dictionary":
            fixed[name] = check_dictionary(value, n_features=X.shape[1])
        elif name in _SCALARS or np.ndim(value) == 0:
            fixed[name] = check_scalar(value, name, strict=True)
        else:
            fixed[name] = check_array(value, name, ("K",))
    return fixed


def check_n_atoms(n_atoms, start, fixed):
    """Return the number of places for atoms."""
    found = None if start is None else len(start["dictionary"])
    n_atoms = None if n_atoms is None else check_count(n_atoms, "n_atoms")
    if "dictionary" in fixed:
        wanted = len(fixed["dictionary"])
        if n_atoms not in (None, wanted):
            raise ValueError(f"n_atoms must agree with the fixed dictionary, {wanted}, found {n_atoms}")
        return wanted
    if n_atoms is not None:
        if n_atoms < (found or 1):
            raise ValueError(f"n_atoms must be at least the {found} atoms of init, found {n_atoms}")
        return n_atoms
    if found is None:
        raise ValueError("n_atoms must be given where neither init nor a fixed dictionary tells it")
    return found + max(8, found // 4)


def check_start_active(start_active, n_atoms, num_chains):
    """Return how many atoms are active where each chain starts, None if that is left to chance."""
    if start_active is None:
        return None
    one = not hasattr(start_active, "__len__") or np.ndim(start_active) == 0
    each = [start_active] * num_chains if one else check_sequence(start_active, "start_active", "integers")
    if len(each) != num_chains:
        raise ValueError(f"start_active must have one number a chain, {num_chains}, found {len(each)}")
    counts = np.array([check_count(count, "start_active", minimum=0) for count in each])
    if counts.max() > n_atoms:
        raise ValueError(f"start_active must be at most n_atoms = {n_atoms}, found {counts.max()}")
    return counts
