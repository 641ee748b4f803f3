"""Annealed warm-up: atoms come cheap in its first ``n_anneal`` sweeps, and have to pay in the rest.

Neither takes part once the warm-up is over.
"""

import jax.numpy as jnp

NATS_A_FEATURE = 3
PRUNINGS = 4
FEW = 3
# Squared cosine.
CLOSE = 0.5


def bonus(n_anneal, i, X):
    """What is added to the prior log odds of an active atom in sweep ``i``: in the warm-up, atoms come cheap at first.

    The direction of an atom must bring some nats a feature to be worth having. Without that price all places fill with
    atoms that begin as mixtures of what is there and get time to become what they are before they must earn it: chains
    that grow from a few atoms are caught with composites of several.
    """
    left = (n_anneal - i) / jnp.maximum(n_anneal, 1)
    return jnp.asarray(NATS_A_FEATURE * X.shape[1] * jnp.maximum(left, 0), X.dtype)


def _hangers_on(z, counts):
    """Atoms (K,) like another that more samples use, and themselves used by fewer samples than there are features."""
    on = z["active"] == 1
    like = (z["dictionary"] @ z["dictionary"].T) ** 2 > CLOSE
    larger = on & (counts > counts[:, None])
    return jnp.any(like & larger, axis=1) & (counts < z["dictionary"].shape[1])


def prune(n_anneal, i, z):
    """Now and then in the rest of the warm-up, switch off atoms that hardly any sample uses, or that stand for others.

    A sample that has an atom to itself does not lose it: given the atom it is well explained, and without the atom,
    before its other codes have changed, not at all. Nor do the few samples that use one atom in place of a like one and
    something else. Such atoms are left over where chains have come from many; what is true in them is born again.
    """
    rest, every = i - n_anneal, n_anneal // PRUNINGS
    due = (rest >= 0) & (rest < PRUNINGS * every) & (rest % jnp.maximum(every, 1) == 0)
    counts = jnp.sum(z["codes"] != 0, axis=0)
    keep = ~due | ((counts > FEW) & ~_hangers_on(z, counts))
    return z | {"active": jnp.where(keep, z["active"], 0), "codes": jnp.where(keep, z["codes"], 0)}
