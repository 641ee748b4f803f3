"""Samples spread over devices: where arrays lie, what goes over samples apart, and what comes back to the host.

Arrays sized by samples are divided over a mesh with one axis, `SAMPLES`; everything global is on all of its devices.
JAX's partitioner divides the program: sums over samples become sums over devices, and these, sized by atoms, are all
that devices exchange. What it cannot divide, a loop over tiles or a C++ kernel, goes over the tiles of each device
apart (`over_samples`). Padding is zero, and part of no sum.

Under `jax.distributed` every process runs the same program, and holds the samples of its own devices.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ._options import check_sequence
from ._validation import check_count

SAMPLES = "samples"


def _chosen(devices):
    """The devices asked for, in the order of their processes."""
    found = jax.devices()
    if isinstance(devices, str):
        if devices != "all":
            raise ValueError(f"devices must be 'all', a number or a sequence of devices, found {devices!r}")
        return found
    if not hasattr(devices, "__iter__"):
        count = check_count(devices, "devices")
        if count > len(found):
            raise ValueError(f"devices must be at most {len(found)}, which is all there are, found {count}")
        return found[:count]
    listed = check_sequence(devices, "devices", "JAX devices")
    for device in listed:
        if not isinstance(device, jax.Device):
            raise TypeError(f"devices must hold JAX devices, found {device!r}")
    if not listed or len(set(listed)) < len(listed):
        raise ValueError(f"devices must be at least one and all different, found {listed!r}")
    return sorted(listed, key=lambda device: (device.process_index, device.id))


def mesh_over(devices):
    """Mesh of the devices that samples are spread over.

    Parameters
    ----------
    devices : "all", int or sequence of Device, or None
        Of all processes; a number means the first ones. None: no mesh, JAX's default device.

    Returns
    -------
    Mesh or None

    Raises
    ------
    TypeError, ValueError
        Something else, devices that do not exist, or none of some process.
    """
    if devices is None:
        return None
    chosen = _chosen(devices)
    without = set(range(jax.process_count())) - {device.process_index for device in chosen}
    if without:
        raise ValueError(f"devices must hold some of every process, found none of {sorted(without)}")
    return Mesh(np.asarray(chosen), (SAMPLES,))


def mesh_of(array):
    """Mesh over which an array's samples are spread; None for one on a single device, and for NumPy arrays."""
    sharding = getattr(array, "sharding", None)
    return sharding.mesh if isinstance(sharding, NamedSharding) and SAMPLES in sharding.mesh.shape else None


def sharding_over(mesh, axis=0):
    """Sharding that divides one axis; None without a mesh."""
    return None if mesh is None else NamedSharding(mesh, PartitionSpec(*[None] * axis, SAMPLES))


def padded_size(mesh, size):
    """Smallest size of at least ``size`` that the devices divide."""
    return size if mesh is None else -(-size // mesh.size) * mesh.size


def _pad(array, size, axis):
    width = [(0, 0)] * array.ndim
    width[axis] = (0, size - array.shape[axis])
    return np.pad(array, width) if width[axis][1] else array


def spread(mesh, array, axis=0):
    """An array that every process has, divided along an axis, zero padded to a size that the devices divide."""
    if mesh is None:
        return jnp.asarray(array)
    array = np.asarray(array)
    array = array.astype(jax.dtypes.canonicalize_dtype(array.dtype), copy=False)
    shape = list(array.shape)
    shape[axis] = padded_size(mesh, shape[axis])
    size = shape[axis] // mesh.size
    return jax.make_array_from_callback(
        tuple(shape), sharding_over(mesh, axis), lambda index: _pad(array[index], size, axis)
    )


def spread_own(mesh, array):
    """Arrays (n_i, ...) of each process, divided over its own devices, which all get as many rows as any."""
    if mesh is None:
        return jnp.asarray(array)
    local = len(mesh.local_devices)
    size = int(each_process(mesh, -(-len(array) // local)).max())
    return jax.make_array_from_process_local_data(sharding_over(mesh), _pad(array, size * local, 0))


def zeros(mesh, shape, dtype, axis=0):
    """Zeros, divided along an axis."""
    return jnp.zeros(shape, dtype, device=sharding_over(mesh, axis))


def over_samples(mesh, function):
    """``function(split, whole)`` for each device apart, on what it has of the arrays in the tree ``split``.

    Both are divided along the first axis of all their arrays, ``split`` and what comes back; ``whole`` is not.
    """
    if mesh is None:
        return function
    split, whole = PartitionSpec(SAMPLES), PartitionSpec()
    # Kernels do not say over which axes their results vary.
    return jax.shard_map(function, mesh=mesh, in_specs=(split, whole), out_specs=split, check_vma=False)


def own(array, axis=0, size=None):
    """What this process has of an array, NumPy: of its first ``size`` rows, or of all, along an axis."""
    whole = slice(size)
    if not isinstance(array, jax.Array) or array.is_fully_replicated:
        return np.asarray(array)[(slice(None),) * axis + (whole,)]
    parts = []
    for shard in sorted(array.addressable_shards, key=lambda shard: shard.index[axis].start or 0):
        left = None if size is None else max(size - (shard.index[axis].start or 0), 0)
        parts.append(np.asarray(shard.data)[(slice(None),) * axis + (slice(left),)])
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=axis)


def gathered(array):
    """All of an array in every process, NumPy."""
    if getattr(array, "is_fully_addressable", True):
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def over_processes(values):
    """The arrays of all processes, along a new first axis."""
    if jax.process_count() == 1:
        return np.asarray(values)[None]
    with jax.enable_x64(True):
        return np.asarray(multihost_utils.process_allgather(np.asarray(values)))


def each_process(mesh, values):
    """`over_processes` where samples are spread over a mesh, else ``values`` alone."""
    return np.asarray(values)[None] if mesh is None else over_processes(values)


def joined(mesh, values):
    """Arrays (n_i, ...) of all processes one after the other, and where this one's begins."""
    sizes = each_process(mesh, len(values))
    tables: Any = each_process(mesh, _pad(values, int(sizes.max()), 0))
    start = int(sizes[: jax.process_index()].sum()) if len(sizes) > 1 else 0
    return np.concatenate([table[:size] for table, size in zip(tables, sizes, strict=True)]), start
