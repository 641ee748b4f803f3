"""Data and fits that the commands are given."""

from unittest.mock import patch

import numpy as np
import pytest

import padl_bayes
from padl_bayes import PADL, datasets
from tests.cli.commands import save_image


@pytest.fixture(scope="module")
def X():
    return datasets.bars(n_samples=60, seed=0).X


@pytest.fixture
def data(tmp_path, X):
    np.save(tmp_path / "data.npy", X)
    return tmp_path / "data.npy"


@pytest.fixture
def pictures(tmp_path):
    """Two pictures whose pixels are all different, a note beside them."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    save_image(folder / "a.png", np.arange(120, dtype=np.uint8).reshape(10, 12))
    save_image(folder / "b.PNG", np.arange(120, 240, dtype=np.uint8).reshape(12, 10))
    (folder / "notes.txt").write_text("no image", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def fits(tmp_path_factory, X):
    """A folder with fits in fit.padl (em) and map.padl."""
    folder = tmp_path_factory.mktemp("run")
    with patch("padl_bayes.estimator.warn_of_fit"):
        for name, method, more in (("fit", "em", {}), ("map", "map", {"alpha": (1.0, 20.0)})):
            estimator = PADL(6, method, nonnegative=True, max_iter=20, **more).fit(X)
            padl_bayes.save(estimator, folder / f"{name}.padl")
    return folder
