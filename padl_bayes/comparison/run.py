"""`compare`: what goes in is checked, each fit is scored, the scores become a table."""

from functools import partial

import jax
import numpy as np

from padl_bayes._options import check_flag, check_seed
from padl_bayes._validation import check_count
from padl_bayes.comparison.atoms import common_activation, mean_recovered
from padl_bayes.comparison.density import log_density
from padl_bayes.comparison.entries import count_parts, predict
from padl_bayes.comparison.inputs import check_held_out, check_levels, check_names
from padl_bayes.comparison.table import Comparison, Row
from padl_bayes.comparison.views import view_of
from padl_bayes.inference._rows import compressed, count_batches
from padl_bayes.inference.code_evidence import PROPOSALS
from padl_bayes.progress import work_progress

_CODES = 1200
_FEWEST_CODES = 24
_SAME_ATOM = 0.8


def compare(
    *fits,
    X_held_out,
    mask=None,
    truth=None,
    names=None,
    levels=(0.5, 0.8, 0.95),
    hidden=0.2,
    n_draws=100,
    random_state=0,
    progress=False,
):
    """Compare fits by the samples that they have not seen: density, errors, intervals, atoms, time.

    Parameters
    ----------
    *fits : PADL, EmFit, MapFit, GibbsDraws, NutsDraws, SviFit, or ArviZ data of `to_arviz` or `sample_posterior`
        Fits of the same training samples; or one mapping of names to fits.
    X_held_out : array_like, shape (M, P)
    mask : array_like of bool, shape (M, P), optional
        True where an entry was observed.
    truth : object or mapping, optional
        With ``clean`` (M, P), the held-out samples without noise, or ``dictionary`` (K_true, P), or both.
    names : sequence of str, optional
        Of the fits; their engines by default.
    levels : sequence of float
        Probabilities of the central intervals, in (0, 1).
    hidden : float
        Share of each held-out sample's entries that are hidden, at random, and predicted from the others, in (0, 1).
    n_draws : int
        Draws of a posterior that are averaged, evenly spaced over its chains. The comparison takes time in proportion
        to them, to the samples, and at more than a few dozen atoms to the cube of these.
    random_state : int
        Chooses the hidden entries, the same for all fits, and seeds the draws of codes.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Comparison

    Raises
    ------
    TypeError, ValueError
        Something that is no fit, another number of features, a posterior without the draws that predictions need,
        values out of range.

    Notes
    -----
    A held-out sample has the density p(x) = mean over draws g of everything global (dictionary, usage, rates, noise) of
    p(x | g), its codes integrated out. EM and MAP are one draw. Entries are predicted by p(x_hidden | x_seen), in which
    draws and codes are weighted by p(x_seen, codes | g): for a posterior this is the exact predictive law up to
    Monte-Carlo error, for EM it is that of the codes given its point estimates; mean-field factors are not used. What
    MAP implies is taken in two ways. Its density is that of the l1 + l_inf slab whose mode it is: codes Laplace with
    rate alpha1 / noise_scale^2, cut at the largest training code of the atom. Its predictions are what its users do:
    the codes at their mode given the seen entries, and noise around it, so that intervals know nothing of the codes'
    uncertainty and those of the noiseless entries are points. NUTS and SVI hold all atoms active and make no
    statement on P(active); EM's number of atoms comes without an interval.

    References
    ----------
    Gelman, Hwang, Vehtari, Statistics and Computing 24, 2014 (log predictive density); Dawid, JRSS A 147(2), 1984
    (probability integral transform).
    """
    fits, names = check_names(fits, names)
    levels = check_levels(levels)
    n_draws = check_count(n_draws, "n_draws")
    random_state, progress = check_seed(random_state), check_flag(progress, "progress")
    held_out, atoms = check_held_out(X_held_out, mask, truth, hidden, random_state)
    called = [f"fits[{i}]" for i in range(len(fits))] if names is None else names
    views = [view_of(fit, name, n_draws) for fit, name in zip(fits, called, strict=True)]
    for view, name in zip(views, called, strict=True):
        n_features = view.draws.dictionary.shape[-1]
        if n_features != held_out.X.shape[1]:
            raise ValueError(f"{name} has {n_features} features, X_held_out has {held_out.X.shape[1]}")
    named = dict(zip(_engine_names(views) if names is None else names, views, strict=True))
    with work_progress(progress, "comparing") as show:
        with jax.enable_x64(True):
            densities, entries = _scored(named, held_out, levels, random_state, show)
        activation = common_activation(named, _SAME_ATOM)
    best = max((d.pointwise for d in densities.values()), key=np.mean)
    rows = tuple(
        _make_row(name, view, densities[name], best, entries[name], held_out, levels, atoms)
        for name, view in named.items()
    )
    return Comparison(
        rows=rows,
        levels=levels,
        n_samples=len(held_out.X),
        n_hidden=int(held_out.hidden.sum()),
        log_density={name: density.pointwise for name, density in densities.items()},
        pit={name: found.pit for name, found in entries.items()},
        num_active={name: view.num_active for name, view in named.items()},
        activation=activation,
    )


