"""The site. Its source is the repository itself, so that links lead to the same files here and on a code host."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_ext")]

import padl_bayes  # noqa: E402

project = "padl_bayes"
author = "The padl_bayes developers"
copyright = "The padl_bayes developers. Apache-2.0"
version = release = padl_bayes.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "numpydoc",
    "formulas",
    "references",
]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "benchmarks/results/*.md",
    "benchmarks/gpu.md",
    "notebooks/*.ipynb",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
]
exclude_patterns = [
    ".*",
    "build",
    "dist",
    "demo-report",
    "models",
    "inference",
    "padl_bayes",
    "csrc",
    "tests",
    "docs/_ext",
]

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_merge_streams = True

html_theme = "furo"
html_title = f"padl_bayes {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
highlight_language = "none"

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_inherit_docstrings = False
numpydoc_show_class_members = False
default_role = "py:obj"
nitpicky = True
nitpick_ignore = [("py:class", "ArrayLike")]


def first_page(app, error):
    """``index.html`` at the top of the built site, which leads to the first page."""
    if error is None and app.builder.format == "html":
        target = f"{root_doc}.html"
        page = f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={target}">\n'
        page += f'<title>padl_bayes</title><a href="{target}">padl_bayes</a>\n'
        Path(app.outdir, "index.html").write_text(page)


def setup(app):
    app.connect("build-finished", first_page)
