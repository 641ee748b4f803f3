"""The Gibbs sampler of `models.padl` as a NumPyro kernel."""

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer.mcmc import MCMCKernel
from numpyro.util import is_prng_key

from padl_bayes._validation import check_choice, check_count, check_scalar
from padl_bayes.models import Hyperpriors, hyperpriors_from, padl
from padl_bayes.models.padl import SLABS

from .transition import Config, Data, first_state, transition

MOVES = 4
TEMPER_EVERY = 50
ANNEAL = 0.5
ALWAYS = 1 - 1e-6


class Gibbs(MCMCKernel):
    """Gibbs sampler for exactly the program `padl_bayes.models.padl`, for `numpyro.infer.MCMC`.

    An atom's activation is decided with its codes (and envelope) integrated out; codes are drawn exactly, its direction
    from its von Mises-Fisher conditional; births along residuals and deaths change the number of atoms, and splits and
    merges; pairs of atoms exchange samples, or, where every sample uses every atom, are sheared. Run as
    ``MCMC(Gibbs(64), num_warmup=..., num_samples=..., num_chains=4).run(key, X)``; ``mask=`` may follow ``X``.

    Parameters
    ----------
    n_atoms : int
        Upper bound K on the number of atoms.
    slab : {"bernoulli_laplace", "bernoulli_gaussian", "l1linf"}
    nonnegative : bool
    fixed : mapping of str to array_like, optional
        Values of sites that are not sampled: dictionary (K, P), noise_scale, activation_rate, usage, rate (scalar or
        (K,)), rate_l1, rate_linf.
    hyperpriors : Hyperpriors, optional
        Default: `hyperpriors_from` the data.
    n_moves : int
        Births or deaths, splits or merges, and pairs of atoms that exchange samples, tried in a sweep.
    temper_every : int
        Every so many sweeps, all codes of a sample are proposed anew by a tempered transition, which costs about as
        much as twenty sweeps; 0: never. Two-level slabs only.
    anneal : float
        Share of the warm-up, at most a half, in which active atoms are more probable than the prior says, less and less
        so; in the rest, those that hardly any sample uses are switched off a few times. Then chains from any start find
        the same atoms much sooner. Not for chains that start at a fit.

    Raises
    ------
    TypeError, ValueError
        An unknown slab or site, or a count below its least.

    Notes
    -----
    Collapsed envelopes: Elvira, Chainais, Dobigeon, IEEE TSP 65(19), 2017. Splits and merges with exact acceptance
    ratios: Jain and Neal, JCGS 13(1), 2004. Tempered transitions: Neal, Statistics and Computing 6, 1996. Shears: Liu
    and Sabatti, Biometrika 87(2), 2000.
    """

    sample_field = "z"

    def __init__(
        self,
        n_atoms,
        *,
        slab="bernoulli_laplace",
        nonnegative=False,
        fixed=None,
        hyperpriors=None,
        n_moves=MOVES,
        temper_every=TEMPER_EVERY,
        anneal=ANNEAL,
    ):
        self.fixed = dict(fixed or {})
        known = ["dictionary", "noise_scale", "activation_rate"]
        known += ["rate_l1", "rate_linf"] if slab == "l1linf" else ["usage", "rate"]
        for name in self.fixed:
            check_choice(name, "fixed", known)
        self.hyperpriors = hyperpriors
        n_moves = check_count(n_moves, "n_moves", minimum=0)
        # Moves take atoms for interchangeable, which they are not where anything of their own is fixed, and change how
        # many are active.
        own = "dictionary" in self.fixed or any(
            np.ndim(self.fixed.get(name, 0)) for name in ("usage", "rate")
        )
        settled = bool(np.isin(self.fixed.get("activation_rate", 0.5), (0, 1)).all())
        self.config = Config(
            check_choice(slab, "slab", SLABS),
            bool(nonnegative),
            check_count(n_atoms, "n_atoms"),
            0 if own or settled else n_moves,
            check_count(temper_every, "temper_every", minimum=0),
            settled,
            bool(np.min(self.fixed.get("usage", 0)) >= ALWAYS),
        )
        self.anneal = check_scalar(anneal, "anneal", minimum=0, maximum=0.5)
        self._n_anneal = 0
        self._sample_fn = None

    @property
    def model(self):
        """The program that is sampled."""
        return padl

    def n_anneal(self, num_warmup, init_params=None):
        """Count the annealed sweeps of the warm-up: none if the start comes with codes, and so is to be kept."""
        return 0 if "codes" in (init_params or {}) else int(self.anneal * num_warmup)

    def data(self, X, mask=None, *, n_anneal=0):
        """What a chain is given, as a `Data`."""
        X = jnp.asarray(X)
        X = X if jnp.issubdtype(X.dtype, jnp.floating) else X.astype(jnp.result_type(float))
        mask = None if mask is None else jnp.asarray(mask, bool)
        X = X if mask is None else jnp.where(mask, X, 0)
        priors = self.hyperpriors
        if priors is None:
            priors = hyperpriors_from(X, slab=self.config.slab, mask=mask)
        priors = Hyperpriors(*jax.tree.map(lambda v: jnp.asarray(v, X.dtype), tuple(priors)))
        fixed = {name: jnp.asarray(value, X.dtype) for name, value in self.fixed.items()}
        for name in {"usage", "rate"} & set(fixed):
            fixed[name] = jnp.broadcast_to(fixed[name], (self.config.n_atoms,))
        return Data(X, mask, priors, fixed, jnp.asarray(n_anneal))

    def init(self, rng_key, num_warmup, init_params=None, model_args=(), model_kwargs=None):
        """State to start from: ``init_params`` (a mapping of sites), and what it lacks at random, far apart."""
        self._sample_fn = transition
        self._n_anneal = self.n_anneal(num_warmup, init_params)
        data = self.data(*model_args, **(model_kwargs or {}))

        def one(key, init):
            return first_state(self.config, data, key, init)

        if not is_prng_key(rng_key):
            one = jax.vmap(one, (0, None if init_params is None else 0))
        return jax.jit(one)(rng_key, init_params)

    def sample(self, state, model_args, model_kwargs):
        """One `transition`, of all chains where ``state`` is of several."""
        data = self.data(*model_args, **(model_kwargs or {}), n_anneal=self._n_anneal)
        return transition(self.config, data, state)

    def postprocess_fn(self, model_args, model_kwargs):
        """Add the number of active atoms."""
        return lambda z: z | {"num_active": z["active"].sum(-1)}

    def get_diagnostics_str(self, state):
        """Shown in the progress bar."""
        return f"{int(state.z['active'].sum())} atoms active"
