"""A network of random weights, once a session."""

import pytest

from padl_bayes.compress.vit import load_vit

from .tiny import build


@pytest.fixture(scope="session")
def path(tmp_path_factory):
    return build(tmp_path_factory.mktemp("network") / "tiny.onnx")


@pytest.fixture(scope="session")
def vit(path):
    return load_vit(path)
