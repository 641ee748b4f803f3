"""Posterior draws to ArviZ, for both of its generations: InferenceData (0.2x) and xarray's DataTree (1.x)."""

import math
from collections.abc import Mapping

import numpy as np

from padl_bayes._arviz import assemble, attributes
from padl_bayes._arviz import from_netcdf as from_netcdf
from padl_bayes._arviz import load_arviz as load_arviz
from padl_bayes._arviz import to_netcdf as to_netcdf
from padl_bayes._memory import check_fits
from padl_bayes._validation import check_choice, check_count, check_mask, check_matrix
from padl_bayes.alignment import Alignment
from padl_bayes.alignment import align as align_draws

POSTERIOR_DIMS = {
    "activation_rate": (),
    "active": ("atom",),
    "activation_prob": ("atom",),
    "num_active": (),
    "usage": ("atom",),
    "envelope": ("atom",),
    "rate_l1": (),
    "rate_linf": (),
    "noise_scale": (),
    "dictionary": ("atom", "feature"),
    "codes": ("sample", "atom"),
}
_THINNED = {"log_likelihood": ("sample",), "posterior_predictive": ("sample", "feature")}
_MOMENTS = ("mean", "sd", "p_used")
_SIGNED = ("dictionary", "codes")
_DRAWS = ("chain", "draw")
_REMEDY = "keep fewer or thinned draws, moments instead of draws of the codes, or no raw draws"


def estimate_nbytes(
    n_samples,
    n_features,
    n_atoms,
    n_draws,
    n_chains=1,
    *,
    keep_codes="moments",
    keep_raw=False,
    log_likelihood=True,
    dtype=np.float64,
):
    """Return how many bytes the variables of a complete posterior take, before a single draw is made.

    Aligning needs as much again for the draws it starts from.

    Parameters
    ----------
    n_samples, n_features, n_atoms, n_draws, n_chains : int
        N, P, K, draws in a chain and chains.
    keep_codes : {"moments", "draws"}
        Whether codes are kept as three (N, K) tables or as one (N, K) table a draw as well.
    keep_raw : bool
        Keep the draws as they were before alignment too.
    log_likelihood : bool
        Keep one number a draw and sample.
    dtype : dtype
        Of the draws.

    Returns
    -------
    int

    Raises
    ------
    TypeError, ValueError
        A size that is no positive integer, or an unknown ``keep_codes``.
    """
    named = dict(
        n_samples=n_samples, n_features=n_features, n_atoms=n_atoms, n_draws=n_draws, n_chains=n_chains
    )
    N, P, K, draws, chains = (check_count(value, name) for name, value in named.items())
    check_choice(keep_codes, "keep_codes", ("moments", "draws"))
    size = {"chain": chains, "draw": draws, "atom": K, "feature": P, "sample": N}
    width = np.dtype(dtype).itemsize
    widths = {"active": 1, "num_active": 8}

    def total(names):
        tables = ((_DRAWS + POSTERIOR_DIMS[name], widths.get(name, width)) for name in names)
        return sum(each * math.prod(size[dim] for dim in dims) for dims, each in tables)

    kept = [name for name in POSTERIOR_DIMS if name != "codes" or keep_codes == "draws"]
    nbytes = total(kept) + chains * draws * width  # lp
    nbytes += N * P * width + len(_MOMENTS) * N * K * width
    nbytes += chains * draws * K * (4 + 1 + width) + K * P * width  # alignment
    nbytes += chains * draws * N * width if log_likelihood else 0
    return nbytes + (total([name for name in kept if "atom" in POSTERIOR_DIMS[name]]) if keep_raw else 0)


def _dims_of(name, n_axes, dims):
    """Return the dimensions of a variable behind (chain, draw)."""
    if name in dims:
        return tuple(dims[name])
    if name in ("rate_l1", "rate_linf") and n_axes == 1:
        return ("atom",)
    return POSTERIOR_DIMS.get(name, tuple(f"{name}_dim_{i}" for i in range(n_axes)))


class _Layout:
    """Sizes of the dimensions met so far; every variable must agree with them."""

    def __init__(self, dims):
        self.dims = dict(dims or {})
        self.sizes = {}

    def place(self, values, name, dims):
        """Return ``(dims, array)`` once the shape fits the sizes of its dimensions."""
        array = np.asarray(values)
        if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
            raise TypeError(f"{name} must hold real numbers, found dtype {array.dtype}")
        if array.dtype.name in ("float16", "bfloat16"):
            array = array.astype(np.float32)
        known = array.ndim == len(dims) and all(
            self.sizes.get(dim, size) == size for dim, size in zip(dims, array.shape, strict=True)
        )
        if not known or 0 in array.shape:
            wanted = ", ".join(f"{dim} = {self.sizes[dim]}" if dim in self.sizes else dim for dim in dims)
            raise ValueError(f"{name} must have shape ({wanted}), found {array.shape}")
        self.sizes.update(zip(dims, array.shape, strict=True))
        return dims, array

    def place_draws(self, values, name):
        n_axes = max(np.ndim(values) - len(_DRAWS), 0)
        return self.place(values, name, _DRAWS + _dims_of(name, n_axes, self.dims))


