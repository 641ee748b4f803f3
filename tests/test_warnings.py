"""Every warning of the package: when it comes, when it does not, and that it says what to do."""

import inspect
import warnings

import numpy as np
import pytest

import padl_bayes as pb
from padl_bayes import diagnostics, exceptions
from padl_bayes.exceptions import (
    AtomBoundWarning,
    ConvergenceWarning,
    EnvelopeWarning,
    FeatureNamesWarning,
    KernelsWarning,
    MixingWarning,
    PadlWarning,
    PrecisionWarning,
    UnboundedPosteriorWarning,
)
from tests.made_fits import draws_near, em_of, unit_atoms

# The last two: tests/kernels/test_cpu.py and tests/test_validation.py.
HERE = {
    ConvergenceWarning,
    AtomBoundWarning,
    MixingWarning,
    EnvelopeWarning,
    PrecisionWarning,
    FeatureNamesWarning,
}
ELSEWHERE = {KernelsWarning, UnboundedPosteriorWarning}


def test_these_are_all():
    classes = {c for _, c in inspect.getmembers(exceptions, inspect.isclass) if issubclass(c, PadlWarning)}
    assert classes == HERE | ELSEWHERE | {PadlWarning}


@pytest.fixture(scope="module")
def data():
    return pb.datasets.synthetic_a(0.1, n_samples=60, n_features=8, n_atoms=4, seed=0).X


