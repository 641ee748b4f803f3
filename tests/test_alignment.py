"""Planted signed permutations are undone; the matching is the best one there is."""

import itertools

import numpy as np
import pytest
from scipy.stats import special_ortho_group

from padl_bayes.alignment import align, match, recovered


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def random_atoms(rng, *shape):
    return unit(rng.standard_normal(shape))


def planted_draws(rng, truth, shape, spread=0.0, flip=True):
    """Scramble noisy copies of ``truth``: draw[permutation[k]] = signs[k] * truth[k] but for the noise."""
    n_atoms, n_features = truth.shape
    permutation = np.argsort(rng.random((*shape, n_atoms)), axis=-1)
    signs = rng.choice([-1, 1], (*shape, n_atoms)) if flip else np.ones((*shape, n_atoms), int)
    noisy = np.broadcast_to(truth, (*shape, n_atoms, n_features))
    if spread:
        noisy = unit(noisy + spread * rng.standard_normal(noisy.shape))
    draws = np.empty(noisy.shape)
    for index in np.ndindex(*shape):
        draws[index][permutation[index]] = signs[index][:, None] * noisy[index]
    return draws, permutation, signs


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_match_undoes_a_planted_signed_permutation_exactly(dtype):
    rng = np.random.default_rng(0)
    truth = random_atoms(rng, 9, 5)
    (scrambled, permutation, signs) = planted_draws(rng, truth, ())
    found = match(scrambled.astype(dtype), truth.astype(dtype))
    np.testing.assert_array_equal(found.permutation, permutation)
    np.testing.assert_array_equal(found.signs, signs)
    np.testing.assert_allclose(found.cosines, 1, rtol=10 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(found.signs[:, None] * scrambled[found.permutation], truth)


def test_match_ignores_the_norm_of_rows_and_survives_a_zero_row():
    rng = np.random.default_rng(1)
    truth = random_atoms(rng, 4, 6)
    scaled = truth[[2, 0, 3, 1]] * np.array([[-3.0], [0.1], [2.0], [0.0]])
    found = match(scaled, truth)
    np.testing.assert_array_equal(found.permutation, [1, 3, 0, 2])
    np.testing.assert_array_equal(found.signs, [1, 1, -1, 1])
    np.testing.assert_allclose(found.cosines, [1, 0, 1, 1], atol=1e-14)


@pytest.mark.parametrize(("n_a", "n_b"), [(4, 4), (5, 3), (3, 5)])
@pytest.mark.parametrize("flip", [True, False])
def test_match_is_the_best_of_all_pairings(n_a, n_b, flip):
    rng = np.random.default_rng(2)
    for _ in range(20):
        a, b = random_atoms(rng, n_a, 3), random_atoms(rng, n_b, 3)
        gain = np.abs(b @ a.T) if flip else b @ a.T
        if n_a >= n_b:
            pairings = (zip(range(n_b), p, strict=True) for p in itertools.permutations(range(n_a), n_b))
        else:
            pairings = (zip(p, range(n_a), strict=True) for p in itertools.permutations(range(n_b), n_a))
        best = max(sum(gain[i, j] for i, j in pairs) for pairs in pairings)
        found = match(a, b, flip=flip)
        paired = found.permutation >= 0
        assert paired.sum() == min(n_a, n_b)
        assert len(set(found.permutation[paired])) == min(n_a, n_b)
        assert found.cosines.sum() == pytest.approx(best, rel=1e-12)
        np.testing.assert_array_equal(found.signs[~paired], 0)
        np.testing.assert_array_equal(found.cosines[~paired], 0)
        aligned = found.signs[paired, None] * a[found.permutation[paired]]
        np.testing.assert_allclose(np.sum(aligned * b[paired], axis=1), found.cosines[paired], rtol=1e-12)
        assert flip or (found.signs[paired] == 1).all()


def rotated_by_cosine(atom, cosine, rng):
    other = rng.standard_normal(atom.size)
    other = unit(other - (other @ atom) * atom)
    return cosine * atom + np.sqrt(1 - cosine**2) * other


def test_recovered_counts_true_atoms_above_the_threshold():
    rng = np.random.default_rng(3)
    truth = special_ortho_group.rvs(8, random_state=4)[:4]
    cosines = [0.99, 0.951, 0.949, 0.5]
    learned = np.stack([rotated_by_cosine(d, c, rng) for d, c in zip(truth, cosines, strict=True)])
    assert recovered(learned, truth) == 2
    assert recovered(-learned[::-1], truth) == 2
    assert recovered(-learned, truth, flip=False) == 0
    assert recovered(learned, truth, 0.9) == 3
    assert recovered(learned, truth, 0.98) == 1
    assert recovered(np.zeros((0, 8)), truth) == 0


def test_recovered_counts_pairs_not_hits():
    truth = np.eye(3)
    assert recovered(np.tile(truth[0], (5, 1)), truth) == 1
    assert recovered(truth[[0, 0, 1]], truth) == 2
    assert recovered(np.concatenate([truth, truth]), truth) == 3
    assert type(recovered(truth, truth)) is int


def test_recovered_prefers_many_good_pairs_to_the_largest_sum_of_cosines():
    def direction(polar, azimuth):
        polar, azimuth = np.deg2rad([polar, azimuth])
        return np.array([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)])

    # the truths are 17.9 degrees apart, each 17.9 degrees from one learned atom (cosine 0.9516); the other
    # pairing has cosines 1 and 0.945, a larger sum with one pair fewer above 0.95
    truth = np.stack([direction(0, 0), direction(17.9, 0)])
    learned = np.stack([direction(17.9, 65), direction(0, 0)])
    cosines = truth @ learned.T
    assert cosines[0, 1] + cosines[1, 0] > cosines[0, 0] + cosines[1, 1]
    assert recovered(learned, truth) == 2


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_align_undoes_planted_signed_permutations_exactly(dtype):
    rng = np.random.default_rng(5)
    truth = random_atoms(rng, 6, 10)
    draws, permutation, signs = planted_draws(rng, truth, (2, 7))
    true_codes = rng.standard_normal((2, 7, 11, 6))
    codes = np.empty_like(true_codes)
    for index in np.ndindex(2, 7):
        codes[index][:, permutation[index]] = signs[index] * true_codes[index]
    result = align(draws.astype(dtype), truth.astype(dtype), codes=codes.astype(dtype))
    assert result.converged
    np.testing.assert_array_equal(result.permutation, permutation)
    np.testing.assert_array_equal(result.signs, signs)
    np.testing.assert_array_equal(result.dictionary, np.broadcast_to(truth.astype(dtype), draws.shape))
    np.testing.assert_array_equal(result.codes, true_codes.astype(dtype))
    assert (
        result.dictionary.dtype
        == result.codes.dtype
        == result.cosines.dtype
        == result.reference.dtype
        == dtype
    )
    np.testing.assert_allclose(result.reference, truth, atol=20 * np.finfo(dtype).eps)


