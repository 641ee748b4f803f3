"""Draws reach ArviZ aligned and named as the contract says, in both of its generations."""

import json
import math

import matplotlib as mpl
import matplotlib.pyplot
import numpy as np
import pytest

from padl_bayes import _memory
from padl_bayes.alignment import align
from padl_bayes.arviz_io import (
    POSTERIOR_DIMS,
    estimate_nbytes,
    load_arviz,
    to_arviz,
)
from tests.oracles.planted_posterior import CHAINS, DRAWS, K, N, P, group_names, planted, values

az = load_arviz()


@pytest.fixture(scope="module")
def example():
    scrambled, extras, clean, truth = planted()
    attrs = {"seed": 7, "hyperparameters": {"a": 1.0, "b": [1, 2]}, "wall_time": 1.5}
    data = to_arviz(scrambled, **extras, reference=truth, keep_raw=True, attrs=attrs)
    return scrambled, extras, clean, truth, data


def test_result_is_what_the_installed_arviz_works_with(example):
    kind = type(example[-1]).__name__
    assert kind == ("InferenceData" if az.__version__.startswith("0.") else "DataTree")


def test_groups_variables_dimensions_and_coordinates_follow_the_contract(example):
    *_, data = example
    assert group_names(data) == {
        "posterior",
        "sample_stats",
        "log_likelihood",
        "observed_data",
        "codes_moments",
        "alignment",
        "posterior_raw",
    }
    assert set(data["posterior"].data_vars) == set(POSTERIOR_DIMS)
    for name, dims in POSTERIOR_DIMS.items():
        assert data["posterior"][name].dims == ("chain", "draw", *dims)
    assert data["log_likelihood"]["X"].dims == ("chain", "draw", "sample")
    assert data["sample_stats"]["lp"].dims == ("chain", "draw")
    assert data["observed_data"]["X"].dims == ("sample", "feature")
    for name in ("mean", "sd", "p_used"):
        assert data["codes_moments"][name].dims == ("sample", "atom")
    sizes = {"chain": CHAINS, "draw": DRAWS, "atom": K, "feature": P, "sample": N}
    assert dict(data["posterior"].sizes) == sizes
    for dim, size in sizes.items():
        np.testing.assert_array_equal(data["posterior"][dim].values, np.arange(size))


def test_every_variable_comes_out_in_the_labels_of_the_reference(example):
    _, extras, clean, _, data = example
    for name, wanted in clean.items():
        np.testing.assert_array_equal(values(data, "posterior", name), wanted)
    assert values(data, "posterior", "active").dtype == np.int8
    np.testing.assert_array_equal(values(data, "observed_data", "X"), extras["X"])
    np.testing.assert_array_equal(values(data, "log_likelihood", "X"), extras["log_likelihood"])
    assert values(data, "sample_stats", "diverging").dtype == bool


def test_raw_draws_are_kept_on_request_and_follow_from_the_alignment(example):
    scrambled, extras, _, truth, data = example
    per_atom = {name for name, dims in POSTERIOR_DIMS.items() if "atom" in dims}
    assert set(data["posterior_raw"].data_vars) == per_atom
    for name in per_atom:
        np.testing.assert_array_equal(values(data, "posterior_raw", name), scrambled[name])
    permutation, sign = values(data, "alignment", "permutation"), values(data, "alignment", "sign")
    rebuilt = np.empty_like(scrambled["dictionary"])
    for index in np.ndindex(CHAINS, DRAWS):
        aligned = values(data, "posterior", "dictionary")[index]
        rebuilt[index][permutation[index]] = sign[index][:, None] * aligned
    np.testing.assert_array_equal(rebuilt, scrambled["dictionary"])
    assert "posterior_raw" not in group_names(to_arviz(scrambled, **extras, reference=truth))


