"""Progress on the terminal: what is being done, the time it took, and the time left where that is known."""

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
from rich.text import Text


class _MostRemainingColumn(TimeRemainingColumn):
    """Time left if all passes are taken that may be: most fits converge before."""

    def render(self, task):
        left = super().render(task)
        return Text("") if task.total is None or task.finished else Text.assemble("at most ", left)


def _bar(left, transient=False):
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), left)
    console = Console(stderr=True)
    # elsewhere a bar that goes leaves an empty line
    disable = transient and not (console.is_terminal or console.is_jupyter)
    return Progress(*columns, console=console, transient=transient, disable=disable)


def _show(progress, task, bounds, *state):
    if len(state) == 1:
        (step,) = state
        done, total = step.iteration + 1, bounds.get("map")
        text = f"map: iteration {step.iteration}, objective {step.objective:.6g}, {step.n_active} atoms"
    else:
        stage, done, elbo, noise_scale, n_active = state
        total = bounds.get("em")
        text = f"{stage}: pass {done}, elbo {elbo:.6g}, noise {noise_scale:.4g}, {n_active} atoms"
    progress.update(task, total=total, completed=done, description=text)


@contextmanager
def pass_progress(enabled, **bounds):
    """Yield a callback for `fit_em` or `fit_map` that shows where the run stands; None if disabled.

    ``em`` and ``map`` in ``bounds`` are the passes that each may take at most.
    """
    if not enabled:
        yield None
        return
    with _bar(_MostRemainingColumn()) as progress:
        task = progress.add_task("starting", total=None)
        yield partial(_show, progress, task, bounds)
        # it ended before the bound
        progress.update(task, total=progress.tasks[0].completed)


@contextmanager
def work_progress(enabled, text):
    """Yield a callback ``(done, total, text)`` that moves a bar, which goes at the end; the text may be left out."""
    if not enabled:
        yield lambda done, total, text=None: None
        return
    with _bar(TimeRemainingColumn(), transient=True) as progress:
        task = progress.add_task(text, total=None)

        def show(done, total, text=None):
            progress.update(task, completed=done, total=total, description=text)

        yield show


@contextmanager
def draw_progress(enabled, total):
    """Yield a callback ``(sweeps, stage, state)`` for chains of `sample_gibbs` that moves a bar of ``total`` sweeps."""
    if not enabled:
        yield lambda sweeps, stage, state: None
        return
    with _bar(TimeRemainingColumn()) as progress:
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
    with _bar(TimeRemainingColumn()) as progress:
        task = progress.add_task("svi", total=total)
        yield lambda taken, elbo: progress.update(task, completed=taken, description=f"svi: elbo {elbo:.6g}")