def _engine_names(views):
    """Names of the engines, numbered where an engine comes back."""
    names: list[str] = []
    for view in views:
        count = sum(name.split()[0] == view.engine for name in names)
        names.append(f"{view.engine} {count + 1}" if count else view.engine)
    return names


def _scored(named, held_out, levels, random_state, show):
    """`Density` and `Entries` of each `View` by name; ``show(done, total, text)`` moves a bar over all batches."""
    codes = {name: _n_codes(view) for name, view in named.items()}
    steps = {
        name: (
            count_batches(held_out.everything, compressed(view.draws), codes[name]),
            count_parts(view, held_out, codes[name]),
        )
        for name, view in named.items()
    }
    total, before = sum(map(sum, steps.values())), 0
    densities, entries = {}, {}
    for name, view in named.items():
        n_first, n_second = steps[name]
        arguments = codes[name], random_state
        watch = partial(_watch, show, total, before, f"{name}: density")
        densities[name] = log_density(view, held_out.everything, *arguments, watch)
        watch = partial(_watch, show, total, before + n_first, f"{name}: hidden entries")
        entries[name] = predict(view, held_out, levels, *arguments, watch)
        before += n_first + n_second
    return densities, entries


def _watch(show, total, before, text, done, of):
    show(before + done, total, text)


def _n_codes(view):
    """Codes a sample and draw."""
    each = max(-(-_CODES // len(view.draws.noise_scale)), _FEWEST_CODES)
    return -(-each // PROPOSALS) * PROPOSALS


def _covered(low, high, level):
    """Whether a value with P(less) and P(at most) lies in the central interval, which is closed."""
    return (high >= (1 - level) / 2) & (low <= (1 + level) / 2)


def _coverage(entries, held_out, levels):
    """Coverage of the hidden entries and its standard error over samples."""
    row = np.nonzero(held_out.hidden)[0]
    shares, errors = [], []
    for level in levels:
        inside = _covered(entries.pit, entries.pit, level)
        shares.append(float(inside.mean()))
        surplus = np.bincount(row, inside - inside.mean(), minlength=len(held_out.X))
        errors.append(float(np.sqrt(np.sum(surplus**2)) / len(inside)))
    return tuple(shares), tuple(errors)


def _clean_coverage(entries, levels):
    if entries.clean_pit is None:
        return None
    low, high = entries.clean_pit
    return tuple(float(_covered(low, high, level).mean()) for level in levels)


def _make_row(name, view, density, best, entries, held_out, levels, atoms):
    coverage, coverage_se = _coverage(entries, held_out, levels)
    gap = density.pointwise - best
    interval = None
    if view.activation_prob is not None and view.num_active.size > 1:
        ends = [(1 - levels[-1]) / 2, (1 + levels[-1]) / 2]
        low, high = np.quantile(view.num_active, ends)
        interval = float(low), float(high)
    value = held_out.X[held_out.hidden]
    return Row(
        name=name,
        engine=view.engine,
        n_draws=len(view.draws.noise_scale),
        log_density=float(density.pointwise.mean()),
        log_density_mcse=density.mcse,
        difference=float(gap.mean()),
        difference_se=float(gap.std(ddof=1) / np.sqrt(len(gap))) if len(gap) > 1 else float("nan"),
        rmse=float(np.sqrt(np.mean((entries.mean - value) ** 2))),
        coverage=coverage,
        coverage_se=coverage_se,
        width=tuple(map(float, entries.width)),
        clean_coverage=_clean_coverage(entries, levels),
        num_active=float(view.num_active.mean()),
        num_active_interval=interval,
        atoms_recovered=None if atoms is None else mean_recovered(view, atoms),
        effective_codes=float(np.median(entries.effective_codes)),
        seconds=view.seconds,
    )