def _place_posterior(samples, layout):
    if not isinstance(samples, Mapping) or not samples:
        raise TypeError(f"samples must be a mapping of names to arrays, found {type(samples).__name__}")
    placed = {name: layout.place_draws(values, name) for name, values in samples.items()}
    # ArviZ subtracts and averages variables, which booleans do not support
    return {
        name: (dims, values.astype(np.int8) if values.dtype == bool else values)
        for name, (dims, values) in placed.items()
    }


def _place_moments(codes_moments, posterior, layout):
    """Return the tables over samples and atoms: those given, or those of the draws of the codes."""
    if codes_moments is None and "codes" in posterior:
        draws = posterior["codes"][1]
        tables = (draws.mean((0, 1)), draws.std((0, 1)), (draws != 0).mean((0, 1)))
        codes_moments = {name: t.astype(draws.dtype) for name, t in zip(_MOMENTS, tables, strict=True)}
    moments = codes_moments or {}
    unknown = set(moments) - set(_MOMENTS)
    if unknown:
        raise ValueError(f"codes_moments may hold {', '.join(_MOMENTS)}, found {sorted(unknown)}")
    return {name: layout.place(values, name, ("sample", "atom")) for name, values in moments.items()}


def _place_thinned(given, group, layout, thinning):
    """Place variables of ``group`` that hold all draws, or every ``thinning``-th one."""
    if given is None:
        return {}
    placed = {}
    for name, values in (given if isinstance(given, Mapping) else {"X": given}).items():
        shape, own = np.shape(values), _Layout({})
        axes = _THINNED[group]
        if group == "posterior_predictive" and shape[2:3] != (layout.sizes["sample"],):
            axes = ("new_sample", *axes[1:])
        own.sizes = dict(layout.sizes)
        if shape[1:2] != (own.sizes["draw"],):
            own.sizes["draw"] = len(range(0, own.sizes["draw"], thinning))
        placed[name] = own.place(values, f"{group} {name}", (*_DRAWS, *axes))
        layout.sizes.update(own.sizes | {"draw": layout.sizes["draw"]})
    return placed


def _thinned_labels(groups, labels, thinning):
    """Labels of the draws of groups that hold every ``thinning``-th one."""
    found = {}
    for group in _THINNED:
        sizes = {values.shape[1] for _, values in groups.get(group, {}).values()}
        if sizes and sizes != {len(labels["draw"])}:
            found[group, "draw"] = labels["draw"][::thinning]
    return found


def _align_posterior(posterior, align, reference, flip):
    """Return the posterior in common labels and the `Alignment`, or None where there is nothing to do."""
    if align is False or "dictionary" not in posterior:
        return posterior, None
    if not isinstance(align, Alignment):
        weights = posterior.get("active", posterior.get("activation_prob", (None, None)))[1]
        align = align_draws(posterior["dictionary"][1], reference, active=weights, flip=flip)
    moved = {
        name: (dims, align.apply(values, axis=dims.index("atom"), signed=name in _SIGNED))
        for name, (dims, values) in posterior.items()
        if "atom" in dims
    }
    return {**posterior, **moved}, align


def _alignment_group(aligned, layout):
    per_draw = (*_DRAWS, "atom")
    return {
        "permutation": layout.place(aligned.permutation.astype(np.int32), "permutation", per_draw),
        "sign": layout.place(aligned.signs.astype(np.int8), "sign", per_draw),
        "cosine": layout.place(aligned.cosines, "cosine", per_draw),
        "reference": layout.place(aligned.reference, "reference", ("atom", "feature")),
    }


def _coordinates(layout, coords):
    labels = {dim: np.arange(size) for dim, size in layout.sizes.items()}
    for dim, given in (coords or {}).items():
        if dim not in labels or len(given) != len(labels[dim]):
            raise ValueError(
                f"coords[{dim!r}] must label one of {layout.sizes} with that many entries, found {len(given)}"
            )
        labels[dim] = np.asarray(given)
    return labels


