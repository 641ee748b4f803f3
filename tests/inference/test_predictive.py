"""Log predictive densities against exact integration, leave-one-out, and replicated data."""

import jax
import matplotlib as mpl
import matplotlib.pyplot
import numpy as np
import pytest
from scipy.special import logsumexp

from padl_bayes.arviz_io import load_arviz, to_arviz
from padl_bayes.inference import _rows
from padl_bayes.inference.em import code_em
from padl_bayes.inference.predictive import log_predictive, pointwise_log_likelihood, posterior_predictive
from padl_bayes.inference.results import EmFit
from tests.oracles import spike_slab
from tests.oracles.code_evidence import log_evidence
from tests.oracles.planted_posterior import group_names, values

az = load_arviz()

KEYS = {
    "laplace": ("bernoulli_laplace", False),
    "exponential": ("bernoulli_laplace", True),
    "gaussian": ("bernoulli_gaussian", False),
    "half_normal": ("bernoulli_gaussian", True),
    "cut_laplace": ("l1linf", False),
    "cut_exponential": ("l1linf", True),
}
N, K, P = 16, 3, 5
DRAWS = 600


def atoms(rng, cosine, n_atoms=K, n_features=P):
    """Unit atoms, the cosine between any two being ``cosine``, or random ones where that is None."""
    directions = np.linalg.qr(rng.standard_normal((n_features, n_features)))[0][: n_atoms + 1]
    if cosine is not None:
        return np.sqrt(cosine) * directions[:1] + np.sqrt(1 - cosine) * directions[1:]
    random = rng.standard_normal((n_atoms, n_features))
    return random / np.linalg.norm(random, axis=1, keepdims=True)


def problem(kind, seed, noise, cosine=None):
    """``(X, arguments of log_predictive, keywords)`` of data from the model."""
    rng = np.random.default_rng(seed)
    slab, nonnegative = KEYS[kind]
    dictionary = atoms(rng, cosine)
    usage, rate = rng.uniform(0.2, 0.8, K), rng.uniform(0.5, 2, K)
    options = {"slab": slab, "nonnegative": nonnegative}
    size = rng.laplace(size=(N, K)) if "gauss" not in kind else rng.standard_normal((N, K))
    codes = (np.abs(size) if nonnegative else size) / rate
    if slab == "l1linf":
        usage = np.ones(K)
        options["envelope"] = rng.uniform(0.3, 2, K)
        codes = np.clip(codes, -options["envelope"], options["envelope"])
    codes = codes * (rng.random((N, K)) < usage)
    X = codes @ dictionary + noise * rng.standard_normal((N, P))
    return X, (dictionary, usage, rate, noise), options


def exact(kind, X, globals_, options, mask=None):
    dictionary, usage, rate, noise = globals_
    observed = [None] * len(X) if mask is None else mask
    return np.array(
        [
            log_evidence(
                kind, x, dictionary, noise**-2, usage, rate, bound=options.get("envelope"), observed=seen
            )
            for x, seen in zip(X, observed, strict=True)
        ]
    )


@pytest.mark.parametrize("kind", ["laplace", "exponential", "gaussian", "half_normal"])
def test_oracle_agrees_with_a_grid(kind):
    rng = np.random.default_rng(3)
    dictionary, x = atoms(rng, None, 2), rng.standard_normal(P)
    arguments = (x, dictionary, 4.0, np.array([0.3, 0.6]), np.array([1.0, 2.0]))
    assert log_evidence(kind, *arguments) == pytest.approx(
        spike_slab.log_evidence(kind, *arguments), abs=1e-7
    )


