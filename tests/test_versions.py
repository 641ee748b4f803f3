"""What `show_versions` says."""

import importlib.metadata
import os
import subprocess
import sys

import jax
import numpy as np

import padl_bayes as pb
from padl_bayes.kernels import cpu
from padl_bayes.versions import PACKAGES, versions


def test_versions_are_those_in_use(capsys):
    assert pb.show_versions() is None
    lines = capsys.readouterr().out.splitlines()
    shown = dict(line.strip().split(": ", 1) for line in lines)
    assert shown["padl-bayes"] == pb.__version__
    assert (shown["jax"], shown["numpy"]) == (jax.__version__, np.__version__)
    assert shown["numpyro"] == importlib.metadata.version("numpyro")
    assert shown["python"].startswith("{}.{}.{}".format(*sys.version_info))
    assert str(jax.devices()[0]) in shown["devices"]
    assert shown["kernels"] == (cpu.level() or "none: plain JAX")
    assert len({line.index(": ") for line in lines}) == 1
    assert set(PACKAGES) < set(shown)


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr("padl_bayes.versions.PACKAGES", ("no-such-package",))
    assert versions()["no-such-package"] is None

    def broken():
        raise RuntimeError("no backend")

    monkeypatch.setattr(jax, "devices", broken)
    assert versions()["devices"] == "RuntimeError: no backend"


def test_kernels_that_are_off_are_said():
    done = subprocess.run(
        [sys.executable, "-c", "import padl_bayes; padl_bayes.show_versions()"],
        env=os.environ | {"PADL_BAYES_KERNELS": "off"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "kernels: none: plain JAX" in done.stdout
