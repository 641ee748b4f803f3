"""Print XLA flags with which this jaxlib compiles fast: most of the suite's time is compilation.

They change how fast code is, not what it does. An unknown flag ends the process, so each is tried in one of its own.
"""

import os
import subprocess
import sys

FLAGS = ("--xla_backend_optimization_level=1", "--xla_cpu_use_fusion_emitters=false")


def known(flag):
    """Whether JAX starts with this flag."""
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    env = os.environ | {"XLA_FLAGS": flag, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, env=env, capture_output=True).returncode == 0


if __name__ == "__main__":
    print(*filter(known, FLAGS))
