"""Chains of the Gibbs sampler in chunks, so that codes need not be kept: their moments are taken on the way."""

import time
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from padl_bayes._devices import joined
from padl_bayes._memory import check_fits
from padl_bayes._options import check_flag, check_seed, check_start
from padl_bayes._precision import precision_of
from padl_bayes._validation import (
    check_choice,
    check_count,
    check_draws,
    check_matrix,
    check_training_data,
    warn_if_unbounded,
)
from padl_bayes.alignment import Alignment
from padl_bayes.models import check_hyperpriors
from padl_bayes.progress import draw_progress

from .chains import CHUNK, Chains
from .checkpoint import Checkpoint, digest
from .checks import check_fixed, check_n_atoms, check_start_active
from .kernel import Gibbs
from .parts import count_draws, join, make_part
from .start import start_of

CHUNK_BYTES = 2**27
_REMEDY = (
    "keep moments of the codes, fewer draws (num_samples, thinning, num_chains), or fewer samples or atoms"
)


class GibbsDraws(NamedTuple):
    """Draws of `sample_gibbs`, ready for `padl_bayes.arviz_io.to_arviz`.

    Attributes
    ----------
    samples : dict of str to ndarray
        Draws (chain, draw, ...) as they came, not aligned: what was not fixed of activation_rate, noise_scale,
        dictionary (..., K, P), usage and rate, or rate_l1, rate_linf and envelope (..., K); active, activation_prob
        (..., K), num_active; codes (..., N, K) if kept.
    sample_stats : dict of str to ndarray
        (chain, draw): ``lp``, the log joint density of the program, and ``move_acceptance``, the share of the moves on
        the number of atoms that were accepted.
    codes_moments : dict of str to ndarray
        mean, sd and p_used (N, K) of the codes in the labels of ``alignment``.
    alignment : Alignment
        Of all draws to one reference: the fit's atoms, or those of the first chain after its warm-up.
    state : GibbsState
        Where the chains are, to go on from.
    wall_time : float
        Seconds, compilation included.
    random_state : int
    settings : dict
        What was asked for, as text and numbers.
    """

    samples: dict
    sample_stats: dict
    codes_moments: dict
    alignment: Alignment
    state: Any
    wall_time: float
    random_state: int
    settings: dict


def gibbs_nbytes(
    n_samples, n_features, n_atoms, n_draws, n_chains=1, *, keep_codes="moments", dtype=np.float64
):
    """Estimate the bytes that `sample_gibbs` needs: draws, an aligned copy of them, one chunk, and the states.

    Parameters
    ----------
    n_samples, n_features, n_atoms : int
        N, P, K.
    n_draws, n_chains : int
        Draws kept of a chain, and chains.
    keep_codes : {"moments", "draws"}
    dtype : dtype

    Returns
    -------
    int
    """
    table = n_samples * n_atoms
    position = n_atoms * (n_features + 6) + 8 + (table if keep_codes == "draws" else 0)
    chunk = min(n_draws, _chunk(n_samples, n_atoms, n_chains, dtype))
    working = n_chains * (2 * chunk * table + 6 * table + 4 * n_samples * n_features) + 3 * table
    return np.dtype(dtype).itemsize * (2 * n_chains * n_draws * position + working)


