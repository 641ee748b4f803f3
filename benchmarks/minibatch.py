"""Variational EM over mini-batches against scikit-learn's mini-batches; a million samples read from disk.

Run ``python -m benchmarks.minibatch``; results of parts that are not run again are kept.
"""

import tempfile
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks._machine import alone, memory
from benchmarks._posterior import Page, run_page
from benchmarks._scaling import patches


class Part(NamedTuple):
    """Patches, most atoms, samples in a batch, whether rivals learn too."""

    n_samples: int
    n_atoms: int = 256
    batch_size: int = 8192
    rivals: bool = True


PARTS = {"100,000 patches": Part(100_000), "1,000,000 patches": Part(1_000_000, rivals=False)}
QUICK = Part(1500, 16, 500)
HELD_OUT = 4000
SEARCH = 20_000


def _data(part):
    """Training patches, and others."""
    X = patches(part.n_samples + HELD_OUT, 8, 0, np.float32)
    return X[HELD_OUT:], X[:HELD_OUT]


def _quality(dictionary, codes, X):
    residual = X - codes @ dictionary
    return {
        "nonzeros": float(np.count_nonzero(codes) / len(X)),
        "rmse": float(np.sqrt(np.mean(residual.astype(np.float64) ** 2))),
    }


def _ours(part, path):
    """Fit from a file, code everything in pieces; in a process of its own, whose memory it reports."""
    from padl_bayes import PADL
    from padl_bayes.kernels import cpu

    before = memory()[0]
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est = PADL(part.n_atoms, batch_size=part.batch_size).fit(path)
    fitted = time.perf_counter()
    X = np.load(path, mmap_mode="r")
    squares, nonzeros = 0.0, 0
    for start in range(0, len(X), 50_000):
        rows = np.array(X[start : start + 50_000])
        codes = est.transform(rows)
        nonzeros += np.count_nonzero(codes)
        squares += float(np.sum((rows - est.inverse_transform(codes)).astype(np.float64) ** 2))
    coded = time.perf_counter()
    return {
        "level": cpu.level(),
        "status": est.status_,
        "n_atoms": est.n_active_,
        "noise_scale": est.noise_scale_,
        "elbo_per_entry": est.elbo_ / X.size,
        "fit": fitted - started,
        "encode": coded - fitted,
        "nonzeros": nonzeros / len(X),
        "rmse": (squares / X.size) ** 0.5,
        "memory": memory()[1] - before,
        "components": est.components_,
        "estimator_codes": est.transform(_data(part)[1]),
    }


def _sklearn(part, nonzeros):
    """One epoch and the codes of all samples, at the penalty with as many nonzeros."""
    from sklearn.decomposition import MiniBatchDictionaryLearning

    from padl_bayes._equal_sparsity import code_at
    from padl_bayes.rivals import learn_sklearn

    train, held_out = _data(part)
    options = dict(minibatch=True, max_iter=1, batch_size=256)
    penalty = learn_sklearn(train[:SEARCH], part.n_atoms, nonzeros[0], **options).penalty
    learner = MiniBatchDictionaryLearning(
        part.n_atoms, alpha=penalty, max_iter=1, batch_size=256, fit_algorithm="cd",
        transform_algorithm="lasso_cd", transform_alpha=penalty, random_state=0,
    )  # fmt: skip
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        learner.fit(train)
        fitted = time.perf_counter()
        codes = learner.transform(train)
    encoded = time.perf_counter()
    found = {"fit": fitted - started, "encode": encoded - fitted, "n_atoms": part.n_atoms, "penalty": penalty}
    found["encoded"] = _quality(learner.components_, codes, train)
    some = train[:: max(len(train) // SEARCH, 1)]
    for name, X, wanted in (("train", some, nonzeros[0]), ("held_out", held_out, nonzeros[1])):
        for rule in ("lasso", "omp"):
            matched = code_at(
                X.astype(np.float64), learner.components_.astype(np.float64), wanted, rule, penalty
            )
            found[f"{name}_{rule}"] = _quality(learner.components_, matched, X)
    return found


def run_part(part, options, say):
    """Result of one part, fit for JSON."""
    train, held_out = _data(part)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "X.npy"
        np.save(path, train)
        del train
        ours = alone(_ours, part, path)
    ours["held_out"] = _quality(ours.pop("components"), ours.pop("estimator_codes"), held_out)
    say(f"  this package: {ours['fit']:.0f} s + {ours['encode']:.0f} s, {ours['n_atoms']} atoms")
    result = {"sizes": list(part), "ours": ours}
    if part.rivals:
        result["sklearn"] = alone(_sklearn, part, (ours["nonzeros"], ours["held_out"]["nonzeros"]))
    return result


def section(name, r):
    """Markdown of one part."""
    n_samples, n_atoms, batch_size, _ = r["sizes"]
    ours = r["ours"]
    kernels = f"C++ kernels at {ours['level']}" if ours["level"] else "plain JAX"
    lines = [
        f"## {name}",
        "",
        f"{n_samples} natural 8 x 8 patches and {HELD_OUT} held-out ones, float32, at most {n_atoms} atoms, batches of "
        f"{batch_size}, read from a `.npy` file, {kernels}. {ours['status']}; noise {ours['noise_scale']:.4g}, bound "
        f"{ours['elbo_per_entry']:.4f} nats an entry. Memory above that of the imports, codes of all samples found in "
        f"pieces and not kept: {ours['memory']:.2f} GiB. {r['machine']}.",
        "",
        "| | atoms | learning, s | codes of all, s | nonzeros | RMSE | nonzeros, held-out | RMSE, held-out |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
        f"| this package | {ours['n_atoms']} | {ours['fit']:.0f} | {ours['encode']:.0f} | {ours['nonzeros']:.2f} "
        f"| {ours['rmse']:.4f} | {ours['held_out']['nonzeros']:.2f} | {ours['held_out']['rmse']:.4f} |",
    ]
    if "sklearn" in r:
        s = r["sklearn"]
        lines.append(
            f"| scikit-learn, one epoch | {s['n_atoms']} | {s['fit']:.0f} | {s['encode']:.0f} "
            f"| {s['encoded']['nonzeros']:.2f} | {s['encoded']['rmse']:.4f} | | |"
        )
        for rule, label in (("lasso", "lasso, equal nonzeros"), ("omp", "OMP, equal counts")):
            train, held_out = s[f"train_{rule}"], s[f"held_out_{rule}"]
            lines.append(
                f"| its atoms, {label} | | | | {train['nonzeros']:.2f} | {train['rmse']:.4f} "
                f"| {held_out['nonzeros']:.2f} | {held_out['rmse']:.4f} |"
            )
    return "\n".join([*lines, ""])


HEAD = f"""# Mini-batches

Written by `python -m benchmarks.minibatch`. `PADL(batch_size=...)`, which estimates everything and does not stop before
its bound stands still, against one epoch of scikit-learn's `MiniBatchDictionaryLearning` (batches of 256, coordinate
descent) at the penalty whose codes have as many nonzeros, found beforehand on {SEARCH} samples. Seconds include
compilation. The last rows code {SEARCH} of the training samples and the held-out ones with scikit-learn's atoms at our
number of nonzeros. A million patches are of photographs and textures, fewer of photographs alone.
"""


def main(arguments=None):
    """Run the parts named and return the results of all."""
    page = Page("minibatch", HEAD, PARTS, QUICK, run_part, section)
    return run_page(page, arguments, __doc__.splitlines()[0])


if __name__ == "__main__":
    main()