def to_arviz(
    samples,
    *,
    X,
    mask=None,
    sample_stats=None,
    log_likelihood=None,
    posterior_predictive=None,
    codes_moments=None,
    attrs=None,
    align=True,
    reference=None,
    flip=True,
    keep_raw=False,
    dims=None,
    coords=None,
    thinning=1,
    max_bytes=None,
):
    """Collect posterior draws for ArviZ, every draw in the same labels and signs.

    Parameters
    ----------
    samples : mapping of str to array_like
        Draws (chain, draw, ...) under the names of `POSTERIOR_DIMS`: dictionary (..., K, P), codes
        (..., N, K), active, activation_prob, usage, envelope (..., K), noise_scale, ... without further axes.
        The rates may belong to an atom each. Other names are kept; say in ``dims`` what their axes are.
    X : array_like, shape (N, P)
    mask : array_like of bool, shape (N, P), optional
        True where an entry was observed; the others become NaN.
    sample_stats : mapping of str to array_like, optional
        Statistics of the sampler (chain, draw, ...): lp (joint log density), acceptance, diverging.
    log_likelihood : array_like or mapping of str to array_like, optional
        Per sample, (chain, draw, N), with the sample's codes integrated out:
        `padl_bayes.inference.predictive.pointwise_log_likelihood`.
    posterior_predictive : array_like or mapping of str to array_like, optional
        Replicated data (chain, draw, N, P): `padl_bayes.inference.predictive.posterior_predictive`. With another
        number of samples than X these are fresh ones, on a dimension ``new_sample``.
    codes_moments : mapping, optional
        Tables mean, sd and p_used (N, K) in the labels of the result. Default: those of the codes' draws.
    attrs : mapping, optional
        Seed, hyperparameters, wall time: text and numbers are kept, anything else is stored as JSON.
    align : bool or Alignment
        True aligns the draws here, False says that they are aligned, an `Alignment` is applied.
    reference : array_like, shape (K_ref, P), optional
        Dictionary whose order the labels follow; see `padl_bayes.alignment.align`.
    flip : bool
        Let atoms change sign; False for nonnegative codes.
    keep_raw : bool
        Keep the draws as they came in a group ``posterior_raw``.
    dims : mapping of str to tuple of str, optional
        Dimensions behind (chain, draw) of variables outside the contract; those with "atom" are aligned.
    coords : mapping of str to sequence, optional
        Labels of a dimension, for example names of features. Default: 0, 1, ...
    thinning : int
        ``log_likelihood`` and ``posterior_predictive`` may hold every ``thinning``-th draw only.
    max_bytes : int, optional
        Largest result. Default: the memory available.

    Returns
    -------
    arviz.InferenceData or xarray.DataTree
        Groups posterior, sample_stats, log_likelihood, posterior_predictive, observed_data, codes_moments,
        alignment (permutation, sign and cosine of every draw, and the reference), posterior_raw; those without
        content are left out.

    Raises
    ------
    TypeError, ValueError
        Arrays that do not fit together, naming the variable, or a result beyond ``max_bytes``.

    Notes
    -----
    ``arviz.extract``, and ``plot_ppc_dist`` of ArviZ 1.x, call the stacked chains and draws ``sample`` too: rename
    our dimension before, or pass ``extract`` ``combined=False``.
    """
    layout = _Layout(dims)
    X = check_matrix(X, mask=check_mask(mask, X))
    observed = X if mask is None else np.where(np.asarray(mask, bool), X, np.nan)
    groups = {"observed_data": {"X": layout.place(observed, "X", ("sample", "feature"))}}
    raw = _place_posterior(samples, layout)
    stats = {name: layout.place_draws(values, name) for name, values in (sample_stats or {}).items()}
    thinning = check_count(thinning, "thinning")
    likelihood = _place_thinned(log_likelihood, "log_likelihood", layout, thinning)
    predictive = _place_thinned(posterior_predictive, "posterior_predictive", layout, thinning)
    per_atom = {name: variable for name, variable in raw.items() if "atom" in variable[0]}
    parts = [raw, stats, likelihood, predictive, per_atom if keep_raw else {}]
    nbytes = sum(values.nbytes for part in parts for _, values in part.values())
    check_fits(nbytes, "the posterior", _REMEDY, limit=max_bytes)

    posterior, alignment = _align_posterior(raw, align, reference, flip)
    groups |= {
        "posterior": posterior,
        "sample_stats": stats,
        "log_likelihood": likelihood,
        "posterior_predictive": predictive,
        "codes_moments": _place_moments(codes_moments, posterior, layout),
        "alignment": {} if alignment is None else _alignment_group(alignment, layout),
        "posterior_raw": per_atom if keep_raw else {},
    }
    filled = {name: variables for name, variables in groups.items() if variables}
    labels = _coordinates(layout, coords)
    labels |= _thinned_labels(filled, labels, thinning)
    return assemble(filled, labels, attributes(attrs))
