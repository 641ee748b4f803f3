"""Build hook: compile the CPU kernels into the wheel, or leave them out where that is not possible."""

import importlib.util
import os
import platform
import sys
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def _builder(root):
    spec = importlib.util.spec_from_file_location("padl_build", Path(root) / "csrc" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class KernelsHook(BuildHookInterface):
    """Compiles on Linux with x86-64; elsewhere, and without a compiler, the package is pure Python."""

    def initialize(self, version, build_data):
        wanted = os.environ.get("PADL_BAYES_BUILD", "on") != "off"
        if not (wanted and sys.platform == "linux" and platform.machine() == "x86_64"):
            return
        builder = _builder(self.root)
        try:
            libraries = builder.build()
        except builder.BuildError as error:
            self.app.display_warning(f"padl_bayes is built without its C++ kernels: {error}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-linux_x86_64"
        for path in libraries:
            build_data["force_include"][str(path)] = f"padl_bayes/kernels/lib/{path.name}"
