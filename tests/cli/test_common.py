"""What all commands share: help, exit codes, one line for what cannot be done, warnings, completion."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import padl_bayes
from padl_bayes.cli import main
from padl_bayes.exceptions import AtomBoundWarning, warn
from tests.cli.commands import examples_of, run


def test_refusals_in_json(tmp_path):
    done = run("fit", tmp_path / "none.npy", "--out", tmp_path / "out", "--json")
    assert done.exit_code == 2
    assert "none.npy" in json.loads(done.stdout)["error"]
    assert done.stderr.startswith("Error: ")


@pytest.mark.parametrize("command", sorted(main.commands))
def test_help_shows_an_example_that_is_understood(command):
    examples = examples_of(command)
    assert examples
    for name, *arguments in examples:
        assert name == command
        main.commands[name].make_context(name, arguments)


def test_help_tells_exit_codes_and_completion_works():
    done = run("--help")
    assert "Exit codes: 0 done; 1 an error" in done.output
    assert "130 interrupted" in done.output
    commands = done.output.split("Commands:")[1].split("Exit codes")[0]
    assert all(line.endswith(".") and "..." not in line for line in commands.strip().splitlines())
    for shell in ("bash", "zsh", "fish"):
        assert f"_PADL_COMPLETE={shell}_source padl" in done.output
        environment = {"_PADL_COMPLETE": f"{shell}_source"}
        script = CliRunner().invoke(main, [], prog_name="padl", env=environment)
        # bash is asked for its version, and need not be there
        assert script.exit_code == 0 or shell == "bash"
        assert shell == "bash" or "padl" in script.output


def test_help_and_completion_do_not_wait_for_jax():
    code = """
import sys
from click.testing import CliRunner
from padl_bayes.cli import main
said = [CliRunner().invoke(main, [*name, option]) for option, *name in
        [["--version"], ["--help"], *(["--help", name] for name in main.commands)]]
words = {"COMP_WORDS": "padl fit --n", "COMP_CWORD": "2", "_PADL_COMPLETE": "bash_complete"}
said += [CliRunner().invoke(main, [], prog_name="padl", env=words)]
assert all(done.exit_code == 0 and done.output for done in said)
print(len(said), {"jax", "numpyro", "arviz", "numpy", "scipy", "rich"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{len(main.commands) + 3} set()\n", "")


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("padl f", {"plain,fit"}),
        ("padl tra", {"plain,transform", "plain,tradeoff"}),
        ("padl fit --n", {"plain,--n-atoms", "plain,--n-patches", "plain,--nonnegative"}),
        ("padl sample run --method ", {"plain,gibbs", "plain,nuts", "plain,svi"}),
        ("padl transform ru", {"file,ru"}),
    ],
)
def test_the_tab_key_completes(typed, completed):
    words = {
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split()) - (not typed.endswith(" "))),
        "_PADL_COMPLETE": "bash_complete",
    }
    done = CliRunner().invoke(main, [], prog_name="padl", env=words)
    assert set(done.output.split()) == completed


def test_an_error_of_the_program_is_exit_code_1(data, tmp_path, monkeypatch):
    def fit_run(X, folder, *more, **options):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("padl_bayes.runs.fit_run", fit_run)
    done = run("fit", data, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert isinstance(done.exception, ZeroDivisionError)


def test_warnings_of_the_package_are_lines(data, tmp_path, monkeypatch):
    def fit_run(X, folder, *more, **options):
        warn("raise n_atoms", AtomBoundWarning)
        return Path(folder) / "report.html", "converged"

    monkeypatch.setattr("padl_bayes.runs.fit_run", fit_run)
    done = run("fit", data, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines() == ["Warning: raise n_atoms", "converged"]


def test_an_interrupt_is_a_line_and_exit_code_130(data, tmp_path, monkeypatch):
    def fit_run(X, folder, *more, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("padl_bayes.runs.fit_run", fit_run)
    done = run("fit", data, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 130
    assert done.stderr == "Interrupted: nothing was written\n"
    assert json.loads(done.stdout) == {"error": "interrupted: nothing was written"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit"],
        ["fit", "x.npy", "--out", "o", "--image-shape", "8"],
        ["fit", "x.npy", "--out", "o", "--seed", "-1"],
    ],
)
def test_wrong_usage_exits_with_2(arguments):
    done = run(*arguments)
    assert done.exit_code == 2
    assert "Error: " in done.stderr.splitlines()[-1]


def test_python_m_padl_bayes_is_the_command():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "padl_bayes", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"padl, version {padl_bayes.__version__}\n", "")
