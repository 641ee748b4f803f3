"""Draw the pictures of the README and of the site: ``python docs/pictures/draw.py`` (some minutes)."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import padl_bayes as pb
from padl_bayes import plots

FOLDER = Path(__file__).parent


def overview():
    """Atoms of photographs; evidence for each atom and the posterior of their number, on data of 20 atoms."""
    patches = pb.datasets.natural_patches(4000, 8, seed=0, dtype=np.float32).X
    atoms = pb.PADL(48).fit(patches).components_
    data = pb.datasets.synthetic_a(n_samples=500, noise=0.1, seed=0)
    X = data.X.astype(np.float32)
    fit = pb.PADL(40).fit(X)
    draws = pb.inference.sample_gibbs(X, 40, num_warmup=1000, num_samples=1000)
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(4.6, 5))
    plots.gallery(
        atoms,
        image_shape=(8, 8),
        columns=8,
        title="Atoms learned from 4,000 patches of photographs",
        fig=left,
    )
    top, bottom = right.subplots(2, 1)
    plots.activation_log_odds(
        fit.activation_log_odds_, title="Synthetic data of 20 atoms, 40 allowed", ax=top
    )
    top.set_ylabel("log odds of activation")
    number = {"Gibbs": draws.samples["num_active"], "EM": [[fit.n_active_]]}
    plots.num_active(number, title="How many are there?", ax=bottom)
    figure.savefig(FOLDER / "overview.png", dpi=110)


def bars():
    """The gallery of the quickstart."""
    data = pb.datasets.bars(n_samples=500, seed=0)
    est = pb.PADL(n_atoms=20, nonnegative=True).fit(data.X)
    figure = plots.gallery(
        est.components_, image_shape=(5, 5), labels=est.usage_, label_name="usage", columns=5
    )
    figure.savefig(FOLDER / "bars.png", dpi=110)


if __name__ == "__main__":
    bars()
    overview()
