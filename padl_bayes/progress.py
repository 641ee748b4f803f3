"""Progress of the engines on the terminal."""

from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def _show(progress, task, *state):
    if len(state) == 1:
        (step,) = state
        text = f"map: iteration {step.iteration}, objective {step.objective:.6g}, {step.n_active} atoms"
    else:
        stage, n_iter, elbo, noise_scale, n_active = state
        text = f"{stage}: pass {n_iter}, elbo {elbo:.6g}, noise {noise_scale:.4g}, {n_active} atoms"
    progress.update(task, description=text)


@contextmanager
def pass_progress(enabled):
    """Yield a callback for `fit_em` or `fit_map` that shows where the run stands; None if disabled."""
    if not enabled:
        yield None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield partial(_show, progress, progress.add_task("starting", total=None))


@contextmanager
def draw_progress(enabled, total):
    """Yield a callback ``(sweeps, stage, state)`` for chains of `sample_gibbs` that moves a bar of ``total`` sweeps."""
    if not enabled:
        yield lambda sweeps, stage, state: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("compiling", total=total)

        def advance(sweeps, stage, state):
            counts = ", ".join(str(int(n)) for n in state.z["active"].sum(-1))
            progress.update(task, advance=sweeps, description=f"{stage}: {counts} atoms")

        yield advance


@contextmanager
def step_progress(enabled, total):
    """Yield a callback ``(steps taken, ELBO)`` for `fit_svi` that moves a bar of ``total`` steps."""
    if not enabled:
        yield lambda taken, elbo: None
        return
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("svi", total=total)
        yield lambda taken, elbo: progress.update(task, completed=taken, description=f"svi: elbo {elbo:.6g}")
