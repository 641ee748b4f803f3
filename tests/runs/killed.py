"""``python -m tests.runs.killed SIGNAL MOMENT DELAY ARGUMENT ...``: the command padl, which sends itself a signal.

Moments are before and after each change of a file's name or place on disk, and half-way through what is written into a
checkpoint; the signal comes at the one of this number, from 0, or so many seconds later. Their number, if none is
reached, is the last line on standard output.
"""

import io
import os
import sys
import threading

import numpy as np

import padl_bayes.runs  # noqa: F401
from padl_bayes.cli import main
from padl_bayes.inference.gibbs import chains, run

CHUNK = 10
CHANGES = ("fsync", "replace", "rename", "unlink", "rmdir", "mkdir")


class Moments:
    """Counts them, and sends a signal at one."""

    def __init__(self, number, moment, delay):
        self.count = 0
        self._number, self._moment, self._delay = number, moment, delay

    def __call__(self):
        if self.count == self._moment:
            if self._delay:
                threading.Timer(self._delay, self._send).start()
            else:
                self._send()
        self.count += 1

    def _send(self):
        os.kill(os.getpid(), self._number)


def around(function, moments):
    """The function with a moment before and after."""

    def call(*arguments, **options):
        moments()
        done = function(*arguments, **options)
        moments()
        return done

    return call


def in_two_parts(savez, moments):
    """`np.savez` with a moment where half of the bytes are written."""

    def call(file, **arrays):
        whole = io.BytesIO()
        savez(whole, **arrays)
        content = whole.getvalue()
        os.write(file.fileno(), content[: len(content) // 2])
        moments()
        os.write(file.fileno(), content[len(content) // 2 :])

    return call


if __name__ == "__main__":
    number, moment, delay, *arguments = sys.argv[1:]
    moments = Moments(int(number), int(moment), float(delay))
    for name in CHANGES:
        setattr(os, name, around(getattr(os, name), moments))
    np.savez = in_two_parts(np.savez, moments)
    run.CHUNK = chains.CHUNK = CHUNK
    try:
        main(arguments, prog_name="padl")
    finally:
        print(moments.count)
