"""``python -m tests.runs.killed SECONDS ARGUMENT ...``: the command padl, all of whose files are written slowly.

A run that is killed at a random moment is then often killed while it writes.
"""

import io
import os
import sys
import time

import numpy as np

import padl_bayes.runs  # noqa: F401
from padl_bayes.cli import main
from padl_bayes.inference.gibbs import chains, run

CHUNK = 10
SLOW = ("fsync", "replace", "rename", "unlink", "rmdir", "mkdir")


def slowly(function, seconds):
    """The function with a rest before and after."""

    def call(*arguments, **options):
        time.sleep(seconds)
        done = function(*arguments, **options)
        time.sleep(seconds)
        return done

    return call


def in_two_parts(savez, seconds):
    """`np.savez` with a rest where half of the bytes are written."""

    def call(file, **arrays):
        whole = io.BytesIO()
        savez(whole, **arrays)
        content = whole.getvalue()
        for part in (content[: len(content) // 2], content[len(content) // 2 :]):
            os.write(file.fileno(), part)
            time.sleep(seconds)

    return call


if __name__ == "__main__":
    rest = float(sys.argv[1])
    for name in SLOW:
        setattr(os, name, slowly(getattr(os, name), rest))
    np.savez = in_two_parts(np.savez, rest)
    run.CHUNK = chains.CHUNK = CHUNK
    print("ready", flush=True)
    main(sys.argv[2:], prog_name="padl")
