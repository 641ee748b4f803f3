"""Exact posteriors of padl for K <= 3 atoms and N <= 3 samples: enumeration of z and s, quadrature of the rest.

Written from the program's definition alone. Usage and activation rate are integrated in closed form, the
rates or envelopes of atoms and the codes on grids, noise, directions and shared rates outermost.
"""

import itertools

import numpy as np
from scipy.special import betaln

from tests.oracles.tiny_gibbs_rules import enveloped_atom, reach, settings, two_level_atom


def exact(X, slab, priors, fixed, *, n_atoms=None, nonnegative=False, mask=None, angles=16, order=8):
    """Posterior means of the functionals of `tiny_gibbs_draws.functionals`, and ``log_evidence``.

    Parameters
    ----------
    X : ndarray, shape (N, P)
        P must be 2 where the dictionary is unknown.
    slab : {"bernoulli_laplace", "bernoulli_gaussian", "l1linf"}
    priors : dict
        Beta (a, b), Gamma (shape, rate) and half-normal scale, by site.
    fixed : dict
        Known sites: ``dictionary`` (K, P), ``usage`` and ``rate`` () or (K,), scalars.
    """
    X = np.asarray(X, float)
    n_atoms = len(fixed["dictionary"]) if "dictionary" in fixed else n_atoms
    observed = np.ones(X.shape, bool) if mask is None else np.asarray(mask, bool)
    totals = {}
    for setting in settings(fixed, priors, slab, n_atoms, nonnegative, angles):
        atoms = _atoms(X, observed, slab, priors, fixed, nonnegative, setting, n_atoms, order)
        inner = _enumerate(X, observed, setting, atoms, _Weights(slab, priors, fixed, len(X), n_atoms))
        for name, value in (inner | _shared(inner, setting, fixed, slab, nonnegative)).items():
            totals[name] = totals.get(name, 0) + setting.weight * value
    if "dictionary" not in fixed and not nonnegative:
        del totals["codes"]
    mass = totals.pop("mass")
    return {name: value / mass for name, value in totals.items()} | {"log_evidence": np.log(mass)}


def _atoms(X, observed, slab, priors, fixed, nonnegative, setting, n_atoms, order):
    limit = reach(X, observed, setting.dictionary, setting.noise_scale)
    if slab == "l1linf":
        rates = setting.rate_l1, setting.rate_linf
        return [enveloped_atom(nonnegative, *rates, len(X), limit, setting.noise_scale, order)] * n_atoms
    rates = np.broadcast_to(fixed["rate"], n_atoms) if "rate" in fixed else [None] * n_atoms
    noise_scale = setting.noise_scale
    return [
        two_level_atom(slab, nonnegative, rate, priors.get("rate"), limit, noise_scale, order)
        for rate in rates
    ]


class _Weights:
    """Prior probabilities of z and of s given z, usage and activation rate integrated out where unknown."""

    def __init__(self, slab, priors, fixed, n, n_atoms):
        self.n, self.n_atoms = n, n_atoms
        self.activation = fixed.get("activation_rate")
        self.beta = priors.get("activation_rate")
        usage = 1.0 if slab == "l1linf" else fixed.get("usage")
        self.usage = None if usage is None else np.broadcast_to(usage, n_atoms)
        self.usage_beta = priors.get("usage")
        self.latent = "envelope" if slab == "l1linf" else None if "rate" in fixed else "rate"

    def of_active(self, z):
        count = sum(z)
        if self.activation is not None:
            return self.activation**count * (1 - self.activation) ** (self.n_atoms - count)
        a, b = self.beta
        return np.exp(betaln(a + count, b + self.n_atoms - count) - betaln(a, b))

    def of_support(self, z, s):
        total = 1.0
        for k in np.flatnonzero(z):
            used = s[:, k].sum()
            if self.usage is not None:
                total *= self.usage[k] ** used * (1 - self.usage[k]) ** (self.n - used)
            else:
                a, b = self.usage_beta
                total *= np.exp(betaln(a + used, b + self.n - used) - betaln(a, b))
        return total

    def means(self, z, s):
        """Posterior means of activation rate and usage given z and s: conjugate."""
        out = {}
        if self.activation is None:
            a, b = self.beta
            out["activation_rate"] = np.array((a + sum(z)) / (a + b + self.n_atoms))
        if self.usage is None:
            a, b = self.usage_beta
            out["usage"] = np.where(z, (a + s.sum(0)) / (a + b + self.n), a / (a + b))
            out["usage active"] = out["usage"] * z
        return out


def _enumerate(X, observed, setting, atoms, weights):
    """Sums over z and s of prior times likelihood times each functional, globals given."""
    n, n_atoms = len(X), len(atoms)
    tables = [_Tables(x[seen], setting.dictionary[:, seen], setting.noise_scale, atoms)
              for x, seen in zip(X, observed, strict=True)]  # fmt: skip
    totals = {}
    for z in itertools.product((0, 1), repeat=n_atoms):
        rows = [row for row in itertools.product((0, 1), repeat=n_atoms) if np.all(np.array(row) <= z)]
        for s in itertools.product(rows, repeat=n):
            s_array = np.array(s)
            prior = weights.of_active(z) * weights.of_support(z, s_array)
            if prior > 0:
                for name, value in _terms(z, s_array, tables, atoms, weights).items():
                    totals[name] = totals.get(name, 0) + prior * value
    return totals


