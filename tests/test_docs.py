"""What the pages say is run: every block of code, every command, every link inside the repository."""

import ast
import contextlib
import doctest
import importlib
import importlib.util
import inspect
import io
import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import matplotlib
import numpy as np
import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt

import padl_bayes
from padl_bayes.cli import main
from padl_bayes.datasets import bars

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SLOW = "<!-- slow -->"
DIRECTIVES = ("toctree", "image", "eval-rst", "literalinclude")


class Block(NamedTuple):
    """A block of code of a page."""

    kind: str
    text: str
    line: int
    slow: bool


def blocks_of(page):
    """All blocks of a page; those without a language are commands."""
    tokens = MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
    found = []
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type in ("fence", "code_block"):
            slow = before is not None and before.type == "html_block" and before.content.strip() == SLOW
            found.append(Block(token.info.strip() or "sh", token.content, token.map[0] + 1, slow))
    return found


def name_of(page):
    return str(page.relative_to(ROOT).with_suffix(""))


WITH_CODE = [page for page in PAGES if any(not block.kind.startswith("{") for block in blocks_of(page))]


def run_python(page, block, names):
    """Run a block as if it stood where it stands in its page; what ``# ->`` promises must be what is printed."""
    tree = ast.parse(block.text, str(page))
    ast.increment_lineno(tree, block.line)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, str(page), "exec"), names)
    promised = re.findall(r"# -> (.*)$", block.text, re.MULTILINE)
    if promised:
        assert printed.getvalue().splitlines() == promised, f"{name_of(page)}:{block.line}"


def targets():
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def extras():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def source_of(words):
    """The file that ``python FILE`` or ``python -m MODULE`` runs, and the arguments."""
    if words[0] != "-m":
        return ROOT / words[0], words[1:]
    spec = importlib.util.find_spec(words[1])
    assert spec is not None, words[1]
    package = Path(spec.origin)
    return package.with_name("__main__.py") if package.name == "__init__.py" else package, words[2:]


def check_command(line):
    """Run ``padl``; of other programs check that what they are asked for is there."""
    program, *words = shlex.split(line, comments=True)
    if program == "padl":
        done = CliRunner().invoke(main, [*words, "--quiet"])
        assert done.exit_code == 0, f"{line}: {done.output}"
    elif program == "make":
        assert {word for word in words if "=" not in word} <= targets(), line
    elif program == "pip":
        assert {word for part in re.findall(r"\[(.*?)\]", line) for word in part.split(",")} <= set(
            extras()
        ), line
    elif program == "python":
        source, arguments = source_of(words)
        text = source.read_text(encoding="utf-8")
        assert all(f'"{word}"' in text for word in arguments if word.startswith("--")), line
    else:
        pytest.fail(f"no test for a command like {line!r}")


def run_blocks(page, blocks):
    """Run blocks in the order of their page, in one namespace."""
    names = {"__name__": "__main__"}
    for block in blocks:
        if block.kind == "python":
            run_python(page, block, names)
        elif block.kind == "sh":
            for line in filter(None, map(str.strip, block.text.splitlines())):
                check_command(line)
        else:
            assert block.kind.startswith("{"), (
                f"{name_of(page)}:{block.line}: a block in {block.kind!r} is not tested"
            )
            assert block.kind[1:].partition("}")[0] in DIRECTIVES


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a reader works, with data of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(matplotlib, "use", lambda *_, **__: None)
    np.save("X.npy", bars(n_samples=400, seed=0).X)
    np.save("new.npy", bars(n_samples=20, seed=1).X)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_code_of_a_page_runs(page):
    run_blocks(page, [block for block in blocks_of(page) if not block.slow])


@pytest.mark.slow
# ArviZ 0.23 calls matplotlib 3.11 in ways that are on their way out
@pytest.mark.filterwarnings("ignore::matplotlib.MatplotlibDeprecationWarning")
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "page", [page for page in WITH_CODE if any(block.slow for block in blocks_of(page))], ids=name_of
)
def test_all_code_of_a_page_runs(page):
    run_blocks(page, blocks_of(page))


def slug(heading):
    """The anchor of a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def links_of(page):
    """Targets of links and pictures that stay in the repository, with the line of their paragraph."""
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        for child in token.children or []:
            target = child.attrGet("href") or child.attrGet("src")
            if target and not re.match(r"\w+:", target):
                yield target, token.map


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=name_of)
def test_links_lead_somewhere(page):
    for target, _ in links_of(page):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{name_of(page)}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), f"{name_of(page)}: {target}"


def public_modules():
    """`padl_bayes` and every module that it offers by name, or that a page of the reference is about."""
    pages = {path.stem for path in (ROOT / "docs/api").glob("*.md")} - {"index", "top", "results"}
    offered = {name for name in dir(padl_bayes) if isinstance(getattr(padl_bayes, name), ModuleType)}
    for name in sorted(pages | {name for name in offered & set(_reexported(padl_bayes))}):
        yield importlib.import_module(f"padl_bayes.{name}")
    yield padl_bayes


def _reexported(module):
    """Names that a module imports under their own name, which says that they are its own to offer."""
    return re.findall(r"import (\w+) as \1$", Path(module.__file__).read_text(), re.MULTILINE)


def public_names():
    """Full names of the functions and classes that public modules offer."""
    for module in public_modules():
        for name in _reexported(module):
            if callable(getattr(module, name)):
                yield f"{module.__name__}.{name}"


def test_every_public_module_has_a_page():
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs/api").glob("*.md"))
    for module in public_modules():
        assert f"automodule:: {module.__name__}\n" in pages
        assert inspect.getdoc(module), module.__name__


def test_every_public_name_says_what_it_is():
    for name in public_names():
        module, _, attribute = name.rpartition(".")
        text = inspect.getdoc(getattr(importlib.import_module(module), attribute))
        assert text, name
        assert not re.match(rf"{attribute}\(.*\)$", text), f"{name} has the docstring that Python made up"


@pytest.mark.parametrize(
    "name",
    [
        module.name
        for module in pkgutil.walk_packages(padl_bayes.__path__, "padl_bayes.")
        if ">>>" in Path(importlib.util.find_spec(module.name).origin).read_text(encoding="utf-8")
    ],
)
@pytest.mark.usefixtures("folder")
def test_examples_in_docstrings(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` does."""
    for needed in ("sphinx", "myst_nb", "furo", "numpydoc", "sphinx-mathjax-offline"):
        pytest.importorskip(needed)
    out = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-c",
        "docs",
        "-b",
        "html",
        ".",
        str(out),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_the_site_holds_every_public_name(site):
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (site / "docs/api").glob("*.html")}
    everything = "".join(pages.values())
    missing = [name for name in public_names() if f'id="{name}"' not in everything]
    assert not missing


@pytest.mark.slow
def test_the_site_needs_no_network(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|iframe|source)[^>]* src=\"(https?:[^\"]*)", text)
        fetched += re.findall(r"<link(?![^>]*rel=\"canonical)[^>]* href=\"(https?:[^\"]*)", text)
        assert not fetched, page
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"url\([\"']?https?:|@import", sheet.read_text(encoding="utf-8")), sheet


@pytest.mark.slow
def test_every_notebook_and_result_is_in_the_site(site):
    for source in [*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("benchmarks/results/*.md")]:
        assert (site / source.relative_to(ROOT).with_suffix(".html")).is_file()