def test_align_without_a_reference_agrees_up_to_one_signed_permutation():
    rng = np.random.default_rng(6)
    truth = random_atoms(rng, 8, 12)
    draws, _, _ = planted_draws(rng, truth, (3, 20), spread=0.05)
    result = align(draws)
    # every draw in the same labels, whatever they are: match one to the truth, and the others must follow
    labels = match(result.dictionary[0, 0], truth)
    everywhere = labels.signs[:, None] * result.dictionary[:, :, labels.permutation]
    assert np.einsum("cdkp,kp->cdk", everywhere, truth).min() > 0.9
    assert recovered(result.reference, truth, 0.99) == 8


def test_reconstruction_is_left_as_it_was():
    rng = np.random.default_rng(7)
    draws, codes = random_atoms(rng, 4, 5, 3), rng.standard_normal((4, 9, 5))
    result = align(draws, codes=codes)
    np.testing.assert_allclose(
        np.einsum("snk,skp->snp", result.codes, result.dictionary),
        np.einsum("snk,skp->snp", codes, draws),
        atol=1e-13,
    )


def test_iterating_the_reference_mends_a_poor_start_and_never_loses_agreement():
    rng = np.random.default_rng(8)
    truth = unit(rng.standard_normal(6) + 0.6 * rng.standard_normal((5, 6)))
    draws, permutation, signs = planted_draws(rng, truth, (60,), spread=0.12)
    poor = unit(truth + 0.35 * rng.standard_normal(truth.shape))
    totals, wrong = [], []
    for max_iter in (1, 2, 3, 50):
        result = align(draws, poor, max_iter=max_iter)
        totals.append(result.cosines.sum())
        wrong.append(np.sum((result.permutation != permutation) | (result.signs != signs)))
    assert result.converged
    assert (np.diff(totals) >= -1e-12).all()
    assert wrong[-1] < wrong[0] / 2
    exact = align(draws, truth)
    np.testing.assert_allclose(result.reference, exact.reference, atol=0.02)


