"""Progress of the engines on the terminal."""

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class PassProgress:
    """Context that yields a callback for `fit_em` or `fit_map` which shows where the run stands; None if disabled."""

    def __init__(self, enabled):
        self._progress = None
        if enabled:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            self._progress = Progress(*columns, console=Console(stderr=True), transient=False)

    def __enter__(self):
        if self._progress is None:
            return None
        self._progress.start()
        self._task = self._progress.add_task("starting", total=None)
        return self._show

    def __exit__(self, *_):
        if self._progress is not None:
            self._progress.stop()

    def _show(self, *state):
        if len(state) == 1:
            text = f"map: iteration {state[0].iteration}, objective {state[0].objective:.6g}, {state[0].n_active} atoms"
        else:
            stage, n_iter, elbo, noise_scale, n_active = state
            text = f"{stage}: pass {n_iter}, elbo {elbo:.6g}, noise {noise_scale:.4g}, {n_active} atoms"
        self._progress.update(self._task, description=text)
