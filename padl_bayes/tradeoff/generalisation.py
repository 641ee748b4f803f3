r"""How far the training loss of a dictionary and its envelopes can lie below the expected one.

Given atoms D and envelopes t samples are independent, and the loss of one with ``||x|| <= B`` is

.. math:: \ell(x; D, t) = \min_{|r_k| \le t_k} \tfrac12 \|x - r D\|^2 + \alpha_1 \|r\|_1 \in [0, B^2 / 2] .

With :math:`u = \alpha_1 \|r\|_1` at the minimum, :math:`\|x - r D\|^2 \le B^2 - 2u`.

* Atoms within :math:`\epsilon` of these change the loss by at most
  :math:`\epsilon (u / \alpha_1) \sqrt{B^2 - 2u} + \tfrac12 (\epsilon u / \alpha_1)^2`, the first term largest at
  :math:`u = B^2 / 3`, the second at :math:`u = B^2 / 2`:
  :math:`\epsilon B^3 / (3 \sqrt 3 \alpha_1) + \epsilon^2 B^4 / (8 \alpha_1^2)`.
* No code exceeds :math:`T = B^2 / (2 \alpha_1)`. Envelopes rounded down by at most :math:`\eta T` never lower the loss
  and raise it by at most :math:`B K_a \eta T + \tfrac12 (K_a \eta T)^2`.
* Unit vectors have a grid of :math:`(1 + 2 / \epsilon)^P` members (half as many for two-sided codes, whose atoms have
  no sign), envelopes one of :math:`\lceil 1 / \eta \rceil`. Atoms are interchangeable, so which of K places are in use
  costs nothing; that their number :math:`K_a` was found from the data costs log K, and m weights that were tried log m.

With C the sum of the two changes and M the number of members in all, Hoeffding's inequality gives with probability
:math:`1 - \delta`, for all dictionaries and envelopes at once,

.. math:: E \ell - \frac1N \sum_n \ell_n \le 2 C + \frac{B^2}{2} \sqrt{\frac{\log (M K m / \delta)}{2 N}} .

Losses that vary little are bounded more sharply by their standard deviation (Maurer & Pontil, COLT 2009, theorem 4);
the smaller of the two bounds is taken, at :math:`\delta / 2` each. `docs/theory.md` has the steps.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from padl_bayes._validation import check_count, check_matrix, check_scalar
from padl_bayes.inference.envelope import codes_in_envelope


class GeneralisationBound(NamedTuple):
    """An upper bound of expected less training loss, and its parts."""

    gap: float
    """The bound; never above ``norm_bound^2 / 2``, which no gap exceeds."""
    discretisation: float
    """What the grid's coarseness costs."""
    deviation: float
    """What chance costs."""
    log_covering: float
    """Logarithm of the number of dictionaries and envelopes in the grid."""
    trivial: bool
    """Whether the gap is the largest possible one: the bound says nothing."""


def sample_losses(X, dictionary, envelope, alpha1, *, nonnegative=False):
    """Loss of each sample given atoms and envelopes.

    Parameters
    ----------
    X : array_like, shape (N, P)
    dictionary : ndarray, shape (K, P)
    envelope : array_like, shape (K,)
    alpha1 : float
    nonnegative : bool

    Returns
    -------
    ndarray, shape (N,)
        ``min 1/2 ||x - r D||^2 + alpha1 ||r||_1`` over ``|r_k| <= envelope_k``, to a millionth of the envelope.
    """
    X = check_matrix(X, n_features=dictionary.shape[1])
    X, dictionary, envelope = (np.asarray(a, np.float64) for a in (X, dictionary, envelope))
    codes, _ = codes_in_envelope(X, dictionary, envelope, float(alpha1), nonnegative=nonnegative)
    return 0.5 * np.sum(np.square(X - codes @ dictionary), axis=1) + alpha1 * np.abs(codes).sum(axis=1)


