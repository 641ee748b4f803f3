"""Integrals against exp(-a ||r||_1 - b ||r||_inf) by brute-force quadrature and by exact finite sums."""

import math

import numpy as np
from scipy.special import digamma, polygamma


def sorted_magnitudes_rule(n, cutoff, order=60):
    """Points (m, n) and weights (m,) that integrate functions of the sorted |r| over R^n.

    Gauss-Legendre on r_1 >= r_2 >= ... >= r_n >= 0 with r_1 <= cutoff, times the 2^n n! copies of that wedge.
    """
    nodes, weights = np.polynomial.legendre.leggauss(order)
    nodes, weights = (nodes + 1) / 2, weights / 2
    points, total = np.zeros((1, 0)), np.ones(1)
    upper = np.full(1, float(cutoff))
    for _ in range(n):
        column = (upper[:, None] * nodes).ravel()
        total = (total[:, None] * upper[:, None] * weights).ravel()
        points = np.column_stack([np.repeat(points, order, axis=0), column])
        upper = column
    return points, total * 2**n * math.factorial(n)


def l1linf_integrals(rate_l1, rate_linf, n):
    """(Z, E||r||_1, E||r||_inf, E r_1^2) by quadrature, n <= 3."""
    r, w = sorted_magnitudes_rule(n, cutoff=45 / (rate_l1 + rate_linf))
    mass = w * np.exp(-rate_l1 * r.sum(1) - rate_linf * r.max(1))
    z = mass.sum()
    return z, mass @ r.sum(1) / z, mass @ r.max(1) / z, mass @ np.square(r).mean(1) / z


def log_z_product(rate_l1, rate_linf, n):
    """log Z = n log 2 - sum_j log(a + b / j), each term rounded once and the sum exact."""
    return math.fsum(math.log(2) - math.log(rate_l1 + rate_linf / j) for j in range(1, n + 1))


def norms_by_sums(rate_l1, rate_linf, n):
    """(E||r||_1, E||r||_inf, Var ||r||_inf) from the independent exponential spacings of the sorted |r|."""
    j = np.arange(1.0, n + 1)
    rate = rate_l1 * j + rate_linf
    return math.fsum(j / rate), math.fsum(1 / rate), math.fsum(1 / rate**2)


def mean_square_by_digamma(rate_l1, rate_linf, n):
    """E r_1^2 = [2 - (rho/n)(L^2 + V + 2L)] / a^2: from the truncated-Laplace E[r^2 | t] and t's Beta law."""
    rho = rate_linf / rate_l1
    mean = digamma(n + rho + 1) - digamma(rho + 1)
    variance = polygamma(1, rho + 1) - polygamma(1, n + rho + 1)
    return (2 - rho / n * (mean**2 + variance + 2 * mean)) / rate_l1**2