def test_one_pass_matches_each_draw_to_the_reference_as_given():
    rng = np.random.default_rng(9)
    draws, reference = random_atoms(rng, 6, 4, 3), random_atoms(rng, 4, 3)
    result = align(draws, reference, max_iter=1)
    assert result.n_iter == 1
    np.testing.assert_allclose(result.reference, reference, rtol=1e-14)
    for s in range(6):
        found = match(draws[s], reference)
        np.testing.assert_array_equal(result.permutation[s], found.permutation)
        np.testing.assert_array_equal(result.signs[s], found.signs)
        np.testing.assert_allclose(result.cosines[s], found.cosines, rtol=1e-13)


def test_a_shorter_reference_keeps_its_order_and_the_rest_still_align():
    rng = np.random.default_rng(10)
    truth = random_atoms(rng, 7, 9)
    draws, _, _ = planted_draws(rng, truth, (2, 15), spread=0.03)
    result = align(draws, truth[[3, 1, 6]])
    mean = unit(result.dictionary.mean(axis=(0, 1)))
    np.testing.assert_allclose(mean[:3], truth[[3, 1, 6]], atol=0.05)
    assert recovered(mean, truth, 0.99) == 7
    assert np.linalg.norm(result.dictionary.mean(axis=(0, 1)), axis=1).min() > 0.98


def test_atoms_that_are_not_in_use_do_not_pull_on_labels():
    rng = np.random.default_rng(11)
    truth = random_atoms(rng, 3, 8)
    draws, permutation, signs = planted_draws(rng, truth, (40,), spread=0.1)
    # five more slots, filled in each draw with copies of true atoms that are not in use
    idle = truth[rng.integers(3, size=(40, 5))]
    # weights of atoms in use may be small, as probabilities are
    active = np.concatenate([rng.choice([1, 0.01], (40, 3)), np.zeros((40, 5))], axis=1)
    result = align(np.concatenate([draws, idle], axis=1), truth, active=active)
    np.testing.assert_array_equal(result.permutation[:, :3], permutation)
    np.testing.assert_array_equal(result.signs[:, :3], signs)
    assert (result.apply(active)[:, 3:] == 0).all()


def test_atoms_that_are_not_in_use_settle_the_labels_left_open():
    rng = np.random.default_rng(20)
    truth = random_atoms(rng, 5, 8)
    draws, permutation, signs = planted_draws(rng, truth, (30,), spread=0.02)
    active = (rng.random((30, 5)) < 0.4).astype(float)
    for weights in (active, 0 * active):
        result = align(draws, truth, active=weights)
        np.testing.assert_array_equal(result.permutation, permutation)
        np.testing.assert_array_equal(result.signs, signs)


def test_atoms_used_by_few_draws_get_labels_of_their_own():
    rng = np.random.default_rng(12)
    truth = random_atoms(rng, 6, 20)
    draws, permutation, signs = planted_draws(rng, truth, (60,), spread=0.03)
    # in truth's labels: atoms 0 to 2 are always in use, each draw uses one of the others
    in_use = np.zeros((60, 6))
    in_use[:, :3] = 1
    in_use[np.arange(60), 3 + rng.integers(3, size=60)] = 1
    active = np.empty_like(in_use)
    np.put_along_axis(active, permutation, in_use, axis=1)
    result = align(draws, truth[:3], active=active)
    assert recovered(result.reference, truth, 0.98) == 6
    labels = match(truth, result.reference)
    np.testing.assert_array_equal(labels.permutation[:3], [0, 1, 2])
    np.testing.assert_array_equal(result.apply(active), in_use[:, labels.permutation])
    used = result.apply(active) == 1
    planted = (labels.signs * signs[:, labels.permutation])[used]
    np.testing.assert_array_equal(result.signs[used], planted)
    assert result.cosines[used].min() > 0.95


def test_the_fullest_draw_is_the_first_reference_and_of_several_the_last():
    draws = random_atoms(np.random.default_rng(19), 9, 4, 6)
    np.testing.assert_allclose(align(draws, max_iter=1).reference, draws[-1], rtol=1e-14)
    active = np.zeros((9, 4))
    active[3] = active[5] = 1
    np.testing.assert_allclose(align(draws, active=active, max_iter=1).reference, draws[5], rtol=1e-14)


def test_labels_that_are_never_in_use_have_no_direction():
    rng = np.random.default_rng(18)
    draws = unit(random_atoms(rng, 5, 7) + 0.01 * rng.standard_normal((8, 5, 7)))
    active = np.tile([0.0, 1.0, 0.0, 0.0, 1.0], (8, 1))
    reference = align(draws, active=active).reference
    assert (np.linalg.norm(reference, axis=1) > 0).sum() == 2
    norms = np.linalg.norm(align(draws, reference=np.eye(2, 7), active=0 * active).reference, axis=1)
    np.testing.assert_array_equal(norms, [1, 1, 0, 0, 0])


