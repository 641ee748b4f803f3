"""Functionals of draws of padl, and the program's prior in NumPy as a second route to its posterior."""

import numpy as np


def functionals(samples, fixed, *, nonnegative=False):
    """Arrays (..., functional's shape) of what `tiny_gibbs.exact` gives the means of, from draws by site."""
    active, codes = samples["active"], samples["codes"]
    n_atoms = active.shape[-1]
    index = (active.astype(int) * 2 ** np.arange(n_atoms)).sum(-1)
    out = {
        "pattern": (index[..., None] == np.arange(2**n_atoms)).astype(float),
        "active": active.astype(float),
        "num_active": active.sum(-1).astype(float),
        "used": (codes != 0).astype(float),
        "codes": codes,
        "codes^2": codes**2,
    }
    for name in ("activation_rate", "noise_scale", "usage", "rate", "envelope", "rate_l1", "rate_linf"):
        if name in samples and name not in fixed:
            out[name] = samples[name]
    if "noise_scale" in out:
        out["noise_scale^2"] = out["noise_scale"] ** 2
    if "envelope" in out:
        out["exp(-envelope)"] = np.exp(-out["envelope"])
    for name in ("usage", "rate", "envelope", "exp(-envelope)"):
        if name in out:
            out[f"{name} active"] = out[name] * active
    for name in ("noise_scale", "rate_l1", "rate_linf"):
        if name in out:
            out[f"{name} num_active"] = out[name] * out["num_active"]
    if "dictionary" not in fixed:
        if not nonnegative:
            del out["codes"]
        out["reconstruction"] = codes @ samples["dictionary"]
        out |= _directions(samples["dictionary"], active, nonnegative)
    return out


def _directions(dictionary, active, nonnegative):
    angles = np.arctan2(dictionary[..., 1], dictionary[..., 0])
    out = {}
    for turn in (1, 2) if nonnegative else (2,):
        for name, wave in (("cos", np.cos), ("sin", np.sin)):
            out[f"{name}{turn}"] = wave(turn * angles)
            out[f"{name}{turn} active"] = out[f"{name}{turn}"] * active
    if active.shape[-1] == 2:
        aligned = np.cos(angles[..., 0] - angles[..., 1]) ** 2
        out["coherence active"] = active[..., 0] * active[..., 1] * aligned
    return out


def prior_draws(size, shape, slab, priors, fixed, *, n_atoms=None, nonnegative=False, seed=0):
    """Draws (size, ...) of every site of padl by ancestral sampling."""
    rng = np.random.default_rng(seed)
    n, p = shape
    k = len(fixed["dictionary"]) if "dictionary" in fixed else n_atoms

    def site(name, draw, extent):
        return np.broadcast_to(fixed[name], extent) if name in fixed else draw()

    def beta(name, extent):
        return site(name, lambda: rng.beta(*priors[name], extent), extent)

    def gamma(name, extent):
        return site(name, lambda: rng.gamma(priors[name][0], 1 / priors[name][1], extent), extent)

    def sphere():
        atoms = rng.standard_normal((size, k, p))
        return atoms / np.linalg.norm(atoms, axis=-1, keepdims=True)

    draws = {
        "dictionary": site("dictionary", sphere, (size, k, p)),
        "activation_rate": beta("activation_rate", size),
    }
    draws["noise_scale"] = site(
        "noise_scale", lambda: priors["noise_scale"] * np.abs(rng.standard_normal(size)), size
    )
    draws["active"] = (rng.random((size, k)) < draws["activation_rate"][:, None]).astype(int)
    u = rng.random((size, n, k))
    if slab == "l1linf":
        draws["rate_l1"], draws["rate_linf"] = gamma("rate_l1", size), gamma("rate_linf", size)
        l1 = draws["rate_l1"][:, None]
        draws["envelope"] = -np.log(rng.beta(draws["rate_linf"][:, None] / l1, n + 1, (size, k))) / l1
        magnitude = -np.log1p(u * np.expm1(-l1 * draws["envelope"])[:, None]) / l1[:, None]
        used = np.ones((size, n, k))
    else:
        draws["usage"], draws["rate"] = beta("usage", (size, k)), gamma("rate", (size, k))
        used = rng.random((size, n, k)) < draws["usage"][:, None]
        if slab == "bernoulli_laplace":
            magnitude = -np.log(u) / draws["rate"][:, None]
        else:
            magnitude = np.abs(rng.standard_normal((size, n, k))) / np.sqrt(draws["rate"][:, None])
    sign = 1 if nonnegative else rng.choice([-1, 1], (size, n, k))
    draws["codes"] = sign * magnitude * used * draws["active"][:, None]
    return draws


def log_likelihood(draws, X, mask=None):
    """Log density (size,) of X given each draw."""
    observed = np.ones(X.shape, bool) if mask is None else np.asarray(mask, bool)
    residual = np.where(observed, X - draws["codes"] @ draws["dictionary"], 0)
    scale = draws["noise_scale"]
    misfit = np.square(residual).sum((-2, -1))
    return -misfit / (2 * scale**2) - observed.sum() * np.log(np.sqrt(2 * np.pi) * scale)
