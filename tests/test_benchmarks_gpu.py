"""The benchmark of GPUs, on a processor in the place of one."""

import jax
import numpy as np
import pytest

from benchmarks import gpu
from padl_bayes.kernels import cpu, cuda


@pytest.fixture
def no_processes(monkeypatch):
    """Measurements in this process; what they set is undone."""
    before = jax.config.jax_platforms
    monkeypatch.setattr(gpu, "alone", lambda function, *arguments: function(*arguments))
    monkeypatch.setenv(cpu.VARIABLE, "auto")
    yield
    jax.config.update("jax_platforms", before)


@pytest.mark.usefixtures("no_processes")
def test_without_a_gpu_that_is_said_and_nothing_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "card", lambda: None)
    assert gpu.main(["--quick", "--out", str(tmp_path)]) is None
    assert "JAX has no GPU here: nothing was run and nothing is written\n" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_processes")
@pytest.mark.parametrize("what", ["codes", "rows"])
def test_a_page_of_a_toy(what, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "card", lambda: "some card")
    monkeypatch.setattr(gpu, "ON_CARD", "cpu")
    monkeypatch.setattr(gpu, "RUNS", {name: ("cpu", setting) for name, (_, setting) in gpu.RUNS.items()})
    monkeypatch.setattr(gpu, "QUICK", gpu.QUICK._replace(what=what))
    monkeypatch.setattr(cuda, "tag", lambda: "cuda")
    result = gpu.main(["--quick", "--out", str(tmp_path)])["toy"]
    page = (tmp_path / "gpu.md").read_text()
    assert "some card" in page
    for name, run in result["runs"].items():
        assert f"| {name} |" in page
        # Sums over the samples, and levels, of programs that round differently.
        assert run["difference"] < 1e-4
        assert len(run["seconds"]) == gpu.REPEATS
    assert result["runs"]["C++, processor"]["difference"] == 0


def test_shares_are_of_what_the_card_can_do():
    run = {"compilation": 1.0, "seconds": [2.0, 2.0, 4.0], "difference": 0.0}
    run |= {"operations a second": 100.0, "bytes a second": 10.0}
    runs = dict.fromkeys(gpu.RUNS, run)
    result = {"part": gpu.QUICK, "operations": 50.0, "bytes": 10.0, "card": "C", "machine": "M", "runs": runs}
    assert "| CUDA | 2.00000 | 2.00000 | 4.00000 | 1.0 | 1.0 | 25% | 50% | 0e+00 |" in gpu.section("", result)
    operations, moved = gpu.work(gpu.Part("rows", "float32", 10, 4, 32))
    assert operations == 10 * 32 * (4 * 4 + 16)
    assert moved == np.dtype("float32").itemsize * 10 * (2 * 4 * 3 + 9 * 32)
