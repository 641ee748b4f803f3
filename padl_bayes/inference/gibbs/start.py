"""Where chains start: at random, far apart, from nothing but the data's scale; or at a fit."""

import jax
import jax.numpy as jnp
import numpy as np

from padl_bayes._validation import check_array, check_dictionary, check_scalar
from padl_bayes.kernels.von_mises_fisher import draw_uniform_directions


def scattered_start(key, X, mask, n_atoms, slab, fixed):
    """Sites with a random number of active atoms in random directions, no codes, and all of the data noise.

    Parameters
    ----------
    key : PRNG key
    X : array, shape (N, P)
        Zero where unobserved.
    mask : array of bool, shape (N, P), or None
    n_atoms : int
    slab : str
    fixed : mapping
        Values of sites that are not sampled.

    Returns
    -------
    dict
    """
    keys = jax.random.split(key, 6)
    n_samples, n_features = X.shape
    dtype = X.dtype
    scale = jnp.sqrt(jnp.mean(X**2, where=mask))
    count = jax.random.randint(keys[0], (), 1, n_atoms + 1)
    z = {
        "noise_scale": scale * jax.random.uniform(keys[2], dtype=dtype, minval=0.5, maxval=1.0),
        "activation_rate": (count + 1) / jnp.asarray(n_atoms + 2, dtype),
        "dictionary": draw_uniform_directions(keys[1], (n_atoms, n_features), dtype),
        "active": (jax.random.permutation(keys[3], n_atoms) < count).astype(int),
        "codes": jnp.zeros((n_samples, n_atoms), dtype),
        "activation_prob": jnp.full(n_atoms, 0.5, dtype),
    }
    if slab == "l1linf":
        z |= {"rate_l1": 1 / scale, "rate_linf": n_samples / scale}
        envelope = scale * jax.random.uniform(keys[4], (n_atoms,), dtype, minval=1.0, maxval=5.0)
        return z | {"envelope": envelope} | fixed
    size = scale**2 if slab == "bernoulli_gaussian" else scale
    return (
        z
        | {
            "usage": jax.random.uniform(keys[4], (n_atoms,), dtype, minval=0.05, maxval=0.5),
            "rate": jax.random.uniform(keys[5], (n_atoms,), dtype, minval=0.5, maxval=2.0) / size,
        }
        | fixed
    )


def start_with(counts, n_atoms):
    """Sites, one row a chain, that set how many atoms are active, ``counts`` (chains,), and a rate to go with it."""
    active = (np.arange(n_atoms) < counts[:, None]).astype(int)
    return {"active": active, "activation_rate": (counts + 1) / (n_atoms + 2)}


def start_of(init, X, slab):
    """Sites that a fit tells."""
    dictionary = check_dictionary(init.dictionary, "init.dictionary", n_features=X.shape[1])
    codes = check_array(init.codes, "init.codes", (len(X), len(dictionary)))
    start = dict(dictionary=dictionary, codes=codes, active=np.ones(len(dictionary), int))
    start["noise_scale"] = check_scalar(init.noise_scale, "init.noise_scale", strict=True)
    if slab == "l1linf":
        largest = np.abs(codes).max(0)
        return start | {"envelope": 1.1 * largest + 0.1 * np.abs(codes).mean()}
    used = codes != 0
    count = used.sum(0)
    size = np.square(codes).sum(0) if slab == "bernoulli_gaussian" else np.abs(codes).sum(0)
    start["usage"] = (count + 0.5) / (len(X) + 1)
    start["rate"] = (count + 1) / (size + np.sqrt(np.mean(np.square(X))))
    return start


def pad_start(start, n_atoms):
    """Sites of a fit in the first of ``n_atoms`` places; the others are off."""
    short = n_atoms - len(start["dictionary"])
    spare = np.zeros((short, start["dictionary"].shape[1]))
    spare[:, 0] = 1
    fill = {"usage": 0.1, "rate": 1.0, "envelope": 1.0, "active": 0}
    padded = {"noise_scale": start["noise_scale"]}
    padded["dictionary"] = np.concatenate([start["dictionary"], spare])
    padded["codes"] = np.pad(start["codes"], ((0, 0), (0, short)))
    return padded | {
        name: np.pad(start[name], (0, short), constant_values=value)
        for name, value in fill.items()
        if name in start
    }