def test_oracle_of_cut_slabs_agrees_with_a_plain_sum():
    rng = np.random.default_rng(4)
    dictionary, x = atoms(rng, 0.5, 2), rng.standard_normal(P)
    rate, bound = np.array([1.0, 2.0]), np.array([0.7, 1.5])
    for kind in ("cut_laplace", "cut_exponential"):
        nodes, weights = np.polynomial.legendre.leggauss(120)
        half = [(bound[k] * (nodes + 1) / 2, bound[k] * weights / 2) for k in range(2)]
        total, norm = 0.0, 1.0
        for k in range(2):
            norm *= np.sum(half[k][1] * np.exp(-rate[k] * half[k][0])) * (2 if kind == "cut_laplace" else 1)
        signs = (1, -1) if kind == "cut_laplace" else (1,)
        for first in signs:
            for second in signs:
                r, s = first * half[0][0][:, None, None], second * half[1][0][None, :, None]
                distance = np.sum((x - r * dictionary[0] - s * dictionary[1]) ** 2, axis=-1)
                tilt = rate[0] * np.abs(r[..., 0]) + rate[1] * np.abs(s[..., 0])
                total += np.sum(half[0][1][:, None] * half[1][1] * np.exp(-2 * distance - tilt))
        wanted = np.log(total / norm) + P / 2 * np.log(4 / (2 * np.pi))
        found = log_evidence(kind, x, dictionary, 4.0, np.ones(2), rate, bound=bound)
        assert found == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] if "exponential" in kind else []) for kind in KEYS]
)
def test_estimates_agree_with_exact_integration(kind):
    scores, spread = [], []
    for seed, (noise, cosine) in enumerate([(0.3, None), (0.02, None), (0.3, 0.95), (0.05, 0.95)]):
        X, globals_, options = problem(kind, seed, noise, cosine)
        done = log_predictive(X, *globals_, **options, n_draws=DRAWS, random_state=seed)
        scores.append((done.log_density - exact(kind, X, globals_, options)) / done.standard_error)
        spread.append(done.standard_error)
    scores = np.concatenate(scores)
    assert np.abs(scores).max() < 4
    # 64 squared scores average to 1 within 4 sqrt(2 / 64) if the error is neither too small nor too large
    assert 1 - 4 * np.sqrt(2 / scores.size) < np.mean(scores**2) < 1 + 4 * np.sqrt(2 / scores.size)
    assert np.concatenate(spread).max() < 0.2


@pytest.mark.parametrize("kind", ["laplace", "half_normal"])
def test_hidden_entries_are_left_out(kind):
    X, globals_, options = problem(kind, 7, 0.2, 0.95)
    mask = np.random.default_rng(0).random(X.shape) < 0.9
    mask[mask.sum(axis=1) < K] = True
    wanted = exact(kind, X, globals_, options, mask)
    hidden = np.where(mask, X, np.nan)
    done = log_predictive(hidden, *globals_, **options, mask=mask, n_draws=DRAWS)
    assert np.abs(done.log_density - wanted).max() > 0
    assert (np.abs(done.log_density - wanted) < 4 * done.standard_error).all()


def test_precision_of_the_result_is_that_of_the_data():
    X, globals_, options = problem("laplace", 0, 0.02)
    single = X.astype(np.float32)
    low = log_predictive(single, *globals_, **options, n_draws=DRAWS)
    high = log_predictive(single.astype(np.float64), *globals_, **options, n_draws=DRAWS)
    assert low.log_density.dtype == np.float32
    assert high.log_density.dtype == np.float64
    np.testing.assert_allclose(low.log_density, high.log_density, rtol=2 * np.finfo(np.float32).eps)
    assert not jax.config.jax_enable_x64


@pytest.mark.parametrize("kind", ["laplace", "cut_laplace"])
def test_densities_are_estimated_without_bias(kind):
    X, globals_, options = problem(kind, 5, 0.3, 0.95)
    X = X[:4]
    replicates = 500
    samples = as_samples(globals_, options, (1, replicates))
    done = pointwise_log_likelihood(X, samples, **plain(options), n_draws=6)
    ratio = np.exp(done.log_density[0] - exact(kind, X, globals_, options))
    error = ratio.std(axis=0, ddof=1) / np.sqrt(replicates)
    assert error.max() < 0.15
    assert (np.abs(ratio.mean(axis=0) - 1) < 4 * error).all()


def plain(options):
    return {name: value for name, value in options.items() if name != "envelope"}


def as_samples(globals_, options, shape):
    """The same globals in every draw."""
    dictionary, usage, rate, noise = globals_
    named = {"dictionary": dictionary, "usage": usage, "rate": rate, "noise_scale": np.array(noise)}
    if "envelope" in options:
        named |= {"active": usage, "rate_l1": np.array(rate[0]), "envelope": options["envelope"]}
        globals_[2][:] = rate[0]
    return {name: np.broadcast_to(v, (*shape, *v.shape)).copy() for name, v in named.items()}