def test_moments_are_those_of_the_aligned_codes(example):
    _, _, clean, _, data = example
    for n, k in np.ndindex(N, K):
        draws = clean["codes"][:, :, n, k].ravel()
        mean = math.fsum(draws) / draws.size
        sd = math.sqrt(math.fsum((draws - mean) ** 2) / draws.size)
        used = np.count_nonzero(draws) / draws.size
        found = [values(data, "codes_moments", name)[n, k] for name in ("mean", "sd", "p_used")]
        np.testing.assert_allclose(found, [mean, sd, used], rtol=1e-12)


def test_aligned_draws_mix_and_raw_ones_do_not(example):
    *_, data = example
    aligned = az.rhat(data["posterior"].to_dataset()) if hasattr(data, "children") else az.rhat(data)
    assert float(aligned["dictionary"].max()) < 1.1
    spread = values(data, "posterior_raw", "dictionary").std(axis=(0, 1)).mean()
    assert values(data, "posterior", "dictionary").std(axis=(0, 1)).mean() < spread / 5


def test_draws_said_to_be_aligned_are_left_alone():
    scrambled, extras, *_ = planted()
    data = to_arviz(scrambled, **extras, align=False)
    assert "alignment" not in group_names(data)
    np.testing.assert_array_equal(values(data, "posterior", "dictionary"), scrambled["dictionary"])
    without = {name: v for name, v in scrambled.items() if name != "dictionary"}
    data = to_arviz(without, **extras)
    np.testing.assert_array_equal(values(data, "posterior", "codes"), scrambled["codes"])


def test_an_alignment_made_elsewhere_is_applied():
    scrambled, extras, clean, truth = planted()
    made = align(scrambled["dictionary"], truth[::-1], max_iter=1)
    data = to_arviz(scrambled, **extras, align=made)
    np.testing.assert_array_equal(values(data, "posterior", "usage"), clean["usage"][..., ::-1])
    np.testing.assert_array_equal(values(data, "posterior", "codes"), clean["codes"][..., ::-1])


def test_atoms_not_in_use_do_not_pull_on_labels_here_either():
    _, extras, clean, truth = planted()
    idle = ~clean["active"]
    # an atom that is not in use has a direction without information: here nearest to another label
    clean["dictionary"][idle] = np.broadcast_to(np.roll(truth, 1, axis=0), clean["dictionary"].shape)[idle]
    data = to_arviz(clean, **extras, reference=truth)
    kept = values(data, "posterior", "active") == 1
    cosines = np.einsum("cdkp,kp->cdk", values(data, "posterior", "dictionary"), truth)
    assert cosines[kept].min() > 0.9


def test_without_flips_signs_stay():
    scrambled, extras, *_ = planted()
    assert (values(to_arviz(scrambled, **extras), "alignment", "sign") == -1).any()
    assert (values(to_arviz(scrambled, **extras, flip=False), "alignment", "sign") == 1).all()


def test_single_precision_stays_single():
    scrambled, extras, clean, truth = planted(np.float32)
    data = to_arviz(scrambled, **extras, reference=truth.astype(np.float32))
    for group, name in (("posterior", "codes"), ("codes_moments", "sd"), ("observed_data", "X")):
        assert values(data, group, name).dtype == np.float32
    np.testing.assert_array_equal(values(data, "posterior", "codes"), clean["codes"])


def test_moments_kept_in_place_of_draws_pass_through():
    scrambled, extras, *_ = planted()
    del scrambled["codes"]
    tables = {name: np.random.default_rng(1).random((N, K)) for name in ("mean", "sd", "p_used")}
    data = to_arviz(scrambled, **extras, codes_moments=tables)
    for name, table in tables.items():
        np.testing.assert_array_equal(values(data, "codes_moments", name), table)
    assert "codes_moments" not in group_names(to_arviz(scrambled, **extras))


def test_hidden_entries_are_missing_in_the_observed_data():
    scrambled, extras, *_ = planted()
    mask = np.ones((N, P), bool)
    mask[2, 3] = False
    extras["X"][2, 3] = np.inf
    observed = values(to_arviz(scrambled, **extras, mask=mask), "observed_data", "X")
    np.testing.assert_array_equal(observed, np.where(mask, extras["X"], np.nan))


