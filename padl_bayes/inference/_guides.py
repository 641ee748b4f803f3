"""Programs and guides of variational inference: given the globals, samples are independent in both.

The guide is a normal law of each global, then one of each sample's codes given the globals::

    (log noise_scale, log rates, log envelope, directions) ~ Normal(loc, diag(scale)^2)
    w_n = loc_n + (X_n - loc_n D) D' (D D' + ridge I)^-1 + noise_scale scale_n * (L eps_n),  eps_n ~ Normal(0, I)
    codes_n = w_n, clipped smoothly to the bounds that a code has

with loc_n and scale_n (K,) of each sample, L unit triangular and common to all. The second term moves the codes
with the dictionary D that was drawn: without it the posterior of D looks as narrow as if the codes were known.
Codes, not their ratios to the envelope, are drawn: all codes of an atom would pin its envelope otherwise.
Directions are drawn in stereographic coordinates about a first guess, and the length of ``dictionary_normal``,
of which the data say nothing, from its prior.
"""

import math
from contextlib import nullcontext
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.primitives import Messenger

from padl_bayes.distributions import Envelope
from padl_bayes.distributions.sphere import StereographicTransform
from padl_bayes.inference._continuous import RATES
from padl_bayes.models import laplace, padl

_SCALE = 0.1
_RIDGE = 0.1


class Spec(NamedTuple):
    """What must be known to trace a program and its guide.

    Attributes
    ----------
    model : {"l1linf", "laplace"}
    nonnegative : bool
    n_samples, n_features, n_atoms : int
        N, P, K of all the data, of which a call may show a batch.
    """

    model: str
    nonnegative: bool
    n_samples: int
    n_features: int
    n_atoms: int


class Known(NamedTuple):
    """Numbers that are not learned.

    Attributes
    ----------
    fixed : dict
        Values by site.
    hyperpriors : Hyperpriors
    anchor : array, shape (K, P)
        Unit-norm atoms that the directions' coordinates are centred at.
    unit : array, shape ()
        Unit of codes_loc, and width over which codes are clipped: about the noise scale.
    """

    fixed: dict
    hyperpriors: tuple
    anchor: jax.Array
    unit: jax.Array


def positive_sites(spec, fixed):
    """Names and shapes of the positive globals that are learned."""
    shapes: dict[str, tuple[int, ...]] = {name: () for name in ("noise_scale", *RATES[spec.model])}
    shapes |= {"envelope": (spec.n_atoms,)} if spec.model == "l1linf" else {}
    return {name: shape for name, shape in shapes.items() if name not in fixed}


def first_params(spec, fixed, start):
    """Return the guide's parameters, shared and per sample, centred at ``start``.

    Parameters
    ----------
    spec : Spec
    fixed : mapping
    start : mapping of str to ndarray
        Values of the sites of `positive_sites`, of noise_scale, and codes (N, K).

    Returns
    -------
    tuple of dict
        globals_loc, globals_log_scale (G,), codes_factor (K, K), codes_log_ridge;
        and codes_loc, codes_log_scale (N, K).
    """
    codes, noise_scale = start["codes"], start["noise_scale"]
    loc = [np.ravel(np.log(start[name])) for name in positive_sites(spec, fixed)]
    scale = [np.full(len(part), _SCALE) for part in loc]
    if "dictionary" not in fixed:
        # given the codes, a direction is as sharp as their energy makes it; coordinates are half an angle
        angle = noise_scale / np.sqrt(np.square(codes).sum(0) + noise_scale**2)
        loc.append(np.zeros(spec.n_atoms * (spec.n_features - 1)))
        scale.append(np.repeat(angle / 2, spec.n_features - 1))
    shared = dict(
        globals_loc=np.concatenate([*loc, []]),
        globals_log_scale=np.log(np.concatenate([*scale, []])),
        codes_factor=np.zeros((spec.n_atoms, spec.n_atoms)),
        codes_log_ridge=np.log(_RIDGE),
    )
    free = codes / noise_scale
    # what the softplus takes to give it
    free = free + np.log(-np.expm1(-free)) if spec.nonnegative else free
    local = dict(codes_loc=free, codes_log_scale=np.zeros_like(codes))
    return jax.tree.map(lambda value: jnp.asarray(value, codes.dtype), (shared, local))


class _ForAll(Messenger):
    """Let a program that sees a batch speak for all samples.

    What is drawn in the plate of samples counts N / batch times, and an envelope bounds N codes.
    """

    def __init__(self, fn, n_samples, n_batch):
        self.n_samples = n_samples
        self.ratio = n_samples / n_batch
        super().__init__(fn)

    def process_message(self, msg):
        if msg["type"] != "sample":
            return
        if any(frame.name == "sample" for frame in msg["cond_indep_stack"]):
            msg["scale"] = self.ratio * (1.0 if msg["scale"] is None else msg["scale"])
        law = getattr(msg["fn"], "base_dist", msg["fn"])
        if isinstance(law, Envelope):
            whole = Envelope(law.rate_l1, law.rate_linf, self.n_samples)
            msg["fn"] = whole.expand(msg["fn"].batch_shape)


def program_of(spec, known):
    """Return the program of a batch (X, mask), every atom active, with terms that stand for all the data."""
    shared = dict(nonnegative=spec.nonnegative, hyperpriors=known.hyperpriors, continuous=True, **known.fixed)

    def program(X, mask):
        if spec.model == "laplace":
            return laplace(X, spec.n_atoms, mask=mask, **shared)
        return padl(X, spec.n_atoms, slab="l1linf", activation_rate=1.0, mask=mask, **shared)

    return lambda X, mask: _ForAll(program, spec.n_samples, X.shape[0])(X, mask)


