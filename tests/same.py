"""Equality to the bit and the type, all the way down; any NaN is as good as another."""

import dataclasses

import jax
import numpy as np


def assert_same(found, wanted, where="object"):
    assert type(found) is type(wanted), where
    if isinstance(wanted, jax.Array):
        assert found.dtype == wanted.dtype, where
        assert_same(np.asarray(jax.random.key_data(found)), np.asarray(jax.random.key_data(wanted)), where)
    elif isinstance(wanted, (np.ndarray, np.generic)):
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), where
        np.testing.assert_array_equal(found, wanted, err_msg=where)
        if wanted.dtype.kind == "f":
            signs = [np.where(np.isnan(one), False, np.signbit(one)) for one in (found, wanted)]
            np.testing.assert_array_equal(*signs, err_msg=where)
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted), where
        for name in wanted:
            assert_same(found[name], wanted[name], f"{where}.{name}")
    elif isinstance(wanted, (tuple, list)):
        assert len(found) == len(wanted), where
        for i, (one, other) in enumerate(zip(found, wanted, strict=True)):
            assert_same(one, other, f"{where}.{i}")
    elif dataclasses.is_dataclass(wanted) or hasattr(wanted, "get_params"):
        assert_same(vars(found), vars(wanted), where)
    else:
        assert found == wanted or (found != found and wanted != wanted), where
