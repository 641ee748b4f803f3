"""What benchmarks measure with, and the page that is made of their results."""

import importlib
import json
import os

import jax
import numpy as np
import pytest

from benchmarks import _asked, _index, scaling
from benchmarks._machine import alone, memory

MACHINE = "a machine, 2 cores (load {}), 2030-01-02"


def test_memory_is_that_of_the_process_whatever_its_parent_held():
    before = memory()[0]
    held = np.ones(2**26)
    now, most = memory()
    assert now - before == pytest.approx(held.nbytes / 2**30, rel=0.1)
    assert most >= now
    del held
    # The kernel counts pages by the batch.
    assert memory()[0] < now - 0.4
    assert memory()[1] > most - 0.01
    # It imports nothing but Python's own library.
    assert alone(memory)[1] < 0.25


def test_a_process_of_its_own_has_an_environment_of_its_own(monkeypatch):
    monkeypatch.setenv("PADL_TEST_KEPT", "kept")
    assert alone(os.getenv, "PADL_TEST_KEPT", environment={"PADL_TEST_KEPT": "changed"}) == "changed"
    assert alone(os.getenv, "PADL_TEST_NEW", environment={"PADL_TEST_NEW": "new"}) == "new"
    assert os.environ["PADL_TEST_KEPT"] == "kept"
    assert "PADL_TEST_NEW" not in os.environ


def check_page(part, r):
    assert tuple(row[part.by] for row in r["rows"]) == part.sizes
    for row in r["rows"]:
        assert len(row["seconds"]) == 3
        assert min(row["seconds"]) > 0
        assert row["compilation"] > 0.01
    table = [line for line in scaling.section("toy", r).splitlines() if line.startswith("| ")]
    assert len(table) == 1 + len(part.sizes)
    assert len({line.count("|") for line in table}) == 1
    assert scaling.draw("toy", r).axes[0].get_xlabel() == scaling.AXES[part.by]


def test_devices_agree_and_their_memory_is_seen():
    part = scaling.QUICK
    r = scaling.run_part(part, None, lambda text: None) | {"machine": MACHINE.format(1)}
    assert json.loads(json.dumps(r)) == r | {"part": r["part"] | {"sizes": list(part.sizes)}}
    check_page(part, r)
    assert all(0.01 < row["memory"] < 2 for row in r["rows"])
    assert r["rows"][0]["difference"] == 0
    # Float32 sums over 600 samples in another order.
    assert 0 < r["rows"][1]["difference"] < 600 * np.finfo(np.float32).eps


@pytest.mark.parametrize(
    "part",
    [
        scaling.Part("sparse coding", "atoms", (8, 16), 200, 8, 4),
        scaling.Part("EM passes", "samples", (100, 200), 200, 8, 8),
    ],
    ids=lambda part: part.what,
)
def test_toy_runs_of_scaling(part, tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "alone", lambda function, *arguments, environment=None: function(*arguments))
    # Nothing that another test compiled is to be at hand.
    jax.clear_caches()
    r = scaling.run_part(part, None, lambda text: None) | {"machine": MACHINE.format(1)}
    check_page(part, r)
    first, last = r["rows"]
    assert last["atoms"] == (16 if part.by == "atoms" else 8)
    assert last["samples"] == 200
    assert first["samples"] == (100 if part.by == "samples" else 200)
    assert 0 < last["active"] <= last["atoms"]


def rows_by(by, seconds):
    row = {"samples": 1, "atoms": 256, "memory": 0.5}
    rows = [row | {by: size, "seconds": [time, 0.9 * time, 1.2 * time]} for size, time in seconds.items()]
    return {"machine": MACHINE.format(0.3), "part": {"by": by, "what": "sparse coding"}, "rows": rows}


def write(folder, name, results):
    (folder / f"{name}.json").write_text(json.dumps(results), encoding="utf-8")


def cells(folder, what, against):
    text = _index.write_index(folder).read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {what} | {against} |")]
    return [cell.strip() for cell in line.split("|")[3:-1]]


