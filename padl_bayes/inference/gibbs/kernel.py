"""The Gibbs sampler of `models.padl` as a NumPyro kernel."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from numpyro.infer.mcmc import MCMCKernel
from numpyro.infer.util import log_density
from numpyro.util import is_prng_key

from padl_bayes._validation import check_choice, check_count
from padl_bayes.kernels.slabs import SLABS
from padl_bayes.models import Hyperpriors, hyperpriors_from, padl
from padl_bayes.models.padl import SLABS as NAMES

from . import enveloped, two_level
from .birth_death import birth_death, draw_spare_atoms, make_proposal
from .split_merge import split_merge
from .start import scattered_start
from .sweep import draw_activation_rate, draw_noise_scale, residual_of, sweep_atoms

MOVES = 4


class GibbsState(NamedTuple):
    """State of one chain.

    Attributes
    ----------
    i : int
        Sweeps made.
    z : dict
        Values of the program's sites that are sampled, and ``activation_prob`` (K,): the probability that each atom
        is active given all else but its own codes, when it was last updated.
    lp : float
        Log joint density of the program at ``z``.
    move_acceptance : float
        Share of the births and deaths of this sweep that were accepted.
    rng_key : PRNG key
    """

    i: Any
    z: Any
    lp: Any
    move_acceptance: Any
    rng_key: Any


class Gibbs(MCMCKernel):
    """Gibbs sampler for exactly the program `padl_bayes.models.padl`, for `numpyro.infer.MCMC`.

    An atom's activation is decided with its codes (and envelope) integrated out; codes are drawn exactly, its direction
    from its von Mises-Fisher conditional; births along residuals and deaths change the number of atoms. Run as
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
        Births and deaths tried in a sweep.

    Raises
    ------
    TypeError, ValueError
        An unknown slab or site, or a count below its least.

    Notes
    -----
    `Hoffman and Gelman's` kernels move in unconstrained coordinates; this one draws each site from its conditional
    law. Log-concave envelope conditionals: Elvira, Chainais, Dobigeon, IEEE TSP 65(19), 2017.
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
    ):
        self.n_atoms = check_count(n_atoms, "n_atoms")
        self.slab = check_choice(slab, "slab", NAMES)
        self.nonnegative = bool(nonnegative)
        self.fixed = dict(fixed or {})
        self.hyperpriors = hyperpriors
        self.n_moves = check_count(n_moves, "n_moves", minimum=0)
        known = ["dictionary", "noise_scale", "activation_rate"]
        known += ["rate_l1", "rate_linf"] if slab == "l1linf" else ["usage", "rate"]
        for name in self.fixed:
            check_choice(name, "fixed", known)
        self._sample_fn = None

    @property
    def model(self):
        """The program that is sampled."""
        return padl

    def _arguments(self, X, mask=None):
        """Keyword arguments of the program."""
        X = jnp.asarray(X)
        priors = self.hyperpriors
        if priors is None:
            priors = hyperpriors_from(X if mask is None else jnp.where(mask, X, 0), slab=self.slab, mask=mask)
        priors = Hyperpriors(*jax.tree.map(lambda v: jnp.asarray(v, X.dtype), tuple(priors)))
        fixed = {name: jnp.asarray(value, X.dtype) for name, value in self.fixed.items()}
        for name in ("usage", "rate"):
            if name in fixed:
                fixed[name] = jnp.broadcast_to(fixed[name], (self.n_atoms,))
        return priors, fixed

    def _rules(self, n_samples, priors, fixed):
        if self.slab == "l1linf":
            return enveloped.rules(self.nonnegative, priors, fixed, n_samples)
        return two_level.rules(self.slab, self.nonnegative, priors, fixed)

    def log_joint(self, z, X, mask=None):
        """Log joint density of the program at the sites ``z``."""
        priors, fixed = self._arguments(X, mask)
        given = dict(slab=self.slab, nonnegative=self.nonnegative, mask=mask, hyperpriors=priors, **fixed)
        sites = {name: value for name, value in z.items() if name != "activation_prob"}
        return log_density(padl, (X, self.n_atoms), given, sites)[0]

    def init(self, rng_key, num_warmup, init_params=None, model_args=(), model_kwargs=None):
        """State to start from: ``init_params`` (a mapping of sites), and what it lacks at random, far apart."""
        del num_warmup
        arguments = (model_args, model_kwargs or {})
        self._sample_fn = self._sample_one
        if is_prng_key(rng_key):
            return jax.jit(lambda key, start: self._init_one(key, start, *arguments))(rng_key, init_params)
        axis = None if init_params is None else 0
        start_all = jax.vmap(lambda key, start: self._init_one(key, start, *arguments), (0, axis))
        return jax.jit(start_all)(rng_key, init_params)

    def _init_one(self, key, init_params, model_args, model_kwargs):
        X, mask = _data(*model_args, **model_kwargs)
        _, fixed = self._arguments(X, mask)
        key, key_start = jax.random.split(key)
        z = scattered_start(key_start, X, mask, self.n_atoms, self.slab, fixed)
        z |= {name: jnp.asarray(value, z[name].dtype) for name, value in (init_params or {}).items()}
        z = {name: value for name, value in z.items() if name not in fixed}
        zero = jnp.zeros((), X.dtype)
        return GibbsState(jnp.zeros((), int), z, self.log_joint(z, X, mask), zero, key)

    def sample(self, state, model_args, model_kwargs):
        """One sweep: missing entries, all atoms, moves on their number, shared rates, activation rate, noise scale."""
        model_kwargs = model_kwargs or {}
        if is_prng_key(state.rng_key):
            return self._sample_one(state, model_args, model_kwargs)
        return jax.vmap(lambda one: self._sample_one(one, model_args, model_kwargs))(state)

    def _sample_one(self, state, model_args, model_kwargs):
        X, mask = _data(*model_args, **model_kwargs)
        priors, fixed = self._arguments(X, mask)
        rules = self._rules(len(X), priors, fixed)
        key, *keys = jax.random.split(state.rng_key, 7)
        z = state.z | fixed
        residual = residual_of(keys[0], X, mask, z)
        residual, z = sweep_atoms(keys[1], rules, fixed, residual, z)
        share = jnp.zeros((), X.dtype)
        if self.n_moves and "dictionary" not in fixed and not self._tied():
            residual, z, share = self._move(keys[2], rules, residual, z)
        z = rules.draw_shared(keys[3], z)
        z = draw_activation_rate(keys[4], priors, fixed, z)
        z = draw_noise_scale(keys[5], priors, fixed, residual, z)
        z = {name: z[name] for name in state.z}
        return GibbsState(state.i + 1, z, self.log_joint(z, X, mask), share, key)

    def _tied(self):
        """Whether atoms differ by what is fixed, so that a place is no mere label."""
        return any(jnp.ndim(self.fixed[name]) for name in ("usage", "rate") if name in self.fixed)

    def _move(self, key, rules, residual, z):
        proposal = make_proposal(residual.shape[1])
        two_sided = not self.nonnegative
        law = SLABS.get((self.slab, self.nonnegative))

        key_spare, key_moves = jax.random.split(key)
        spare = draw_spare_atoms(key_spare, 2 * self.n_moves, rules, z)
        spare = jax.tree.map(lambda a: a.reshape(self.n_moves, 2, *a.shape[1:]), spare)

        def step(carry, inputs):
            key, spare = inputs
            key_birth, key_split = jax.random.split(key)
            one, two = (jax.tree.map(lambda a, i=i: a[i], spare) for i in (0, 1))
            residual, z, accepted = birth_death(key_birth, one, rules, proposal, two_sided, *carry)
            if law is None:
                return (residual, z), accepted[None]
            residual, z, also = split_merge(key_split, two, law, rules, proposal, two_sided, residual, z)
            return (residual, z), jnp.stack([accepted, also])

        keys = jax.random.split(key_moves, self.n_moves)
        (residual, z), accepted = jax.lax.scan(step, (residual, z), (keys, spare))
        return residual, z, jnp.mean(accepted.astype(residual.dtype))

    def postprocess_fn(self, model_args, model_kwargs):
        """Add the number of active atoms."""
        return lambda z: z | {"num_active": z["active"].sum(-1)}

    def get_diagnostics_str(self, state):
        """Shown in the progress bar."""
        return f"{int(state.z['active'].sum())} atoms active"


def _data(X, mask=None):
    X = jnp.asarray(X)
    X = X if jnp.issubdtype(X.dtype, jnp.floating) else X.astype(jnp.result_type(float))
    return (X, None) if mask is None else (jnp.where(mask, X, 0), jnp.asarray(mask, bool))
