"""What the engines return: arrays are NumPy's, everything is immutable."""

from typing import NamedTuple

import numpy as np


class MapFit(NamedTuple):
    """A dictionary and codes that minimise PADL's objective, atoms of most code energy first."""

    dictionary: np.ndarray
    """(K_active, P) unit-norm atoms with a nonzero code."""
    codes: np.ndarray
    """(N, K_active)"""
    objective: float
    """``1/2 ||X - R D||_F^2 + alpha1 ||R||_1 + alpha2 sum_k ||r_k||_inf``, in float64."""
    gap: float
    """Duality gap of the codes, for this dictionary, over ``1/2 ||X||_F^2``."""
    alpha: tuple[float, float]
    """The two weights, as given or calibrated."""
    noise_scale: float
    """Root mean square of the residual per degree of freedom that the fit leaves."""
    usage: np.ndarray
    """(K_active,) fraction of samples with a nonzero code."""
    history: np.ndarray
    """(n_iter + 1,) objective after each coding step, the last one to full accuracy."""
    n_iter: int
    status: str
    """Why the fit stopped."""
    wall_time: float
    """Seconds."""
    nonnegative: bool = False
    """Whether codes were held >= 0."""


class EmFit(NamedTuple):
    """A variational posterior of the codes with a point estimate of everything global, most used energy first."""

    dictionary: np.ndarray
    """(K_active, P) unit-norm active atoms."""
    codes: np.ndarray | None
    """(N, K_active) posterior means E r; like the next two None where the samples were read in batches."""
    probability: np.ndarray | None
    """(N, K_active) P(atom is used by the sample)."""
    code_sd: np.ndarray | None
    """(N, K_active) posterior standard deviations, spike included."""
    usage: np.ndarray
    """(K_active,) probability that a sample uses the atom."""
    rate: np.ndarray
    """(K_active,) rate of the slab (precision if Gaussian)."""
    activation_log_odds: np.ndarray
    """(K_active,) log odds that the atom is needed at all."""
    activation_rate: float
    """Posterior mean of the share of the ``n_atoms`` that are active."""
    noise_scale: float
    """Standard deviation of the noise, codes and directions of atoms integrated out."""
    coding_noise_scale: float
    """Noise scale at which the bound is largest and codes are found: that of mean field, larger where codes compete."""
    elbo: float
    """Evidence lower bound in nats: the codes' bound plus the log priors of usage and rate."""
    evidence: float
    """The bound less what the atoms cost, plus the log prior of how many are active."""
    data_scale: float
    """Root mean square of the data, from which coding starts to cool down."""
    slab: str
    nonnegative: bool
    n_atoms: int
    """Upper bound that was given."""
    history: dict
    """Per pass: ``elbo``, ``noise_scale`` (of the bound), ``n_active`` and ``stage`` (strings)."""
    n_iter: int
    """Passes over the data, moves included."""
    converged: bool
    status: str
    """Why the fit stopped."""
    wall_time: float
    """Seconds."""


class SaemFit(NamedTuple):
    """Hyperparameters of most marginal likelihood, and a draw of all else to start from."""

    hyperparameters: dict
    """activation_rate, noise_scale, and usage and rate or rate_l1 and rate_linf: numbers."""
    history: dict
    """By name of what was estimated: (n_burn_in + n_iter,) values after each iteration."""
    steps: np.ndarray
    """(n_burn_in + n_iter,) how far the statistics went towards those of the new draw."""
    dictionary: np.ndarray
    """(K_active, P) active atoms of the first chain's last draw."""
    codes: np.ndarray
    """(N, K_active) of the same draw."""
    num_active: np.ndarray
    """(num_chains,) active atoms of each chain's last draw."""
    slab: str
    nonnegative: bool
    status: str
    """Over how many iterations was averaged, and how much the averages of their halves differ."""
    wall_time: float
    """Seconds."""

    @property
    def noise_scale(self):
        """Standard deviation of the noise."""
        return self.hyperparameters["noise_scale"]

    @property
    def alpha(self):
        """Weights ``(alpha1, alpha2)`` of PADL's objective: the slab's two rates times the noise variance."""
        if self.slab != "l1linf":
            raise AttributeError(f"alpha goes with slab='l1linf', found slab={self.slab!r}")
        return tuple(self.noise_scale**2 * self.hyperparameters[name] for name in ("rate_l1", "rate_linf"))