def _chunk(n_samples, n_atoms, n_chains, dtype):
    """Draws in a chunk."""
    each = max(1, n_samples * n_atoms * n_chains * np.dtype(dtype).itemsize)
    return int(np.clip(CHUNK_BYTES // each, 1, CHUNK))


def sample_gibbs(
    X,
    n_atoms=None,
    *,
    slab="bernoulli_laplace",
    nonnegative=False,
    init=None,
    start_active=None,
    mask=None,
    fixed=None,
    hyperpriors=None,
    num_warmup=500,
    num_samples=500,
    num_chains=4,
    thinning=1,
    keep_codes="moments",
    chain_method="vectorized",
    random_state=0,
    resume=None,
    checkpoint=None,
    reference=None,
    devices=None,
    progress=False,
    max_bytes=None,
):
    """Sample the posterior of `models.padl` with the Gibbs sampler `Gibbs`.

    Parameters
    ----------
    X : array_like, shape (N, P)
        float64 data are sampled in double precision.
    n_atoms : int, optional
        Upper bound K on the number of atoms; not needed with a fixed dictionary. Default with ``init``: a quarter
        more than it has, at least 8 more.
    slab : {"bernoulli_laplace", "bernoulli_gaussian", "l1linf"}
    nonnegative : bool
        Codes >= 0.
    init : object, optional
        A fit to start all chains from, with attributes dictionary, codes and noise_scale. Without it every chain
        starts at random with a number of active atoms of its own, which costs warm-up but is what R-hat needs:
        chains that start together agree whether or not they have seen all of the posterior.
    start_active : int or sequence of int, optional
        How many atoms are active where a scattered chain starts, for all chains or for each: chains from few and from
        many that come to agree have found the number of atoms. Default: a random number for each.
    mask : array_like of bool, shape (N, P), optional
        True where an entry was observed.
    fixed : mapping of str to array_like, optional
        Values of sites that are not to be sampled, see `Gibbs`.
    hyperpriors : Hyperpriors, optional
    num_warmup, num_samples, num_chains, thinning : int
        Every ``thinning``-th of ``num_samples`` sweeps of a chain is kept. Half of the warm-up is annealed, unless it
        starts at ``init`` (see ``anneal`` of `Gibbs`).
    keep_codes : {"moments", "draws"}
        Keep mean, sd and P(used) of each code, or every draw of it too.
    chain_method : {"vectorized", "sequential"}
        On each device, all its chains at once, or one after the other: slower where chains are small, and then a
        chain is the same to the bit whatever the number of chains and devices, not only up to rounding.
    random_state : int
    resume : GibbsDraws, optional
        Go on where these draws ended, without warm-up; the draws to come are those of one longer run.
    checkpoint : str or os.PathLike, optional
        Folder to save to on the way. The same call after the run was stopped or killed goes on from what was saved,
        and gives the draws of a run that was not stopped; with a larger ``num_samples``, more of them.
    reference : array_like, shape (K_ref, P), optional
        Dictionary whose order the labels of the alignment follow. Default: the one of ``init``, or what the first
        chain found in its warm-up.
    devices : "all", int or sequence of Device, optional
        Samples are divided over them (a number: the first ones), all chains on each; what meets is sized by atoms, and
        draws are those of one device but for rounding. Under `jax.distributed` every process makes the same call, with
        devices of all, and returns the same draws. If not given, chains are divided: see the notes.
    progress : bool
        Show a progress bar.
    max_bytes : int, optional
        Largest memory to use. Default: what is available.

    Returns
    -------
    GibbsDraws

    Raises
    ------
    TypeError, ValueError
        Bad input, an ``init`` of other sizes, a name in ``fixed`` that the program does not have, draws that do not fit
        in memory, with the number and what to do, or a ``checkpoint`` that is damaged or of another run.
    FileExistsError
        ``checkpoint`` holds other files.

    Notes
    -----
    With several devices, none of them named, and a number of chains that they divide, each device has its share of the
    chains. A chain has random numbers of its own, which depend on neither.
    """
    started = time.perf_counter()
    X, mask = check_training_data(X, mask)
    counts = check_draws(num_samples, num_chains, thinning)
    num_samples, num_chains, thinning = counts.values()
    counts["num_warmup"] = 0 if resume is not None else check_count(num_warmup, "num_warmup", minimum=0)
    check_choice(keep_codes, "keep_codes", ("moments", "draws"))
    check_choice(chain_method, "chain_method", ("vectorized", "sequential"))
    random_state, init = check_seed(random_state), check_start(init)
    nonnegative, progress = check_flag(nonnegative, "nonnegative"), check_flag(progress, "progress")
    hyperpriors, reference = check_hyperpriors(hyperpriors), _check_reference(reference, X.shape[1])
    fixed = check_fixed(fixed, X)
    start = None if init is None else start_of(init, X, slab)
    n_atoms = check_n_atoms(n_atoms, start, fixed)
    _check_one_start(init, start_active, resume, checkpoint)
    start_active = check_start_active(start_active, n_atoms, num_chains)
    warn_if_unbounded(X, n_atoms, mask, fixed)
    kernel = Gibbs(n_atoms, slab=slab, nonnegative=nonnegative, fixed=fixed, hyperpriors=hyperpriors)
    (N, P), n_draws = X.shape, num_samples // thinning
    nbytes = gibbs_nbytes(N, P, n_atoms, n_draws, num_chains, keep_codes=keep_codes, dtype=X.dtype)
    check_fits(nbytes, "Gibbs sampling with these draws", _REMEDY, limit=max_bytes)
    settings = dict(slab=slab, nonnegative=nonnegative, n_atoms=n_atoms, fixed=sorted(fixed))
    asked = {name: n for name, n in counts.items() if name != "num_samples"} | settings
    asked |= dict(keep_codes=keep_codes, chain_method=chain_method, random_state=random_state)
    with precision_of(X), draw_progress(progress, counts["num_warmup"] + num_samples) as watch:
        n_anneal = kernel.n_anneal(counts["num_warmup"], start)
        chains = Chains(kernel, X, mask, num_chains, watch, chain_method, n_anneal, devices)
        if checkpoint is not None:
            asked["data"] = digest((chains.data, start, start_active, reference))
        saved = Checkpoint(checkpoint, asked)
        begin = partial(chains.start, random_state, start, start_active)
        state = _warmed_up(chains, saved, resume, begin, counts["num_warmup"])
        if not saved.parts:
            saved.save_reference(_reference(reference, start, state, resume))
        chunk = _chunk(N, n_atoms, num_chains, X.dtype)
        state = _collect(chains, state, saved, keep_codes, n_draws, thinning, chunk)
    samples, stats, moments, alignment = join(saved.parts, fixed.get("dictionary"))
    if chains.mesh is not None:
        samples, moments = _of_all(chains.mesh, samples, moments)
    wall_time = time.perf_counter() - started
    return GibbsDraws(samples, stats, moments, alignment, state, wall_time, random_state, settings | counts)


def _check_reference(reference, n_features):
    """Return the dictionary to follow, None if it has no atoms."""
    if reference is None or getattr(reference, "shape", None) == (0, n_features):
        return None
    return check_matrix(reference, "reference", n_features=n_features)


def _check_one_start(init, start_active, resume, checkpoint):
    if resume is not None and not isinstance(resume, GibbsDraws):
        raise TypeError(f"resume must be GibbsDraws, found {type(resume).__name__}")
    if checkpoint is not None and jax.process_count() > 1:
        raise ValueError(f"checkpoint needs one process, found {jax.process_count()}")
    if checkpoint is not None and resume is not None:
        raise ValueError("checkpoint goes on by itself where it was, found resume as well")
    if start_active is not None and not (init is None and resume is None):
        raise ValueError("start_active is for scattered starts, found init or resume as well")


def _warmed_up(chains, saved, resume, begin, num_warmup):
    """States from which to draw: where draws ended, or what is saved or where ``begin()`` begins, warmed up."""
    if resume is not None:
        return chains.program.place(resume.state)
    if saved.state is None:
        state = begin()
    else:
        chains.watch(int(saved.state.i[0]), "resumed", saved.state)
        state = chains.program.place(saved.state)
    if saved.parts:
        return state
    return chains.warm_up(state, num_warmup - int(state.i[0]), partial(_save, chains, saved))


def _collect(chains, state, saved, keep_codes, wanted, thinning, chunk):
    """Draw, chunk by chunk, what ``saved`` lacks of the draws ``wanted`` of a chain; return the last state."""
    left = wanted - sum(map(count_draws, saved.parts))
    while left > 0:
        state, drawn = chains.collect(state, min(chunk, left), thinning)
        _save(chains, saved, state, make_part(chains.kernel, saved.reference, keep_codes, *drawn))
        left -= min(chunk, left)
    return chains.program.fetch(state)


def _save(chains, saved, state, part=None):
    saved.save(chains.program.fetch(state) if saved.enabled else state, part)


def _of_all(mesh, samples, moments):
    """Draws and moments of the codes of all processes."""
    moments = {name: joined(mesh, table)[0] for name, table in moments.items()}
    if "codes" in samples:
        samples |= {"codes": np.moveaxis(joined(mesh, np.moveaxis(samples["codes"], 2, 0))[0], 0, 2)}
    return samples, moments


def _reference(reference, start, state, resume):
    """Atoms whose order the labels follow, None if there is none."""
    if resume is not None:
        return resume.alignment.reference
    if reference is None and start is not None:
        reference = start["dictionary"]
    if reference is None and "dictionary" in state.z:
        on = np.asarray(state.z["active"][0]) == 1
        reference = np.asarray(state.z["dictionary"][0])[on]
    return reference if reference is not None and len(reference) else None