def test_variables_beyond_the_contract_and_rates_of_atoms():
    scrambled, extras, clean, truth = planted()
    own = {
        **scrambled,
        "rate_l1": scrambled["envelope"],
        "scale": scrambled["usage"],
        "theta": np.ones((CHAINS, DRAWS, 3)),
        "level": np.zeros((CHAINS, DRAWS)),
    }
    labels = {"feature": [f"channel {i}" for i in range(P)]}
    data = to_arviz(own, **extras, reference=truth, dims={"scale": ("atom",)}, coords=labels)
    np.testing.assert_array_equal(values(data, "posterior", "rate_l1"), clean["envelope"])
    np.testing.assert_array_equal(values(data, "posterior", "scale"), clean["usage"])
    assert data["posterior"]["theta"].dims == ("chain", "draw", "theta_dim_0")
    assert data["posterior"]["level"].dims == ("chain", "draw")
    assert list(data["posterior"]["feature"].values) == labels["feature"]


def test_attributes_name_versions_and_keep_what_was_given(example):
    attrs = example[-1].attrs
    assert (attrs["seed"], attrs["wall_time"]) == (7, 1.5)
    assert json.loads(attrs["hyperparameters"]) == {"a": 1.0, "b": [1, 2]}
    for name in ("padl_bayes", "jax", "numpyro", "arviz", "numpy", "python"):
        assert attrs[f"{name}_version"][0].isdigit()
    assert attrs["arviz_version"] == az.__version__


def test_summaries_and_diagnostics_work_without_warnings(example):
    *_, data = example
    table = az.summary(data, var_names=["noise_scale", "usage", "active", "num_active", "dictionary"])
    assert len(table) == 2 + 2 * K + K * P
    assert set(table.columns) >= {"mean", "sd", "r_hat"}
    loo = az.loo(data)
    # every sample's log likelihood is -5 with a standard deviation of 0.03 over the draws
    assert float(getattr(loo, "elpd", getattr(loo, "elpd_loo", np.nan))) == pytest.approx(-5 * N, abs=0.5)


# ArviZ 0.23 calls matplotlib 3.11 in a way that is on its way out
@pytest.mark.filterwarnings(
    "ignore:Passing a dict or None as alias_mapping:matplotlib.MatplotlibDeprecationWarning"
)
def test_traces_plot(example, tmp_path):
    with mpl.rc_context({"backend": "agg"}):
        az.plot_trace(example[-1], var_names=["noise_scale"])
        assert len(mpl.pyplot.gcf().axes) >= 1
        mpl.pyplot.savefig(tmp_path / "trace.png")
        mpl.pyplot.close("all")
    assert (tmp_path / "trace.png").stat().st_size > 1000


