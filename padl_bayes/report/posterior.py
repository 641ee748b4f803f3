"""The section of a report on draws from a posterior."""

import numpy as np

from padl_bayes import plots
from padl_bayes.arviz_io import load_arviz
from padl_bayes.diagnostics import MOST_RHAT, WATCHED, rhat_of
from padl_bayes.report.page import Picture, Section, Table

LEVEL = 0.9
MOST_DIAGNOSED = 600
SCALARS = ("noise_scale", "rate_l1", "rate_linf", "rate", "activation_rate", "num_active")


def posterior_section(title, name, data, *, image_shape=None, lead=()):
    """Section on what `padl_bayes.arviz_io.to_arviz` returned: diagnostics, atoms, codes, reconstructions.

    Parameters
    ----------
    title : str
    name : str
        First part of the names of the figures.
    data : arviz.InferenceData or xarray.DataTree
    image_shape : tuple of int, optional
    lead : sequence of str
        Paragraphs to begin with.
    """
    posterior = data["posterior"]
    X = np.asarray(data["observed_data"]["X"].values)
    blocks = [*lead, *_diagnostics(name, data, posterior)]
    if "dictionary" in posterior:
        blocks.append(_atoms(name, posterior, image_shape))
    if "activation_prob" in posterior:
        figure = plots.activation_probability(draws=posterior["activation_prob"].values, level=LEVEL)
        caption = f"P(active) of each label: mean and {LEVEL:.0%} interval over the draws."
        blocks.append(Picture(f"{name}-activation-prob", figure, caption, half=True))
    if "usage" in posterior:
        blocks.append(_usage(name, posterior))
    if "codes" in posterior and "dictionary" in posterior:
        blocks += _reconstructions(name, posterior, X, image_shape)
    return Section(title, blocks)


def _shape_text(posterior, stats):
    sizes = posterior.sizes
    text = f"{sizes['chain']} chains of {sizes['draw']} draws"
    if "diverging" in stats:
        text += f", {int(stats['diverging'].values.sum())} of them divergent"
    return text


def _diagnostics(name, data, posterior):
    az = load_arviz()
    stats = data["sample_stats"] if "sample_stats" in groups_of(data) else {}
    tables = {key: posterior[key].values for key in SCALARS if key in posterior}
    if "lp" in stats:
        tables = {"lp (log joint density)": stats["lp"].values, **tables}
    rows = [(key, *_summary(az, values)) for key, values in tables.items() if values.ndim == 2]
    text = [f"{_shape_text(posterior, stats)}."]
    if doubt := _disagreement(posterior, stats):
        text.append(doubt)
    if "dictionary" in posterior:
        flat = _flat(posterior["dictionary"].values)
        rhat, ess = _convergence(az, flat)
        text.append(
            f"Over the entries of the aligned dictionary {_agreement(rhat)}, the bulk effective sample size median "
            f"{np.median(ess):.0f} and minimum {ess.min():.0f}."
        )
    if "codes" in posterior and "dictionary" in posterior:
        flat = _flat(posterior["codes"].values @ posterior["dictionary"].values)
        rhat, ess = _convergence(az, flat)
        text.append(f"Over entries of the reconstruction, which no relabelling changes, {_agreement(rhat)}.")
    blocks: list = [" ".join(text)]
    if rows:
        header = ("quantity", "mean", "sd", "5%", "95%", "R-hat", "bulk ESS")
        blocks.append(Table(header, rows, "Scalars of the posterior."))
    traced = [(key, values) for key, values in tables.items() if values.ndim == 2][:2]
    for i, (key, values) in enumerate(traced):
        figure = plots.trace(values, ylabel=key, xlabel="draw", robust=False)
        blocks.append(Picture(f"{name}-trace-{i + 1}", figure, f"{key}, a line a chain.", half=True))
    return blocks


def _agreement(rhat):
    if np.isnan(rhat).all():
        return "there is no R-hat of a single chain"
    return f"R-hat has median {np.median(rhat):.3f} and maximum {rhat.max():.3f}"


def _disagreement(posterior, stats):
    """What to say of chains that do not agree; nothing where they do."""
    kept = {key: group[key].values for key in WATCHED for group in (posterior, stats) if key in group}
    rhats = {key: rhat_of(values) for key, values in kept.items() if min(values.shape) >= 2}
    worst = max(rhats, key=lambda key: rhats[key], default=None)
    if worst is None or rhats[worst] <= MOST_RHAT:
        return ""
    return (
        f"R-hat of {worst} is {rhats[worst]:.3g}, above {MOST_RHAT}: the chains do not agree yet, and what follows may "
        "change; sample again with larger num_warmup and num_samples."
    )


