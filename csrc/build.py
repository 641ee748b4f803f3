"""Compile the CPU kernels, once for each level of instruction sets: ``python csrc/build.py [--sanitize address]``.

``python csrc/build.py --cuda`` compiles those for GPUs, for which it takes nvcc; nothing else does.

The headers of XLA's foreign function interface are those of jaxlib 0.10, kept in ``third_party``: a library built with
them loads in later releases too, and no JAX is needed to build one.
"""

import argparse
import os
import shutil
import subprocess
import sys
from functools import partial
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
CUDA = "libpadl_cuda.so"
CUDA_SOURCES = ("cuda/code_sweep.cu", "cuda/row_sweep.cu")
CUDA_FLAGS = (
    "-std=c++17", "-O3", "-shared", "-DNDEBUG", "--expt-relaxed-constexpr", "--threads=0", "-cudart=static",
    "-Xcompiler=-fPIC,-fvisibility=hidden,-Wall,-Wextra,-Werror,-Wno-unknown-pragmas", "-Werror=all-warnings",
    # Ampere, Hopper, and what comes after by way of PTX.
    "-gencode=arch=compute_80,code=sm_80", "-gencode=arch=compute_90,code=[sm_90,compute_90]",
)  # fmt: skip
EMULATION_FLAGS = (
    "-std=c++17", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Werror", "-Wno-unknown-pragmas",
    # Threads of the emulation jump from stack to stack, which a fortified longjmp takes for an error.
    "-Wno-maybe-uninitialized", "-U_FORTIFY_SOURCE", "-x", "c++",
)  # fmt: skip
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


def compile_all(commands):
    """Run the commands side by side, each for the library it is named by; an older one stays where one fails.

    Parameters
    ----------
    commands : dict of Path to callable
        Given the path to write to, the command line.

    Returns
    -------
    list of Path

    Raises
    ------
    BuildError
    """
    made = {path: path.with_name(f"{path.name}.{os.getpid()}") for path in commands}
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
    running = [
        subprocess.Popen(command(made[path]), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for path, command in commands.items()
    ]
    said = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        for path in made.values():
            path.unlink(missing_ok=True)
        raise BuildError("the kernels did not compile:\n" + "\n".join(filter(None, said)))
    for path, new in made.items():
        os.replace(new, path)
    return list(made)


def build(target=TARGET, levels=LEVELS, sanitize=None):
    """Compile all levels side by side and return the libraries' paths; an older library stays where it fails.

    Raises
    ------
    BuildError
    """
    return compile_all(
        {target / f"libpadl_{level}.so": partial(command, level, sanitize=sanitize) for level in levels}
    )


def nvcc():
    """Path of CUDA's compiler."""
    for name in (os.environ.get("NVCC"), "nvcc", "/usr/local/cuda/bin/nvcc"):
        if name and shutil.which(name):
            return shutil.which(name)
    raise BuildError("no nvcc found (install the CUDA toolkit, put nvcc on the PATH or set NVCC)")


def cuda_command(flags, out):
    """Command line that compiles the sources of the CUDA kernels into one library."""
    sources = [str(HERE / source) for source in CUDA_SOURCES]
    return [*flags, "-isystem", str(HERE / "third_party"), *sources, "-o", str(out)]


def build_cuda(target=TARGET):
    """Compile the CUDA kernels and return the library's path.

    Raises
    ------
    BuildError
    """
    return compile_all({target / CUDA: partial(cuda_command, [nvcc(), *CUDA_FLAGS])})[0]


def build_emulation(path):
    """Compile the CUDA kernels for a processor, as tests run them where there is no GPU.

    Raises
    ------
    BuildError
    """
    return compile_all({path: partial(cuda_command, [compiler(), *EMULATION_FLAGS])})[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sanitize", help="such as address or undefined")
    parser.add_argument("--target", type=Path, default=TARGET)
    parser.add_argument("--level", choices=LEVELS, action="append")
    parser.add_argument("--cuda", action="store_true", help="the kernels for GPUs, and only those")
    options = parser.parse_args()
    try:
        if options.cuda:
            print(build_cuda(options.target))
        else:
            print(*build(options.target, options.level or LEVELS, options.sanitize), sep="\n")
    except BuildError as error:
        sys.exit(str(error))
