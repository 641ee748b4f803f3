"""MathJax from the wheel sphinx-mathjax-offline: script and fonts lie in the site, nothing is fetched."""

from importlib.metadata import distribution
from pathlib import Path

from sphinx.util.fileutil import copy_asset

SCRIPT = "tex-chtml.js"
FONTS = "output/chtml/fonts/woff-v2"


def copy_mathjax(app, error):
    """Copy the script and its fonts, which is a tenth of the wheel."""
    if error is None and app.builder.format == "html":
        wheel = distribution("sphinx-mathjax-offline")
        source = next(Path(str(wheel.locate_file(f))) for f in wheel.files if f.name == SCRIPT).parent
        out = Path(app.outdir, "_static", "mathjax")
        copy_asset(source / SCRIPT, out)
        copy_asset(source / FONTS, out / FONTS)


def setup(app):
    app.config.mathjax_path = f"mathjax/{SCRIPT}"
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
