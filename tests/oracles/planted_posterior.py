"""A posterior whose labels and signs are scrambled on purpose, and how to look into ArviZ's containers."""

import numpy as np

CHAINS, DRAWS, N, K, P = 2, 80, 12, 4, 6


def planted(dtype=np.float64, seed=0):
    """A posterior in scrambled labels and signs; return what to pass, and it in the labels of ``truth``."""
    rng = np.random.default_rng(seed)
    shape = (CHAINS, DRAWS)

    def near(value, spread=0.03):
        return value + spread * rng.standard_normal((*shape, *np.shape(value)))

    truth = np.linalg.qr(rng.standard_normal((P, P)))[0][:K]
    dictionary = near(truth)
    clean = {
        "activation_rate": near(0.5),
        "active": rng.random((*shape, K)) < 0.9,
        "activation_prob": near(np.array([0.9, 0.8, 0.7, 0.6])),
        "usage": near(np.array([0.4, 0.3, 0.2, 0.1])),
        "envelope": near(np.array([3.0, 2.0, 4.0, 5.0])),
        "rate_l1": near(2.0),
        "rate_linf": near(1.0),
        "noise_scale": near(0.3),
        "dictionary": dictionary / np.linalg.norm(dictionary, axis=-1, keepdims=True),
        "codes": near(rng.standard_normal((N, K))) * (rng.random((*shape, N, K)) < 0.7),
    }
    clean["num_active"] = clean["active"].sum(axis=-1)
    clean = {name: v.astype(dtype) if v.dtype == float else v for name, v in clean.items()}
    scrambled = {name: values.copy() for name, values in clean.items()}
    for index in np.ndindex(*shape):
        order, signs = rng.permutation(K), rng.choice([-1, 1], K).astype(dtype)
        for name in ("active", "activation_prob", "usage", "envelope"):
            scrambled[name][index] = clean[name][index][order]
        scrambled["dictionary"][index] = (signs[:, None] * clean["dictionary"][index])[order]
        scrambled["codes"][index] = (signs * clean["codes"][index])[:, order]
    extras = {
        "X": rng.standard_normal((N, P)).astype(dtype),
        "sample_stats": {"lp": near(-100.0).astype(dtype), "diverging": rng.random(shape) < 0.1},
        "log_likelihood": near(np.full(N, -5.0)).astype(dtype),
    }
    return scrambled, extras, clean, truth


def group_names(data):
    return set(data.groups()) if callable(data.groups) else set(data.children)


def values(data, group, name):
    return data[group][name].values
