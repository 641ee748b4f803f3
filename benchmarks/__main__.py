"""Run all benchmarks, or those named: ``python -m benchmarks [--quick] [NAME ...]``."""

import argparse
import importlib
import pkgutil

import benchmarks


def present():
    """Names of the modules that have a ``main`` of their own."""
    return sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if not m.name.startswith("_"))


def main():
    """Run them one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(present())}")
    parser.add_argument("--quick", action="store_true", help="the smallest sizes only")
    options = parser.parse_args()
    unknown = set(options.names) - set(present())
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(present())}")
    for name in options.names or present():
        print(f"{name}:", flush=True)
        importlib.import_module(f"benchmarks.{name}").main(["--quick"] if options.quick else [])


if __name__ == "__main__":
    main()
