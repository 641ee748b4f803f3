"""Dictionaries of tokens, their bytes, and rivals held to oracles."""

import math

import numpy as np
import pytest

import padl_bayes as pb
from padl_bayes.compress import baselines, comparison, pricing
from padl_bayes.compress import tokens as module
from padl_bayes.compress.maps import atom_map

P, K = 12, 5
DATA = pb.datasets.synthetic_a(0.1, n_samples=600, n_features=P, n_atoms=K, seed=0)
SHIFT = np.linspace(-3, 3, P)
TRAIN, HELD_OUT = DATA.X[:400] + SHIFT, DATA.X[400:] + SHIFT


@pytest.fixture(scope="module")
def found():
    return module.fit_tokens(TRAIN, 8)


@pytest.mark.parametrize(("method", "dtype"), [("em", np.float32), ("map", np.float64)])
def test_true_atoms_are_found_and_what_is_left_is_noise(method, dtype):
    alpha = None if method == "em" else (0.3, 3.0)
    fit = module.fit_tokens(TRAIN.astype(dtype).reshape(4, 100, P), 8, method=method, alpha=alpha)
    np.testing.assert_allclose(fit.mean, TRAIN.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert fit.dictionary.dtype == dtype
    assert pb.recovered(fit.dictionary, DATA.dictionary, 0.95 if method == "em" else 0.9) == K
    cost = module.describe(fit, HELD_OUT.astype(dtype))
    codes = module.code_tokens(fit, HELD_OUT.astype(dtype))
    left = HELD_OUT - fit.mean - codes @ fit.dictionary
    assert cost.rmse == pytest.approx(np.sqrt(np.mean(left**2)), rel=1e-4)
    assert cost.explained == pytest.approx(
        1 - np.mean(left**2) / np.mean((HELD_OUT - fit.mean) ** 2), rel=1e-4
    )
    assert cost.nonzeros == pytest.approx((codes != 0).sum() / len(codes))
    assert cost.rmse < 0.12
    assert cost.rmse < cost.rmse_stored < 0.2


def test_bytes_are_those_of_the_file_and_of_a_count_by_hand(found):
    codes = module.code_tokens(found, HELD_OUT)
    step = module.default_step(found)
    cost = module.cost_of(HELD_OUT, found.mean, codes, found.dictionary, step)
    stored = pb.tradeoff.quantise(codes, found.dictionary, step, precision=1.0)
    assert cost.n_bytes == pytest.approx(stored.storage.total / 8 + 2 * P)
    assert cost.n_bytes_supports * 8 == pytest.approx(stored.storage.supports)
    assert cost.n_bytes_values * 8 == pytest.approx(stored.storage.values)
    priced = pricing.Priced(HELD_OUT, found.mean, codes, found.dictionary)
    assert priced.bytes_at(step) == pytest.approx((cost.n_bytes, cost.n_bytes_codes))
    assert priced.bytes_at(1e-9 * step) == (np.inf, np.inf)
    with pytest.raises(ValueError, match="too fine"):
        priced.cost(1e-9 * step)
    file = len(pb.tradeoff.codec.encode(stored)) + 2 * P
    # the file has a head and whole words more, a dozen numbers and 32 bits of the coder
    assert cost.n_bytes < file < cost.n_bytes + 80
    assert cost.rmse_stored == pytest.approx(
        np.sqrt(np.mean((HELD_OUT - found.mean - stored.codes @ stored.dictionary) ** 2))
    )
    table = np.array([[1.0, 0, 2, 0, 0], [0, 0, 0, 0, 3]])
    # three codes of 2 bytes and 3 bits, five atoms and a mean of ten entries
    assert pricing.half_bytes(table, 10) == 3 * (2 + 3 / 8) + 2 * 60
    assert pricing.half_bytes(table + 1, 10) == 10 * 2 + 2 * 60


def test_principal_components_leave_the_least_that_their_number_can():
    centred = TRAIN - TRAIN.mean(axis=0)
    atoms, codes = baselines.pca(centred, centred, 4)
    singular = np.linalg.svd(centred, compute_uv=False)
    assert np.sum((centred - codes @ atoms) ** 2) == pytest.approx(np.sum(singular[4:] ** 2))


def test_clusters_cost_an_index_each():
    centred = HELD_OUT - TRAIN.mean(axis=0)
    centres, codes = baselines.k_means(TRAIN - TRAIN.mean(axis=0), centred, 4)
    distance = ((centred[:, None] - centres) ** 2).sum(axis=2)
    assert (codes.argmax(axis=1) == distance.argmin(axis=1)).all()
    coarse, fine = (
        baselines.PricedClusters(HELD_OUT, TRAIN.mean(axis=0), codes, centres).cost(s) for s in (0.5, 0.01)
    )
    assert fine.rmse == pytest.approx(np.sqrt(distance.min(axis=1).mean() / P))
    assert fine.rmse_stored == pytest.approx(fine.rmse, rel=1e-4)
    counts = codes.sum(axis=0)
    indices = sum(-n * math.log2(n / len(codes)) for n in counts)
    blank = baselines.PricedClusters(HELD_OUT, TRAIN.mean(axis=0), codes, centres).cost(1e3)
    # all entries are zero, within a standard deviation; the mean and four scales
    assert blank.n_bytes * 8 == pytest.approx(indices + 16 * (P + 4) - 4 * P * math.log2(0.6826895), rel=1e-6)
    # entries are rounded to a grid that is 50 times finer
    more = 8 * (fine.n_bytes - coarse.n_bytes) / centres.size
    assert more == pytest.approx(math.log2(50), rel=0.05)
    assert fine.n_bytes_half == len(codes) * 2 / 8 + 2 * P * 5


def test_top_k_learns_true_atoms():
    signal = pb.datasets.synthetic_a(0.02, n_samples=600, n_features=P, n_atoms=K, seed=1)
    used = np.zeros((600, K))
    rng = np.random.default_rng(0)
    used[np.arange(600), rng.integers(0, K, 600)] = rng.standard_normal(600)
    atoms = baselines.top_k(used @ signal.dictionary, K, 1, n_rounds=20, random_state=3)
    assert pb.recovered(atoms, signal.dictionary, 0.999) >= K - 1
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1)


