"""Compile the CPU kernels, once for each level of instruction sets: ``python csrc/build.py [--sanitize address]``.

The headers of XLA's foreign function interface are those of jaxlib 0.10, kept in ``third_party``: a library built with
them loads in later releases too, and no JAX is needed to build one.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TARGET = HERE.parent / "padl_bayes" / "kernels" / "lib"
LEVELS = ("x86-64-v2", "x86-64-v3", "x86-64-v4")
SOURCES = ("box_sweep.cc", "code_draw.cc", "code_sweep.cc", "newton.cc", "row_sweep.cc")
FLAGS = (
    "-std=c++17", "-O3", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror",
    "-Wno-psabi", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast",
)  # fmt: skip
RELEASED = ("-DNDEBUG", "-static-libgcc", "-static-libstdc++")
CHECKED = ("-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all")


class BuildError(RuntimeError):
    """There is no compiler, or it failed."""


def compiler():
    """Path of a C++ compiler."""
    for name in (os.environ.get("CXX"), "g++", "clang++"):
        if name and shutil.which(name):
            return shutil.which(name)
    raise BuildError("no C++ compiler found (set CXX, or install g++)")


def command(level, out, sanitize=None):
    """Command line that compiles one library."""
    flags = [*FLAGS, f"-march={level}", "-isystem", str(HERE / "third_party")]
    flags += [*CHECKED, f"-fsanitize={sanitize}"] if sanitize else RELEASED
    return [compiler(), *flags, *(str(HERE / source) for source in SOURCES), "-o", str(out)]


def build(target=TARGET, levels=LEVELS, sanitize=None):
    """Compile all levels side by side and return the libraries' paths; an older library stays where it fails.

    Raises
    ------
    BuildError
    """
    target.mkdir(parents=True, exist_ok=True)
    made = {level: target / f"libpadl_{level}.so" for level in levels}
    running = [
        subprocess.Popen(
            command(level, path.with_suffix(".new"), sanitize), stderr=subprocess.PIPE, text=True
        )
        for level, path in made.items()
    ]
    errors = [process.communicate()[1] for process in running]
    if any(process.returncode for process in running):
        raise BuildError("the C++ kernels did not compile:\n" + "\n".join(filter(None, errors)))
    for path in made.values():
        os.replace(path.with_suffix(".new"), path)
    return list(made.values())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sanitize", help="such as address or undefined")
    parser.add_argument("--target", type=Path, default=TARGET)
    parser.add_argument("--level", choices=LEVELS, action="append")
    options = parser.parse_args()
    try:
        print(*build(options.target, options.level or LEVELS, options.sanitize), sep="\n")
    except BuildError as error:
        sys.exit(str(error))