def generalisation_bound(
    n_active,
    n_features,
    n_samples,
    alpha1,
    *,
    norm_bound,
    n_atoms=None,
    delta=0.05,
    n_choices=1,
    loss_sd=None,
    nonnegative=False,
):
    """Bound expected less mean training loss of PADL given its envelopes, with probability ``1 - delta``.

    Parameters
    ----------
    n_active : int
        Atoms in use.
    n_features, n_samples : int
    alpha1 : float
        Weight of the l1 norm, above zero; chosen without the data, or one of ``n_choices`` that were.
    norm_bound : float
        What no sample's norm can exceed, known without the data: the root of P for grey levels in [0, 1].
    n_atoms : int, optional
        Atoms that could have been in use; ``n_active`` by default, which says that their number was fixed.
    delta : float
    n_choices : int
        Pairs of weights that were tried on these samples.
    loss_sd : float, optional
        Sample standard deviation of the training losses (`sample_losses`).
    nonnegative : bool

    Returns
    -------
    GeneralisationBound

    Raises
    ------
    TypeError, ValueError
        Numbers out of range.
    """
    counts = dict(n_active=n_active, n_features=n_features, n_samples=n_samples, n_choices=n_choices)
    active, features, samples, choices = (check_count(value, name) for name, value in counts.items())
    if samples < 2:
        raise ValueError(f"n_samples must be at least 2, found {samples}")
    atoms = active if n_atoms is None else check_count(n_atoms, "n_atoms", minimum=active)
    alpha1 = check_scalar(alpha1, "alpha1", strict=True)
    bound = check_scalar(norm_bound, "norm_bound", strict=True)
    delta = check_scalar(delta, "delta", strict=True, maximum=1.0)
    union = (
        np.log(atoms if n_atoms is not None else 1)
        + np.log(choices)
        + np.log((1 if loss_sd is None else 2) / delta)
    )
    problem = _Problem(active, features, samples, alpha1, bound, union, nonnegative)
    grid = _grid(problem)
    best = _at(problem, None, *grid)
    if loss_sd is not None:
        best = min(best, _at(problem, check_scalar(loss_sd, "loss_sd"), *grid), key=lambda found: found.gap)
    return best._replace(gap=min(best.gap, bound**2 / 2), trivial=bool(best.gap >= bound**2 / 2))


class _Problem(NamedTuple):
    active: int
    features: int
    samples: int
    alpha1: float
    bound: float
    union: float
    nonnegative: bool


def _grid(problem):
    """The coarseness that makes Hoeffding's bound smallest: it may depend on all but the samples."""
    found = minimize(
        lambda logs: _at(problem, None, *np.exp(np.minimum(logs, 0))).gap,
        np.log([1e-3, 1e-3 / problem.active]),
        method="Nelder-Mead",
        options={"xatol": 1e-3, "fatol": 1e-6 * problem.bound**2, "maxiter": 400},
    )
    return np.exp(np.minimum(found.x, 0))


def _at(problem, sd, epsilon, eta):
    K, P, N, alpha1, B, union, nonnegative = problem
    most = B**2 / (2 * alpha1)
    shift = K * eta * most
    # each of the two changes is made at the other's end, so their sum bounds both together
    change = (
        epsilon * B**3 / (3 * np.sqrt(3) * alpha1) + 0.5 * (epsilon * most) ** 2 + B * shift + 0.5 * shift**2
    )
    atom = P * np.log1p(2 / epsilon) - (0 if nonnegative else np.log(2))
    covering = K * (atom + np.log(np.ceil(1 / eta)))
    total = covering + union
    if sd is None:
        deviation = 0.5 * B**2 * np.sqrt(total / (2 * N))
    else:
        spread = sd + change * np.sqrt(N / (N - 1))
        total += np.log(2)
        deviation = spread * np.sqrt(2 * total / N) + 0.5 * B**2 * 7 * total / (3 * (N - 1))
    return GeneralisationBound(2 * change + deviation, 2 * change, deviation, covering, False)
