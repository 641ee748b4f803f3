"""Images spoilt and restored, by this package and by others."""

import importlib.util
import time
import warnings

import numpy as np

import padl_bayes as pb
from padl_bayes._equal_sparsity import code_omp
from padl_bayes.imaging import add_patches, denoise, inpaint, windows

PATCH = 8
GAINS = (1.05, 1.1, 1.15)
PENALTY = 2.0
CHUNK = 20000


def load(name, side=None):
    """Grey levels of 0 to 255, float32; the upper left corner of it if ``side`` is given."""
    image = pb.datasets.barbara() if name == "barbara" else pb.datasets.photograph(name)
    return (255 * image[:side, :side]).astype(np.float32)


def psnr(found, clean):
    """Peak signal-to-noise ratio in decibels, of grey levels cut to 0 to 255."""
    error = np.clip(np.asarray(found, np.float64), 0, 255) - clean
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def average_of(patches, shape):
    """Unweighted mean of overlapping patches (h, w, p, p)."""
    total, weight = np.zeros((2, *shape))
    add_patches(patches, np.ones(patches.shape[:2]), 0, total, weight)
    return total / weight


def by_sklearn(noisy, sigma, n_atoms, n_patches):
    """scikit-learn's dictionary and OMP to the residual that the noise leaves, for each of `GAINS` times sigma."""
    from sklearn.decomposition import MiniBatchDictionaryLearning

    grid = windows(noisy.astype(np.float64), PATCH)
    X = grid.reshape(-1, PATCH**2)
    means = X.mean(axis=1, keepdims=True)
    X = X - means
    some = np.random.default_rng(1).permutation(len(X))[:n_patches]
    learner = MiniBatchDictionaryLearning(
        n_atoms, alpha=PENALTY * sigma, batch_size=256, max_iter=20, fit_algorithm="cd", random_state=0
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Objective did not converge")
        atoms = learner.fit(X[some]).components_
    for gain in GAINS:
        most = PATCH**2 * (gain * sigma) ** 2
        parts = [X[i : i + CHUNK] for i in range(0, len(X), CHUNK)]
        found = np.concatenate([code_omp(part, atoms, residual=most) @ atoms for part in parts])
        yield average_of((found + means).reshape(grid.shape), noisy.shape)


def by_nlm(noisy, sigma):
    """Non-local means of scikit-image."""
    from skimage.restoration import denoise_nl_means

    options = dict(patch_size=5, patch_distance=6, h=0.6 * sigma / 255, fast_mode=True)
    return 255 * denoise_nl_means(noisy.astype(np.float64) / 255, sigma=sigma / 255, **options)


def have_bm3d():
    """Whether the package bm3d, which is free for non-commercial use only, is installed."""
    return importlib.util.find_spec("bm3d") is not None


def by_bm3d(noisy, sigma):
    """BM3D by its authors."""
    import bm3d

    return bm3d.bm3d(noisy.astype(np.float64), sigma)


def run_denoising(part, say):
    """PSNR of all methods at each noise level."""
    clean, rows = load(part.image, part.side), []
    for sigma in part.levels:
        rng = np.random.default_rng(0)
        noisy = (clean + sigma * rng.standard_normal(clean.shape)).astype(np.float32)
        started = time.perf_counter()
        ours = denoise(noisy, n_atoms=part.n_atoms, n_patches=part.n_patches)
        row = {"sigma": sigma, "noisy": psnr(noisy, clean), "this package": psnr(ours.image, clean)}
        row |= {"found": ours.noise_scale, "active": ours.n_active, "seconds": time.perf_counter() - started}
        row["rms error"] = float(np.sqrt(np.mean((ours.image - clean) ** 2)))
        row["sd"] = float(np.sqrt(np.mean(ours.sd**2)))
        say(f"  {sigma}: {row['this package']:.2f} dB, noise {ours.noise_scale:.2f}")
        omp = by_sklearn(noisy, sigma, part.n_atoms or 256, part.n_patches)
        row["scikit-learn, OMP"] = [psnr(found, clean) for found in omp]
        row["non-local means"] = psnr(by_nlm(noisy, sigma), clean)
        row["BM3D"] = psnr(by_bm3d(noisy, sigma), clean) if have_bm3d() else None
        rows.append(row)
    return {"image": part.image, "rows": rows}


def section_denoising(name, result):
    """Markdown table."""
    lines = [
        f"## {name}", "",
        "| sigma | found | noisy | this package | scikit-learn + OMP, told | against it | non-local means, told "
        "| BM3D, told | atoms in use | error, sd of the bound | s |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    for r in result["rows"]:
        best = max(r["scikit-learn, OMP"])
        bm3d = "" if r["BM3D"] is None else f"{r['BM3D']:.2f}"
        lines.append(
            f"| {r['sigma']:g} | {r['found']:.2f} | {r['noisy']:.2f} | {r['this package']:.2f} | {best:.2f} "
            f"| {r['this package'] - best:+.2f} | {r['non-local means']:.2f} | {bm3d} | {r['active']} "
            f"| {r['rms error']:.2f}, {r['sd']:.2f} | {r['seconds']:.0f} |"
        )
    return "\n".join([*lines, "", f"{result['machine']}.", ""])


def run_inpainting(part, say):
    """PSNR where pixels are missing at random."""
    from skimage.restoration import inpaint_biharmonic

    clean, rows = load(part.image, part.side), []
    for share in part.levels:
        mask = np.random.default_rng(0).random(clean.shape) >= share
        seen = np.where(mask, clean, 0)
        started = time.perf_counter()
        ours = inpaint(seen, mask, n_atoms=part.n_atoms, n_patches=part.n_patches)
        row = {"missing": share, "this package": psnr(ours.image, clean), "active": ours.n_active}
        row |= {"found": ours.noise_scale, "seconds": time.perf_counter() - started}
        say(f"  {share:.0%}: {row['this package']:.2f} dB")
        rival = inpaint_biharmonic(seen.astype(np.float64) / 255, ~mask)
        row["biharmonic"] = psnr(255 * rival, clean)
        rows.append(row)
    return {"image": part.image, "rows": rows}


def section_inpainting(name, result):
    """Markdown table."""
    lines = [
        f"## {name}", "",
        "| missing | this package | biharmonic | against it | noise found | atoms in use | s |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    lines += [
        f"| {r['missing']:.0%} | {r['this package']:.2f} | {r['biharmonic']:.2f} "
        f"| {r['this package'] - r['biharmonic']:+.2f} | {r['found']:.2f} | {r['active']} | {r['seconds']:.0f} |"
        for r in result["rows"]
    ]
    return "\n".join([*lines, "", f"{result['machine']}.", ""])