def groups_of(data):
    """Return the names of the groups, for either generation of ArviZ."""
    groups = data.groups() if callable(data.groups) else data.groups
    return [group.strip("/") for group in groups]


def _flat(draws):
    """Return (chain, draw, n), of at most `MOST_DIAGNOSED` evenly spaced entries."""
    flat = draws.reshape(*draws.shape[:2], -1).astype(np.float64)
    return flat[..., :: -(-flat.shape[-1] // MOST_DIAGNOSED)]


def _convergence(az, flat):
    """Return R-hat and bulk effective sample size of the entries (chain, draw, n) that are not constant."""
    moving = flat[..., flat.std(axis=(0, 1)) > 0]
    columns = np.moveaxis(moving, 2, 0)
    # chains that are stuck have no variance, and an infinite R-hat
    with np.errstate(divide="ignore", invalid="ignore"):
        # ArviZ logs a complaint about a single chain
        rhat = np.array([float(az.rhat(c)) if len(c) > 1 else np.nan for c in columns])
        # Chains that each stand still: with numba installed, ArviZ says NaN where it says infinity without.
        still = np.array([np.all(np.ptp(c, axis=1) == 0) for c in columns], bool)
        return np.where(still, np.inf, rhat), np.array([float(az.ess(c)) for c in columns])


def _summary(az, values):
    values = values.astype(np.float64)
    low, high = np.quantile(values, (0.05, 0.95))
    rhat, ess = _convergence(az, values[..., None])
    return (
        values.mean(),
        values.std(),
        low,
        high,
        *(float(a[0]) if a.size else np.nan for a in (rhat, ess.round())),
    )


def _active(posterior):
    """Whether each label is active (chain, draw, K); the continuous models have no label that is not."""
    if "active" in posterior:
        return posterior["active"].values.astype(np.float64)
    return np.ones(posterior["dictionary"].shape[:3])


def _atoms(name, posterior, image_shape):
    draws, active = posterior["dictionary"].values, _active(posterior)
    share = active.mean(axis=(0, 1))
    shown = share >= 0.5
    weights = (active / np.maximum(active.sum(axis=(0, 1)), 1))[..., shown, None]
    mean = np.sum(weights * draws[:, :, shown], axis=(0, 1))
    error = np.sqrt(np.sum(weights * (draws[:, :, shown] - mean) ** 2, axis=(0, 1, 3)))
    figure = plots.gallery(
        mean, image_shape=image_shape, labels=error, label_name="posterior spread of the atom", columns=8
    )
    caption = (
        f"The {shown.sum()} of {len(shown)} labels that are active in at least half of the draws, means over the draws "
        "in which they are. The number is the root of the summed posterior variances of the entries of the unit-norm "
        "atom: 0 is known exactly, 1 is not known at all."
    )
    return Picture(f"{name}-dictionary", figure, caption)


def _usage(name, posterior):
    draws = posterior["usage"].values * _active(posterior)
    figure = plots.usage(draws.mean(axis=(0, 1)), draws=draws, level=LEVEL)
    caption = f"Usage, zero in draws in which the label is not active: mean and {LEVEL:.0%} interval."
    return Picture(f"{name}-usage", figure, caption, half=True)


def _reconstructions(name, posterior, X, image_shape):
    codes, dictionary = posterior["codes"].values, posterior["dictionary"].values
    draws = codes @ dictionary
    mean, sd = draws.mean(axis=(0, 1)), draws.std(axis=(0, 1))
    seen = np.isfinite(X)
    energy = np.sum(np.where(seen, X, 0) ** 2, axis=1)
    sample = int(np.argsort(energy)[len(X) // 2])
    x = np.where(seen, X, mean)[sample]
    blocks = []
    if image_shape is not None:
        shown = np.linspace(0, len(X) - 1, min(12, len(X))).astype(int)
        filled = np.where(seen, X, mean)[shown]
        figure = plots.reconstruction_gallery(filled, mean[shown], sd[shown], image_shape)
        caption = "Samples, posterior means and standard deviations of their reconstructions, over the draws."
        blocks.append(Picture(f"{name}-reconstructions", figure, caption))
    band = plots.reconstruction(x, mean[sample], draws=draws[:, :, sample], level=LEVEL)
    intervals = plots.code_intervals(draws=codes[:, :, sample], level=LEVEL)
    return [
        *blocks,
        Picture(f"{name}-band", band, "One sample and quantiles of its reconstruction (without noise).", half=True),
        Picture(f"{name}-codes", intervals, "Its codes: medians and quantiles of the draws.", half=True),
    ]  # fmt: skip
