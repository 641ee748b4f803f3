"""Solvers for PADL's convex subproblem that share no code with the package: NumPy, a sort, SciPy's SLSQP."""

import numpy as np
from scipy.optimize import minimize


def energy(X, codes, dictionary, alpha1, alpha2):
    """Objective, written out entry by entry."""
    fit = 0.5 * np.sum((X - codes @ dictionary) ** 2)
    return fit + alpha1 * np.abs(codes).sum() + alpha2 * sum(np.abs(column).max() for column in codes.T)


def project_l1_balls(V, radius):
    """Euclidean projection of each row by a full sort (Held, Wolfe & Crowder 1974)."""
    if radius == 0:
        return np.zeros_like(V)
    ordered = -np.sort(-np.abs(V), axis=1)
    level = (np.cumsum(ordered, axis=1) - radius) / np.arange(1, V.shape[1] + 1)
    last = np.maximum(np.sum(ordered > level, axis=1) - 1, 0)
    theta = np.maximum(level[np.arange(len(V)), last], 0)
    return np.sign(V) * np.maximum(np.abs(V) - theta[:, None], 0)


def prox_by_sorting(V, alpha1, alpha2, nonnegative=False):
    """Prox of ``alpha1 ||r||_1 + alpha2 ||r||_inf`` for each row: soft-threshold, then Moreau's identity."""
    V = np.asarray(V, float)
    if nonnegative:
        V = np.maximum(V, 0)
    U = np.sign(V) * np.maximum(np.abs(V) - alpha1, 0)
    return U - project_l1_balls(U, alpha2)


def codes_by_proximal_gradient(X, dictionary, alpha1, alpha2, nonnegative=False, n_iter=20000):
    """Proximal gradient, accelerated and restarted (O'Donoghue & Candes 2015), until the iterates repeat."""
    X, dictionary = np.asarray(X, float), np.asarray(dictionary, float)
    step = 1 / np.linalg.norm(dictionary, 2) ** 2
    codes = point = np.zeros((len(X), len(dictionary)))
    t = 1.0
    for _ in range(n_iter):
        moved = point + step * (X - point @ dictionary) @ dictionary.T
        new = prox_by_sorting(moved.T, step * alpha1, step * alpha2, nonnegative).T
        if np.sum((point - new) * (new - codes)) > 0:
            t = 1.0
        t_new = (1 + np.sqrt(1 + 4 * t * t)) / 2
        point = new + (t - 1) / t_new * (new - codes)
        change = np.abs(new - codes).max()
        codes, t = new, t_new
        if change < 1e-14 * (1 + np.abs(codes).max()):
            break
    return codes


def codes_by_quadratic_program(X, dictionary, alpha1, alpha2, nonnegative=False):
    """The smooth constrained form: codes = plus - minus, both nonnegative and below an envelope per atom."""
    X, dictionary = np.asarray(X, float), np.asarray(dictionary, float)
    n, k = len(X), len(dictionary)

    def split(z):
        plus, minus = z[: n * k].reshape(n, k), z[n * k : 2 * n * k].reshape(n, k)
        return plus, minus, z[2 * n * k :]

    def value(z):
        plus, minus, envelope = split(z)
        residual = X - (plus - minus) @ dictionary
        gradient = -residual @ dictionary.T
        value = 0.5 * np.sum(residual**2) + alpha1 * (plus + minus).sum() + alpha2 * envelope.sum()
        parts = [gradient + alpha1, -gradient + alpha1, np.full(k, alpha2)]
        return value, np.concatenate([np.ravel(part) for part in parts])

    room = np.concatenate([np.hstack([-np.eye(n * k), -np.eye(n * k)]), np.tile(np.eye(k), (n, 1))], axis=1)
    result = minimize(
        value,
        np.full(2 * n * k + k, 0.1),
        jac=True,
        method="SLSQP",
        bounds=[(0, None)] * (n * k) + [(0, 0 if nonnegative else None)] * (n * k) + [(0, None)] * k,
        constraints={"type": "ineq", "fun": lambda z: room @ z, "jac": lambda z: room},
        options={"maxiter": 1000, "ftol": 1e-14},
    )
    plus, minus, _ = split(result.x)
    return plus - minus
