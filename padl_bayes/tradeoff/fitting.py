"""MAP at an operating point that is named, not searched."""

from padl_bayes.inference.em import fit_em
from padl_bayes.inference.map import fit_map
from padl_bayes.tradeoff.frontier import check_target
from padl_bayes.tradeoff.search import operating_point


def fit_map_at(
    X,
    n_atoms,
    target,
    *,
    slab="bernoulli_laplace",
    nonnegative=False,
    random_state=0,
    callback=None,
    **options,
):
    """Fit variational EM, predict the weights for a target from it, and fit MAP with these from the atoms in use.

    PADL's own penalty does not take superfluous atoms out where codes have heavy tails: two copies of an atom that
    share an outlier pay no more than one. The number of atoms is therefore the evidence's, or fewer.

    Parameters
    ----------
    X : array_like, shape (N, P)
    n_atoms : int
        Bound for EM.
    target : "mdl" or tuple
        See `padl_bayes.tradeoff.Frontier.choose`.
    slab, nonnegative, random_state
        As in `padl_bayes.inference.fit_em`.
    callback : callable, optional
        Of `padl_bayes.inference.fit_em` and of `padl_bayes.inference.fit_map`: called as each does.
    **options
        Of `padl_bayes.inference.fit_map`.

    Returns
    -------
    fit : MapFit
    point : Point or None
        None where EM finds no atom; the weights are then calibrated on noise, which keeps atoms out as well.
    """
    target = check_target(target)
    em = fit_em(X, n_atoms, slab=slab, nonnegative=nonnegative, random_state=random_state, callback=callback)
    options |= {"nonnegative": nonnegative, "random_state": random_state, "callback": callback}
    if len(em.dictionary) == 0:
        return fit_map(X, n_atoms, **options), None
    point = operating_point(em, target, X=X, random_state=random_state)
    if point.active == 0:
        return fit_map(X, n_atoms, alpha=point.alpha, **options), point
    atoms = em.dictionary[point.atoms]
    return fit_map(X, len(atoms), alpha=point.alpha, dictionary_init=atoms, **options), point
