"""What the papers claim, and images restored: ``python -m benchmarks.reproduce [PART ...] [--quick]``.

Parts that are not run again are kept.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

import padl_bayes as pb
from benchmarks import _claims, _images
from benchmarks._posterior import Page, run_page

HEAD = """# What the papers claim, and images restored

`python -m benchmarks.reproduce` (`make reproduce`). Denoising: white noise is added to grey levels of 0 to 255, nothing
is cut off; figures are PSNR in dB. This package, `pb.imaging.denoise`, is not told how strong the noise is; all others
are. scikit-learn: `MiniBatchDictionaryLearning`, 256 atoms of 8 x 8 learned on as many noisy patches, OMP to a residual
of gain times sigma, the best of three gains by the true image; others measured 29.54 dB with it on camera at 25. BM3D
is its authors' package, where installed. "Error, sd of the bound": root mean squares of the true error, and of the sd
that the fit states, an upper bound under the model. Inpainting: pixels are missing at random; the rival is
scikit-image's `inpaint_biharmonic`.

Claims: a verdict is of the row's figures, whichever way. Rivals have as many atoms as variational EM kept, and as many
nonzeros a sample. No package at hand ships Fashion-MNIST or the ORL faces: faces are the hundred of scikit-image's
`lfw_subset`. The larger runs of MNIST are on [real_data](real_data.md).
"""


class Spoilt(NamedTuple):
    """An image, levels of noise or shares of missing pixels, and what to learn."""

    task: str
    image: str
    levels: tuple
    n_patches: int
    n_atoms: int | None = None
    side: int | None = None


class Claims(NamedTuple):
    """A data set, bounds of the fit, mini-batches of SPAMS and how fine the grid of weights is."""

    load: Callable
    n_atoms: int
    max_iter: int = 3000
    spams_iter: int = 200
    n_grid: int = 9


def _faces():
    from skimage.data import lfw_subset

    faces = lfw_subset()[:100].reshape(100, -1)
    return (faces - faces.mean()).astype(np.float32)


def _task(part):
    return "claims" if isinstance(part, Claims) else part.task


KINDS = {
    "denoising": (_images.run_denoising, _images.section_denoising),
    "inpainting": (_images.run_inpainting, _images.section_inpainting),
    "claims": (_claims.run_claims, _claims.section_claims),
}  # fmt: skip


def run(part, options, say):
    """One part, of whichever kind."""
    return {"kind": _task(part)} | KINDS[_task(part)][0](part, say)


def section(name, result):
    """Markdown of one part."""
    return KINDS[result["kind"]][1](name, result)


def draw(name, result):
    """Bars of PSNR, or of the held-out RMSE."""
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    ax = figure.subplots()
    if result["kind"] == "claims":
        rows = [s for s in result["scores"] if s["coding"] != "its own, refitted"]
        ax.barh([f"{s['method']}: {s['coding']}" for s in rows], [s["rmse_held_out"] for s in rows])
        ax.invert_yaxis()
        ax.set(xlabel="RMSE, held-out", title=name)
        return figure
    key = "sigma" if result["kind"] == "denoising" else "missing"
    methods = [m for m in ("this package", "scikit-learn, OMP", "non-local means", "BM3D", "biharmonic")
               if result["rows"][0].get(m) is not None]  # fmt: skip
    for i, method in enumerate(methods):
        heights = [np.max(row[method]) for row in result["rows"]]
        ax.bar(np.arange(len(heights)) + 0.8 * i / len(methods), heights, 0.8 / len(methods), label=method)
    ax.set_xticks(np.arange(len(result["rows"])) + 0.4, [f"{row[key]:g}" for row in result["rows"]])
    low = min(np.max(row[m]) for row in result["rows"] for m in methods)
    ax.set(xlabel=key, ylabel="PSNR, dB", ylim=(low - 2, None), title=name)
    ax.legend(frameon=False, fontsize="small")
    return figure


PARTS = {
    "denoising camera": Spoilt("denoising", "camera", (15, 25, 50), 60_000),
    "denoising barbara": Spoilt("denoising", "barbara", (15, 25, 50), 60_000),
    "inpainting camera": Spoilt("inpainting", "camera", (0.5, 0.8), 20_000),
    "inpainting barbara": Spoilt("inpainting", "barbara", (0.5, 0.8), 20_000),
    "digits": Claims(lambda: pb.datasets.digits(dtype=np.float32).X, 128),
    "MNIST": Claims(lambda: pb.datasets.mnist5k(dtype=np.float32).X[::4] / 255, 128, max_iter=600),
    "faces": Claims(_faces, 64),
    "patches": Claims(lambda: pb.datasets.natural_patches(6000, 8, seed=0, dtype=np.float32).X, 128, max_iter=600),
}  # fmt: skip
QUICK = Spoilt("denoising", "camera", (25,), 3000, n_atoms=16, side=64)
PAGE = Page("reproduce", HEAD, PARTS, QUICK, run, section, draw)


def main(arguments=None):
    """Run the parts named."""
    return run_page(PAGE, arguments, __doc__)


if __name__ == "__main__":
    main()