def test_estimates_lie_above_the_evidence_lower_bound():
    X, (dictionary, usage, rate, noise), options = problem("laplace", 2, 0.1, 0.95)
    blank = EmFit(**dict.fromkeys(EmFit._fields))
    fit = blank._replace(
        dictionary=dictionary, usage=usage, rate=rate, coding_noise_scale=noise, data_scale=X.std(), **options
    )
    bound = code_em(X, fit).bound
    done = log_predictive(X, dictionary, usage, rate, noise, n_draws=DRAWS)
    assert (done.log_density > bound - 4 * done.standard_error).all()
    assert np.mean(done.log_density - bound) > 0.05


def draws_of(seed=0, chains=2, draws=3, places=12):
    """Draws with three atoms in use among twelve, in places that differ, and the globals of each."""
    rng = np.random.default_rng(seed)
    samples = {
        "dictionary": np.stack([atoms(rng, None, places) for _ in range(chains * draws)]),
        "usage": rng.uniform(0.2, 0.8, (chains * draws, places)),
        "rate": rng.uniform(0.5, 2, (chains * draws, places)),
        "noise_scale": rng.uniform(0.2, 0.4, chains * draws),
        "active": np.zeros((chains * draws, places), int),
    }
    for active in samples["active"]:
        active[rng.choice(places, K, replace=False)] = 1
    samples["rate"][samples["active"] == 0] = np.inf
    samples["rate"] = np.where(np.isinf(samples["rate"]), 0.0, samples["rate"])
    return {name: v.reshape(chains, draws, *v.shape[1:]) for name, v in samples.items()}


def test_every_draw_gets_its_own_density(monkeypatch):
    samples = draws_of()
    X = np.random.default_rng(1).standard_normal((N, P))
    done = pointwise_log_likelihood(X, samples, n_draws=DRAWS)
    assert done.log_density.shape == done.standard_error.shape == (2, 3, N)
    for index in np.ndindex(2, 3):
        on = samples["active"][index] == 1
        globals_ = [samples[name][index][on] for name in ("dictionary", "usage", "rate")]
        wanted = exact("laplace", X, (*globals_, samples["noise_scale"][index]), {})
        assert (np.abs(done.log_density[index] - wanted) < 4.5 * done.standard_error[index]).all()
    monkeypatch.setattr(_rows, "_WORK_BYTES", 2**22)
    monkeypatch.setattr(_rows, "_TILE", 5)
    batched = pointwise_log_likelihood(X, samples, n_draws=DRAWS)
    np.testing.assert_allclose(batched.log_density, done.log_density, rtol=1e-6)


def test_thinning_takes_every_so_manieth_draw():
    samples = draws_of(draws=5)
    X = np.random.default_rng(1).standard_normal((N, P))
    done = pointwise_log_likelihood(X, samples, n_draws=12, thinning=2)
    thinned = {name: v[:, ::2] for name, v in samples.items()}
    again = pointwise_log_likelihood(X, thinned, n_draws=12)
    np.testing.assert_array_equal(done.log_density, again.log_density)


NOISES = np.geomspace(0.25, 0.6, 200)


def noise_posterior(n_samples=30, seed=2):
    """Data, globals, and the exact log likelihoods (noise level, sample) of a model whose noise alone is unknown."""
    rng = np.random.default_rng(seed)
    dictionary, usage, rate = atoms(rng, 0.5, 2), np.array([0.3, 0.5]), np.array([1.0, 2.0])
    used = rng.random((n_samples, 2)) < usage
    codes = used * rng.standard_normal((n_samples, 2)) / np.sqrt(rate)
    X = codes @ dictionary + 0.4 * rng.standard_normal((n_samples, P))
    tables = [exact("gaussian", X, (dictionary, usage, rate, noise), {}) for noise in NOISES]
    return X, (dictionary, usage, rate), np.array(tables)


