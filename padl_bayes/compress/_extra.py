"""Packages of the extra ``compress``, or which extra has them."""

import importlib


def optional(module, what):
    """Import a module of the extra ``compress`` for ``what``, or raise an error that names the extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f"{what} needs {package}: pip install 'padl-bayes[compress]'", name=package
        ) from error