def guide_of(spec, known):
    """Return the guide of `program_of`; its parameters are those of `first_params`, codes' rows the batch's."""

    def guide(X, mask):
        values = known.fixed | _draw_globals(spec, known)
        with numpyro.plate("sample", X.shape[0], dim=-2), numpyro.plate("atom", spec.n_atoms, dim=-1):
            _draw_codes(spec, known, X, mask, values)

    return lambda X, mask: _ForAll(guide, spec.n_samples, X.shape[0])(X, mask)


def _draw_globals(spec, known):
    loc, scale = numpyro.param("globals_loc"), jnp.exp(numpyro.param("globals_log_scale"))
    if loc.size == 0:
        return {}
    rest = numpyro.sample("globals", dist.Normal(loc, scale).to_event(1), infer={"is_auxiliary": True})
    values = {}
    for name, shape in positive_sites(spec, known.fixed).items():
        size = math.prod(shape)
        free, rest = rest[:size].reshape(shape), rest[size:]
        with numpyro.plate("atom", spec.n_atoms, dim=-1) if shape else nullcontext():
            values[name] = numpyro.sample(name, dist.Delta(jnp.exp(free), -free))
    if "dictionary" not in known.fixed:
        values["dictionary"] = _draw_atoms(rest.reshape(spec.n_atoms, -1), known.anchor)
    return values


def _draw_atoms(free, anchor):
    """Draw ``dictionary_normal`` whose directions have stereographic coordinates ``free``; return these."""
    sphere = StereographicTransform()
    ball = sphere(free)
    atoms = _reflect(ball, anchor)
    n_features = anchor.shape[-1]
    with numpyro.plate("atom", anchor.shape[0], dim=-1):
        # only its length counts, and that with its own density
        law = dist.Normal(jnp.zeros(n_features)).to_event(1).mask(False)
        square = jnp.square(numpyro.sample("length", law, infer={"is_auxiliary": True})).sum(-1)
        # of (square length, coordinates) against the vector
        log_slope = (n_features / 2 - 1) * jnp.log(square) - jnp.log(2.0)
        log_slope += sphere.log_abs_det_jacobian(free, ball)
        log_density = dist.Chi2(n_features).log_prob(square) - log_slope
        value = jnp.sqrt(square)[:, None] * atoms
        numpyro.sample("dictionary_normal", dist.Delta(value, log_density, event_dim=1))
    return atoms


def _reflect(ball, anchor):
    """Swap (0, ..., 0, -1), the centre of the coordinates, with ``anchor``, by a Householder reflection."""
    normal = anchor.at[:, -1].add(1.0)
    square = jnp.square(normal).sum(-1, keepdims=True)
    return ball - 2 * (ball * normal).sum(-1, keepdims=True) / jnp.where(square > 0, square, 1.0) * normal


def _draw_codes(spec, known, X, mask, values):
    dictionary, noise_scale = values["dictionary"], values["noise_scale"]
    loc = known.unit * numpyro.param("codes_loc")
    misfit = X - loc @ dictionary
    misfit = misfit if mask is None else jnp.where(mask, misfit, 0.0)
    ridge = jnp.exp(numpyro.param("codes_log_ridge")) * jnp.eye(spec.n_atoms)
    gram = dictionary @ dictionary.T + ridge
    loc += jax.scipy.linalg.solve(gram, dictionary @ misfit.T, assume_a="pos").T
    noise = numpyro.sample("codes_noise", dist.Normal(jnp.zeros_like(loc)), infer={"is_auxiliary": True})
    noise += noise @ jnp.tril(numpyro.param("codes_factor"), -1).T
    log_scale = numpyro.param("codes_log_scale") + jnp.log(noise_scale)
    free = loc + jnp.exp(log_scale) * noise
    codes, log_slope = _clip_to_bounds(free, values.get("envelope"), spec.nonnegative, known.unit)
    log_density = -log_scale - log_slope
    if spec.model == "laplace":
        numpyro.sample("codes", dist.Delta(codes, log_density))
    else:
        numpyro.sample("codes_unit", dist.Delta(codes, log_density))


def _clip_to_bounds(free, bound, nonnegative, width):
    """Return codes, relative to ``bound`` (K,) if there is one, and the log of their slopes in ``free``.

    ``low + width (softplus((free - low) / width) - softplus((free - bound) / width))`` is ``free`` but for a
    few widths at the bounds.
    """
    if bound is None:
        return _softplus(free, width) if nonnegative else (free, jnp.zeros_like(free))
    low = 0.0 if nonnegative else -bound
    above, below = (free - low) / width, (bound - free) / width
    codes = low + width * (jax.nn.softplus(above) - jax.nn.softplus(-below))
    log_slope = (
        jax.nn.log_sigmoid(above)
        + jax.nn.log_sigmoid(below)
        + jnp.log(-jnp.expm1(-(bound - low) / width))
        - jnp.log(bound)
    )
    return jnp.clip(codes / bound, 0.0 if nonnegative else -1.0, 1.0), log_slope


def _softplus(free, width):
    return width * jax.nn.softplus(free / width), jax.nn.log_sigmoid(free / width)
