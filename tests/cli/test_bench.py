"""``padl bench``."""

import json
import sys

from tests.cli.commands import check_refused, run


def test_bench_runs_the_checkout_or_says_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["padl_bayes.cli.bench"], "ROOT", tmp_path)
    check_refused(run("bench"), "not with the installed package", "clone the repository")
    (tmp_path / "benchmarks").mkdir()
    for name in ("pyproject.toml", "benchmarks/__init__.py"):
        (tmp_path / name).touch()
    lines = (
        "import sys, pathlib",
        "pathlib.Path('ran').write_text(' '.join(sys.argv[1:]))",
        "sys.exit('bad' in sys.argv)",
    )
    (tmp_path / "benchmarks" / "__main__.py").write_text("\n".join(lines), encoding="utf-8")
    done = run("bench", "synthetic", "--quick", "--json")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "ran").read_text("utf-8") == "synthetic --quick"
    assert json.loads(done.stdout)["folder"] == str(tmp_path / "benchmarks" / "results")
    assert run("bench", "bad").exit_code == 1
