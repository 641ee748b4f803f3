"""What the tests of the commands share."""

from types import SimpleNamespace

import numpy as np
from click.testing import CliRunner
from PIL import Image

from padl_bayes.arviz_io import to_arviz
from padl_bayes.cli import main

SETTINGS = ["--quiet", "--n-atoms", "8", "--method", "map", "--alpha", "1.0", "20.0", "--max-iter", "20"]


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def check_refused(done, *words):
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    for word in words:
        assert word in lines[0]


def save_image(path, pixels):
    Image.fromarray(pixels).save(path)


def planted_posterior(size, seed, console, progress):
    rng = np.random.default_rng(seed)
    D = rng.normal(size=(2, 30, 3, 64))
    samples = {
        "dictionary": D / np.linalg.norm(D, axis=3, keepdims=True),
        "codes": rng.normal(size=(2, 30, 6, 3)),
    }
    posterior = to_arviz(samples, X=rng.normal(size=(6, 64)), attrs={"wall_time": 1.0})
    return np.ones((6, 64)), SimpleNamespace(n_active_=3), posterior


class Watch:
    """Stand-in for the progress of the sampler that counts sweeps and interrupts after so many calls."""

    def __init__(self, calls=None):
        self.calls, self.stages = calls, []

    def __call__(self, enabled, total):
        return self

    def __enter__(self):
        return self.advance

    def __exit__(self, *error):
        return None

    def advance(self, sweeps, stage, state):
        if len(self.stages) == self.calls:
            raise KeyboardInterrupt
        self.stages.append((stage, sweeps))


def examples_of(command):
    """Arguments of each example in the help of a command, the command's name first."""
    done = run(command, "--help")
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.output.splitlines() if line.startswith("    padl ")]
    return [arguments for _, *arguments in lines]
