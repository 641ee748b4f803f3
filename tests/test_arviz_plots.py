"""The plots and numbers that users of ArviZ expect work on our output, in the installed one of its two generations."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text

from padl_bayes.arviz_io import load_arviz, to_arviz
from tests.oracles.planted_posterior import CHAINS, DRAWS, K, N, P, planted

az = load_arviz()
OLD = az.__version__.startswith("0.")
# ArviZ 0.23 calls matplotlib 3.11 in ways that are on their way out
pytestmark = pytest.mark.filterwarnings("ignore::matplotlib.MatplotlibDeprecationWarning")


@pytest.fixture(scope="module")
def example():
    """What was drawn in the labels of the truth, and ArviZ data of it whose labels were scrambled first."""
    scrambled, extras, clean, truth = planted()
    rng = np.random.default_rng(1)
    extras["posterior_predictive"] = extras["X"] + 0.1 * rng.standard_normal((CHAINS, DRAWS, N, P))
    return clean, to_arviz(scrambled, **extras, reference=truth)


@pytest.fixture
def figure():
    """Draw without a screen, and return the figure drawn last, rendered."""

    def drawn():
        found = plt.gcf()
        found.canvas.draw()
        return found

    with mpl.rc_context({"backend": "agg"}):
        yield drawn
        plt.close("all")


def texts(figure):
    return {one.get_text() for one in figure.findobj(Text)}


def lines(figure):
    return [line for ax in figure.axes for line in ax.lines]


def posterior_of(data):
    return data["posterior"] if OLD else data["posterior"].to_dataset()


def test_traces_show_the_draws(example, figure):
    clean, data = example
    az.plot_trace(data, var_names=["noise_scale"], **({"compact": False} if OLD else {}))
    shown = [np.asarray(line.get_ydata()) for line in lines(figure())]
    for chain in clean["noise_scale"]:
        assert any(len(one) == DRAWS and np.array_equal(one, chain) for one in shown)


def test_ranks_of_each_atom(example, figure):
    _, data = example
    az.plot_rank(data, var_names=["usage"])
    found = figure()
    # ArviZ 0.23 has panels for all atoms, 1.x lines of all chains in each
    assert len([ax for ax in found.axes if ax.has_data()]) == K
    assert sum("usage" in text for text in texts(found)) >= K


def test_a_forest_has_a_row_for_each_atom(example, figure):
    clean, data = example
    az.plot_forest(data, var_names=["usage"], combined=True)
    found = figure()
    medians = np.median(clean["usage"], axis=(0, 1)) if OLD else clean["usage"].mean(axis=(0, 1))
    points = np.concatenate(
        [np.ravel(line.get_xdata()) for line in lines(found)]
        + [np.asarray(c.get_offsets())[:, 0] for ax in found.axes for c in ax.collections]
    )
    for value in medians:
        assert np.abs(points.astype(float) - value).min() < 1e-9
    assert {str(k) for k in range(K)} <= {text.strip("usage[]") for text in texts(found)}


def test_effective_samples_are_those_of_the_aligned_draws(example, figure):
    clean, data = example
    found = az.ess(data, var_names=["usage", "dictionary"])
    for k in range(K):
        alone = float(az.ess(clean["usage"][:, :, k]))
        assert float(found["usage"].values[k]) == pytest.approx(alone, rel=1e-12)
        # draws are independent
        assert alone > 0.5 * CHAINS * DRAWS
    assert float(found["dictionary"].min()) > 0.3 * CHAINS * DRAWS
    az.plot_ess(data, var_names=["usage"], kind="local")
    assert len([ax for ax in figure().axes if ax.has_data()]) == K


def test_leave_one_out_by_sample(example, figure):
    _, data = example
    loo = az.loo(data, pointwise=True)
    pointwise = np.asarray(getattr(loo, "elpd_i", getattr(loo, "loo_i", None)))
    likelihood = data["log_likelihood"]["X"].values.reshape(-1, N)
    # with draws this alike leaving one out is the harmonic mean
    np.testing.assert_allclose(pointwise, -np.log(np.mean(np.exp(-likelihood), axis=0)), atol=2e-3)
    az.plot_khat(loo)
    assert figure().axes[0].has_data()


def test_posterior_predictive(example, figure):
    _, data = example
    if OLD:
        az.plot_ppc(data, num_pp_samples=20, random_seed=0)
    else:
        # "sample" is what ArviZ calls stacked draws
        az.plot_ppc_dist(data.map_over_datasets(lambda ds: ds.rename({"sample": "row"}) if "sample" in ds.dims else ds),
                         num_samples=20)  # fmt: skip
    assert len(lines(figure())) >= 20


def test_pairs_and_densities(example, figure):
    _, data = example
    az.plot_pair(data, var_names=["noise_scale", "num_active"])
    assert figure().axes[0].has_data()
    (az.plot_posterior if OLD else az.plot_dist)(data, var_names=["noise_scale"])
    assert figure().axes[0].has_data()


def test_summary_of_each_atom(example):
    clean, data = example
    table = az.summary(data, var_names=["usage", "activation_prob"], round_to=8 if OLD else "none")
    assert len(table) == 2 * K
    for k in range(K):
        row = table.loc[f"usage[{k}]"]
        assert float(row["mean"]) == pytest.approx(clean["usage"][..., k].mean(), abs=1e-7)
        assert float(row["r_hat"]) < 1.05
