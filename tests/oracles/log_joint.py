"""Log joint densities of the programs, term by term with SciPy in double precision."""

import numpy as np
from scipy import stats
from scipy.special import gammaln


def log_sphere(n_features):
    """Log density of the uniform law on the unit sphere of R^P, per atom."""
    return gammaln(n_features / 2) - np.log(2) - n_features / 2 * np.log(np.pi)


def log_envelope(t, rate_l1, rate_linf, n):
    """Log density of t = -log(y) / rate_l1, y ~ Beta(rate_linf / rate_l1, n + 1)."""
    law = stats.beta(rate_linf / rate_l1, n + 1)
    return law.logpdf(np.exp(-rate_l1 * t)) + np.log(rate_l1) - rate_l1 * t


def log_likelihood(X, codes, dictionary, noise_scale, mask=None):
    log_density = stats.norm(codes @ dictionary, noise_scale).logpdf(np.where(np.isnan(X), 0, X))
    return log_density.sum() if mask is None else log_density[mask].sum()


def log_hyperpriors(values, priors):
    """Terms that every slab shares, and those of the global rates and the atoms' usage and rate."""
    total = stats.halfnorm(scale=float(priors.noise_scale)).logpdf(values["noise_scale"])
    for name in ("activation_rate", "usage"):
        if name in values:
            total += stats.beta(*priors._asdict()[name]).logpdf(values[name]).sum()
    for name in ("rate", "rate_l1", "rate_linf"):
        if name in values:
            shape, rate = (float(number) for number in priors._asdict()[name])
            total += stats.gamma(shape, scale=1 / rate).logpdf(values[name]).sum()
    if "active" in values:
        total += stats.bernoulli(values["activation_rate"]).logpmf(values["active"]).sum()
    return total + values["dictionary"].shape[0] * log_sphere(values["dictionary"].shape[1])


def log_two_level_codes(values, slab, nonnegative):
    rate = np.broadcast_to(values["rate"], values["codes"].shape)
    if slab == "bernoulli_laplace":
        law = stats.expon(scale=1 / rate) if nonnegative else stats.laplace(scale=1 / rate)
    else:
        law = (stats.halfnorm if nonnegative else stats.norm)(scale=1 / np.sqrt(rate))
    used = np.log(values["usage"]) + law.logpdf(values["codes"])
    entries = np.where(values["codes"] == 0, np.log1p(-values["usage"]), used)
    return entries[:, values["active"] == 1].sum()


def log_enveloped_codes(values, nonnegative):
    l1, linf, t, codes = (values[name] for name in ("rate_l1", "rate_linf", "envelope", "codes"))
    n = codes.shape[0]
    total = log_envelope(t, l1, linf, n).sum()
    width = (1 if nonnegative else 2) * (1 - np.exp(-l1 * t)) / l1
    entries = -l1 * np.abs(codes) - np.log(width)
    return total + entries[:, values["active"] == 1].sum()


def padl_log_joint(X, values, priors, slab, *, nonnegative=False, mask=None):
    codes = (
        log_enveloped_codes(values, nonnegative)
        if slab == "l1linf"
        else log_two_level_codes(values, slab, nonnegative)
    )
    data = log_likelihood(X, values["codes"], values["dictionary"], values["noise_scale"], mask)
    return log_hyperpriors(values, priors) + codes + data


def laplace_log_joint(X, values, priors, *, nonnegative=False, mask=None):
    law = (stats.expon if nonnegative else stats.laplace)(scale=1 / values["rate"])
    data = log_likelihood(X, values["codes"], values["dictionary"], values["noise_scale"], mask)
    return log_hyperpriors(values, priors) + law.logpdf(values["codes"]).sum() + data