@pytest.mark.parametrize("keep_codes", ["moments", "draws"])
@pytest.mark.parametrize("keep_raw", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("log_likelihood", [False, True])
def test_estimate_is_the_size_of_the_result(keep_codes, keep_raw, dtype, log_likelihood):
    scrambled, extras, _, truth = planted(dtype)
    del extras["sample_stats"]["diverging"]
    if not log_likelihood:
        del extras["log_likelihood"]
    if keep_codes == "moments":
        del scrambled["codes"]
        extras["codes_moments"] = {name: np.zeros((N, K), dtype) for name in ("mean", "sd", "p_used")}
    data = to_arviz(scrambled, **extras, reference=truth.astype(dtype), keep_raw=keep_raw)
    size = sum(v.nbytes for group in group_names(data) for v in data[group].data_vars.values())
    options = {
        "keep_codes": keep_codes,
        "keep_raw": keep_raw,
        "log_likelihood": log_likelihood,
        "dtype": dtype,
    }
    assert estimate_nbytes(N, P, K, DRAWS, CHAINS, **options) == size


def test_what_cannot_fit_is_refused_with_the_number_and_a_way_out(monkeypatch):
    scrambled, extras, *_ = planted()
    with pytest.raises(
        ValueError, match=r"the posterior needs \S+ GiB, 9\.31e-07 GiB are there: keep fewer or"
    ):
        to_arviz(scrambled, **extras, max_bytes=1000)
    monkeypatch.setattr(_memory, "available_bytes", lambda: 2000)
    with pytest.raises(
        ValueError, match=r"needs \S+ GiB, 1\.86e-06 GiB are there: .* thinned draws, moments"
    ):
        to_arviz(scrambled, **extras)
    monkeypatch.setattr(_memory, "available_bytes", lambda: None)
    to_arviz(scrambled, **extras)


def test_available_memory_is_a_plausible_number_or_unknown():
    available = _memory.available_bytes()
    assert available is None or 2**20 < available < 2**50


ONES = np.ones((CHAINS, DRAWS))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"usage": np.ones((CHAINS, DRAWS, K + 1))},
            ValueError,
            r"usage must have shape \(chain = 2, draw = 80, at",
        ),
        (
            {"noise_scale": np.ones(DRAWS)},
            ValueError,
            r"noise_scale must have shape \(chain = 2, draw = 80\), fo",
        ),
        ({"noise_scale": np.ones((CHAINS, 9))}, ValueError, r"noise_scale must have .*, found \(2, 9\)"),
        (
            {"codes": np.ones((CHAINS, DRAWS, N + 1, K))},
            ValueError,
            r"codes must have .* sample = 12, atom = 4\)",
        ),
        (
            {"dictionary": np.ones((CHAINS, DRAWS, K, P + 1))},
            ValueError,
            r"dictionary must have .* feature = 6\)",
        ),
        ({"noise_scale": ONES * 1j}, TypeError, "noise_scale must hold real numbers, found dtype complex128"),
        ({"dictionary": np.full((CHAINS, DRAWS, K, P), np.nan)}, ValueError, "draws has 3840 NaN"),
    ],
)
def test_draws_that_do_not_fit_are_named(change, error, message):
    scrambled, extras, *_ = planted()
    with pytest.raises(error, match=message):
        to_arviz(scrambled | change, **extras)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"log_likelihood": np.ones((CHAINS, DRAWS, 5))},
            ValueError,
            r"log_likelihood X must have .*sample = 12",
        ),
        (
            {"sample_stats": {"lp": np.ones((CHAINS, 3))}},
            ValueError,
            r"lp must have shape \(chain = 2, draw = 80",
        ),
        ({"codes_moments": {"median": np.ones((N, K))}}, ValueError, r"mean, sd, p_used, found \['median'\]"),
        ({"codes_moments": {"mean": np.ones((K, N))}}, ValueError, r"mean must have .* found \(4, 12\)"),
        ({"X": np.ones(3)}, ValueError, "X must have 2 dimensions"),
        ({"attrs": {"seed": {1, 2}}}, TypeError, r"attrs\['seed'\] must be text, a number or fit for JSON"),
        ({"coords": {"feature": ["a"]}}, ValueError, r"coords\['feature'\] must label one of .* found 1"),
        ({"coords": {"pixel": ["a"]}}, ValueError, r"coords\['pixel'\] must label one of"),
        ({"reference": np.eye(3)}, ValueError, "reference has 3 features, expected 6"),
    ],
)
def test_companions_that_do_not_fit_are_named(change, error, message):
    scrambled, extras, *_ = planted()
    with pytest.raises(error, match=message):
        to_arviz(scrambled, **(extras | change))


@pytest.mark.parametrize("samples", [{}, [1.0], None])
def test_samples_must_be_a_mapping(samples):
    with pytest.raises(TypeError, match="samples must be a mapping of names to arrays, found"):
        to_arviz(samples, X=np.ones((N, P)))