def _terms(z, s, tables, atoms, weights):
    """Likelihood of (z, s) with latents and codes integrated out, times each functional."""
    n, n_atoms = s.shape
    active = np.array(z)
    axes = np.ix_(*(atom.prior for atom in atoms))
    prior = np.ones(())
    for k in range(n_atoms):
        prior = prior * axes[k]
    likelihood = [table.moment(tuple(row)) for table, row in zip(tables, s, strict=True)]
    joint = prior * np.prod(np.stack(np.broadcast_arrays(*likelihood)), axis=0)
    mass = joint.sum()
    pattern = np.zeros(2**n_atoms)
    pattern[int(active @ 2 ** np.arange(n_atoms))] = mass
    terms = {"mass": mass, "pattern": pattern, "active": mass * active, "num_active": mass * active.sum(),
             "used": mass * s, "codes": np.zeros(s.shape), "codes^2": np.zeros(s.shape)}  # fmt: skip
    for i, k in np.argwhere(s):
        for power, name in ((1, "codes"), (2, "codes^2")):
            swapped = prior * tables[i].moment(tuple(s[i]), k, power)
            for other in range(n):
                swapped = swapped * (1 if other == i else likelihood[other])
            terms[name][i, k] = swapped.sum()
    terms |= {name: mass * value for name, value in weights.means(z, s).items()}
    if weights.latent is not None:
        latents = np.ix_(*(atom.latent for atom in atoms))
        shrunk = [np.exp(-latent) if weights.latent == "envelope" else latent for latent in latents]
        name = "exp(-envelope)" if weights.latent == "envelope" else "rate"
        terms[name] = np.array([(joint * value).sum() for value in shrunk])
        terms[f"{name} active"] = terms[name] * active
    if weights.latent == "envelope":
        terms["envelope"] = np.array([(joint * latent).sum() for latent in latents])
        terms["envelope active"] = terms["envelope"] * active
    return terms


class _Tables:
    """Integrals over one sample's codes of likelihood times a power of one code, on the grid of latents."""

    def __init__(self, x, dictionary, noise_scale, atoms):
        self.x, self.dictionary, self.noise_scale, self.atoms = x, dictionary, noise_scale, atoms
        self._kept, self._kernels = {}, {}

    def moment(self, row, k=None, power=0):
        key = (row, k, power)
        if key not in self._kept:
            self._kept[key] = self._integrate(row, k, power)
        return self._kept[key]

    def _kernel(self, row):
        if row not in self._kernels:
            grids = np.ix_(*(atom.codes.ravel() if used else np.zeros(1)
                             for atom, used in zip(self.atoms, row, strict=True)))  # fmt: skip
            misfit = 0.0
            for feature, value in enumerate(self.x):
                fit = sum(r * d for r, d in zip(grids, self.dictionary[:, feature], strict=True))
                misfit = misfit + (value - fit) ** 2
            scale = (2 * np.pi * self.noise_scale**2) ** (-len(self.x) / 2)
            self._kernels[row] = scale * np.exp(-misfit / (2 * self.noise_scale**2))
        return self._kernels[row]

    def _integrate(self, row, k, power):
        total = self._kernel(row)
        for axis, (atom, used) in enumerate(zip(self.atoms, row, strict=True)):
            if used:
                mass = atom.mass * atom.codes**power if axis == k else atom.mass
                split = total.reshape(*total.shape[:axis], *mass.shape, *total.shape[axis + 1 :])
                ahead = np.moveaxis(split, (axis, axis + 1), (-2, -1))
                total = np.moveaxis(np.einsum("...mj,mj->...m", ahead, mass), -1, axis)
        return total


def _shared(inner, setting, fixed, slab, nonnegative):
    """Functionals of the globals of ``setting``."""
    mass, active = inner["mass"], inner["active"]
    out = {}
    if "noise_scale" not in fixed:
        out["noise_scale"], out["noise_scale^2"] = mass * setting.noise_scale, mass * setting.noise_scale**2
        out["noise_scale num_active"] = inner["num_active"] * setting.noise_scale
    for name in ("rate_l1", "rate_linf"):
        if slab == "l1linf" and name not in fixed:
            out[name] = mass * getattr(setting, name)
            out[f"{name} num_active"] = inner["num_active"] * getattr(setting, name)
    if "dictionary" not in fixed:
        out["reconstruction"] = inner["codes"] @ setting.dictionary
        for turn in (1, 2) if nonnegative else (2,):
            for name, wave in (("cos", np.cos), ("sin", np.sin)):
                value = wave(turn * setting.angles)
                out[f"{name}{turn}"], out[f"{name}{turn} active"] = mass * value, active * value
        if len(active) == 2:
            out["coherence active"] = inner["pattern"][3] * np.cos(setting.angles[0] - setting.angles[1]) ** 2
    return out