def test_leave_one_out_agrees_with_leaving_one_out():
    X, (dictionary, usage, rate), table = noise_posterior()
    rng = np.random.default_rng(0)
    posterior = table.sum(axis=1)
    weights = np.exp(posterior - logsumexp(posterior))
    picked = rng.choice(len(NOISES), p=weights, size=(2, 250))
    samples = {
        "noise_scale": NOISES[picked],
        **{
            name: np.broadcast_to(v, (2, 250, *v.shape))
            for name, v in (("dictionary", dictionary), ("usage", usage), ("rate", rate))
        },
    }
    likelihood = pointwise_log_likelihood(X, samples, slab="bernoulli_gaussian", n_draws=60)
    kept = {"noise_scale": samples["noise_scale"]}
    data = to_arviz(kept, X=X, log_likelihood=likelihood.log_density)
    loo = az.loo(data, pointwise=True)
    left_out = posterior[:, None] - table
    wanted = logsumexp(left_out + table, axis=0) - logsumexp(left_out, axis=0)
    found = np.asarray(getattr(loo, "loo_i", getattr(loo, "elpd_i", None)))
    # 500 draws of a likelihood that varies by about 0.2 over them, and the errors of the codes' integrals
    spread = np.sqrt(np.var(table[picked], axis=(0, 1)) + np.mean(likelihood.standard_error**2, axis=(0, 1)))
    tolerance = 5 * spread / np.sqrt(picked.size) + np.mean(likelihood.standard_error**2, axis=(0, 1))
    assert (np.abs(found - wanted) < tolerance).all()
    assert np.asarray(loo.pareto_k).shape == (len(X),)
    assert np.asarray(loo.pareto_k).max() < 0.7


def test_leave_one_out_takes_thinned_draws():
    X = np.random.default_rng(1).standard_normal((N, P))
    samples = draws_of(draws=401)
    likelihood = np.random.default_rng(2).normal(-5, 0.1, (2, 201, N))
    data = to_arviz(samples, X=X, log_likelihood=likelihood, thinning=2)
    np.testing.assert_array_equal(data["log_likelihood"]["draw"].values, np.arange(0, 401, 2))
    assert data["posterior"].sizes["draw"] == 401
    assert np.isfinite(np.asarray(az.loo(data, reff=1.0, pointwise=True).pareto_k)).all()
    with pytest.raises(ValueError, match=r"log_likelihood X must have shape \(chain = 2, draw = 134"):
        to_arviz(samples, X=X, log_likelihood=likelihood, thinning=3)


def replicated(n_samples=None, slab="bernoulli_laplace", nonnegative=False, dtype=np.float64, draws=400):
    rng = np.random.default_rng(0)
    dictionary = atoms(rng, 0.5).astype(dtype)
    codes = rng.laplace(size=(6, K)).astype(dtype)
    named = {
        "dictionary": dictionary,
        "codes": codes,
        "noise_scale": dtype(0.3),
        "usage": np.array([0.2, 0.5, 0.9], dtype),
        "rate": np.array([0.5, 1.0, 2.0], dtype),
        "active": np.array([1, 0, 1]),
        "rate_l1": dtype(1.5),
        "envelope": np.array([0.5, 1.0, 2.0], dtype),
    }
    samples = {name: np.broadcast_to(v, (2, draws, *np.shape(v))) for name, v in named.items()}
    data = posterior_predictive(samples, n_samples=n_samples, slab=slab, nonnegative=nonnegative)
    return named, samples, data


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_replicates_keep_the_codes_of_the_draws(dtype):
    named, _, data = replicated(dtype=dtype)
    assert data.shape == (2, 400, 6, P)
    assert data.dtype == dtype
    error = data - named["codes"] @ named["dictionary"]
    assert np.abs(error.mean(axis=(0, 1))).max() < 5 * 0.3 / np.sqrt(800)
    assert error.std() == pytest.approx(0.3, rel=4 / np.sqrt(2 * error.size))


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("slab", ["bernoulli_laplace", "bernoulli_gaussian", "l1linf"])
def test_fresh_samples_follow_the_prior_of_the_codes(slab, nonnegative):
    named, _, data = replicated(50, slab, nonnegative)
    assert data.shape == (2, 400, 50, P)
    on = np.array([1.0, 0, 1])
    usage, rate, t = named["usage"] * on, named["rate"], named["envelope"]
    if slab == "l1linf":
        a = 1.5
        gone = np.exp(-a * t)
        size = on * (1 - gone * (1 + a * t)) / (a * (1 - gone))
        square = on * (2 - gone * (a**2 * t**2 + 2 * a * t + 2)) / (a**2 * (1 - gone))
    elif slab == "bernoulli_laplace":
        size, square = usage / rate, usage * 2 / rate**2
    else:
        size, square = usage * np.sqrt(2 / (np.pi * rate)), usage / rate
    mean = size if nonnegative else 0 * size
    wanted = named["dictionary"].T @ np.diag(square - mean**2) @ named["dictionary"] + 0.09 * np.eye(P)
    rows = data.reshape(-1, P)
    centred = rows - mean @ named["dictionary"]
    assert (np.abs(centred.mean(axis=0)) < 4.5 * centred.std(axis=0) / np.sqrt(len(rows))).all()
    products = centred[:, :, None] * centred[:, None]
    assert (np.abs(products.mean(axis=0) - wanted) < 4.5 * products.std(axis=0) / np.sqrt(len(rows))).all()