def test_the_page_says_what_was_found_against_what_was_asked(tmp_path):
    times = {"SPAMS, FISTA": [62.0, 60.0, 66.0], "this package": [2.0, 1.5, 2.2], "numba, row descent": [4.0]}
    rows = {label: {"seconds": seconds} for label, seconds in times.items()}
    part = {"machine": MACHINE.format(2), "rows": rows | {"JAX FISTA, sorted": None}, "gap": 6e-7}
    write(tmp_path, "sparse_coding", {_asked.COARSE: part | {"suboptimality": 2e-7}})
    coding = "sparse coding, 20,000 patches"
    linked = "[sparse_coding](sparse_coding.md)"
    assert cells(tmp_path, coding, "SPAMS, FISTA") == ["at least 30", "31 (27.3 to 44)", "yes", linked, "1"]
    assert cells(tmp_path, coding, "numba, row descent")[:3] == ["at least 3", "2 (1.82 to 2.67)", "no"]
    for rival in ("JAX FISTA, sorted", "JAX FISTA, Newton"):
        assert cells(tmp_path, coding, rival) == ["", "not measured", "", linked, ""]
    assert cells(tmp_path, "certified gap", "true suboptimality")[:3] == ["at most 5", "3", "yes"]
    assert cells(tmp_path, "with every atom active", "SPAMS, FISTA")[1] == "not measured"


def test_slopes_and_machines_are_those_of_all_decades(tmp_path):
    low = rows_by("samples", {10**4: 1.0, 10**5: 10.0})
    high = rows_by("samples", {10**5: 10.0, 10**6: 10 ** (2 + 0.4)})
    names = [f"sparse coding of {decade}" for decade in _asked.DECADES]
    write(tmp_path, "scaling", {names[0]: low})
    assert cells(tmp_path, "slope of sparse coding, 1e4 to 1e6", "samples")[1] == "not measured"
    write(tmp_path, "scaling", dict(zip(names, (low, high), strict=True)))
    # Least squares over the three sizes: (2.4 - 0) / 2.
    assert cells(tmp_path, "slope of sparse coding, 1e4 to 1e6", "samples")[1:3] == ["1.2", "no"]
    (few,) = _index.draw_samples([low, high]).axes[0].lines
    np.testing.assert_array_equal(few.get_xdata(), [10**4, 10**5, 10**6])
    other = low | {"machine": MACHINE.format(1.0).replace("a machine", "another")}
    write(tmp_path, "scaling", dict(zip(names, (other, high), strict=True)))
    assert cells(tmp_path, "slope of sparse coding, 1e4 to 1e6", "samples")[-1] == "1, 2"
    page = _index.write_index(tmp_path).read_text(encoding="utf-8")
    assert "\n1. another, 2 cores, 2030-01-02\n2. a machine, 2 cores, 2030-01-02\n" in page


def test_time_with_few_active_is_that_of_a_twentieth():
    by = {11: 0.2, 13: 0.3, 40: 1.0, 256: 2.0}
    assert _asked.few_over_all(rows_by("active", by)).value == pytest.approx(0.15)
    assert _asked.few_over_all(rows_by("active", {13: 0.3, 40: 1.0})) is None
    assert _asked.few_over_all(rows_by("active", {40: 1.0, 256: 2.0})) is None


