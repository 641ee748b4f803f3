"""A picture of every public plot, of numbers made by hand; ``python -m tests.plots.pictures`` draws the baselines.

Text is left out of baselines, as letters differ between versions of a font. Name a folder to see pictures with it.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from padl_bayes import plots
from padl_bayes.agreement import Reliability
from padl_bayes.tradeoff import Bands, Frontier

BASELINES = Path(__file__).parent / "baseline_images"
DPI = 60
K, P, SHAPE = 7, 24, (4, 6)


def waves(*shape, seed=0):
    """Numbers between -1 and 1 that look like chance and are the same on every machine."""
    n = np.arange(1, np.prod(shape) + 1, dtype=float)
    return np.reshape(2 * ((n * (np.sqrt(2) + 0.1 * seed)) % 1) - 1, shape)


def atoms(n=K):
    """Bumps (n, P) at places of their own."""
    grid, centres = np.linspace(0, 1, P), np.linspace(0.1, 0.9, n)[:, None]
    bumps = np.exp(-(((grid - centres) / 0.12) ** 2)) * np.where(np.arange(n) % 2, -1, 1)[:, None]
    return bumps / np.sqrt(np.sum(bumps**2, axis=1, keepdims=True))


def drawn_atoms(n=K):
    """Draws (2, 20, n, P) around them, the last atoms less sure."""
    return atoms(n) + np.linspace(0.02, 0.2, n)[:, None] * waves(2, 20, n, P)


def surface():
    """A `Frontier` of a grid of weights."""
    alpha = np.stack(np.meshgrid(np.geomspace(0.05, 2, 6), np.geomspace(0.1, 8, 5)), axis=-1).reshape(-1, 2)
    sparse = np.log1p(alpha).sum(axis=1)
    active = np.maximum(1, np.round(9 - 3 * sparse)).astype(int)
    rmse = 0.1 + 0.25 * sparse + 0.03 * np.abs(waves(30))
    return Frontier(
        alpha=alpha, nonzeros=6 * np.exp(-sparse), active=active, rmse=rmse, stored_rmse=1.03 * rmse,
        dictionary_bits=2e3 * active, support_bits=9e3 * np.exp(-sparse), value_bits=3e4 * np.exp(-1.3 * sparse),
        description_length=1e4 * (sparse - 0.7) ** 2, on=np.arange(9) < active[:, None], source=None,
        method="sampled", precision=np.ones(30), asked_precision=1.0,
    )  # fmt: skip


def bands_of(found):
    """`Bands` a few per cent around a `Frontier`."""
    spread = 1 + 0.12 * waves(25, len(found.alpha))
    return Bands(found.alpha, *(getattr(found, name) * spread for name in Bands._fields[1:]))


def reliable(shift):
    """A `Reliability` whose frequencies are ``shift`` off."""
    at = np.array([0.05, 0.3, 0.55, 0.8, 0.97])
    seen = np.clip(at + shift, 0, 1)
    edges = np.stack([np.linspace(0, 0.8, 5), np.linspace(0.2, 1, 5)], axis=1)
    return Reliability(
        edges, np.array([40, 12, 9, 25, 120]), at, seen, np.clip(seen - 0.1, 0, 1), np.clip(seen + 0.1, 0, 1),
        0.9, abs(shift), 0.02, 0.1,
    )  # fmt: skip


def passes():
    """``history_`` of a fit by EM."""
    n = np.arange(60.0)
    elbo = -4000 - 3e4 * np.exp(-n / 4) + 10 * waves(60)
    stages = np.repeat(["anneal", "delete", "reheat", "settle"], 15)
    return {"elbo": elbo, "noise_scale": 0.1 + np.exp(-n / 8), "n_active": 24 - n // 5, "stage": stages}


PROBABILITY = {
    "EM": np.array([1, 0.98, 0.9, 0.4, 0.7, np.nan]), "Gibbs": np.array([0.99, 1, 0.8, 0.55, 0.2, 0.1]),
}  # fmt: skip
ON = (waves(2, 20, K) < np.linspace(1, -0.4, K)).astype(int)

PICTURES = {
    "activation_log_odds": lambda: plots.activation_log_odds(
        np.array([900, 300, 40, 9, 5, 2, -3.0]), draws=np.array([900, 300, 40, 9, 5, 2, -3.0]) + 3 * waves(40, K)
    ),
    "activation_probability": lambda: plots.activation_probability(draws=0.5 + 0.5 * np.sort(waves(40, K))[:, ::-1]),
    "usage": lambda: plots.usage(draws=np.geomspace(0.5, 0.02, K) * (1 + 0.3 * waves(40, K))),
    "atoms_per_sample": lambda: plots.atoms_per_sample(np.repeat(np.arange(7), [3, 9, 20, 14, 6, 0, 2])),
    "gallery": lambda: plots.gallery(
        atoms(12), image_shape=SHAPE, labels=np.linspace(1, 0.02, 12), label_name="P(active)", title="Atoms"
    ),
    "gallery_lines": lambda: plots.gallery(atoms(), max_atoms=5, columns=3, title="Atoms"),
    "atom_bands": lambda: plots.atom_bands(drawn_atoms(), active=ON, truth=atoms(), title="Atoms"),
    "atom_bands_images": lambda: plots.atom_bands(drawn_atoms(), image_shape=SHAPE, max_atoms=4),
    "energy": lambda: plots.energy(np.cumsum(waves(3, 80), axis=1)),
    "rank": lambda: plots.rank(waves(3, 80) + np.array([[0.0], [0], [0.9]]), bins=10),
    "comparison": lambda: plots.comparison(["PADL EM", "PADL MAP", "SPAMS"], [[0.3, 0.28], [0.35, 0.33], [0.41, 0.3]]),
    "activation_by_fit": lambda: plots.activation_by_fit(PROBABILITY, mcse={"Gibbs": np.linspace(0, 0.05, 6)}),
    "num_active": lambda: plots.num_active(
        {"EM": [[6]], "Gibbs": [[5, 6, 6, 7, 6, 6], [6, 7, 7, 7, 6, 5]], "NUTS": [[4, 5, 5], [5, 6, 5]]}, truth=7
    ),
    "coverage": lambda: plots.coverage({"Gibbs": np.linspace(0, 1, 80), "EM": 0.5 + 0.5 * np.cbrt(waves(60))}),
    "code_intervals": lambda: plots.code_intervals(
        3 * waves(K), sd=np.linspace(0.1, 0.6, K), probability=np.linspace(1, 0.1, K)
    ),
    "reconstruction": lambda: plots.reconstruction(
        np.sin(np.arange(P) / 3) + 0.2 * waves(P), np.sin(np.arange(P) / 3), sd=np.full(P, 0.15)
    ),
    "reconstruction_gallery": lambda: plots.reconstruction_gallery(
        atoms() + 0.1 * waves(K, P), atoms(), np.abs(0.1 * waves(K, P)), SHAPE, title="Samples"
    ),
    "reliability": lambda: plots.reliability({"EM": reliable(-0.12), "Gibbs": reliable(0.03)}),
    "history": lambda: plots.history(passes(), title="A run"),
    "trace": lambda: plots.trace(np.cumsum(waves(3, 60), axis=1), ylabel="noise scale", xlabel="draw"),
    "frontier": lambda: plots.frontier(
        surface(), bands=bands_of(surface()),
        point={"MDL": surface().choose("mdl"), "sparse": surface().choose(("nonzeros", 1.0))},
    ),
    "predicted_refitted": lambda: plots.predicted_refitted(
        {"RMSE": np.geomspace(0.1, 2, 9), "nonzeros": np.geomspace(0.5, 9, 9)},
        {"RMSE": np.geomspace(0.1, 2, 9) * (1 + 0.1 * waves(9)), "nonzeros": np.geomspace(0.6, 9, 9)},
    ),
    "storage_breakdown": lambda: plots.storage_breakdown(surface()),
    "learning_curve": lambda: plots.learning_curve(
        [100, 300, 1000, 3000], np.array([[0.4], [0.15], [0.05], [0.02]]) * (1 + 0.3 * waves(4, 3)), [2, 1.1, 0.6, 0.35]
    ),
}  # fmt: skip


def draw(name, path, *, text=False):
    """Write a picture."""
    # the style of the user must not matter
    with mpl.rc_context(mpl.rcParamsDefault):
        drawn = PICTURES[name]()
        figure = getattr(drawn, "figure", drawn)
        FigureCanvasAgg(figure)
        if not text:
            _remove_text(figure)
        figure.savefig(path, dpi=120 if text else DPI, metadata={"Software": None})


def _remove_text(figure):
    for ax in figure.axes:
        ax.tick_params(which="both", labelleft=False, labelbottom=False, labelright=False, labeltop=False)
        if ax.get_legend() is not None:
            # where its handles are goes by the size of letters
            ax.get_legend().set_visible(False)
    for one in figure.findobj(Text):
        one.set_visible(False)


def main(folder=None):
    """Draw all into ``folder`` with text, or the baselines without."""
    target = BASELINES if folder is None else Path(folder)
    target.mkdir(exist_ok=True)
    for name in PICTURES:
        draw(name, target / f"{name}.png", text=folder is not None)


if __name__ == "__main__":
    main(*sys.argv[1:])
