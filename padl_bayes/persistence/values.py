"""Objects as JSON and arrays, and back; what JSON lacks is an object of one tag, see ``docs/format.md``."""

import dataclasses
import math
import re

import jax
import numpy as np

from padl_bayes._validation import check_matrix
from padl_bayes.persistence.kinds import ESTIMATORS, RECORDS

_PLAIN_KINDS = "biufU"


class Writer:
    """Takes objects apart; ``arrays`` are those met so far, by name."""

    def __init__(self):
        self.arrays = {}
        # objects are kept so that no other one can get the id of one that is gone
        self._seen = {}

    def value(self, value, where):
        """``value`` as JSON; ``where`` names it in errors and in the file."""
        if value is None or isinstance(value, (str, bool)) or type(value) is int:
            return str(value) if isinstance(value, str) else value
        if type(value) is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if type(value).__name__ in ESTIMATORS and type(value) is ESTIMATORS[type(value).__name__]:
            return self._estimator(value, where)
        if type(value) is RECORDS.get(type(value).__name__):
            return self._record(value, where)
        if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            data = np.asarray(jax.random.key_data(value))
            return {"key": self._array(data, where), "impl": str(jax.random.key_impl(value))}
        if isinstance(value, np.generic) and value.dtype.kind in "biuf" and value.itemsize <= 8:
            return {"scalar": value.dtype.str, "value": self.value(value.item(), where)}
        if isinstance(value, (np.ndarray, jax.Array)):
            return self._any_array(value, where)
        if type(value) in (tuple, list):
            entries = [self.value(entry, f"{where}.{i}") for i, entry in enumerate(value)]
            return entries if type(value) is list else {"tuple": entries}
        if type(value) is dict and all(isinstance(name, str) for name in value):
            return {"dict": self._named(value, where)}
        raise TypeError(f"{where} is of type {type(value).__name__}, which files do not hold")

    def _named(self, values, where):
        return {str(name): self.value(entry, f"{where}.{name}") for name, entry in values.items()}

    def _any_array(self, value, where):
        found = np.asarray(value)
        texts = found.dtype == object and found.ndim == 1 and all(isinstance(v, str) for v in found)
        if texts:
            return {"objects": [str(entry) for entry in found]}
        if found.dtype.kind not in _PLAIN_KINDS:
            raise TypeError(f"{where} is an array of dtype {found.dtype}, which files do not hold")
        return {"array": self._array(found, where, value)}

    def _array(self, array, where, source=None):
        source = array if source is None else source
        if id(source) not in self._seen:
            name = re.sub(r"[^\w.-]", "_", where.removeprefix("obj."))
            while name in self.arrays:
                name += "_"
            self.arrays[name] = array
            self._seen[id(source)] = name, source
        return self._seen[id(source)][0]

    def _record(self, value, where):
        fields = {name: getattr(value, name) for name in _fields(type(value))}
        return {"record": type(value).__name__, "fields": self._named(fields, where)}

    def _estimator(self, value, where):
        params = value.get_params(deep=False)
        fitted = {name: entry for name, entry in vars(value).items() if name not in params}
        # samples may have come as a table, a list, or a file in memory
        if fitted.get("_X") is not None:
            fitted["_X"] = check_matrix(fitted["_X"], mask=fitted.get("_mask"))
        if fitted.get("_mask") is not None:
            fitted["_mask"] = np.asarray(fitted["_mask"], bool)
        return {
            "estimator": type(value).__name__,
            "params": self._named(params, where),
            "fitted": self._named(fitted, where),
        }


class Reader:
    """Puts objects together again, from a mapping of names to arrays."""

    def __init__(self, arrays):
        self.arrays = arrays

    def value(self, value):
        """The object that JSON stands for."""
        if isinstance(value, list):
            return [self.value(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        tag = next(iter(value))
        return _TAGS[tag](self, value)

    def named(self, values):
        """Those of a mapping."""
        return {name: self.value(entry) for name, entry in values.items()}

    def _scalar(self, value):
        return np.dtype(value["scalar"]).type(self.value(value["value"]))

    def _key(self, value):
        return jax.random.wrap_key_data(self.arrays[value["key"]], impl=value["impl"])

    def _record(self, value):
        kind = _known(value["record"], RECORDS)
        fields = self.named(value["fields"])
        unknown = sorted(set(fields) - set(_fields(kind)))
        if unknown:
            raise ValueError(f"{value['record']} has no field {unknown[0]!r} in this version of padl_bayes")
        return kind(**fields)

    def _estimator(self, value):
        kind = _known(value["estimator"], ESTIMATORS)
        fitted = self.named(value["fitted"])
        shadowed = sorted(name for name in fitted if hasattr(kind, name))
        if shadowed:
            raise ValueError(f"{value['estimator']} takes no attribute {shadowed[0]!r} from a file")
        made = kind(**self.named(value["params"]))
        vars(made).update(fitted)
        return made


_TAGS = {
    "float": lambda reader, value: float(value["float"]),
    "scalar": Reader._scalar,
    "array": lambda reader, value: reader.arrays[value["array"]],
    "objects": lambda reader, value: np.array(value["objects"], dtype=object),
    "key": Reader._key,
    "tuple": lambda reader, value: tuple(reader.value(value["tuple"])),
    "dict": lambda reader, value: reader.named(value["dict"]),
    "record": Reader._record,
    "estimator": Reader._estimator,
}


def _known(name, kinds):
    if name not in kinds:
        raise ValueError(
            f"it holds the unknown kind {name!r}, expected one of {', '.join(sorted(RECORDS | ESTIMATORS))}"
        )
    return kinds[name]


def _fields(kind):
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return list(kind._fields)
