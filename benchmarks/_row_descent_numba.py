"""A rival for sparse coding: cyclic exact row updates in numba, with an active set. Nothing of it is in the package."""

import time

import numba
import numpy as np

BLOCK = 512


@numba.njit(fastmath=True, cache=False)
def _clip_level(u, alpha2, guess):
    level, count = guess, -1
    while True:
        mass, above = 0.0, 0
        for n in range(u.size):
            if u[n] > level:
                mass += u[n]
                above += 1
        if above == count:
            return level
        if above == 0:
            level, count = 0.0, -1
            continue
        level, count = max((mass - alpha2) / above, 0.0), above


@numba.njit(fastmath=True, cache=False)
def _update_row(k, residual, dictionary, alpha1, alpha2, codes, levels, v, u):
    features, samples = residual.shape
    v[:] = codes[k]
    total = 0.0
    for start in range(0, samples, BLOCK):
        end = min(start + BLOCK, samples)
        for p in range(features):
            d = dictionary[k, p]
            for n in range(start, end):
                v[n] += d * residual[p, n]
        for n in range(start, end):
            u[n] = max(abs(v[n]) - alpha1, 0.0)
            total += u[n]
    if total <= alpha2:
        if levels[k] == 0.0:
            return
        levels[k] = 0.0
    else:
        levels[k] = _clip_level(u, alpha2, levels[k])
    for start in range(0, samples, BLOCK):
        end = min(start + BLOCK, samples)
        for n in range(start, end):
            new = np.copysign(min(u[n], levels[k]), v[n])
            v[n] = new - codes[k, n]
            codes[k, n] = new
        for p in range(features):
            d = dictionary[k, p]
            for n in range(start, end):
                residual[p, n] -= d * v[n]


@numba.njit(fastmath=True, cache=False)
def _sweeps(residual, dictionary, alpha1, alpha2, codes, count):
    levels = np.zeros(len(dictionary))
    v, u = np.empty(residual.shape[1]), np.empty(residual.shape[1])
    for sweep in range(count):
        for k in range(len(dictionary)):
            # All atoms in one sweep of ten; in the others those in use.
            if sweep % 10 == 0 or levels[k] > 0.0:
                _update_row(k, residual, dictionary, alpha1, alpha2, codes, levels, v, u)


def compile_all(n_features):
    """Compile; returns the seconds it took."""
    started = time.perf_counter()
    code(np.ones((2, n_features)), np.ones((1, n_features)), 0.0, 1.0, 1)
    return time.perf_counter() - started


def code(X, dictionary, alpha1, alpha2, count):
    """Codes (N, K) after so many sweeps from zero."""
    codes = np.zeros((len(dictionary), len(X)))
    _sweeps(np.ascontiguousarray(X.T), dictionary, alpha1, alpha2, codes, count)
    return codes.T
