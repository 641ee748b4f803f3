"""Run all benchmarks, or those named, and write one page of them: ``python -m benchmarks [--quick] [NAME ...]``."""

import argparse
import pkgutil
import subprocess
import sys

import benchmarks


def present():
    """Names of the modules that have a ``main`` of their own."""
    return sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if not m.name.startswith("_"))


def main():
    """Run them one after the other, each in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(present())}")
    parser.add_argument("--quick", action="store_true", help="toy runs, which write nothing")
    parser.add_argument("--page", action="store_true", help="run nothing: write the page of what there is")
    options = parser.parse_args()
    unknown = set(options.names) - set(present())
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(present())}")
    failed = []
    for name in () if options.page else options.names or present():
        print(f"{name}:", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *["--quick"] * options.quick]
        if subprocess.run(command).returncode:
            failed.append(name)
    if not options.quick:
        from benchmarks._index import write_index
        from benchmarks._posterior import RESULTS

        print(write_index(RESULTS))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