def test_lines_of_compression():
    def entry(method, share, error, within=True, counted="all"):
        return {
            "method": method, "share": share, "within": within, "rmse_stored": error, "counted": counted,
        }  # fmt: skip

    entries = [
        entry("this package", 1, 0.4), entry("this package, OMP", 1, 0.5), entry("this package", 0.5, 0.1),
        entry("PCA", 1, 0.3), entry("PCA", 1, 0.1, within=False), entry("PCA", 1, 0.6),
        entry("PCA", 0.5, 0.05, counted="codes"), entry("this package", 0.5, 0.04, counted="codes"),
    ]  # fmt: skip
    assert _asked.error_of_tokens("PCA")({"entries": entries}).value == pytest.approx(0.75)
    assert _asked.error_of_tokens("PCA", 0.5, "codes")({"entries": entries}).value == pytest.approx(1.25)
    assert _asked.error_of_tokens("PCA", 0.5)({"entries": entries}) is None
    rows = [
        {"rule": "atoms", "cls_cosine": cosine, "speedup": [s - 0.1, s, s + 0.1]}
        for cosine, s in ((0.999, 1.1), (0.991, 1.3), (0.98, 2.0))
    ]
    assert _asked.speed_up("atoms")({"rows": rows}) == pytest.approx((1.3, 1.2, 1.4))
    assert _asked.speed_up("random")({"rows": rows}).value == 1
    rows = [
        {"of": one, "less": other, "share": share, "cosine": {"mean": 0.2, "low": 0.1, "high": share}}
        for one, other in (("padl", "svd"), ("log odds", "magnitude")) for share in (0.75, 0.5)
    ]  # fmt: skip
    for figure in (_asked.cosine_above("svd", 0.5), _asked.evidence_over_magnitude):
        assert figure({"differences": rows}) == (0.2, 0.1, 0.5)
    assert _asked.cosine_above("rounding", 0.5)({"differences": rows}) is None
    rows = [{"of": "EM", "less": "magnitude", "cosine": {"mean": -0.2, "low": -0.3, "high": -0.1}}]
    assert _asked.deletions_over_magnitude({"differences": rows}) == (-0.2, -0.3, -0.1)


def test_asked_rules():
    def met(asked, value):
        return _asked.Line("", "", "", (), None, asked).met(value)

    assert met(("at least", 3), 3.0)
    assert not met(("at least", 3), 2.9)
    assert met(("at most", 3), 3.0)
    assert not met(("at most", 3), 3.1)
    assert met(("within 10% of", 1), 0.9)
    assert not met(("within 10% of", 1), 0.89)
    assert not met(("within 10% of", 1), 1.11)


def test_the_same_results_make_the_same_page_with_every_page_and_figure(tmp_path):
    write(tmp_path, "scaling", {"b": rows_by("samples", {10: 1.0, 100: 2.0})})
    for name, text in (("scaling.md", "# Cost\n\nmore"), ("other.md", "# Other things\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "other_a.png").write_bytes(b"")
    first = _index.write_index(tmp_path).read_bytes(), (tmp_path / _index.OVERVIEW).read_bytes()
    again = _index.write_index(tmp_path).read_bytes(), (tmp_path / _index.OVERVIEW).read_bytes()
    assert first == again
    page = first[0].decode()
    assert "| [Cost](scaling.md) | b (2030-01-02) |\n| [Other" not in page
    assert "| [Other things](other.md) |  |\n| [Cost](scaling.md) | b (2030-01-02) |" in page
    assert "![other a](other_a.png)\n![overview samples](overview_samples.png)\n" in page
    assert "[GPU]" not in page


@pytest.mark.parametrize("page", sorted({line.page for line in _asked.LINES}))
def test_every_line_is_of_parts_that_there_are(page):
    module = importlib.import_module(f"benchmarks.{page}")
    parts = module.CASES if page == "effective_samples" else module.PARTS
    assert {name for line in _asked.LINES if line.page == page for name in line.parts} <= set(parts)


def test_a_part_that_is_run_again_renews_the_page(tmp_path):
    from benchmarks._posterior import Page, run_page

    def run(part, options, say):
        return {"value": part}

    write(tmp_path, "toy", {"gone": {"value": 0}, "b": {"value": 5, "machine": MACHINE.format(1)}})
    page = Page("toy", "# Toy\n", {"a": 1, "b": 2}, 3, run, lambda name, r: f"{name}: {r['value']}")
    results = run_page(page, ["--quick", "--out", str(tmp_path)], "toy")
    assert {name: r["value"] for name, r in results.items()} == {"b": 5, "toy": 3}
    assert (tmp_path / "toy.md").read_text(encoding="utf-8") == "# Toy\n\nb: 5\ntoy: 3"
    assert "| [Toy](toy.md) | b (2030-01-02), toy (" in (tmp_path / "README.md").read_text(encoding="utf-8")
