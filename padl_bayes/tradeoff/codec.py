"""The code of `.storage` as bytes, by the range coder of constriction (Bamler, arXiv:2201.01741).

``docs/format.md`` has the layout. Everything that a law depends on is a whole number in the file or comes from such by
sums, products, quotients and roots, which are the same on every machine.
"""

import struct
from typing import NamedTuple

import numpy as np

from padl_bayes._files import CHECKSUM_SIZE, with_checksum, without_checksum
from padl_bayes._memory import check_fits
from padl_bayes.tradeoff.storage import (
    PRECISION,
    RESOLUTION,
    Stored,
    Symbols,
    code_norms,
    count_bits,
    dequantise,
    symbols_of,
)

FORMAT_VERSION = 1
MAGIC = b"PADL"
DIGIT = 16
_HEAD = struct.Struct("<4sBBdd")
_OTHERWISE = "its laws come out otherwise on this machine than on the one that wrote it"


class Codec(NamedTuple):
    """How codes and dictionary are rounded before `padl_bayes.save` entropy-codes them."""

    precision: float = PRECISION
    """Step of the codes in noise scales: at the default the description is shortest, 1 adds a twelfth of the noise
    variance a nonzero code. See `padl_bayes.tradeoff.quantise`."""


def constriction():
    """Import constriction, or say which extra has it."""
    try:
        import constriction
    except ImportError as error:
        raise ImportError(
            "the codec needs constriction: pip install 'padl-bayes[codec]'", name="constriction"
        ) from error
    return constriction


class Encoder:
    """A range encoder: ``put`` symbols by a law."""

    def __init__(self):
        self.laws = constriction().stream.model
        self.coder = constriction().stream.queue.RangeEncoder()

    def put(self, law, symbols):
        if len(symbols):
            self.coder.encode(np.ascontiguousarray(symbols, np.int32), law)

    def put_numbers(self, numbers, most):
        for shift, law in _digits(self.laws, most):
            self.put(law, (numbers >> shift) & (2**DIGIT - 1))


class Decoder:
    """What `Encoder` wrote, in the same order."""

    def __init__(self, payload):
        self.laws = constriction().stream.model
        self.coder = constriction().stream.queue.RangeDecoder(np.frombuffer(payload, "<u4").astype(np.uint32))

    def take(self, law, count):
        try:
            return self.coder.decode(law, count) if count else np.zeros(0, np.int32)
        except AssertionError as error:
            raise ValueError(_OTHERWISE) from error

    def take_numbers(self, count, most):
        found = np.zeros(count, np.int64)
        for shift, law in _digits(self.laws, most):
            found |= self.take(law, count).astype(np.int64) << shift
        return found


def _digits(laws, most):
    """Uniform laws of the digits, lowest first, of whole numbers up to ``most``, with the bits below each."""
    for shift in range(0, most.bit_length(), DIGIT):
        yield shift, laws.Uniform(min(most >> shift, 2**DIGIT - 1) + 1)


def _planes(laws, used, excess, n_planes):
    """Laws of the binary digits of ``q - 1``, lowest first: those of a geometric number are independent.

    They go on behind the ``n_planes`` that are needed until more are as good as impossible: moments, from which bits
    are predicted, do not know the largest code.
    """
    odds, plane = excess / (excess + used), 0
    while plane < n_planes or odds > RESOLUTION:
        yield laws.Bernoulli(odds / (1 + odds), perfect=False)
        odds, plane = odds * odds, plane + 1


def _flags(laws, used, n_samples):
    return laws.Bernoulli(used / n_samples, perfect=False)


def _normal(laws, norm, bound, n_features):
    return laws.QuantizedGaussian(-bound, bound, 0.0, float(norm / np.sqrt(float(n_features))))


def encode(stored):
    """Bytes of codes and dictionary.

    Parameters
    ----------
    stored : Stored
        Of `quantise`.

    Returns
    -------
    bytes

    Raises
    ------
    ValueError
        Not what `quantise` returns: decoding would not give it back.
    ImportError
        constriction is not installed.
    """
    symbols = symbols_of(stored)
    again = dequantise(symbols, stored.step)
    if not all(np.array_equal(a, b) for a, b in zip(again, stored[:2], strict=True)):
        raise ValueError("stored must be what tradeoff.quantise returns: its codes and atoms are not rounded")
    levels, entries = symbols
    used = np.count_nonzero(levels, axis=0)
    excess = np.abs(levels).sum(axis=0, dtype=np.int64) - used
    most, bound = int(excess.max()), max(int(np.abs(entries).max()), 1)
    n_planes = int(np.abs(levels).max() - 1).bit_length() if used.any() else 0
    sizes = *levels.shape, entries.shape[1]
    coder = Encoder()
    put_numbers(coder, used, excess, len(levels), most)
    norms = code_norms(levels)
    for k in np.flatnonzero(used):
        put_codes(coder, levels[:, k], int(used[k]), int(excess[k]), n_planes, stored.nonnegative)
        coder.put(_normal(coder.laws, norms[k], bound, sizes[2]), entries[k])
    head = _HEAD.pack(MAGIC, FORMAT_VERSION, stored.nonnegative, stored.step, stored.storage.distortion)
    head += b"".join(short(number) for number in (*sizes, bound, most, n_planes))
    return with_checksum(head + coder.coder.get_compressed().astype("<u4").tobytes())


