"""Likeness of embeddings to those of the whole encoder; texts of one document are alike, so errors count documents."""

import numpy as np
from scipy.stats import bootstrap

RESAMPLES = 4999
MEASURES = ("cosine", "top1", "top10")


def likeness(reference, found):
    """Cosines of embeddings, and how far neighbours agree, text by text.

    Parameters
    ----------
    reference, found : ndarray, shape (n, p)
        Of unit norm.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        ``cosine``, and ``top1`` and ``top10``: share of a text's nearest others that stay its nearest.
    """
    result = {"cosine": np.sum(reference.astype(np.float64) * found, axis=1)}
    orders = []
    for embeddings in (reference, found):
        close = embeddings @ embeddings.T
        np.fill_diagonal(close, -np.inf)
        orders.append(np.argsort(-close, axis=1, kind="stable"))
    for k in (1, 10):
        same = [len({*a[:k]} & {*b[:k]}) / k for a, b in zip(*orders, strict=True)]
        result[f"top{k}"] = np.array(same)
    return result


def cluster_mean(values, clusters, *, resamples=RESAMPLES, seed=0):
    """Mean of values, its standard error and a 95% interval, by percentiles of a bootstrap of whole clusters.

    Parameters
    ----------
    values : array_like, shape (n,)
        Differences where two things are measured on the same texts.
    clusters : array_like, shape (n,)
        What each belongs to.

    Returns
    -------
    dict of str to float
        ``mean``, ``error``, ``low``, ``high``.

    Notes
    -----
    Davison, Hinkley, Bootstrap Methods and their Application, 1997, section 3.8.
    """
    values = np.asarray(values, np.float64)
    _, at = np.unique(clusters, return_inverse=True)
    sums, counts = np.bincount(at, values), np.bincount(at)
    found = bootstrap(
        (sums, counts), lambda s, n, axis: s.sum(axis=axis) / n.sum(axis=axis), paired=True, vectorized=True,
        method="percentile", n_resamples=resamples, batch=500, random_state=np.random.default_rng(seed),
    )  # fmt: skip
    low, high = (float(end) for end in found.confidence_interval)
    return {"mean": float(values.mean()), "error": float(found.standard_error), "low": low, "high": high}


def differences(first, second, documents):
    """`cluster_mean` of each measure of one `likeness` less that of another, on the same texts."""
    return {name: cluster_mean(np.subtract(first[name], second[name]), documents) for name in MEASURES}


def summary(likenesses, documents):
    """Mean and standard error over documents of each measure, and the 5th percentile of cosines."""
    found = {"low": float(np.percentile(likenesses["cosine"], 5))}
    for name in MEASURES:
        estimate = cluster_mean(likenesses[name], documents)
        found[name] = estimate["mean"]
        found[f"{name}_error"] = estimate["error"]
    return found


def measured(row):
    """Cells of a row's likeness."""
    cells = [f"{row['cosine']:.5f} ± {row['cosine_error']:.5f}", f"{row['low']:.4f}"]
    return " | ".join(cells + [f"{row[name]:.3f} ± {row[f'{name}_error']:.3f}" for name in ("top1", "top10")])


def difference_lines(rows, where=None, form="", labels=None):
    """Table of paired differences with their intervals, and of ``share`` where it has a heading."""
    labels = labels or {}
    heading = [where] if where else []
    cells = [*heading, "difference", *(f"{name} (95%)" for name in ("cosine", "top-1", "top-10"))]
    lines = [_line(cells), "|--:" * len(heading) + "|---" + "|--:" * len(MEASURES) + "|"]
    for row in rows:
        cells = [form.format(row["share"])] if where else []
        cells.append(f"{labels.get(row['of'], row['of'])} less {labels.get(row['less'], row['less'])}")
        for name, digits in zip(MEASURES, (5, 3, 3), strict=True):
            mean, low, high = (f"{row[name][key]:+.{digits}f}" for key in ("mean", "low", "high"))
            cells.append(f"{mean} ({low} to {high})")
        lines.append(_line(cells))
    return lines


def _line(cells):
    return f"| {' | '.join(cells)} |"