def test_atoms_for_fewer_bytes(found):
    coarse = module.fit_tokens(TRAIN, 8, method="fixed", noise_scale=0.4, max_iter=20)
    assert coarse.fit.noise_scale == pytest.approx(0.4)
    assert len(coarse.dictionary) == 8
    cost, fine = (module.describe(fit, HELD_OUT) for fit in (coarse, found))
    assert cost.nonzeros < fine.nonzeros
    assert cost.rmse > fine.rmse
    entries = comparison.compare_tokens(found, TRAIN, HELD_OUT, others=[coarse], methods=())
    held = [e for e in entries if e.method == "this package, noise held"]
    assert held[0].cost.nonzeros == cost.nonzeros


def test_all_are_compared_at_the_same_bytes(found):
    entries = comparison.compare_tokens(found, TRAIN, HELD_OUT)
    own = module.describe(found, HELD_OUT)
    np.testing.assert_allclose(entries[0].cost, own, rtol=1e-12)
    for share in (1.0, 0.5):
        for entry in entries:
            if (entry.share, entry.counted) == (share, "codes"):
                n_bytes = entry.cost.n_bytes_supports + entry.cost.n_bytes_values
                assert n_bytes <= (1 + comparison.STORAGE_TOL) * share * own.n_bytes_codes
        within = [e for e in entries if (e.share, e.counted) == (share, "all") and e.within]
        if share == 1:
            methods = {entry.method.partition(",")[0] for entry in within}
            assert methods >= {"this package", "PCA", "scikit-learn", "top-k"}
        for entry in within:
            assert entry.cost.n_bytes <= (1 + comparison.STORAGE_TOL) * share * own.n_bytes
    best = comparison.best_stored(entries)
    # sparse data of known truth: others have no such atoms
    for method in ("PCA", "k-means"):
        if method in best:
            assert best["this package"].cost.rmse_stored < best[method].cost.rmse_stored
    half = comparison.best_half(entries, own.n_bytes_half)
    assert all(entry.cost.n_bytes_half <= own.n_bytes_half for entry in half.values())
    near = comparison.at_nonzeros(entries, own.nonzeros)
    assert near["PCA"].cost.nonzeros == round(own.nonzeros)
    assert near["PCA"].cost.rmse > own.rmse


def test_atoms_that_come_again(found):
    other = module.fit_tokens(TRAIN, 8, random_state=1)
    probability, again, cosine = module.stability([found, other])
    assert (again == 1).sum() >= K
    assert cosine[again == 1].min() > 0.9
    assert ((probability >= 0) & (probability <= 1)).all()


def test_the_map_of_an_atom():
    ax = atom_map(np.zeros((3, 8, 8)), np.arange(16) - 8.0, title="atom")
    assert ax.get_title() == "atom"
    grid = ax.images[1].get_array()
    np.testing.assert_array_equal(np.asarray(grid), np.arange(16).reshape(4, 4) - 8)
    with pytest.raises(ValueError, match="square number"):
        atom_map(np.zeros((3, 8, 8)), np.zeros(15))
    with pytest.raises(ValueError, match="image must have shape"):
        atom_map(np.zeros((8, 8)), np.zeros(16))


BAD = [
    (np.where(np.eye(400, P) > 0, np.nan, TRAIN), "12 NaN"),
    (TRAIN[:0], "empty"),
    (TRAIN[0], "2 dimensions"),
    (np.ones((5, P)), "tokens must not be constant"),
]


@pytest.mark.parametrize(("tokens", "message"), BAD)
def test_tokens_that_cannot_be_used(tokens, message):
    with pytest.raises(ValueError, match=message):
        module.fit_tokens(tokens, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: module.code_tokens(f, HELD_OUT[:, :5]), "tokens has 5 features, expected 12"),
        (lambda f: comparison.compare_tokens(f, TRAIN[:, :5], HELD_OUT), "train has 5 features, expected 12"),
        (lambda f: comparison.compare_tokens(f, TRAIN, HELD_OUT, methods=["SVD"]), "methods must be of PCA"),
        (lambda f: module.fit_tokens(TRAIN, 4, method="svi"), "method must be one of"),
        (lambda f: module.fit_tokens(TRAIN, 4, alpha=(1, 1)), "alpha goes with"),
        (lambda f: module.fit_tokens(TRAIN, 4, noise_scale=0.1), "noise_scale goes with"),
        (lambda f: module.fit_tokens(TRAIN, 4, method="fixed", noise_scale=0), "noise_scale must be"),
        (lambda f: module.stability([f]), "two or more"),
    ],
)
def test_bad_input(found, call, message):
    with pytest.raises(ValueError, match=message):
        call(found)
