"""Which tokens are merged, and what comes back to each."""

import numpy as np
import pytest

from padl_bayes.compress import reduction

RNG = np.random.default_rng(0)
TOKENS = RNG.standard_normal((21, 6)).astype(np.float32)


def slow_matching(keys, n_groups):
    """ToMe's rule in loops, groups as lists of tokens."""
    groups = [[i] for i in range(len(keys))]
    while len(groups) > n_groups:
        means = [keys[group].astype(np.float64).mean(axis=0) for group in groups]
        unit = [mean / np.linalg.norm(mean) for mean in means]
        pairs = []
        for a in range(0, len(groups), 2):
            pairs.append(max((unit[a] @ unit[b], a, b) for b in range(1, len(groups), 2)))
        gone = sorted(pairs, reverse=True)[: len(groups) - n_groups]
        for _, a, b in gone:
            groups[b] = groups[b] + groups[a]
        taken = {a for _, a, _ in gone}
        groups = [group for i, group in enumerate(groups) if i not in taken]
    return {frozenset(group) for group in groups}


def groups_of(labels):
    return {frozenset(np.flatnonzero(labels == k).tolist()) for k in range(labels.max() + 1)}


@pytest.mark.parametrize("n_groups", [21, 20, 14, 11, 6, 2, 1])
def test_similarity_merges_as_the_rule_in_loops_does(n_groups):
    labels = reduction.by_similarity(TOKENS, n_groups)
    assert len(np.unique(labels)) == n_groups
    assert groups_of(labels) == slow_matching(TOKENS, n_groups)


@pytest.mark.parametrize("n_groups", [20, 8, 4])
def test_merged_keys_count_by_their_size(n_groups):
    keys = np.random.default_rng(1).standard_normal((60, 3)).astype(np.float32)
    assert groups_of(reduction.by_similarity(keys, n_groups)) == slow_matching(keys, n_groups)


def test_leading_atoms_group_what_uses_them():
    dictionary = np.eye(6, dtype=np.float32)[:4]
    mean = np.full(6, 0.5, np.float32)
    labels = reduction.by_leading_atom(TOKENS, dictionary, mean, 3)
    codes = (TOKENS - mean) @ dictionary.T
    energy = {}
    for row in codes:
        k = int(np.argmax(np.abs(row)))
        energy[k, row[k] > 0] = energy.get((k, row[k] > 0), 0) + row[k] ** 2
    kept = sorted(energy, key=energy.get)[-3:]
    wanted = [max(kept, key=lambda at: row[at[0]] * (1 if at[1] else -1)) for row in codes]
    assert groups_of(labels) == {frozenset(i for i, w in enumerate(wanted) if w == k) for k in set(wanted)}


def slow_splitting(along, n_groups):
    """Every group and atom tried at each step."""
    groups = [list(range(len(along)))]
    while len(groups) < n_groups:
        group, atom = max(
            ((group, atom) for group in groups for atom in range(along.shape[1])),
            key=lambda at: len(at[0]) * np.var(along[at[0], at[1]]),
        )
        middle = np.mean(along[group, atom])
        groups.remove(group)
        groups += [[i for i in group if (along[i, atom] > middle) == side] for side in (True, False)]
    return {frozenset(group) for group in groups}


@pytest.mark.parametrize("n_groups", [1, 2, 5, 13, 21])
def test_groups_split_along_atoms_as_when_all_are_tried(n_groups):
    dictionary, mean = RNG.standard_normal((4, 6)).astype(np.float32), np.full(6, 0.5, np.float32)
    along = (TOKENS - mean).astype(np.float64) @ dictionary.T.astype(np.float64)
    labels = reduction.by_atoms(TOKENS, dictionary, mean, n_groups)
    assert groups_of(labels) == slow_splitting(along, n_groups)


def test_there_are_no_more_groups_than_atoms_tell_apart():
    labels = reduction.by_leading_atom(TOKENS, np.eye(6)[:1], np.zeros(6), 20)
    assert len(np.unique(labels)) == 2
    for rule in (reduction.by_atoms, reduction.by_leading_atom):
        assert set(rule(np.ones((3, 6)), np.eye(6)[:1], np.ones(6), 2)) == {0}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_merged_token_is_the_mean_and_patches_keep_their_difference(dtype):
    tokens = TOKENS.astype(dtype)
    labels = reduction.by_similarity(tokens, 5)
    merged = reduction.merge(tokens, labels)
    assert merged.tokens.dtype == dtype
    assert merged.sizes.sum() == len(tokens)
    added = RNG.standard_normal((5, 6)).astype(dtype)
    back = reduction.scatter(merged.tokens + added, merged, tokens)
    for i, label in enumerate(labels):
        members = tokens[labels == label]
        np.testing.assert_allclose(merged.tokens[label], members.mean(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(back[i], tokens[i] + added[label], rtol=1e-5, atol=1e-6)


def test_dropped_tokens_follow_the_most_similar_one():
    merged = reduction.drop(TOKENS, 4, np.random.default_rng(3))
    assert merged.sizes.tolist() == [1] * 4
    kept = [int(np.flatnonzero((row == TOKENS).all(axis=1))[0]) for row in merged.tokens]
    unit = TOKENS / np.linalg.norm(TOKENS, axis=1, keepdims=True)
    for i, label in enumerate(merged.labels):
        assert label == (kept.index(i) if i in kept else max(range(4), key=lambda k: unit[i] @ unit[kept[k]]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reduction.by_similarity(TOKENS, 22), "at most the 21 tokens, found 22"),
        (lambda: reduction.by_similarity(TOKENS, 0), "n_groups must be at least 1"),
        (lambda: reduction.by_similarity(TOKENS * np.nan, 3), "keys has 126 NaN"),
        (
            lambda: reduction.by_atoms(TOKENS, np.eye(5), np.zeros(6), 3),
            "dictionary has 5 features, expected 6",
        ),
        (lambda: reduction.by_atoms(TOKENS, np.eye(6), np.zeros(5), 3), "mean must have shape"),
        (lambda: reduction.by_atoms(TOKENS[0], np.eye(6), np.zeros(6), 3), "tokens must have 2 dimensions"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
