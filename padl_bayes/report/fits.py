"""Sections of a report: what a fit, a comparison or a posterior shows, in words that quote its figures."""

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from padl_bayes import plots
from padl_bayes.inference.em import code_em
from padl_bayes.report.page import Picture, Section, Table

LEVEL = 0.9
SHOWN = 12


def em_section(title, name, estimator, held_out, image_shape=None):
    """Section on a `PADL` fitted by EM: atoms, activation, usage, held-out reconstructions, history.

    Parameters
    ----------
    title : str
    name : str
        First part of the names of the figures.
    estimator : PADL
    held_out : array_like, shape (M, P)
        Samples to reconstruct.
    image_shape : tuple of int, optional
    """
    fit = estimator.fit_
    lead = (
        f"Variational EM kept {estimator.n_active_} of at most {fit.n_atoms} atoms and put the noise at "
        f"{fit.noise_scale:.4g}. By the fitted usage a sample is expected to use {fit.usage.sum():.3g} atoms, those "
        "counted that it uses with a probability below one half. "
        f"{fit.n_iter} passes took {fit.wall_time:.0f} s ({fit.status})."
    )
    blocks = [lead, _gallery(name, fit, image_shape)]
    if estimator.n_active_:
        blocks += [*_activation(name, fit), *_reconstructions(name, estimator, held_out, image_shape)]
    history = plots.history(estimator.history_)
    caption = (
        "Every pass, the trial moves that were undone included: deletions and reheats start from a worse bound and are "
        "kept only if the evidence ends higher. On the way there may be more atoms than n_atoms allows: twice "
        "as many, or 64 more."
    )
    return Section(title, [*blocks, Picture(f"{name}-history", history, caption)])


def _gallery(name, fit, image_shape):
    figure = plots.gallery(fit.dictionary, image_shape=image_shape, labels=fit.usage, label_name="usage")
    caption = (
        "The dictionary, atoms of most code energy first, each on a colour scale of its own that is white at zero. "
        "Usage is the share of samples that use the atom."
    )
    if image_shape is None:
        caption = "The dictionary over the features, atoms of most code energy first, with their usage."
    return Picture(f"{name}-dictionary", figure, caption)


def _activation(name, fit):
    odds = fit.activation_log_odds
    sure = int(np.sum(expit(odds) > 0.99))
    text = (
        f"{sure} of {len(odds)} atoms have an activation probability above 0.99; the smallest log odds are "
        f"{odds.min():.3g}, the median {np.median(odds):.3g} nats."
    )
    blocks = [
        text,
        Picture(
            f"{name}-log-odds",
            plots.activation_log_odds(odds),
            "Log prior odds plus the evidence that deleting the atom would lose.",
            half=True,
        ),
        Picture(
            f"{name}-activation",
            plots.activation_probability(log_odds=odds),
            "The same as probabilities.",
            half=True,
        ),
        Picture(f"{name}-usage", plots.usage(fit.usage), "Share of samples that use each atom.", half=True),
    ]
    if fit.probability is not None:
        blocks.append(
            Picture(
                f"{name}-atoms-per-sample",
                plots.atoms_per_sample(np.sum(fit.probability >= 0.5, axis=1)),
                "Training samples by the number of atoms that they use with probability at least one half.",
                half=True,
            )
        )
    return blocks


