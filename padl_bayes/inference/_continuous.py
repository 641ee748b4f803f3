"""What the engines of the continuous models (NUTS, SVI) share: their sites, what may be fixed, where to start."""

import numpy as np

from padl_bayes._options import check_mapping
from padl_bayes._validation import check_array, check_choice, check_count, check_dictionary, check_scalar

RATES = {"l1linf": ("rate_l1", "rate_linf"), "laplace": ("rate",)}


def check_fixed(fixed, model):
    """Return the checked values of sites that are not to be sampled."""
    fixed = check_mapping(fixed, "fixed")
    for name in fixed:
        check_choice(name, "fixed", ("dictionary", "noise_scale", *RATES[model]))
    if "dictionary" in fixed:
        fixed["dictionary"] = check_dictionary(fixed["dictionary"])
    return fixed | {k: check_scalar(v, k, strict=True) for k, v in fixed.items() if k != "dictionary"}


def check_n_atoms(n_atoms, init, fixed):
    """Return the number of atoms on which the argument, the fit to start from and a fixed dictionary agree."""
    known = [] if init is None else [len(init.dictionary)]
    known += [len(fixed["dictionary"])] if "dictionary" in fixed else []
    known += [] if n_atoms is None else [check_count(n_atoms, "n_atoms")]
    if not known:
        raise ValueError("n_atoms must be given where neither init nor a fixed dictionary tells it")
    if len(set(known)) > 1:
        raise ValueError(f"n_atoms must agree with init and fixed, found {' and '.join(map(str, known))}")
    return known[0]


def values_at(init, X, nonnegative):
    """Values of all sites, of either model, at the fit ``init``."""
    dictionary = check_dictionary(init.dictionary, "init.dictionary", n_features=X.shape[1])
    codes = check_array(init.codes, "init.codes", (X.shape[0], len(dictionary)))
    noise_scale = check_scalar(init.noise_scale, "init.noise_scale", strict=True)
    typical = np.abs(codes).mean()
    if typical == 0:
        raise ValueError("init.codes must have an entry that is not zero")
    # Nothing can start at the edge of its support: one-sided codes off zero, envelopes off the largest code.
    codes = np.maximum(codes, 0.01 * typical) if nonnegative else codes
    largest = np.abs(codes).max(0)
    envelope = 1.1 * largest + 0.1 * typical
    values = dict(
        dictionary_normal=dictionary * np.sqrt(X.shape[1]),
        noise_scale=noise_scale,
        rate=1 / typical,
        rate_l1=1 / typical,
        rate_linf=1 / np.mean(envelope - largest),
        envelope=envelope,
        codes_unit=codes / envelope,
        codes=codes,
    )
    return {name: np.asarray(value, X.dtype) for name, value in values.items()}