def test_without_flips_signs_are_kept():
    rng = np.random.default_rng(13)
    truth = np.abs(random_atoms(rng, 5, 7))
    truth = unit(truth)
    draws, permutation, _ = planted_draws(rng, truth, (12,), flip=False)
    result = align(draws, truth, flip=False)
    np.testing.assert_array_equal(result.permutation, permutation)
    assert (result.signs == 1).all()
    opposite = align(np.stack([np.eye(2), -np.eye(2)]), np.eye(2), flip=False, max_iter=1)
    np.testing.assert_allclose(opposite.cosines, [[1, 1], [0, 0]])


def test_apply_moves_any_array_indexed_by_atom():
    rng = np.random.default_rng(14)
    truth = random_atoms(rng, 4, 6)
    draws, permutation, signs = planted_draws(rng, truth, (2, 3))
    result = align(draws, truth)
    usage, codes = rng.random((2, 3, 4)), rng.standard_normal((2, 3, 5, 4))
    for c, d in np.ndindex(2, 3):
        p, s = permutation[c, d], signs[c, d]
        np.testing.assert_array_equal(result.apply(usage)[c, d], usage[c, d][p])
        np.testing.assert_array_equal(result.apply(codes, signed=True)[c, d], s * codes[c, d][:, p])
        np.testing.assert_array_equal(result.apply(draws, axis=2)[c, d], draws[c, d][p])
    flags = (usage > 0.5).astype(np.int8)
    assert result.apply(flags).dtype == np.int8
    assert result.apply(usage.astype(np.float32), signed=True).dtype == np.float32
    with pytest.raises(ValueError, match=r"values must have shape \(2, 3, \.\.\.\) with 4 atoms .* \(2, 4\)"):
        result.apply(usage[:, 0])
    with pytest.raises(ValueError, match=r"with 4 atoms at axis 3, found \(2, 3, 4, 5\)"):
        result.apply(np.swapaxes(codes, 2, 3))


def test_a_single_dictionary_aligns_like_a_match():
    rng = np.random.default_rng(15)
    truth = random_atoms(rng, 5, 6)
    scrambled, permutation, _ = planted_draws(rng, truth, ())
    result = align(scrambled, truth)
    np.testing.assert_array_equal(result.permutation, permutation)
    np.testing.assert_array_equal(result.dictionary, truth)


DRAWS = np.random.default_rng(16).standard_normal((2, 3, 4, 5))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: match(np.eye(3), np.eye(4)), ValueError, "dictionary_b has 4 features, expected 3"),
        (lambda: match(np.full((2, 2), np.nan), np.eye(2)), ValueError, "dictionary_a has 4 NaN"),
        (lambda: match(np.eye(2), [["a"]]), TypeError, "dictionary_b must hold numbers"),
        (lambda: recovered(np.eye(3), np.eye(4)), ValueError, "dictionary has 3 features, expected 4"),
        (lambda: recovered(np.zeros((0, 3)), np.eye(4)), ValueError, "dictionary is empty"),
        (
            lambda: recovered(np.eye(3), np.eye(3), 1.5),
            ValueError,
            r"threshold must be .* at most 1, found 1\.5",
        ),
        (lambda: align(np.ones(3)), ValueError, r"draws must have shape \(\.\.\., K, P\), found \(3,\)"),
        (lambda: align(DRAWS, np.eye(4)), ValueError, "reference has 4 features, expected 5"),
        (lambda: align(DRAWS, np.eye(5)), ValueError, "reference has 5 atoms, expected at most the draws' 4"),
        (
            lambda: align(DRAWS, codes=np.ones((2, 3, 7, 5))),
            ValueError,
            r"codes must have shape \(2, 3, N, 4\), fo",
        ),
        (
            lambda: align(DRAWS, active=np.ones((2, 4))),
            ValueError,
            r"active must have shape \(2, 3, 4\), found",
        ),
        (
            lambda: align(DRAWS, active=-np.ones((2, 3, 4))),
            ValueError,
            "active must hold weights .* found -1",
        ),
        (lambda: align(DRAWS * np.inf), ValueError, "draws has 120 NaN or infinite"),
        (lambda: align(DRAWS, max_iter=0), ValueError, "max_iter must be at least 1, found 0"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_directions_of_large_and_tiny_atoms():
    """Whose squares float32 does not hold."""
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(3, 4, 5)).astype(np.float32)
    wanted = align(draws)
    for scale in (2.0**100, 2.0**-100):
        found = align(draws * np.float32(scale))
        np.testing.assert_array_equal(found.permutation, wanted.permutation)
        np.testing.assert_array_equal(found.reference, wanted.reference)