def quiet(call, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return call(*arguments, **options)


def test_fits_that_stopped_early(data):
    with pytest.warns(ConvergenceWarning, match=r"max_iter=2 iterations, .*: raise max_iter") as caught:
        pb.PADL(n_atoms=4, method="map", alpha=(0.1, 0.5), max_iter=2).fit(data)
    with pytest.warns(
        ConvergenceWarning, match=r"stopped at max_iter=2, after \d+ passes, .*: raise max_iter$"
    ):
        pb.PADL(n_atoms=4, max_iter=2).fit(data)
    assert caught[0].filename == __file__
    fit = em_of(unit_atoms(np.random.default_rng(0), 3, 8), np.full(3, 0.5), np.ones(3), 0.1)
    options = dict(gap_tol=1e-6, counts_atoms=True)
    quiet(diagnostics.warn_of_fit, fit, 4, **options)
    with pytest.warns(
        ConvergenceWarning, match=r"^PADL\.fit: stopped at max_iter: raise max_iter$"
    ) as caught:
        diagnostics.warn_of_fit(fit._replace(status="stopped at max_iter: raise max_iter"), 3, **options)
    # what did not converge says nothing on how many atoms there are
    assert len(caught) == 1


def test_codes_whose_gap_was_not_reached(data):
    D = unit_atoms(np.random.default_rng(0), 6, 8)
    quiet(pb.sparse_code, data, D, 0.1, 0.1)
    with pytest.warns(
        ConvergenceWarning, match=r"^sparse_code: stopped after max_iter .* above tol 1e-06: raise max_iter"
    ):
        pb.sparse_code(data, D, 0.1, 0.1, max_iter=1)
    with pytest.warns(ConvergenceWarning, match=r"tol 1e-30: raise tol"):
        pb.sparse_code(data, D, 0.1, 0.1, tol=1e-30, max_iter=500)
    found = quiet(pb.sparse_code, data, D, 0.1, 0.1, tol=0, max_iter=2)
    assert found.gap > 1e-6
    fit = quiet(pb.PADL(n_atoms=4, method="map", alpha=(0.1, 0.5), tol=1e-3).fit, data).fit_
    with pytest.warns(ConvergenceWarning, match=r"gap of 0.001, asked was 1e-06: pass float64"):
        diagnostics.warn_of_fit(fit._replace(gap=1e-3), 4, gap_tol=1e-6, counts_atoms=False)


def test_float32_that_is_too_coarse(data):
    D = unit_atoms(np.random.default_rng(0), 6, 8)
    found = quiet(pb.sparse_code, data.astype(np.float32), D.astype(np.float32), 0.1, 0.1)
    stalled = found._replace(gap=1e-5, status="stalled: gap 1e-5 is what this precision allows, tol is 1e-6")
    with pytest.warns(PrecisionWarning, match="tol is 1e-6: pass float64 data, or raise tol"):
        diagnostics.warn_of_gap(stalled, 1e-6, np.float32)
    with pytest.warns(ConvergenceWarning, match="tol is 1e-6: raise tol"):
        diagnostics.warn_of_gap(stalled, 1e-6, np.float64)
    fit = em_of(np.eye(2, 4), np.full(2, 0.5), np.ones(2), 0.1)
    floor = "converged: the bound rose by less; the noise is at the floor of {}"
    options = dict(gap_tol=1e-6, counts_atoms=True)
    with pytest.warns(PrecisionWarning, match="at the floor of float32: centre the data or pass float64"):
        diagnostics.warn_of_fit(
            fit._replace(status=floor.format("float32: centre the data or pass float64")), 3, **options
        )
    quiet(diagnostics.warn_of_fit, fit._replace(status=floor.format("float64")), 3, **options)


def test_the_floor_of_float32_is_one_that_fits_speak_of():
    noiseless = pb.datasets.bars(n_samples=60, noise=0.0, seed=0).X.astype(np.float32)
    with pytest.warns(PrecisionWarning, match="floor of float32: centre the data or pass float64"):
        pb.PADL(n_atoms=20, nonnegative=True).fit(noiseless + np.float32(1000))


def test_all_atoms_in_use(data):
    fit = em_of(np.eye(2, 4), np.full(2, 0.5), np.ones(2), 0.1)
    options = dict(gap_tol=1e-6)
    with pytest.warns(
        AtomBoundWarning, match=r"^PADL\.fit: all n_atoms=2 atoms are in use, .*: raise n_atoms$"
    ):
        diagnostics.warn_of_fit(fit, 2, counts_atoms=True, **options)
    floor = fit._replace(status="converged: the bound rose by less; the noise is at the floor of float64")
    with pytest.warns(AtomBoundWarning, match=r"without noise: lower n_atoms, or add samples$"):
        diagnostics.warn_of_fit(floor, 2, counts_atoms=True, **options)
    with pytest.warns(AtomBoundWarning, match=r"raise n_atoms, or count atoms by alpha='mdl'$"):
        pb.PADL(n_atoms=2, method="map", tol=1e-3).fit(data)
    quiet(diagnostics.warn_of_fit, fit, 3, counts_atoms=True, **options)
    quiet(diagnostics.warn_of_fit, fit, 2, counts_atoms=False, **options)
    with pytest.warns(AtomBoundWarning, match="all n_atoms=2"):
        pb.PADL(n_atoms=2, tol=1e-3).fit(data)
    # the number of atoms is then that of the weights
    quiet(pb.PADL(n_atoms=2, method="map", alpha=(0.1, 0.1), tol=1e-3).fit, data)


def chains(n_active, **stats):
    """Gibbs draws with these numbers of active atoms (chain, draw)."""
    fit = em_of(np.eye(3, 4), np.full(3, 0.5), np.ones(3), 0.1)
    draws = draws_near(fit._replace(codes=np.ones((5, 3))))["Gibbs"]
    n_active = np.asarray(n_active)
    noise = np.exp(0.01 * np.random.default_rng(0).normal(size=n_active.shape))
    samples = dict(num_active=n_active, noise_scale=noise, active=np.zeros((*n_active.shape, 3)))
    return draws._replace(samples=samples, sample_stats=stats)


def test_chains_that_do_not_agree():
    rng = np.random.default_rng(0)
    together = rng.integers(4, 7, (4, 100))
    quiet(diagnostics.warn_of_chains, chains(together), 20)
    apart = together + 3 * np.arange(4)[:, None]
    with pytest.warns(
        MixingWarning, match=r"R-hat of num_active is [\d.]+, above 1.05: .* raise num_warmup and num"
    ):
        diagnostics.warn_of_chains(chains(apart), 20)
    with pytest.warns(MixingWarning, match="R-hat of num_active is inf"):
        diagnostics.warn_of_chains(chains(np.repeat([[4], [5]], 50, axis=1)), 20)
    quiet(diagnostics.warn_of_chains, chains(np.full((4, 100), 5)), 20)
    quiet(diagnostics.warn_of_chains, chains(apart[:1]), 20)
    with pytest.warns(MixingWarning, match="2 transitions of NUTS diverged: .* target_accept nearer 1"):
        diagnostics.warn_of_chains(chains(together, diverging=np.eye(2)), 20)


def test_chains_at_the_bound_on_the_atoms():
    counts = np.random.default_rng(0).integers(4, 7, (4, 100))
    with pytest.warns(
        AtomBoundWarning, match="all n_atoms=6 atoms are active in many draws, .*: raise n_atoms"
    ):
        diagnostics.warn_of_chains(chains(counts), 6)
    quiet(diagnostics.warn_of_chains, chains(counts), 7)


def split_rhat(values):
    """Rank-normalised split R-hat from its definition (Vehtari et al. 2021), the larger of bulk and folded."""
    from scipy.stats import norm, rankdata

    def plain(z):
        n = z.shape[1]
        between, within = n * z.mean(1).var(ddof=1), z.var(axis=1, ddof=1).mean()
        return np.sqrt(((n - 1) / n * within + between / n) / within)

    def ranked(x):
        return norm.ppf((rankdata(x).reshape(x.shape) - 0.375) / (x.size + 0.25))

    half = values.shape[1] // 2
    split = np.concatenate([values[:, :half], values[:, -half:]])
    return max(plain(ranked(split)), plain(ranked(np.abs(split - np.median(split)))))


def test_rhat_is_that_of_its_definition():
    values = np.random.default_rng(1).normal(size=(4, 60)) + 0.3 * np.arange(4)[:, None]
    assert diagnostics.rhat_of(values) == pytest.approx(split_rhat(values), rel=1e-6)
    assert diagnostics.rhat_of(np.ones((2, 10))) == 1


def test_codes_clipped_at_the_envelope(data):
    fit = quiet(pb.PADL(n_atoms=4, method="map", alpha=(0.05, 0.5), tol=1e-3).fit, data)
    quiet(fit.transform, data)
    quiet(fit.transform, data[:1] * 100)
    with pytest.warns(
        EnvelopeWarning, match=r"\d+% of the nonzero codes .* were in training: .*; rescale it, or fit again"
    ):
        fit.transform(100 * data)


def test_names_on_one_side_only(data):
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(data).rename(columns=str)
    design = dict(n_atoms=4, method="map", alpha=(0.05, 0.5), tol=1e-3)
    named, plain = pb.PADL(**design).fit(table), pb.PADL(**design).fit(data)
    quiet(named.transform, table)
    with pytest.warns(
        FeatureNamesWarning, match="fitted with feature names: pass a table with columns 0, 1, 2, 3, 4, ..."
    ):
        named.transform(data)
    with pytest.warns(FeatureNamesWarning, match=r"fitted without feature names: pass X.to_numpy\(\)"):
        plain.transform(table)


def test_all_are_silenced_at_once(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", PadlWarning)
        pb.PADL(n_atoms=4, method="map", alpha=(0.1, 0.5), max_iter=2).fit(data)
