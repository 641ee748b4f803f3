"""The surface of sparsity, storage and accuracy of a fit, and a point on it."""

import csv
import json

from padl_bayes.progress import work_progress
from padl_bayes.report import check_folder, tradeoff_section, write_report
from padl_bayes.tradeoff.frontier import Frontier, frontier
from padl_bayes.tradeoff.search import choose_near

COLUMNS = ("nonzeros", "active", "rmse", "stored_rmse", "dictionary_bits", "support_bits", "value_bits",
           "description_length", "precision")  # fmt: skip


def tradeoff_run(
    estimator, folder, target="mdl", *, title, kind="csv", seed=0, overwrite=False, progress=False
):
    """Predict the frontier, choose a point, and write frontier.csv (or .json), point.json and a report.

    Parameters
    ----------
    estimator : PADL
        Fitted by "em".
    folder : str or os.PathLike
    target : "mdl" or tuple
        See `padl_bayes.tradeoff.operating_point`, whose point is chosen.
    title : str
    kind : {"csv", "json"}
    seed : int
    overwrite : bool
    progress : bool
        Show it on the terminal.

    Returns
    -------
    pathlib.Path, dict
        The page, and the point: what point.json holds.

    Raises
    ------
    TypeError, ValueError
        A fit by "map", one without atoms, or a target that is out of reach.
    FileExistsError, FileNotFoundError
        ``folder`` cannot be written.
    """
    check_folder(folder, overwrite=overwrite)
    # samples with missing entries cannot be coded at given weights: draws from the fit stand in
    X = estimator._X if estimator._mask is None else None
    with work_progress(progress, "predicting") as show:
        found = frontier(estimator, X=X, random_state=seed, callback=show)
    with work_progress(progress, "searching around the best"):
        point, found = choose_near(found, target)
    rows, chosen = rows_of(found), _as_dict(point)
    page = write_report(
        folder,
        title,
        [tradeoff_section("Tradeoff", "tradeoff", found, point, target)],
        lead=[f"Predicted from {estimator!r}, fitted to samples of {estimator.n_features_in_} features."],
        files={
            f"frontier.{kind}": lambda path: WRITERS[kind](path, rows),
            "point.json": lambda path: _write_json(path, chosen),
        },
        overwrite=overwrite,
    )
    return page, chosen


def rows_of(found: Frontier):
    """A dict of numbers for each pair of weights, fewest bytes first; ``pareto`` is 1 where none is better."""
    best = set(found.pareto().tolist())
    rows = []
    for i in found.bits.argsort(kind="stable").tolist():
        row = {
            "alpha1": found.alpha[i, 0].item(),
            "alpha2": found.alpha[i, 1].item(),
            "bytes": float(found.bits[i] / 8),
        }
        row |= {name: getattr(found, name)[i].item() for name in COLUMNS}
        rows.append(row | {"pareto": int(i in best)})
    return rows


def _as_dict(point):
    """The point as numbers and lists."""
    chosen = point._asdict()
    chosen |= {"bytes": chosen.pop("bits") / 8, "atoms": point.atoms.tolist(), "alpha": list(point.alpha)}
    return chosen


def _write_csv(path, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _write_json(path, content):
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


WRITERS = {"csv": _write_csv, "json": _write_json}