# ArviZ 0.23 calls matplotlib 3.11 in a way that is on its way out
@pytest.mark.filterwarnings(
    "ignore:Passing a dict or None as alias_mapping:matplotlib.MatplotlibDeprecationWarning"
)
def test_replicates_reach_arviz_and_plot(tmp_path):
    _, samples, data = replicated(draws=20)
    X = data[0, 0]
    kept = {name: samples[name] for name in ("noise_scale", "dictionary")}
    result = to_arviz(kept, X=X, posterior_predictive=data[:, ::2], thinning=2)
    assert "posterior_predictive" in group_names(result)
    assert result["posterior_predictive"]["X"].dims == ("chain", "draw", "sample", "feature")
    np.testing.assert_array_equal(values(result, "posterior_predictive", "X"), data[:, ::2])
    with mpl.rc_context({"backend": "agg"}):
        if hasattr(az, "plot_ppc"):
            az.plot_ppc(result, num_pp_samples=5, random_seed=0)
            mpl.pyplot.savefig(tmp_path / "ppc.png")
        else:
            renamed = result.map_over_datasets(
                lambda group: group.rename(sample="row") if "sample" in group.dims else group
            )
            az.plot_ppc_dist(renamed, num_samples=5, backend="matplotlib").savefig(tmp_path / "ppc.png")
        mpl.pyplot.close("all")
    assert (tmp_path / "ppc.png").stat().st_size > 1000
    fresh = posterior_predictive(samples, n_samples=9)
    result = to_arviz(kept, X=X, posterior_predictive=fresh)
    assert result["posterior_predictive"]["X"].dims == ("chain", "draw", "new_sample", "feature")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"usage": [0.5, 1.5, 0.1]}, ValueError, r"usage must lie in \[0, 1\], found 0.1 to 1.5"),
        ({"rate": [1.0, 0.0, 1.0]}, ValueError, "rate must be positive, found 0"),
        ({"rate": [1.0, 2.0]}, ValueError, r"rate must have shape \(3\), found \(2,\)"),
        ({"noise_scale": -1.0}, ValueError, "noise_scale must be positive, found -1"),
        ({"dictionary": 2 * np.eye(3, P)}, ValueError, "unit-norm rows"),
        ({"slab": "l1"}, ValueError, "slab must be one of"),
        ({"slab": "l1linf"}, ValueError, 'envelope goes with slab="l1linf" .* it is missing'),
        ({"envelope": 1.0}, ValueError, 'envelope goes with slab="l1linf" .* it was given'),
        ({"n_draws": 2}, ValueError, "n_draws must be at least 6, found 2"),
        ({"X": np.ones((2, 4))}, ValueError, "X has 4 features, expected 5"),
    ],
)
def test_bad_input_is_named(change, error, message):
    arguments = {
        "X": np.ones((2, P)),
        "dictionary": np.eye(3, P),
        "usage": 0.5,
        "rate": 1.0,
        "noise_scale": 1.0,
    }
    with pytest.raises(error, match=message):
        log_predictive(**(arguments | change))


def test_missing_draws_are_named():
    samples = draws_of()
    X = np.ones((2, P))
    with pytest.raises(ValueError, match="samples must hold rate_l1 with slab='l1linf'"):
        pointwise_log_likelihood(X, samples, slab="l1linf")
    with pytest.raises(ValueError, match=r"samples must hold codes, .* or pass n_samples"):
        posterior_predictive(samples)
    with pytest.raises(ValueError, match=r"replicated data needs .* thin the draws"):
        posterior_predictive(samples, n_samples=10, max_bytes=100)
