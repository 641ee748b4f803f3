"""Small problems and states for tests of the variational engine."""

import jax.numpy as jnp
import numpy as np

from padl_bayes.inference.variational import State, make_problem, padded_atoms
from padl_bayes.kernels.code_sweep import Atoms

KEYS = {
    "laplace": ("bernoulli_laplace", False),
    "exponential": ("bernoulli_laplace", True),
    "gaussian": ("bernoulli_gaussian", False),
    "half_normal": ("bernoulli_gaussian", True),
}


def unit_rows(rng, n_atoms, n_features):
    """Atoms uniform on the sphere."""
    atoms = rng.standard_normal((n_atoms, n_features))
    return atoms / np.linalg.norm(atoms, axis=1, keepdims=True)


def sparse_data(rng, n_samples, n_features, n_atoms, noise):
    """Data (N, P) of the two-level model and its dictionary."""
    dictionary = unit_rows(rng, n_atoms, n_features)
    codes = rng.laplace(size=(n_samples, n_atoms)) * (rng.random((n_samples, n_atoms)) < 0.4)
    return codes @ dictionary + noise * rng.standard_normal((n_samples, n_features)), dictionary


def problem_with(X, kind, dictionary, *, usage, rate, precision, mask=None, places=None):
    """``(key, problem, state)`` with codes zero and the given global quantities; further places are switched off."""
    key = KEYS[kind]
    dtype = X.dtype
    n_atoms = len(dictionary)
    places = padded_atoms(n_atoms) if places is None else places
    problem = make_problem(np.where(mask, X, 0).astype(dtype) if mask is not None else X, mask, slab=key[0])

    def fill(values, rest):
        values = np.broadcast_to(values, (n_atoms, *np.shape(values)[1:]))
        out = np.full((places, *values.shape[1:]), rest, dtype)
        out[:n_atoms] = values
        return jnp.asarray(out)

    spare = np.eye(X.shape[1])[0]
    usage = np.asarray(usage, float)
    atoms = Atoms(
        fill(dictionary, spare), fill(np.log(usage) - np.log1p(-usage), -2.0), fill(rate, 1.0), fill(1.0, 0.0)
    )
    codes = jnp.zeros((problem.x.shape[0], places, problem.x.shape[2]), dtype)
    return key, problem, State(codes, atoms, fill(float(len(X)), 0.0), jnp.asarray(precision, dtype))
