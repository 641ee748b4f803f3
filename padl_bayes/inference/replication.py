"""Replicated data for posterior-predictive checks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from .._memory import check_fits
from .._options import check_seed
from .._validation import check_array, check_choice, check_count
from ..distributions import BernoulliGaussian, BernoulliLaplace, Gated, TruncatedLaplace
from ..models.padl import SLABS

_BATCH_BYTES = 2**26
_REMEDY = "thin the draws further, or ask for fewer samples"


def _code_law(slab, nonnegative, globals_):
    """Prior of the codes of one sample given the atoms' latents."""
    if slab == "l1linf":
        active = globals_["active"]
        rate, envelope = globals_["rate_l1"], jnp.where(active == 1, globals_["envelope"], 1.0)
        return Gated(TruncatedLaplace(rate, envelope, nonnegative=nonnegative), active)
    law = BernoulliLaplace if slab == "bernoulli_laplace" else BernoulliGaussian
    usage = globals_["usage"] * globals_.get("active", 1.0)
    return law(usage, jnp.where(usage > 0, globals_["rate"], 1.0), nonnegative=nonnegative)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _replicate(slab, nonnegative, n_samples, keys, draws):
    """Data (B, N, P) of B draws, with the codes in ``draws`` or fresh ones."""

    def one(key, draw):
        key_codes, key_noise = jax.random.split(key)
        codes = draw.get("codes")
        if codes is None:
            codes = _code_law(slab, nonnegative, draw).sample(key_codes, (n_samples,))
        mean = codes @ draw["dictionary"]
        return mean + draw["noise_scale"] * jax.random.normal(key_noise, mean.shape, mean.dtype)

    return jax.vmap(one)(keys, draws)


def _needed(slab, fresh):
    if not fresh:
        return ("codes",)
    return ("active", "rate_l1", "envelope") if slab == "l1linf" else ("usage", "rate")


def posterior_predictive(
    samples,
    *,
    n_samples=None,
    slab="bernoulli_laplace",
    nonnegative=False,
    thinning=1,
    random_state=0,
    max_bytes=None,
):
    """Draw data from the model under every draw of a posterior.

    Parameters
    ----------
    samples : mapping of str to array_like
        Draws (chain, draw, ...): dictionary (..., K, P), noise_scale, and codes (..., N, K) or, for fresh
        samples, what the slab needs: usage and rate (..., K), or active and envelope (..., K) and rate_l1.
    n_samples : int, optional
        Number of fresh samples, their codes drawn from the prior given the atoms. None replicates the samples
        that were observed, with the codes they have in each draw.
    slab : {"bernoulli_laplace", "bernoulli_gaussian", "l1linf"}
    nonnegative : bool
        One-sided slabs.
    thinning : int
        Take every ``thinning``-th draw of a chain.
    random_state : int
    max_bytes : int, optional
        Largest result. Default: the memory available.

    Returns
    -------
    ndarray, shape (chain, draw / thinning, N, P)
        Of the precision of the dictionary.

    Raises
    ------
    TypeError, ValueError
        A variable that is missing or has another shape, an unknown slab, a result beyond ``max_bytes``.

    Notes
    -----
    Replicates with the codes of the observed samples check the noise and the reconstruction; fresh samples also
    check the slab, the usages and the independence of the codes.
    """
    check_choice(slab, "slab", SLABS)
    thinning = check_count(thinning, "thinning")
    random_state = check_seed(random_state)
    names = ("dictionary", "noise_scale", *_needed(slab, n_samples is not None))
    for name in names:
        if name not in samples:
            way_out = "" if n_samples is not None else ", or pass n_samples for fresh samples"
            raise ValueError(f"samples must hold {name}, found {sorted(samples)}{way_out}")
    shape = check_array(samples["dictionary"], "dictionary", ("chain", "draw", "atom", "feature")).shape
    axes = {"noise_scale": (), "rate_l1": (), "dictionary": shape[2:], "codes": ("sample", shape[2])}
    if n_samples is not None and "active" in samples:
        names = (*names, "active")
    draws = {}
    for name in names:
        table = check_array(samples[name], name, (*shape[:2], *axes.get(name, shape[2:3])))[:, ::thinning]
        draws[name] = table.reshape(-1, *table.shape[2:])
    dtype = draws["dictionary"].dtype
    draws = {name: table.astype(dtype) for name, table in draws.items()}
    size = draws["codes"].shape[1] if n_samples is None else check_count(n_samples, "n_samples")
    total = len(draws["dictionary"])
    out_shape = (shape[0], total // shape[0], size, shape[3])
    check_fits(int(np.prod(out_shape)) * dtype.itemsize, "replicated data", _REMEDY, limit=max_bytes)
    out = np.empty((total, *out_shape[2:]), dtype)
    batch = min(total, max(_BATCH_BYTES // (8 * size * (shape[2] + shape[3])), 1))
    with jax.enable_x64(dtype == np.float64):
        root = jax.random.key(random_state)
        for start in range(0, total, batch):
            rows = np.minimum(np.arange(start, start + batch), total - 1)
            keys = jax.vmap(partial(jax.random.fold_in, root))(rows)
            part = {name: table[rows] for name, table in draws.items()}
            done = np.asarray(_replicate(slab, bool(nonnegative), size, keys, part))
            out[start : start + batch] = done[: total - start]
    return out.reshape(out_shape)
