"""Reports stand alone, quote the figures of what they show, and appear whole or not at all."""

import base64
import html.parser
import os
import re
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.special import expit

from padl_bayes import PADL, plots, report
from padl_bayes.arviz_io import from_netcdf, load_arviz, to_arviz
from padl_bayes.datasets import bars
from padl_bayes.report import Picture, Section, Table, check_folder, new_folder, write_report
from padl_bayes.rivals import Score

LINKING = {"src", "href", "srcset", "data", "action", "poster", "background"}


class Page(html.parser.HTMLParser):
    """Links, images and text of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.images, self.words, self.open = [], {}, [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.links += [value for name, value in attrs.items() if name in LINKING]
        if tag == "img":
            self.images[attrs["alt"]] = attrs["src"]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def simple_sections():
    usage = plots.usage(np.array([0.2, 0.4]))
    blocks = [
        "a < b & <script>",
        Picture("usage", usage, "The <usage>", half=True),
        Table(("what", "n"), [("x", 0.5)]),
    ]
    return [Section("One", blocks), Section("Two", ["more"])]


def draws_of(n_draws=40, seed=0):
    rng = np.random.default_rng(seed)
    D = rng.normal(size=(3, 6)) + 0.01 * rng.normal(size=(2, n_draws, 3, 6))
    D /= np.linalg.norm(D, axis=3, keepdims=True)
    codes = rng.normal(size=(5, 3)) + 0.1 * rng.normal(size=(2, n_draws, 5, 3))
    samples = {"dictionary": D, "codes": codes, "noise_scale": rng.uniform(1, 2, size=(2, n_draws))}
    X = (codes @ D).mean(axis=(0, 1))
    stats = {"lp": rng.normal(size=(2, n_draws)), "diverging": rng.uniform(size=(2, n_draws)) < 0.1}
    return to_arviz(samples, X=X, sample_stats=stats)


@pytest.fixture(scope="module")
def fitted():
    data = bars(n_samples=200, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PADL(16, nonnegative=True, max_iter=400).fit(data.X[:150]), data.X[150:]


def test_the_page_needs_no_other_file(tmp_path):
    path = write_report(
        tmp_path / "out", "A & B", simple_sections(), lead=["lead"], summary=[("atoms", "12")]
    )
    page = Page(path)
    assert page.open == []
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in page.links)
    assert not re.search(r"https?://|url\(|@import", page.source)
    for words in ("A & B", "lead", "atoms 12", "a < b & <script>", "The <usage>", "x 0.5", "more"):
        assert words in page.text
    encoded = page.images["The <usage>"].removeprefix("data:image/png;base64,")
    assert base64.b64decode(encoded) == (tmp_path / "out" / "usage.png").read_bytes()


def test_draws_and_arrays_lie_beside_the_page(tmp_path):
    values = np.arange(6.0).reshape(2, 3)
    path = write_report(tmp_path / "out", "T", [], posterior=draws_of(), arrays={"codes": values})
    np.testing.assert_array_equal(np.load(path.parent / "codes.npy"), values)
    assert sorted(os.listdir(path.parent)) == ["codes.npy", "posterior.nc", "report.html"]
    opened = load_arviz().from_netcdf(str(path.parent / "posterior.nc"), engine="h5netcdf")
    np.testing.assert_array_equal(
        opened["posterior"]["noise_scale"].values, draws_of()["posterior"]["noise_scale"]
    )
    opened.close()


def test_an_existing_path_is_refused_and_left_alone(tmp_path):
    path = write_report(tmp_path / "out", "first", simple_sections())
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"out' exists already"):
        write_report(tmp_path / "out", "second", simple_sections())
    assert path.read_bytes() == before
    write_report(tmp_path / "out", "second", [], overwrite=True)
    assert os.listdir(tmp_path / "out") == ["report.html"]
    assert "second" in path.read_text(encoding="utf-8")
    assert os.listdir(tmp_path) == ["out"]


def test_only_reports_are_overwritten(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    check_folder(home, overwrite=True)
    (home / "thesis.tex").write_text("years", encoding="utf-8")
    with pytest.raises(FileExistsError, match=r"home' holds files but no report.html"):
        write_report(home, "T", [], overwrite=True)
    assert os.listdir(home) == ["thesis.tex"]
    file = tmp_path / "file"
    file.write_text("text", encoding="utf-8")
    link = tmp_path / "link"
    link.symlink_to(home)
    for path in (file, link):
        with pytest.raises(FileExistsError, match="is no folder"):
            check_folder(path, overwrite=True)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        check_folder(tmp_path / "none" / "out")


class Broken(Figure):
    """A figure that fails when it is drawn."""

    def savefig(self, *args, **kwargs):
        raise KeyboardInterrupt


def test_nothing_is_left_half_written(tmp_path):
    sections = [*simple_sections(), Section("Three", [Picture("broken", Broken(), "c")])]
    with pytest.raises(KeyboardInterrupt):
        write_report(tmp_path / "out", "T", sections)
    assert os.listdir(tmp_path) == []
    path = write_report(tmp_path / "out", "first", [])
    with pytest.raises(KeyboardInterrupt):
        write_report(tmp_path / "out", "second", sections, overwrite=True)
    assert os.listdir(tmp_path) == ["out"]
    assert "first" in path.read_text(encoding="utf-8")


def test_what_appears_meanwhile_is_not_overwritten(tmp_path):
    out = tmp_path / "out"
    folder = new_folder(out)
    folder.__enter__()
    out.mkdir()
    with pytest.raises(FileExistsError):
        folder.__exit__(None, None, None)
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(out) == []


def test_the_old_folder_comes_back_when_renaming_fails(tmp_path, monkeypatch):
    path = write_report(tmp_path / "out", "first", [])
    rename = type(path).rename

    def fail_on_drafts(self, target):
        if self.name.startswith(".") and not self.name.endswith(".old"):
            raise OSError("disk on fire")
        return rename(self, target)

    monkeypatch.setattr(type(path), "rename", fail_on_drafts)
    with pytest.raises(OSError, match="disk on fire"):
        write_report(tmp_path / "out", "second", [], overwrite=True)
    assert os.listdir(tmp_path) == ["out"]
    assert "first" in path.read_text(encoding="utf-8")


def test_names_of_figures_are_checked(tmp_path):
    twice = [simple_sections()[0], simple_sections()[0]]
    with pytest.raises(ValueError, match="more than once"):
        write_report(tmp_path / "out", "T", twice)
    away = Section("One", [Picture("../escape", Figure(), "c")])
    with pytest.raises(ValueError, match=r"name '\.\./escape'"):
        write_report(tmp_path / "out", "T", [away])
    assert os.listdir(tmp_path) == []


def words(section):
    return " ".join(block for block in section.blocks if isinstance(block, str))


def names(section):
    return [block.name for block in section.blocks if isinstance(block, Picture)]


def test_the_section_on_a_fit_quotes_its_figures(fitted):
    estimator, held_out = fitted
    section = report.em_section("Fit", "fit", estimator, held_out, (5, 5))
    text = words(section)
    assert f"kept {estimator.n_active_} of at most 16 atoms" in text
    sure = np.sum(expit(estimator.activation_log_odds_) > 0.99)
    assert f"{sure} of {estimator.n_active_} atoms have an activation probability above 0.99" in text
    means = estimator.transform(held_out, rule="mean")
    rmse = np.sqrt(np.mean((held_out - means @ estimator.components_) ** 2))
    assert f"RMSE of {rmse:.4g}" in text
    inside = float(re.search(r"holds ([\d.]+)% of the entries", text)[1])
    # The fit is the truth, near enough, so that 90% of 50 x 25 entries are inside up to 4 standard errors.
    assert abs(inside - 90) < 4 * 100 * np.sqrt(0.9 * 0.1 / held_out.size) + 2
    assert {"fit-dictionary", "fit-log-odds", "fit-activation", "fit-usage", "fit-band"} <= set(
        names(section)
    )


def test_the_section_on_a_fit_without_images_draws_no_images(fitted):
    estimator, held_out = fitted
    section = report.em_section("Fit", "fit", estimator, held_out)
    assert "fit-reconstructions" not in names(section)
    assert "fit-band" in names(section)


def test_a_fit_without_atoms_is_reported(fitted, tmp_path):
    found, held_out = fitted
    per_sample = dict.fromkeys(("codes", "probability", "code_sd"), np.zeros((150, 0)))
    per_atom = dict.fromkeys(("usage", "rate", "activation_log_odds"), np.zeros(0))
    estimator = PADL(16, nonnegative=True)
    estimator._adopt(
        found.fit_._replace(dictionary=np.zeros((0, 25)), status="converged", **per_sample, **per_atom)
    )
    section = report.em_section("Fit", "fit", estimator, held_out, (5, 5))
    assert "kept 0 of at most 16 atoms" in words(section)
    assert write_report(tmp_path / "out", "T", [section]).is_file()


def test_the_section_on_a_map_fit_quotes_its_figures():
    data = bars(n_samples=60, seed=0)
    estimator = PADL(6, "map", alpha=(2.0, 20.0), max_iter=500, tol=1e-3).fit(data.X)
    text = words(report.map_section("Fit", "fit", estimator, (5, 5)))
    assert "alpha = (2, 20)" in text
    assert f"The objective is {estimator.objective_:.6g}" in text
    nonzeros = np.count_nonzero(estimator.fit_.codes) / 60
    assert f"with {nonzeros:.3g} nonzero codes a sample" in text


def test_the_verdict_states_the_direction_of_differences():
    ours = Score("PADL EM", "its own", 5, 3.0, 3.2, 0.9, 1.0, 1.0)
    others = [
        Score("scikit-learn", "lasso", 5, 3.0, 3.2, 1.0, 1.25, 1.0),
        Score("SPAMS", "lasso", 5, 3.0, 3.2, 1.0, 1.6, 1.0),
        Score("scikit-learn", "OMP", 5, 3.0, 3.2, 0.5, 0.8, 1.0),
        Score("PADL MAP", "its own", 5, 30.0, 32.0, 0.1, 0.1, 1.0),
    ]
    section = report.comparison_section("Comparison", "c", [ours, *others])
    text = words(section)
    assert "With lasso codes the best rival (scikit-learn) has a held-out RMSE of 1.25" in text
    assert "PADL EM with its own codes is 20% below it" in text
    assert "PADL EM with its own codes is 25% above it" in text
    table = next(block for block in section.blocks if isinstance(block, Table))
    assert [row[-1] for row in table.rows] == [1.0, 1.25, 1.6, 0.8, 0.1]
    figure = next(block for block in section.blocks if isinstance(block, Picture)).figure
    assert len(figure.get_yticklabels()) == 4


def test_the_section_on_a_posterior_quotes_its_diagnostics():
    data = draws_of()
    az = load_arviz()
    section = report.posterior_section("Posterior", "p", data, image_shape=(2, 3))
    text = words(section)
    n_divergent = int(data["sample_stats"]["diverging"].values.sum())
    assert f"2 chains of 40 draws, {n_divergent} of them divergent" in text
    D = data["posterior"]["dictionary"].values
    rhat = [az.rhat(D[..., k, p]) for k in range(3) for p in range(6)]
    assert f"R-hat has median {np.median(rhat):.3f} and maximum {np.max(rhat):.3f}" in text
    table = next(block for block in section.blocks if isinstance(block, Table))
    noise = data["posterior"]["noise_scale"].values
    row = next(row for row in table.rows if row[0] == "noise_scale")
    expected = [noise.mean(), noise.std(), *np.quantile(noise, (0.05, 0.95)), az.rhat(noise)]
    np.testing.assert_allclose(row[1:6], expected)
    assert {"p-dictionary", "p-band", "p-codes", "p-trace-1"} <= set(names(section))


def test_a_posterior_of_few_variables_is_reported(tmp_path):
    data = draws_of()
    lean = to_arviz(
        {"noise_scale": data["posterior"]["noise_scale"].values}, X=data["observed_data"]["X"].values
    )
    path = write_report(tmp_path / "out", "T", [report.posterior_section("P", "p", lean)], posterior=lean)
    assert from_netcdf(path.parent / "posterior.nc")["posterior"]["noise_scale"].shape == (2, 40)


def test_chains_that_are_stuck_are_reported():
    stuck = np.repeat([[1.0], [2.0]], 40, axis=1)
    data = to_arviz({"noise_scale": stuck, "rate": np.ones((2, 40))}, X=np.eye(3))
    table = next(
        block for block in report.posterior_section("P", "p", data).blocks if isinstance(block, Table)
    )
    rhat = {row[0]: row[5] for row in table.rows}
    assert rhat["noise_scale"] == np.inf
    assert np.isnan(rhat["rate"])


def two_level_draws(shift=0.0, n_draws=40):
    """Draws of three labels: one that is always active, one in the first chain alone, one never."""
    rng = np.random.default_rng(3)
    D = np.broadcast_to(np.eye(3, 4), (2, n_draws, 3, 4)).copy()
    D[:, :, 2] = rng.normal(size=(2, n_draws, 4))
    D[1, :, 1] = -D[1, :, 1]
    active = np.zeros((2, n_draws, 3), int)
    active[:, :, 0] = active[0, :, 1] = 1
    usage = np.broadcast_to([0.25, 0.5, 0.9], (2, n_draws, 3))
    noise = rng.normal(1, 0.01, size=(2, n_draws)) + shift * np.arange(2)[:, None]
    samples = {"dictionary": D, "active": active, "usage": usage, "noise_scale": noise}
    return to_arviz(samples | {"num_active": active.sum(axis=2)}, X=np.eye(5, 4))


def test_a_report_says_that_chains_do_not_agree():
    data = two_level_draws()
    data["posterior"]["num_active"][:] = 1 + (np.arange(40) // 2) % 2
    assert "do not agree" not in words(report.posterior_section("P", "p", data))
    apart = two_level_draws(shift=1.0)
    apart["posterior"]["num_active"][:] = data["posterior"]["num_active"].values
    text = words(report.posterior_section("P", "p", apart))
    rhat = load_arviz().rhat(apart["posterior"]["noise_scale"].values)
    assert f"R-hat of noise_scale is {rhat:.3g}, above 1.05: the chains do not agree yet" in text


def test_labels_that_are_off_are_neither_drawn_nor_counted():
    section = report.posterior_section("P", "p", two_level_draws())
    pictures = {block.name: block for block in section.blocks if isinstance(block, Picture)}
    assert (
        "The 2 of 3 labels that are active in at least half of the draws" in pictures["p-dictionary"].caption
    )
    lines = pictures["p-dictionary"].figure.axes[0].collections[1].get_segments()
    np.testing.assert_allclose([(line[:, 1] + 0.5) / 0.47 for line in lines], np.eye(2, 4), atol=1e-12)
    usage = pictures["p-usage"].figure
    np.testing.assert_allclose([bar.get_height() for bar in usage.patches], [0.25, 0.25, 0])
    assert any("sum 0.5" in text.get_text() for text in usage.texts)


def test_a_report_says_what_its_numbers_count(fitted):
    estimator, held_out = fitted
    section = report.em_section("Fit", "fit", estimator, held_out)
    assert f"to use {estimator.usage_.sum():.3g} atoms, those counted" in words(section)
    history = next(b for b in section.blocks if isinstance(b, Picture) and b.name == "fit-history")
    assert "more atoms than n_atoms allows" in history.caption
    assert estimator.history_["n_active"].max() == 2 * estimator.n_atoms