def short(number):
    """Seven bits a byte, lowest first, the eighth where more follow (LEB128)."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def long(data, start, count):
    """Numbers of `short`, and where they end."""
    numbers = []
    for _ in range(count):
        number = shift = 0
        while True:
            number |= (data[start] & 127) << shift
            shift, start = shift + 7, start + 1
            if data[start - 1] < 128:
                break
        numbers.append(number)
    return numbers, start


def put_numbers(coder, used, excess, n_samples, most):
    """Write of each line of numbers how many are not zero and by how much their sizes exceed one."""
    on = used > 0
    coder.put_numbers(np.array([on.sum()]), len(on))
    coder.put(_flags(coder.laws, int(on.sum()), len(on)), on)
    coder.put_numbers(used[on], n_samples)
    coder.put_numbers(excess[on], most)


def put_codes(coder, levels, used, excess, n_planes, nonnegative):
    """Write a line of whole numbers: flags of those not zero, sizes, signs."""
    flags = levels != 0
    coder.put(_flags(coder.laws, used, len(levels)), flags)
    rest = np.abs(levels[flags]) - 1
    for plane, law in enumerate(_planes(coder.laws, used, excess, n_planes)):
        coder.put(law, (rest >> plane) & 1)
    if not nonnegative:
        coder.put(coder.laws.Uniform(2), levels[flags] < 0)


def decode(data):
    """Codes and dictionary of `encode`'s bytes.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    Stored
        Equal to what was encoded.

    Raises
    ------
    ValueError
        Bytes that are damaged, of a newer version, or nothing of the kind.
    ImportError
        constriction is not installed.
    """
    if len(data) < _HEAD.size + CHECKSUM_SIZE or not data.startswith(MAGIC):
        raise ValueError("it holds no entropy-coded dictionary, or not all of it")
    body = without_checksum(data)
    version = body[len(MAGIC)]
    if version > FORMAT_VERSION:
        raise ValueError(
            f"it has format version {version}, expected at most {FORMAT_VERSION}; update padl_bayes"
        )
    _, _, nonnegative, step, distortion = _HEAD.unpack_from(body)
    (n, k, p, bound, most, n_planes), start = long(body, _HEAD.size, 6)
    check_fits(8 * (2 * n * k + 2 * k * p), "the dictionary with its codes", "use a machine with more memory")
    coder = Decoder(body[start:])
    used, excess = take_numbers(coder, n, k, most)
    levels, entries = np.zeros((n, k), np.int32), np.zeros((k, p), np.int32)
    for atom in np.flatnonzero(used):
        levels[:, atom] = take_codes(coder, n, int(used[atom]), int(excess[atom]), n_planes, nonnegative)
        norm = code_norms(levels[:, [atom]])[0]
        entries[atom] = coder.take(_normal(coder.laws, norm, bound, p), p)
    if not coder.coder.maybe_exhausted():
        raise ValueError(_OTHERWISE)
    symbols = Symbols(levels, entries)
    storage = count_bits(symbols, distortion, bool(nonnegative))
    codes, dictionary = dequantise(symbols, step)
    return Stored(codes, dictionary, storage, step, bool(nonnegative))


def take_numbers(coder, n_samples, n_atoms, most):
    """Read what `put_numbers` wrote."""
    (n_on,) = coder.take_numbers(1, n_atoms)
    on = coder.take(_flags(coder.laws, int(n_on), n_atoms), n_atoms) > 0
    used, excess = np.zeros((2, n_atoms), np.int64)
    used[on] = coder.take_numbers(int(on.sum()), n_samples)
    excess[on] = coder.take_numbers(int(on.sum()), most)
    return used, excess


def take_codes(coder, n_samples, used, excess, n_planes, nonnegative):
    """Read what `put_codes` wrote."""
    flags = coder.take(_flags(coder.laws, used, n_samples), n_samples) > 0
    if flags.sum() != used:
        raise ValueError(_OTHERWISE)
    rest = np.zeros(used, np.int32)
    for plane, law in enumerate(_planes(coder.laws, used, excess, n_planes)):
        rest |= coder.take(law, used) << plane
    if rest.sum(dtype=np.int64) != excess:
        raise ValueError(_OTHERWISE)
    negative = coder.take(coder.laws.Uniform(2), used) if not nonnegative else 0
    levels = np.zeros(n_samples, np.int32)
    levels[flags] = (rest + 1) * (1 - 2 * negative)
    return levels
