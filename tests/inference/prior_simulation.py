"""Joint-distribution tests of a sampler (Geweke, JASA 99(467), 2004), with exact independent chains.

Parameters are drawn from the prior; then data given parameters and one sweep of the sampler given data, in turn. If
every conditional is right, the parameters after any number of rounds have the prior as their law, exactly.
"""

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import Predictive

from padl_bayes.inference.gibbs import GibbsState
from padl_bayes.models import Hyperpriors, padl

N, P, K = 4, 3, 3
PRIORS = Hyperpriors(
    activation_rate=(2.0, 2.0),
    usage=(1.5, 2.0),
    rate=(3.0, 2.0),
    rate_l1=(4.0, 3.0),
    rate_linf=(4.0, 2.0),
    noise_scale=0.7,
)


def prior_draws(seed, n_draws, **settings):
    """Draws of all sites from the program, by its own means."""
    names = ["activation_rate", "noise_scale", "dictionary", "active", "codes"]
    names += ["rate_l1", "rate_linf", "envelope"] if settings["slab"] == "l1linf" else ["usage", "rate"]
    simulate = Predictive(padl, num_samples=n_draws, return_sites=names)
    return simulate(jax.random.key(seed), None, K, n_samples=N, n_features=P, hyperpriors=PRIORS, **settings)


def after_rounds(kernel, z, seed, rounds, mask=None):
    """Parameters after ``rounds`` of drawing data and sweeping once, one chain a row of ``z``."""
    z = z | {"activation_prob": jnp.zeros(z["active"].shape, z["codes"].dtype)}
    kwargs = {} if mask is None else {"mask": mask}

    def one_round(z, key):
        key_data, key_sweep = jax.random.split(key)
        mean = (z["codes"] * z["active"]) @ z["dictionary"]
        X = mean + z["noise_scale"] * jax.random.normal(key_data, mean.shape, mean.dtype)
        zero = jnp.zeros((), X.dtype)
        state = GibbsState(0, z, zero, zero, key_sweep)
        return kernel.sample(state, (X,), kwargs).z, None

    def chain(z, key):
        return jax.lax.scan(one_round, z, jax.random.split(key, rounds))[0]

    keys = jax.random.split(jax.random.key(seed), len(z["active"]))
    return jax.jit(jax.vmap(chain))(z, keys)


def functionals(z):
    """Symmetric functions of the parameters (draw,) that between them see every site and their dependence."""
    z = {name: np.asarray(value, np.float64) for name, value in z.items()}
    on, codes, d = z["active"], z["codes"], z["dictionary"]
    used = codes != 0
    size = np.abs(codes)
    pairs = np.square(np.einsum("skp,sjp->skj", d, d))
    both = on[:, :, None] * on[:, None, :] * (1 - np.eye(K))
    energy = np.square(np.einsum("snk,skp->snp", codes, d)).sum((1, 2))
    found = {
        "pi": z["activation_rate"],
        "pi^2": z["activation_rate"] ** 2,
        "K": on.sum(1),
        "K^2": on.sum(1) ** 2,
        "pi K": z["activation_rate"] * on.sum(1),
        "sigma": z["noise_scale"],
        "log sigma": np.log(z["noise_scale"]),
        "sigma^2": z["noise_scale"] ** 2,
        "sigma K": z["noise_scale"] * on.sum(1),
        "used": used.sum((1, 2)),
        "used^2": used.sum((1, 2)) ** 2,
        "log(1 + l1)": np.log1p(size.sum((1, 2))),
        "log(1 + linf)": np.log1p(size.max((1, 2))),
        "log(1 + energy)": np.log1p(energy),
        "sigma, energy": np.log(z["noise_scale"]) * np.log1p(energy),
        "coherence": (pairs * both).sum((1, 2)),
        "d^4": (d**4).sum((1, 2)),
        "d^4 on": ((d**4).sum(2) * on).sum(1),
        "positive": (codes > 0).sum((1, 2)),
        "d sum": d.sum((1, 2)),
    }
    if "usage" in z:
        count = used.sum(1)
        found |= {
            "usage": z["usage"].mean(1),
            "usage^2": np.square(z["usage"]).mean(1),
            "usage on": (z["usage"] * on).sum(1),
            "usage off": (z["usage"] * (1 - on)).sum(1),
            "usage count": (z["usage"] * count).sum(1),
            "rate": z["rate"].mean(1),
            "log rate on": (np.log(z["rate"]) * on).sum(1),
            "log rate off": (np.log(z["rate"]) * (1 - on)).sum(1),
            "log rate, l1": (np.log(z["rate"]) * np.log1p(size.sum(1))).sum(1),
        }
    else:
        found |= {
            "l1": z["rate_l1"],
            "linf": z["rate_linf"],
            "log l1, linf": np.log(z["rate_l1"]) * np.log(z["rate_linf"]),
            "log l1, codes": np.log(z["rate_l1"]) * np.log1p(size.sum((1, 2))),
            "log linf, codes": np.log(z["rate_linf"]) * np.log1p(size.max((1, 2))),
            "log t on": (np.log(z["envelope"]) * on).sum(1),
            "log t off": (np.log(z["envelope"]) * (1 - on)).sum(1),
            "log l1, log t": np.log(z["rate_l1"]) * np.log(z["envelope"]).sum(1),
            "log linf, log t": np.log(z["rate_linf"]) * np.log(z["envelope"]).sum(1),
        }
    return found


def z_scores(a, b):
    """Two-sample z statistics of the functionals' means."""
    a, b = functionals(a), functionals(b)
    return {
        name: (a[name].mean() - b[name].mean())
        / np.sqrt(a[name].var() / len(a[name]) + b[name].var() / len(b[name]))
        for name in a
        if a[name].var() > 0
    }
