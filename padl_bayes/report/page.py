"""The page and the files beside it."""

import base64
import datetime
import html
import importlib.metadata
import importlib.resources
import io
import platform
import re
import string
from pathlib import Path
from typing import NamedTuple

import numpy as np

from padl_bayes.arviz_io import to_netcdf
from padl_bayes.report.folders import new_folder

DPI = 144
PIXELS = 96
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_PACKAGES = ("jax", "numpyro", "arviz", "numpy", "scipy", "matplotlib")


class Picture(NamedTuple):
    """A figure (or axes) and what it shows; ``half`` puts two side by side."""

    name: str
    """Of the file, without its ending: lower-case letters, digits, - and _."""
    figure: object
    caption: str
    half: bool = False


class Table(NamedTuple):
    """Rows of text and numbers under a header; numbers that are no text are set right."""

    header: tuple
    rows: list
    caption: str = ""
    strong: tuple = ()
    """Indices of rows to emphasise."""


class Section(NamedTuple):
    """A heading, and paragraphs (str), `Picture` and `Table` in the order of reading."""

    title: str
    blocks: list


def write_report(
    folder, title, sections, *, lead=(), summary=(), posterior=None, arrays=None, files=None, overwrite=False
):
    """Write ``report.html``, the figures as PNG, ``posterior.nc`` and arrays into a new folder.

    Parameters
    ----------
    folder : str or os.PathLike
        Appears once everything is in it.
    title : str
    sections : sequence of Section
    lead : sequence of str
        Paragraphs below the title.
    summary : sequence of tuple of str
        Pairs (what, figure) to show at the top.
    posterior : arviz.InferenceData or xarray.DataTree, optional
        What `padl_bayes.arviz_io.to_arviz` returns.
    arrays : mapping of str to ndarray, optional
        Written as ``name.npy``.
    files : mapping of str to callable, optional
        Names of further files, each with what writes it, given the path.
    overwrite : bool
        Replace a folder that holds a report.

    Returns
    -------
    pathlib.Path
        Of ``report.html``, which needs no other file.

    Raises
    ------
    FileExistsError
        ``folder`` exists and ``overwrite`` is false, or it holds something other than a report.
    FileNotFoundError
        The folder that it lies in does not exist.
    ValueError
        Two figures of one name, or a name unfit for a file.
    """
    pictures = [block for section in sections for block in section.blocks if isinstance(block, Picture)]
    _check_names([picture.name for picture in pictures], arrays or {})
    with new_folder(folder, overwrite=overwrite) as draft:
        encoded = {picture.name: _save(picture, draft) for picture in pictures}
        for name, values in (arrays or {}).items():
            np.save(draft / f"{name}.npy", np.asarray(values), allow_pickle=False)
        for name, write in (files or {}).items():
            write(draft / name)
        if posterior is not None:
            to_netcdf(posterior, draft / "posterior.nc")
        page = _page(title, sections, lead, summary, encoded)
        (draft / "report.html").write_text(page, encoding="utf-8")
    return Path(folder) / "report.html"


def _check_names(names, arrays):
    for name in [*names, *arrays]:
        if not _NAME.fullmatch(name):
            raise ValueError(f"name {name!r} of a figure or array may hold a-z, 0-9, - and _ only")
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"figures must have names of their own, found {sorted(twice)} more than once")


def _save(picture, folder):
    """Write the figure as PNG; returns it for the page, with the width that keeps its letters at one size."""
    buffer = io.BytesIO()
    figure = getattr(picture.figure, "figure", None) or picture.figure
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
    (folder / f"{picture.name}.png").write_bytes(buffer.getvalue())
    width = round(figure.get_figwidth() * PIXELS)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'width="{width}" src="data:image/png;base64,{data}"'


def _page(title, sections, lead, summary, encoded):
    template = importlib.resources.files(__package__).joinpath("template.html")
    links = " ".join(
        f'<a href="#s{i}">{html.escape(section.title)}</a>' for i, section in enumerate(sections)
    )
    opening = [_paragraph(text) for text in lead]
    if summary:
        pairs = (f"<div><dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd></div>" for k, v in summary)
        opening.append(f"<dl>{''.join(pairs)}</dl>")
    if len(sections) > 1:
        opening.append(f"<nav>{links}</nav>")
    return string.Template(template.read_text(encoding="utf-8")).substitute(
        title=html.escape(title),
        lead="\n".join(opening),
        body="\n".join(_section(i, section, encoded) for i, section in enumerate(sections)),
        footer=html.escape(_footer()),
    )


def _footer():
    from padl_bayes import __version__

    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"Written by padl_bayes {__version__} on {now} with Python {platform.python_version()}, {versions}."
    )


def _section(index, section, encoded):
    parts, row = [f'<section id="s{index}"><h2>{html.escape(section.title)}</h2>'], []
    for block in [*section.blocks, None]:
        if isinstance(block, Picture):
            row.append(_figure(block, encoded[block.name]))
            continue
        if row:
            parts.append(f'<div class="figures">{"".join(row)}</div>')
            row = []
        if block is not None:
            parts.append(_table(block) if isinstance(block, Table) else _paragraph(block))
    return "\n".join([*parts, "</section>"])


def _paragraph(text):
    return f"<p>{html.escape(text)}</p>"


def _figure(picture, source):
    caption = html.escape(picture.caption)
    shape = ' class="half"' if picture.half else ""
    image = f'<img alt="{caption}" {source}>'
    return f"<figure{shape}>{image}<figcaption>{caption}</figcaption></figure>"


def _table(table):
    is_text = [all(isinstance(row[i], str) for row in table.rows) for i in range(len(table.header))]
    kinds = [' class="text"' if text else "" for text in is_text]

    def cells(tag, values):
        return "".join(
            f"<{tag}{kind}>{html.escape(_cell(value))}</{tag}>"
            for value, kind in zip(values, kinds, strict=True)
        )

    rows = (
        f"<tr{' class=' + chr(34) + 'strong' + chr(34) if i in table.strong else ''}>{cells('td', row)}</tr>"
        for i, row in enumerate(table.rows)
    )
    caption = f"<caption>{html.escape(table.caption)}</caption>" if table.caption else ""
    head = f"<thead><tr>{cells('th', table.header)}</tr></thead>"
    return f'<div class="scroll"><table>{caption}{head}<tbody>{"".join(rows)}</tbody></table></div>'


def _cell(value):
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "–"
    if isinstance(value, (int, np.integer)):
        return str(value)
    return f"{value:.4g}"
