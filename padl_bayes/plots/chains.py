"""Diagnostics of chains, in the look of the other figures and without pyplot."""

import numpy as np
from matplotlib.ticker import MaxNLocator
from scipy.stats import rankdata

from padl_bayes._validation import check_array, check_count
from padl_bayes.plots._style import BLUE, CYCLE, MUTED, ORANGE, SMALL, dress, legend, new_axes


def rank(draws, *, bins=20, xlabel="rank over all chains", title=None, ax=None):
    """Draw histograms of the ranks of each chain's draws among those of all chains: flat where chains agree.

    Parameters
    ----------
    draws : array_like, shape (chain, draw)
        Of a quantity that does not change when atoms are permuted, or of an aligned one.
    bins : int
    xlabel : str
    title : str, optional
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        A row a chain, its flat histogram as a line.

    References
    ----------
    Vehtari, Gelman, Simpson, Carpenter, Bürkner, Bayesian Analysis 16(2), 2021.
    """
    draws = check_array(draws, "draws", ("chain", "draw"))
    n_chains, n_draws = draws.shape
    bins = min(check_count(bins, "bins"), draws.size)
    ax = new_axes(ax, (5.2, 0.9 + 0.5 * n_chains))
    ranks = rankdata(draws, axis=None).reshape(draws.shape)
    edges = np.linspace(0.5, draws.size + 0.5, bins + 1)
    heights = np.stack([np.histogram(line, edges)[0] for line in ranks]) / (n_draws / bins)
    # the highest bar ends below the next row
    flat = min(0.45, 0.95 / float(heights.max()))
    for chain, height in enumerate(heights):
        base = n_chains - 1 - chain
        colour = CYCLE[chain % len(CYCLE)]
        ax.bar(edges[:-1], flat * height, np.diff(edges), base, align="edge", color=colour, alpha=0.75)
        ax.axhline(base + flat, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.set(xlim=(edges[0], edges[-1]), ylim=(0, n_chains))
    ax.set_yticks(np.arange(n_chains) + flat, [str(n_chains - i) for i in range(n_chains)])
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return dress(ax, xlabel=xlabel, ylabel="chain", title=title, grid=False)


def energy(values, *, bins=40, title=None, ax=None):
    """Draw the energies of Hamiltonian Monte Carlo and their changes from draw to draw, both centred.

    Parameters
    ----------
    values : array_like, shape (chain, draw)
        ``sample_stats["energy"]`` of `padl_bayes.inference.sample_nuts`.
    bins : int
    title : str, optional
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        Where changes are much narrower than energies, chains explore the tails slowly; the number is the fraction of
        missing information, E-BFMI, of the worst chain: below 0.3 is cause for concern.

    References
    ----------
    Betancourt, arXiv 1604.00695.
    """
    values = check_array(values, "values", ("chain", "draw")).astype(np.float64)
    if values.shape[1] < 2:
        raise ValueError(f"values must have at least 2 draws a chain, found shape {values.shape}")
    ax = new_axes(ax, (5.2, 2.8))
    centred = values - values.mean(axis=1, keepdims=True)
    steps = np.diff(values, axis=1)
    reach = max(np.abs(centred).max(), np.abs(steps).max()) or 1.0
    edges = np.linspace(-reach, reach, check_count(bins, "bins") + 1)
    for part, colour, label in ((centred, BLUE, "energy"), (steps, ORANGE, "change to the next draw")):
        ax.hist(
            part.ravel(), edges, density=True, histtype="stepfilled", color=colour, alpha=0.45, label=label
        )
    variance = np.sum(centred**2, axis=1)
    worst = np.min(np.sum(steps**2, axis=1)[variance > 0] / variance[variance > 0], initial=np.inf)
    if np.isfinite(worst):
        label = f"E-BFMI {worst:.2f}"
        ax.text(1, 0.98, label, transform=ax.transAxes, ha="right", va="top", fontsize=SMALL, color=MUTED)
    legend(ax, loc="lower right", ncols=2, bbox_to_anchor=(1, 1), borderaxespad=0.2)
    return dress(ax, xlabel="nats, centred", ylabel="density", title=title)
