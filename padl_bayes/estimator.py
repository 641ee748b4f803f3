"""`PADL`: the scikit-learn style front of the engines."""

import numpy as np

from . import posterior
from ._options import check_flag, check_seed
from ._sklearn import Conventions
from ._tables import names_of
from ._validation import check_array, check_choice, check_count, check_mask, check_matrix
from .diagnostics import warn_of_clipped_codes, warn_of_fit
from .exceptions import ConvergenceWarning, warn
from .inference.em import code_em, fit_em
from .inference.envelope import MOST_SWEEPS, codes_in_envelope
from .inference.map import GAP_TOL, MAX_ITER, fit_map
from .inference.minibatch import fit_em_minibatch
from .inference.recoding import sparse_codes
from .progress import pass_progress
from .tradeoff.fitting import fit_map_at
from .tradeoff.frontier import check_target, is_target

METHODS = ("em", "map")
SLABS = ("bernoulli_laplace", "bernoulli_gaussian", "l1linf")


class PADL(Conventions):
    """Parsimoniously activated dictionary learning.

    Parameters
    ----------
    n_atoms : int
        Upper bound on the number of atoms; those that the data do not need are switched off.
    method : {"em", "map"}
        "em": variational EM, every hyperparameter from the data, atoms kept by evidence (`inference.fit_em`).
        "map": PADL's own objective with weights ``alpha`` (`inference.fit_map`).
    slab : {"bernoulli_laplace", "bernoulli_gaussian", "l1linf"}
        Prior of the codes. "em" takes the first two; "map" is the mode of the third and ignores this.
    nonnegative : bool
        Codes of one sign only; the dictionary stays free.
    alpha : tuple, "mdl" or None
        Weights of "map": a pair ``(alpha1, alpha2)``; calibrated on simulated noise if None; or what they are for,
        "mdl", ``("rmse", e)``, ``("bytes", b)``, ``("nonzeros", s)`` or ``("active", k)``, see
        `tradeoff.operating_point`: "em" is then fitted first, and "map" starts from its atoms. "em" takes none.
    max_iter : int, optional
        Budget of passes ("em") or iterations ("map"); the engine's default if not given.
    tol : float, optional
        Stopping tolerance; the engine's default if not given.
    batch_size : int, optional
        "em" only: read the samples in batches of so many (`inference.fit_em_minibatch`). ``X`` may then be
        memory-mapped, the name of a ``.npy`` file or an iterable of chunks.
    devices : "all", int or sequence of Device, optional
        Samples are divided over these devices (a number: the first ones), by `fit`, `transform` and Gibbs. Under
        `jax.distributed` every process makes the same calls, with devices of all. The engines' default if not given.
    random_state : int
        Seed. A fit is a function of the data and the seed.
    progress : bool
        Show a progress bar.

    Attributes
    ----------
    components_ : ndarray, shape (n_active_, P)
        Unit-norm atoms, most code energy first.
    n_active_ : int
    usage_ : ndarray, shape (n_active_,)
        Probability ("em") or share ("map") of samples that use the atom.
    activation_log_odds_ : ndarray, shape (n_active_,)
        "em" only: log odds that the atom is needed at all.
    noise_scale_ : float
        Standard deviation of the noise. For "em" with codes and directions of atoms integrated out; codes are found
        at that of the bound, ``fit_.coding_noise_scale``.
    elbo_ : float
        "em" only: evidence lower bound in nats.
    objective_, gap_ : float
        "map" only: PADL's objective, and the duality gap of the codes for this dictionary, relative to
        ``1/2 ||X||_F^2``.
    history_ : dict of ndarray
        Trace of the run.
    n_iter_ : int
    status_ : str
        Why the fit stopped.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (P,)
        Only where ``X`` was a table with names.
    operating_point_ : Point or None
        "map" with a named ``alpha`` only: the weights and what was predicted of them; None where "em" found no atom.
    fit_ : EmFit or MapFit
        Everything the engine returned.

    Examples
    --------
    >>> import padl_bayes as pb
    >>> data = pb.datasets.bars(n_samples=500, seed=0)
    >>> est = pb.PADL(n_atoms=20, nonnegative=True).fit(data.X)
    >>> est.n_active_
    10
    """

    def __init__(
        self,
        n_atoms=128,
        method="em",
        slab="bernoulli_laplace",
        nonnegative=False,
        alpha=None,
        max_iter=None,
        tol=None,
        batch_size=None,
        devices=None,
        random_state=0,
        progress=False,
    ):
        self.n_atoms = n_atoms
        self.method = method
        self.slab = slab
        self.nonnegative = nonnegative
        self.alpha = alpha
        self.max_iter = max_iter
        self.tol = tol
        self.batch_size = batch_size
        self.devices = devices
        self.random_state = random_state
        self.progress = progress

    def fit(self, X, y=None, *, mask=None):
        """Learn the dictionary.

        Parameters
        ----------
        X : array_like, shape (N, P)
            One sample a row, used as given.
        y : ignored
        mask : array_like of bool, shape (N, P), optional
            "em" only: True where ``X`` was observed.

        Returns
        -------
        PADL
            Itself.

        Raises
        ------
        TypeError, ValueError
            Data or parameters that cannot be used; the message says which and why.
        """
        check_choice(self.method, "method", METHODS)
        check_choice(self.slab, "slab", SLABS)
        check_flag(self.progress, "progress")
        names = names_of(X)
        self.__dict__.pop("operating_point_", None)
        found = self._fit_em(X, mask) if self.method == "em" else self._fit_map(X, mask)
        self._adopt(found)
        # A fit in batches does not hold its samples.
        self._X, self._mask = (X if self.batch_size is None else None), mask
        self._remember_features(names)
        return self

    def _budget(self):
        chosen = {"max_iter": self.max_iter, "tol": self.tol}
        return {name: value for name, value in chosen.items() if value is not None}

    def _fit_em(self, X, mask):
        if self.slab == "l1linf":
            raise ValueError(
                "slab='l1linf' has no variational EM: use method='map' for its mode, or another slab"
            )
        if self.alpha is not None:
            raise ValueError(f"method='em' estimates all weights: alpha must be None, found {self.alpha!r}")
        options = self._budget() | {"slab": self.slab, "nonnegative": self.nonnegative}
        # the default budget is far beyond what fits take: only one that was asked for says how long it may be
        most = self.max_iter if self.batch_size is None else None
        with pass_progress(self.progress, em=most) as callback:
            options |= {"random_state": self.random_state, "callback": callback, "devices": self.devices}
            if self.batch_size is None:
                return fit_em(X, self.n_atoms, mask=mask, **options)
            if mask is not None:
                raise ValueError("batch_size takes no mask: leave it out for data with missing entries")
            return fit_em_minibatch(X, self.n_atoms, batch_size=self.batch_size, **options)

    def _fit_map(self, X, mask):
        if mask is not None:
            raise ValueError("method='map' takes no mask: use method='em' for data with missing entries")
        if self.batch_size is not None:
            raise ValueError(
                f"method='map' takes no batches: batch_size must be None, found {self.batch_size!r}"
            )
        options = self._budget() | {"nonnegative": self.nonnegative, "random_state": self.random_state}
        with pass_progress(
            self.progress, map=MAX_ITER if self.max_iter is None else self.max_iter
        ) as callback:
            options["callback"] = callback
            if not is_target(self.alpha):
                return fit_map(X, self.n_atoms, alpha=self.alpha, devices=self.devices, **options)
            slab = "bernoulli_laplace" if self.slab == "l1linf" else self.slab
            options |= {"slab": slab, "devices": self.devices}
            check_target(self.alpha, "alpha")
            found, point = fit_map_at(X, self.n_atoms, self.alpha, **options)
            self.operating_point_ = point
            return found

    def _adopt(self, found):
        """Publish an engine's result under the estimator's names."""
        stale = ("activation_log_odds_", "elbo_", "objective_", "gap_", "alpha_")
        for name in stale:
            self.__dict__.pop(name, None)
        self.fit_ = found
        self.components_ = found.dictionary
        self.n_active_ = len(found.dictionary)
        self.n_features_in_ = found.dictionary.shape[1]
        self.usage_ = found.usage
        self.noise_scale_ = found.noise_scale
        self.n_iter_ = found.n_iter
        self.status_ = found.status
        if hasattr(found, "elbo"):
            self.elbo_ = found.elbo
            self.activation_log_odds_ = found.activation_log_odds
            self.history_ = found.history
        else:
            self.objective_, self.gap_, self.alpha_ = found.objective, found.gap, found.alpha
            self.history_ = {"objective": found.history}
        weights_given = self.method == "map" and self.alpha is not None and not is_target(self.alpha)
        warn_of_fit(found, self.n_atoms, gap_tol=GAP_TOL, counts_atoms=not weights_given)

    def _check_samples(self, X, mask=None):
        """New samples (N, P) in the precision of the fit."""
        self._check_fitted()
        self._check_features(X)
        return self._as_samples(X, mask)

    def _as_samples(self, X, mask):
        mask = check_mask(mask, X, all_features=False)
        X = check_matrix(X, n_features=self.n_features_in_, mask=mask)
        if X.dtype == self.components_.dtype:
            return X, mask
        with np.errstate(over="ignore"):
            X = X.astype(self.components_.dtype)
        # what float64 holds may overflow the float32 of the fit
        return check_matrix(X), mask

    def transform(self, X, *, rule="sparse", mask=None):
        """Codes of samples given the fitted dictionary and hyperparameters.

        Parameters
        ----------
        X : array_like, shape (N, P)
        rule : {"sparse", "mean"}
            "em": "sparse" gives E[r | used] where P(used) is at least 1/2 and zero elsewhere, "mean" posterior
            means. "map": the mode given the learned envelopes, whichever rule.
        mask : array_like of bool, shape (N, P), optional
            "em" only: True where ``X`` was observed.

        Returns
        -------
        ndarray, shape (N, n_active_)
            A sample's codes do not depend on the other samples. A table instead after `set_output`.
        """
        codes = self._transform(X, rule, mask)
        return self._as_output(codes, X)

    def _transform(self, X, rule="sparse", mask=None):
        check_choice(rule, "rule", ("sparse", "mean"))
        X, mask = self._check_samples(X, mask)
        return self._code(X, mask, rule)

    def _code(self, X, mask, rule="sparse"):
        """Codes of checked samples."""
        if hasattr(self.fit_, "elbo"):
            coded = code_em(X, self.fit_, mask=mask, devices=self.devices)
            return coded.codes if rule == "mean" else sparse_codes(coded).astype(X.dtype)
        if mask is not None:
            raise ValueError("method='map' takes no mask: use method='em' for data with missing entries")
        return self._code_in_envelope(X)

    def _code_in_envelope(self, X):
        fit, options = self.fit_, {"nonnegative": self.nonnegative, "devices": self.devices}
        envelope = np.abs(fit.codes).max(axis=0)
        codes, converged = codes_in_envelope(X, self.components_, envelope, fit.alpha[0], **options)
        if not converged:
            warn(
                f"PADL.transform: codes still moved after {MOST_SWEEPS} sweeps: the atoms are nearly dependent; "
                "fit with larger alpha or fewer atoms",
                ConvergenceWarning,
            )
        warn_of_clipped_codes(codes, envelope, fit.codes)
        return codes

    def fit_transform(self, X, y=None, *, mask=None):
        """`fit` and then `transform` the same samples."""
        return self.fit(X, mask=mask).transform(X, mask=mask)

    def inverse_transform(self, codes):
        """Reconstruct samples (N, P) from codes (N, n_active_)."""
        self._check_fitted()
        if not self.n_active_:
            return np.zeros((len(codes), self.n_features_in_), self.components_.dtype)
        codes = check_array(codes, "codes", ("n_samples", self.n_active_))
        return codes @ self.components_

    def score(self, X, y=None, *, mask=None):
        """Mean log predictive density of a sample, in nats.

        Its codes are integrated out by the variational lower bound ("em", at the noise where it is largest), or set to
        their mode ("map"), so that the figure is a lower bound of the former and no density of the latter: compare fits
        of one method with it.
        """
        X, mask = self._check_samples(X, mask)
        if hasattr(self.fit_, "elbo"):
            coded = code_em(X, self.fit_, mask=mask, devices=self.devices)
            return float(np.mean(coded.bound, dtype=np.float64))
        residual = (X - self._code_in_envelope(X) @ self.components_).astype(np.float64)
        variance = self.noise_scale_**2
        return float(np.mean(-0.5 * np.sum(residual**2 / variance + np.log(2 * np.pi * variance), axis=1)))

    def sample_posterior(
        self,
        X=None,
        method="gibbs",
        *,
        num_warmup=500,
        num_samples=500,
        num_chains=4,
        keep_codes="moments",
        start="scattered",
        log_likelihood=False,
        random_state=None,
        checkpoint=None,
    ):
        """Draw from the posterior of the model that was fitted.

        Parameters
        ----------
        X : array_like, shape (N, P), optional
            Samples; those of `fit` by default.
        method : {"gibbs", "nuts", "svi"}
            "gibbs": the whole model with the estimator's slab, up to ``n_atoms`` atoms switched on and off
            (`inference.sample_gibbs`); after ``method="map"``, the l1 + l_inf slab. "nuts", "svi": the continuous
            l1 + l_inf slab with the fit's atoms, all of them on, from the fit (`inference.sample_nuts`,
            `inference.fit_svi`).
        num_warmup, num_samples, num_chains : int
            "svi" takes ``num_samples`` independent draws of its guide.
        keep_codes : {"moments", "draws"}
            Keep mean, sd and P(used) of each code, or every draw of it too.
        start : {"scattered", "fit"}
            "gibbs": every chain at random, so that R-hat can tell whether they found the same posterior; or all at
            the fit, which saves warm-up and can tell no such thing.
        log_likelihood : bool
            Add the group ``log_likelihood``, for ``arviz.loo``: of each sample, codes integrated out, on at most 400
            draws, evenly thinned (`inference.pointwise_log_likelihood`).
        random_state : int, optional
            The estimator's by default.
        checkpoint : str or os.PathLike, optional
            "gibbs" only: folder to save to on the way. The same call after it was stopped or killed goes on from what
            was saved, and gives the draws of one that was not stopped.

        Returns
        -------
        arviz.InferenceData or xarray.DataTree
            Draws aligned to the fit's atoms; see `arviz_io.to_arviz`.
        """
        self._check_fitted()
        check_choice(method, "method", posterior.METHODS)
        check_choice(keep_codes, "keep_codes", ("moments", "draws"))
        check_choice(start, "start", posterior.STARTS)
        if X is None and self.batch_size is not None:
            raise ValueError("X must be given: a fit in batches does not hold its samples")
        if checkpoint is not None and method != "gibbs":
            raise ValueError(f"checkpoint goes with method='gibbs', found method={method!r}")
        # Of the samples of the fit nothing but the numbers may be left, as in a file.
        X, mask = self._as_samples(self._X, self._mask) if X is None else self._check_samples(X)
        request = posterior.Request(
            X=X,
            mask=mask,
            fit=posterior.Start(self.components_, self._code(X, mask), self.noise_scale_),
            scattered=start == "scattered",
            n_atoms=self.n_atoms,
            slab="l1linf" if self.method == "map" else self.slab,
            nonnegative=bool(self.nonnegative),
            num_warmup=check_count(num_warmup, "num_warmup"),
            num_samples=check_count(num_samples, "num_samples"),
            num_chains=check_count(num_chains, "num_chains"),
            keep_codes=keep_codes,
            devices=self.devices,
            log_likelihood=check_flag(log_likelihood, "log_likelihood"),
            random_state=check_seed(self.random_state if random_state is None else random_state),
            progress=self.progress,
            checkpoint=checkpoint,
        )
        return posterior.sample(method, request)
