"""What is installed and in use, for reports of bugs."""

import importlib.metadata
import platform
import sys

PACKAGES = (
    "jax", "jaxlib", "numpyro", "arviz", "numpy", "scipy", "matplotlib", "scikit-learn", "pandas", "pyarrow",
)  # fmt: skip


def _version_of(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _in_use():
    """Devices, and the compiled kernels of each platform; what cannot be found out is said, not raised."""
    try:
        import jax

        from .kernels import cpu, cuda

        return {
            "devices": ", ".join(str(device) for device in jax.devices()),
            "kernels": cpu.level() or "none: plain JAX",
            "CUDA kernels": cuda.tag() or "none: plain JAX",
        }
    except Exception as error:
        return {"devices": f"{type(error).__name__}: {error}"}


def versions():
    """Versions by name, None for what is not installed; devices; which compiled kernels are in use.

    Returns
    -------
    dict of str to str or None
    """
    from . import __version__

    found = {
        "padl-bayes": __version__,
        "python": sys.version.replace("\n", " "),
        "executable": sys.executable,
        "machine": platform.platform(),
    }
    return found | {name: _version_of(name) for name in PACKAGES} | _in_use()


def show_versions():
    """Print versions of the package and what it stands on, devices, and which compiled kernels are in use.

    Paste it into a report of a bug. `padl_bayes.versions.versions` returns the same as a dictionary.
    """
    found = versions()
    width = max(map(len, found))
    for name, value in found.items():
        print(f"{name:>{width}}: {value}")
