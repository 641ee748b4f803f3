r"""A weight as whole numbers, and its bytes.

A weight (out, in), or its transpose, is ``diag(s) Q`` or ``diag(s) Q1 diag(t) Q2``: whole numbers, and steps that are
powers of the fourth root of 2. Lines of whole numbers (the rows of a matrix or its columns, whichever takes less) are
entropy-coded as `padl_bayes.tradeoff.codec` does codes: flags of the nonzeros at their own frequency, sizes by a
geometric law of their own mean, signs.
"""

import struct
from typing import NamedTuple

import numpy as np
from scipy.special import entr

from padl_bayes._files import DAMAGED, with_checksum, without_checksum
from padl_bayes.tradeoff import codec
from padl_bayes.tradeoff.storage import geometric_bits

ROOTS = np.array([1.0, 2**0.25, 2**0.5, 2**0.75])
STEPS_PER_OCTAVE = len(ROOTS)
LARGEST = 2**24
_HEAD = struct.Struct("<BB")


class Packed(NamedTuple):
    """A weight, or its transpose, as whole numbers."""

    levels: tuple[np.ndarray, ...]
    """Q of shape (N, P), or Q1 (N, K) and Q2 (K, P)."""
    exponents: tuple[np.ndarray, ...]
    """Steps of the rows of each, in quarters of octaves; (1,) if all are the same."""
    transposed: bool = False
    """Whether it is the transpose that they make."""


def steps_of(exponents):
    """Steps of exponents, exact but for the rounding of three constants."""
    exponents = np.asarray(exponents)
    return np.ldexp(ROOTS[exponents % STEPS_PER_OCTAVE], exponents // STEPS_PER_OCTAVE)


def exponents_of(steps):
    """Exponents of the steps nearest in ratio."""
    return np.round(STEPS_PER_OCTAVE * np.log2(steps)).astype(np.int32)


def dense(packed):
    """The weight (out, in) in float32.

    Parameters
    ----------
    packed : Packed

    Returns
    -------
    ndarray, shape (out, in)
    """
    first, *rest = (steps_of(e)[:, None] * q for q, e in zip(packed.levels, packed.exponents, strict=True))
    found = first @ rest[0] if rest else first
    return np.ascontiguousarray(found.T if packed.transposed else found, np.float32)


def _sums(lines):
    used = np.count_nonzero(lines, axis=1)
    return used, np.abs(lines).sum(axis=1, dtype=np.int64) - used


def _line_bits(lines):
    """Bits of lines of whole numbers, by the entropy of their laws."""
    used, excess = _sums(lines)
    on, length = used > 0, lines.shape[1]
    share = used / length
    numbers = np.count_nonzero(on) * (np.log2(length + 1) + np.log2(excess.max(initial=0) + 1)) + len(lines)
    sizes = geometric_bits(1 + excess[on] / used[on]) + 1
    return float(numbers + length * (entr(share) + entr(1 - share)).sum() / np.log(2) + used[on] @ sizes)


def count_bits(packed):
    """Bits of `encode`, but for the coder's rounding.

    Parameters
    ----------
    packed : Packed

    Returns
    -------
    float
    """
    lines = sum(min(_line_bits(q), _line_bits(q.T)) for q in packed.levels)
    return lines + 8 * sum(len(e) + 3 for e in packed.exponents) + 8 * (12 + 8 * len(packed.levels))


def encode(packed):
    """Bytes of a `Packed`.

    Parameters
    ----------
    packed : Packed

    Returns
    -------
    bytes

    Raises
    ------
    ValueError
        A number beyond 2**24.
    ImportError
        constriction is not installed.
    """
    coder = codec.Encoder()
    head = _HEAD.pack(len(packed.levels), packed.transposed)
    for q, exponents in zip(packed.levels, packed.exponents, strict=True):
        if np.abs(q).max(initial=0) > LARGEST:
            raise ValueError(f"step is too fine: {np.abs(q).max()} steps are needed, at most {LARGEST}")
        columns = _line_bits(q.T) < _line_bits(q)
        lines = q.T if columns else q
        used, excess = _sums(lines)
        n_planes = int(np.abs(q).max(initial=1) - 1).bit_length() if used.any() else 0
        most = int(excess.max(initial=0))
        codec.put_numbers(coder, used, excess, lines.shape[1], most)
        for i in np.flatnonzero(used):
            codec.put_codes(coder, lines[i], int(used[i]), int(excess[i]), n_planes, False)
        head += b"".join(codec.short(int(n)) for n in (*q.shape, columns, n_planes, most))
        top = int(exponents.max())
        head += codec.short(len(exponents)) + codec.short(top + LARGEST)
        head += b"".join(codec.short(int(top - e)) for e in exponents)
    return with_checksum(head + coder.coder.get_compressed().astype("<u4").tobytes())


def decode(data):
    """The `Packed` of `encode`'s bytes.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    Packed

    Raises
    ------
    ValueError
        Damaged, or nothing of the kind.
    ImportError
        constriction is not installed.
    """
    body = without_checksum(data)
    if len(body) < _HEAD.size:
        raise ValueError(DAMAGED)
    count, transposed = _HEAD.unpack_from(body)
    start, sizes, exponents = _HEAD.size, [], []
    for _ in range(count):
        (*size, n_exponents, top), start = codec.long(body, start, 7)
        offsets, start = codec.long(body, start, n_exponents)
        sizes.append(size)
        exponents.append(top - LARGEST - np.array(offsets, np.int32))
    coder = codec.Decoder(body[start:])
    levels = tuple(_take_matrix(coder, *size) for size in sizes)
    return Packed(levels, tuple(exponents), bool(transposed))


def _take_matrix(coder, n, p, columns, n_planes, most):
    lines = np.zeros((p, n) if columns else (n, p), np.int32)
    used, excess = codec.take_numbers(coder, lines.shape[1], len(lines), most)
    for i in np.flatnonzero(used):
        lines[i] = codec.take_codes(coder, lines.shape[1], int(used[i]), int(excess[i]), n_planes, False)
    return np.ascontiguousarray(lines.T) if columns else lines
