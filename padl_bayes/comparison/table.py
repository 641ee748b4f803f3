"""The result of a comparison: rows of scores, and what they were computed from."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from padl_bayes.comparison.atoms import Activation


class Row(NamedTuple):
    """Scores of one fit; tuples have one entry a level of the `Comparison`.

    Attributes
    ----------
    name : str
    engine : {"EM", "MAP", "Gibbs", "NUTS", "SVI"}
    n_draws : int
        Draws of everything global that were averaged; 1 for a point fit.
    log_density : float
        Mean over held-out samples of the log predictive density, in nats.
    log_density_mcse : float
        Its Monte-Carlo error.
    difference : float
        ``log_density`` less that of the best fit.
    difference_se : float
        Standard error of the difference over held-out samples, which are the same for all fits.
    rmse : float
        Root mean squared error of the hidden entries, predicted by their posterior means.
    coverage, coverage_se, width : tuple of float
        Share of the hidden entries in their central predictive intervals, its standard error over samples, and the
        mean width of the intervals.
    clean_coverage : tuple of float, or None
        Share of the noiseless entries (all of them, hidden or not) in the intervals of codes @ dictionary.
    num_active : float
        Mean number of active atoms.
    num_active_interval : tuple of float, or None
        Central interval of the largest level; None for point estimates and for engines that hold the number of atoms.
    atoms_recovered : float or None
        True atoms matched with an absolute cosine above 0.95, averaged over the draws.
    effective_codes : float
        Median over samples of the effective number of weighted draws behind the hidden entries; 1 for MAP.
    seconds : float
        Of the fit, not of the comparison.
    """

    name: str
    engine: str
    n_draws: int
    log_density: float
    log_density_mcse: float
    difference: float
    difference_se: float
    rmse: float
    coverage: tuple[float, ...]
    coverage_se: tuple[float, ...]
    width: tuple[float, ...]
    clean_coverage: tuple[float, ...] | None
    num_active: float
    num_active_interval: tuple[float, float] | None
    atoms_recovered: float | None
    effective_codes: float
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """What `padl_bayes.compare` returns; ``print`` shows it as a table.

    Attributes
    ----------
    rows : tuple of Row
        In the order of the fits.
    levels : tuple of float
    n_samples, n_hidden : int
        Held-out samples, and their hidden entries.
    log_density : dict of str to ndarray, shape (M,)
        By fit: of each held-out sample.
    pit : dict of str to ndarray, shape (n_hidden,)
        By fit: P(hidden entry <= what it was), uniform for a calibrated fit; `padl_bayes.plots.coverage` draws it.
    num_active : dict of str to ndarray, shape (chain, draw)
        By fit: all draws of the number of active atoms.
    activation : Activation
        P(active) of each atom, labels common to the fits.
    """

    rows: tuple[Row, ...]
    levels: tuple[float, ...]
    n_samples: int
    n_hidden: int
    log_density: dict
    pit: dict
    num_active: dict
    activation: Activation

    def __getitem__(self, name):
        """The `Row` of a fit by its name."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"no fit {name!r}; there are {', '.join(row.name for row in self.rows)}")

    def to_dict(self):
        """Rows and levels as plain numbers, lists and text, fit for JSON."""
        rows = [
            {key: list(value) if isinstance(value, tuple) else value for key, value in row._asdict().items()}
            for row in self.rows
        ]
        sizes = {"n_samples": self.n_samples, "n_hidden": self.n_hidden}
        return {"rows": rows, "levels": list(self.levels), **sizes}

    def __str__(self):
        columns = _columns(self.rows, self.levels)
        cells = [[head, *map(show, self.rows)] for head, show in columns]
        widths = [max(map(len, column)) for column in cells]
        lines = []
        for i in range(len(self.rows) + 1):
            texts = [column[i] for column in cells]
            padded = [texts[0].ljust(widths[0])]
            padded += [text.rjust(width) for text, width in zip(texts[1:], widths[1:], strict=True)]
            lines.append("  ".join(padded).rstrip())
        head = f"{self.n_samples} held-out samples, {self.n_hidden} of their entries hidden and predicted from the rest"
        return "\n".join([head, *lines])


def _columns(rows, levels):
    """Headings and how to write the cell of a row."""
    columns = [
        ("fit", lambda row: row.name),
        ("log density", lambda row: f"{row.log_density:.3f} ± {row.log_density_mcse:.1g}"),
        ("difference", lambda row: f"{row.difference:.3f} ± {row.difference_se:.2g}"),
        ("RMSE", lambda row: f"{row.rmse:.4g}"),
    ]
    columns += [(f"in {100 * level:g}%", _share(i)) for i, level in enumerate(levels)]
    columns.append((f"width {100 * levels[-1]:g}%", lambda row: f"{row.width[-1]:.3g}"))
    if rows[0].clean_coverage is not None:
        columns.append(
            (f"noiseless in {100 * levels[-1]:g}%", lambda row: f"{100 * row.clean_coverage[-1]:.1f}%")
        )
    columns.append(("atoms", _atoms))
    if rows[0].atoms_recovered is not None:
        columns.append(("true atoms", lambda row: f"{row.atoms_recovered:.3g}"))
    columns.append(("seconds", lambda row: "-" if np.isnan(row.seconds) else f"{row.seconds:.1f}"))
    return columns


def _share(i):
    return lambda row: f"{100 * row.coverage[i]:.1f}%"


def _atoms(row):
    if row.num_active_interval is None:
        return f"{row.num_active:.3g}"
    low, high = row.num_active_interval
    return f"{row.num_active:.3g} [{low:.3g}, {high:.3g}]"
