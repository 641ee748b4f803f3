"""Atoms of several dictionaries under common labels, and how many of the true ones a fit has found."""

from typing import NamedTuple

import numpy as np

from padl_bayes.alignment import match, recovered


class Activation(NamedTuple):
    """P(active) of all atoms that any fit has; NaN where a fit has no such atom or makes no statement.

    Attributes
    ----------
    dictionary : ndarray, shape (K, P)
        One of the atoms that share a label: that of the first fit which has it.
    probability, mcse : dict of str to ndarray, shape (K,)
        By fit: P(active), and its Monte-Carlo error.
    """

    dictionary: np.ndarray
    probability: dict
    mcse: dict


def common_activation(views, threshold):
    """Return the `Activation` of ``views`` by name; atoms whose absolute cosine is below ``threshold`` differ."""
    labels: dict = {}
    dictionary = np.zeros((0, next(iter(views.values())).dictionary.shape[1]))
    for name, view in views.items():
        labels[name], dictionary = _label(view.dictionary, dictionary, not view.key[1], threshold)
    tables: dict = {"activation_prob": {}, "activation_prob_mcse": {}}
    for field, by_name in tables.items():
        for name, view in views.items():
            by_name[name] = np.full(len(dictionary), np.nan)
            if getattr(view, field) is not None:
                by_name[name][labels[name]] = getattr(view, field)
    return Activation(dictionary, *tables.values())


def _label(atoms, known, flip, threshold):
    """Labels of ``atoms`` among the ``known`` ones, and the known ones with those that are new."""
    labels = np.full(len(atoms), -1)
    if len(atoms) and len(known):
        paired = match(atoms, known, flip=flip)
        same = np.flatnonzero(paired.cosines >= threshold)
        labels[paired.permutation[same]] = same
    new = np.flatnonzero(labels < 0)
    labels[new] = len(known) + np.arange(len(new))
    return labels, np.concatenate([known, atoms[new]])


def mean_recovered(view, truth):
    """Number of true atoms found (absolute cosine above 0.95), averaged over the draws."""
    on = view.draws.usage > 0
    counts = [
        recovered(d[o], truth, flip=not view.key[1]) for d, o in zip(view.draws.dictionary, on, strict=True)
    ]
    return float(np.mean(counts))
