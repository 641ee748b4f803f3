"""Fits and draws made by hand, of the kinds that the engines return."""

import numpy as np

from padl_bayes.alignment import align
from padl_bayes.inference.gibbs import GibbsDraws
from padl_bayes.inference.nuts import NutsDraws
from padl_bayes.inference.results import EmFit
from padl_bayes.inference.svi import SviFit


def unit_atoms(rng, n_atoms, n_features):
    D = rng.normal(size=(n_atoms, n_features))
    return D / np.linalg.norm(D, axis=1, keepdims=True)


def em_of(dictionary, usage, rate, noise_scale, slab="bernoulli_gaussian"):
    blank = dict(codes=None, probability=None, code_sd=None, activation_rate=0.5, elbo=0.0, evidence=0.0)
    return EmFit(
        dictionary=dictionary, usage=usage, rate=rate, noise_scale=noise_scale, slab=slab, nonnegative=False,
        activation_log_odds=np.linspace(1, 3, len(usage)), n_atoms=len(usage), data_scale=1.0, history={}, n_iter=1,
        converged=True, status="converged", wall_time=2.0, coding_noise_scale=noise_scale, **blank,
    )  # fmt: skip


def gibbs_of(draws, chains):
    """`GibbsDraws` whose atoms are all active and used by all samples, with Gaussian codes."""
    D, rate, noise = (np.array(part) for part in zip(*draws, strict=True))
    shape = (chains, len(draws) // chains)
    on = np.ones((*shape, D.shape[1]))
    samples = dict(
        dictionary=D.reshape(*shape, *D.shape[1:]), noise_scale=noise.reshape(shape), rate=rate.reshape(on.shape),
        usage=on, active=on.astype(int), activation_prob=on, num_active=on.sum(-1).astype(int),
    )  # fmt: skip
    alignment = align(samples["dictionary"], active=on)
    return GibbsDraws(
        samples, {}, {}, alignment, None, 3.0, 0, dict(slab="bernoulli_gaussian", nonnegative=False, fixed=[])
    )


def near(rng, values, *axes):
    """Two chains of 5 draws within a few per cent of ``values``."""
    return np.asarray(values) * np.exp(0.03 * rng.normal(size=(2, 5, *axes)))


def draws_near(fit):
    """What `sample_gibbs`, `sample_nuts` and `fit_svi` return, with draws near a fit instead of their own."""
    rng = np.random.default_rng(0)
    n_atoms, n_features = fit.dictionary.shape
    D = fit.dictionary + 0.05 * rng.normal(size=(2, 5, n_atoms, n_features))
    both = dict(
        dictionary=D / np.linalg.norm(D, axis=-1, keepdims=True), noise_scale=near(rng, fit.noise_scale)
    )
    active = (np.arange(n_atoms) < n_atoms - rng.integers(0, 2, (2, 5, 1))).astype(int)
    samples = both | dict(
        usage=np.clip(near(rng, fit.usage, n_atoms), 0, 1), rate=near(rng, fit.rate, n_atoms), active=active,
        activation_prob=np.where(active, 0.9, 0.2), num_active=active.sum(-1), activation_rate=near(rng, 0.5),
    )  # fmt: skip
    settings = dict(slab="bernoulli_laplace", nonnegative=False, n_atoms=n_atoms, fixed=[], num_chains=2)
    alignment = align(samples["dictionary"], fit.dictionary, active=active)
    gibbs = GibbsDraws(samples, {}, {}, alignment, None, 1.0, 0, settings)
    envelope = near(rng, np.abs(fit.codes).max(0), n_atoms)
    samples = both | dict(rate_l1=near(rng, 1.0), rate_linf=near(rng, 0.1), envelope=envelope)
    settings = dict(model="l1linf", nonnegative=False, n_atoms=n_atoms, fixed=[])
    nuts = NutsDraws(samples, {}, 1.0, 0, settings | dict(target_accept_prob=0.8))
    one_chain = {name: v.reshape(1, 10, *v.shape[2:]) for name, v in samples.items()}
    svi = SviFit(one_chain, {}, np.zeros(1), True, "converged", 0.5, 1.0, 0, settings)
    plain = dict(dictionary=both["dictionary"], noise_scale=both["noise_scale"], rate=near(rng, 1.0))
    laplace = NutsDraws(plain, {}, 1.0, 0, settings | dict(model="laplace", target_accept_prob=0.8))
    return {"Gibbs": gibbs, "NUTS": nuts, "SVI": svi, "NUTS Laplace": laplace}