def _reconstructions(name, estimator, held_out, image_shape):
    fit = estimator.fit_
    X = np.asarray(held_out).astype(fit.dictionary.dtype)
    coded = code_em(X, fit)
    mean = coded.codes @ fit.dictionary
    variance = np.maximum(coded.square - coded.codes**2, 0)
    sd = np.sqrt(variance @ fit.dictionary**2)
    inside = np.abs(X - mean) <= norm.ppf((1 + LEVEL) / 2) * np.hypot(sd, fit.noise_scale)
    rmse = np.sqrt(np.mean((X - mean) ** 2))
    text = (
        f"On {len(X)} held-out samples the posterior mean reconstructs with an RMSE of {rmse:.4g}; the entries have a "
        f"standard deviation of {X.std():.4g}. The {LEVEL:.0%} predictive interval of an entry (posterior of the "
        f"codes, and noise) holds {inside.mean():.1%} of the entries."
    )
    first = int(np.argsort(np.sum(X**2, axis=1))[len(X) // 2])
    blocks: list = [text]
    if image_shape is not None:
        shown = np.linspace(0, len(X) - 1, min(SHOWN, len(X))).astype(int)
        figure = plots.reconstruction_gallery(X[shown], mean[shown], sd[shown], image_shape)
        caption = (
            "Held-out samples, posterior means and posterior standard deviations of their reconstructions."
        )
        blocks.append(Picture(f"{name}-reconstructions", figure, caption))
    band = plots.reconstruction(X[first], mean[first], sd=sd[first], level=LEVEL)
    codes = plots.code_intervals(
        coded.codes[first],
        sd=np.sqrt(variance[first]),
        probability=coded.probability[first],
        level=LEVEL,
        max_atoms=30,
    )
    return [
        *blocks,
        Picture(
            f"{name}-band", band, "The held-out sample of median energy and the band of its reconstruction "
            "(normal approximation of the variational posterior; without noise).", half=True,
        ),
        Picture(f"{name}-codes", codes, "Its largest codes.", half=True),
    ]  # fmt: skip


def map_section(title, name, estimator, image_shape=None):
    """Section on a `PADL` fitted by MAP: atoms, usage and the objective.

    Parameters
    ----------
    title, name, image_shape
        As for `em_section`.
    estimator : PADL
    """
    fit = estimator.fit_
    nonzeros = np.count_nonzero(fit.codes) / len(fit.codes)
    text = (
        f"PADL's own objective at alpha = ({fit.alpha[0]:.4g}, {fit.alpha[1]:.4g}) keeps {estimator.n_active_} "
        f"atoms, with {nonzeros:.3g} nonzero codes a sample. The objective is {fit.objective:.6g}; for this "
        f"dictionary no codes can lower it by more than {fit.gap:.1e} of the energy of the data (duality gap). "
        f"{fit.n_iter} iterations took {fit.wall_time:.0f} s ({fit.status})."
    )
    trace = plots.trace(fit.history, ylabel="objective", xlabel="iteration")
    return Section(
        title,
        [
            text,
            _gallery(name, fit, image_shape),
            Picture(
                f"{name}-usage", plots.usage(fit.usage), "Share of samples with a nonzero code.", half=True
            ),
            Picture(
                f"{name}-objective",
                trace,
                "Objective after each coding step (the scale leaves out the first ones).",
                half=True,
            ),
        ],
    )


def comparison_section(title, name, scores):
    """Section on `padl_bayes.rivals` scores, those of the estimator in question first.

    Parameters
    ----------
    title, name : str
    scores : list of Score
    """
    ours = scores[0]
    rows = [(s.method, s.coding, s.n_atoms, *s[3:7]) for s in scores]
    what = ("nonzeros", "RMSE")
    header = (
        "dictionary",
        "codes",
        "atoms",
        *(f"{w}, {side}" for w in what for side in ("training", "held-out")),
    )
    caption = "Root mean squared error of an entry. Nonzeros are means over samples."
    equal = [
        s for s in scores if abs(s.nonzeros_held_out - ours.nonzeros_held_out) < 0.1 * ours.nonzeros_held_out
    ]
    figure = plots.comparison([_short(s) for s in equal], [(s.rmse_held_out, s.rmse) for s in equal])
    below = "The rows whose held-out nonzeros are within 10% of the first row's."
    table = Table(header, rows, caption, strong=(0,))
    return Section(title, [_verdict(scores), table, Picture(f"{name}-comparison", figure, below)])


def _short(score):
    method = score.method.replace("MiniBatchDictionaryLearning", "mini-batch").replace(
        "DictionaryLearning", ""
    )
    return f"{method.strip()}: {score.coding}"


def _verdict(scores):
    ours = scores[0]
    parts = [
        "Rivals learn as many atoms as the first row has, and their penalty is set so that samples have as many "
        "nonzeros on average. Lasso codes are shrunk towards zero. OMP codes are least squares on their support, "
        "with one number of atoms for every sample (equal counts, rounded up) or one squared residual (equal "
        "residuals). Refitted codes are least squares on the support of the codes."
    ]
    rivals = [s for s in scores if not s.method.startswith("PADL")]
    for rule in dict.fromkeys(s.coding for s in rivals):
        best = min((s for s in rivals if s.coding == rule), key=lambda s: s.rmse_held_out)
        change = ours.rmse_held_out / best.rmse_held_out - 1
        word = "below" if change < 0 else "above"
        parts.append(
            f"With {rule} codes the best rival ({best.method}) has a held-out RMSE of {best.rmse_held_out:.4g}: "
            f"{ours.method} with {ours.coding} codes is {abs(change):.0%} {word} it."
        )
    return " ".join(parts)
