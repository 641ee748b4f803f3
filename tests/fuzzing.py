"""Calls of the public functions with arguments of any kind, and what may come of them."""

import functools
import inspect
import traceback
import warnings
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import scipy.sparse
from hypothesis import strategies as st

import padl_bayes as pb
from padl_bayes import inference, tradeoff
from padl_bayes.compress import compress_weights
from padl_bayes.compress.comparison import compare_tokens
from padl_bayes.compress.linear import sparse_linear
from padl_bayes.compress.reduction import by_atoms, by_leading_atom, by_similarity
from padl_bayes.compress.tokens import code_tokens, describe, fit_tokens
from padl_bayes.exceptions import PadlWarning

PACKAGE = str(Path(pb.__file__).parent)
N, P, K = 6, 4, 2
GOOD = np.random.default_rng(0).normal(size=(N, K)) @ np.eye(K, P) + 0.1 * np.random.default_rng(1).normal(
    size=(N, P)
)
ATOMS = np.eye(K, P)
SPECIAL = (0.0, 1.0, -2.5, 1e-320, 5e-324, 1e-200, 1e-30, 1e30, 1e200, -1.7e308, np.nan, np.inf, -np.inf)
FLOATS = (np.float32, np.float64, np.float16, np.longdouble, ">f8")
DTYPES = (*FLOATS, np.int8, np.int64, np.uint64, bool, complex, object, str)
SHAPES = ((N, P), (N, P), (N, P), (N, K), (K, P), (P,), (0, P), (N, 0), (1, P), (2, N, P), ())


class Opaque:
    """Something of no use, whose text is always the same."""

    def __repr__(self):
        return "Opaque()"


def _silent(*state):
    """A callback that any engine can call."""


def scalars():
    """Values of every kind, but none that is valid and takes long."""
    numbers = [-1, 0, 1, 2, 3, 2.5, -0.5, 1j, 10**30, -(10**30), True, False, *SPECIAL]
    texts = ["text", "", "em", "map", "all", "mdl", b"x", None]
    numpy = [np.array(2), np.array([1, 2]), np.array("a"), np.float32(0.5), np.int8(2), np.bool_(True), ATOMS]
    groups = [[], [1], [[1, 2], [3]], {}, {"a": 1}, {1, 2}, (1,), (0, 0), ["a", "b"], {"dictionary": ATOMS}]
    weights = [(0.1, 0.1), (0.1, -1.0), ("rmse", 0.5), ("rmse", "x"), ("a", 1)]
    odd = [Opaque(), Opaque, len, range(3), slice(2), jax.random.key(0), np.random.default_rng(0)]
    odd += [np.datetime64("2020-01-01")]
    return st.sampled_from(numbers + texts + numpy + groups + weights + odd)


@st.composite
def arrays(draw):
    """Arrays, and what people pass for arrays, of few shapes."""
    shape = draw(st.sampled_from(SHAPES))
    values = np.random.default_rng(draw(st.integers(0, 3))).normal(size=shape)
    for _ in range(draw(st.integers(0, 3)) if values.size else 0):
        values.flat[draw(st.integers(0, values.size - 1))] = draw(st.sampled_from(SPECIAL))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = np.asarray(values * draw(st.sampled_from([1.0, 1.0, 1.0, 0.0, 1e-300, 1e-20, 1e20, 1e150])))
        array = values.astype(draw(st.sampled_from(DTYPES)))
        kinds = [
            np.asarray,
            np.asarray,
            np.asarray,
            np.ndarray.tolist,
            np.asfortranarray,
            np.ma.masked_invalid,
        ]
        if array.ndim == 2:
            kinds += [pd.DataFrame, lambda a: a[::-1, ::-1], scipy.sparse.csr_array, np.ndarray.__iter__]
        if array.dtype in (np.float32, np.float16):
            kinds += [jnp.asarray]
        try:
            return draw(st.sampled_from(kinds))(array)
        except (TypeError, ValueError):
            return array


@st.composite
def masks(draw):
    """Masks, mostly of the right shape."""
    mask = np.random.default_rng(draw(st.integers(0, 5))).random((N, P)) < draw(
        st.sampled_from([0.3, 0.7, 1.0])
    )
    return draw(
        st.sampled_from(
            [mask, mask, mask.astype(float), mask[:3], mask.tolist(), np.ma.array(mask), None, "x"]
        )
    )


class Target(NamedTuple):
    """A function, arguments that it can be called with, and what to call arrays and masks among its arguments."""

    function: object
    base: dict
    skip: tuple = ()
    quick: dict = {}  # noqa: RUF012
    """Instead of those of the base where everything must be fast."""
    may_be_infinite: tuple = ()


ARRAYS = ("X", "data", "dictionary", "draws", "reference", "codes", "active", "dictionary_a", "dictionary_b", "truth",
          "dictionary_init", "codes_init", "alphas", "X_held_out", "init", "tokens", "train", "held_out", "keys",
          "mean", "weight", "bias", "activations", "moments")  # fmt: skip


def _fitted(method):
    settings = dict(n_atoms=K, method=method, max_iter=8, alpha=(0.1, 0.1) if method == "map" else None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PadlWarning)
        return pb.PADL(**settings).fit(GOOD)


def _fit_estimator(X, mask=None, **settings):
    return pb.PADL(**settings).fit(X, mask=mask).fit_


def _compare(fit, **settings):
    return pb.compare(fit, **settings)


def _compress_weights(weight, activations=None, moments=None, **settings):
    of_layer = {"activations": activations, "moments": moments}
    given = {name: {"weights": value} for name, value in of_layer.items() if value is not None}
    return {
        name: option.loss
        for name, option in compress_weights({"weights": weight}, **settings, **given).items()
    }


def _of_compression():
    """Functions of `padl_bayes.compress` that need no network."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PadlWarning)
        found = fit_tokens(GOOD, K, max_iter=8)
    grouped = dict(tokens=GOOD, dictionary=ATOMS, mean=np.zeros(P), n_groups=2)
    layer = dict(dictionary=ATOMS, mean=np.zeros(P), weight=np.eye(P, 3), bias=np.zeros(3))
    return {
        "fit_tokens": Target(fit_tokens, dict(tokens=GOOD, n_atoms=K, max_iter=4)),
        "code_tokens": Target(code_tokens, dict(found=found, tokens=GOOD)),
        "describe": Target(describe, dict(found=found, tokens=GOOD)),
        "compare_tokens": Target(
            compare_tokens, dict(found=found, train=GOOD, held_out=GOOD, methods=["PCA"])
        ),
        "by_leading_atom": Target(by_leading_atom, grouped),
        "by_atoms": Target(by_atoms, grouped),
        "by_similarity": Target(by_similarity, dict(keys=GOOD, n_groups=2)),
        "sparse_linear": Target(sparse_linear, layer),
        "compress_weights": Target(
            _compress_weights, dict(weight=GOOD, share=1.0, methods=["plain rounding"])
        ),
    }


@functools.cache
def targets():
    """The public functions by name."""
    em, map_ = _fitted("em"), _fitted("map")
    draws = np.random.default_rng(0).normal(size=(2, 5, 3, P))
    few = dict(num_warmup=2, num_samples=2, num_chains=1, max_bytes=None)
    refused = {"max_bytes": 1}
    found = {
        "sparse_code": Target(pb.sparse_code, dict(X=GOOD, dictionary=ATOMS, alpha1=0.1, alpha2=0.1)),
        "sparse_code_path": Target(pb.sparse_code_path, dict(X=GOOD, dictionary=ATOMS, alphas=[(0.1, 0.1)])),
        "align": Target(pb.align, dict(draws=draws)),
        "match": Target(pb.match, dict(dictionary_a=ATOMS, dictionary_b=ATOMS)),
        "recovered": Target(pb.recovered, dict(dictionary=ATOMS, truth=ATOMS)),
        "calibrate_alpha": Target(pb.calibrate_alpha, dict(X=GOOD, n_simulations=19)),
        "fit_em": Target(inference.fit_em, dict(X=GOOD, n_atoms=K, max_iter=4, tol=1e-2)),
        "fit_em_minibatch": Target(
            inference.fit_em_minibatch,
            dict(X=GOOD, n_atoms=K, max_iter=4, max_epochs=1, tol=1e-2, batch_size=6),
        ),
        "fit_map": Target(inference.fit_map, dict(X=GOOD, n_atoms=K, alpha=(0.1, 0.1), max_iter=3)),
        "PADL": Target(_fit_estimator, dict(X=GOOD, n_atoms=K, max_iter=4, tol=1e-2)),
        "PADL map": Target(
            _fit_estimator, dict(X=GOOD, n_atoms=K, method="map", alpha=(0.1, 0.1), max_iter=3)
        ),
        "compare": Target(_compare, dict(fit=em, X_held_out=GOOD, n_draws=2)),
        "frontier": Target(
            tradeoff.frontier, dict(data=em, alpha=[(0.1, 0.1)], method="decoupled", n_atoms=K)
        ),
        "operating_point": Target(tradeoff.frontier, dict(data=em, alpha=[(0.1, 0.1)], X=GOOD, n_atoms=K)),
        "sample_gibbs": Target(
            inference.sample_gibbs, dict(X=GOOD, n_atoms=K) | few, ("checkpoint",), refused
        ),
        "sample_nuts": Target(
            inference.sample_nuts, dict(X=GOOD, n_atoms=K, max_tree_depth=2) | few, (), refused
        ),
        "fit_svi": Target(
            inference.fit_svi,
            dict(X=GOOD, n_atoms=K, num_steps=4, num_draws=2, max_bytes=None),
            (),
            refused,
            may_be_infinite=("pareto_k",),
        ),
    }
    for name, estimator in (("em", em), ("map", map_)):
        for method in ("transform", "score"):
            found[f"{method} {name}"] = Target(getattr(estimator, method), dict(X=GOOD))
        codes = estimator.transform(GOOD)
        found[f"inverse_transform {name}"] = Target(estimator.inverse_transform, dict(codes=codes))
    found["sample_posterior"] = Target(
        em.sample_posterior,
        dict(num_warmup=2, num_samples=2, num_chains=1),
        ("checkpoint",),
        dict(num_samples=10**15),
    )
    return found | _of_compression()


def names_of(target):
    """Arguments that can be given."""
    if target.function in (_fit_estimator,):
        return ["X", "mask", *(n for n in inspect.signature(pb.PADL).parameters if n != "progress")]
    if target.function is _compress_weights:
        return ["weight", *(n for n in inspect.signature(compress_weights).parameters if n != "weights")]
    if target.function is _compare:
        return ["fit", *(n for n in inspect.signature(pb.compare).parameters if n != "fits")]
    parameters = inspect.signature(target.function).parameters
    return [name for name in parameters if name not in ("y", *target.skip)]


@st.composite
def cases(draw, quick, names=None, without=()):
    """(name of the target, arguments) of some targets, all if not named."""
    table = targets()
    name = draw(st.sampled_from(sorted(set(names or table) - set(without))))
    target = table[name]
    arguments = dict(target.base)
    for changed in draw(st.lists(st.sampled_from(names_of(target)), min_size=1, max_size=2, unique=True)):
        odd = arrays() if changed in ARRAYS else masks() if changed == "mask" else scalars()
        value = draw(st.one_of(odd, odd, odd, scalars()))
        # what a function of the user's raises when it is called is the user's
        arguments[changed] = _silent if changed == "callback" and callable(value) else value
    # valid, and never at an end
    for endless in ("num_warmup", "num_steps", "max_tree_depth", "num_chains"):
        if isinstance(arguments.get(endless), (int, np.integer)) and arguments[endless] > 100:
            arguments[endless] = 2
    return name, arguments | (target.quick if quick else {})


def leaves_of(result, path=""):
    """Numbers in a result with where they are."""
    if isinstance(result, dict):
        pairs = result.items()
    elif hasattr(result, "_fields"):
        pairs = result._asdict().items()
    elif isinstance(result, (list, tuple)):
        pairs = enumerate(result)
    else:
        if isinstance(result, (float, np.ndarray)) and np.asarray(result).dtype.kind == "f":
            yield path, np.asarray(result)
        return
    for name, value in pairs:
        yield from leaves_of(value, f"{path}.{name}")


def outcome(target, arguments):
    """What went wrong in a call, or None: finite results and our own errors and warnings are right."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = target.function(**arguments)
        except (TypeError, ValueError) as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            if not last.filename.startswith(PACKAGE):
                return f"{type(error).__name__} from {last.filename}:{last.lineno}: {error}"
            known = {*names_of(target), "PADL", "fits"}
            if not any(word in str(error) for word in known):
                return f"names no argument: {error}"
            result = None
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            return f"{type(error).__name__} from {last.filename}:{last.lineno}: {error}"
    foreign = [w for w in caught if not issubclass(w.category, PadlWarning)]
    if foreign:
        return f"{foreign[0].category.__name__} from {foreign[0].filename}:{foreign[0].lineno}: {foreign[0].message}"
    for path, values in leaves_of(result):
        if not np.isfinite(values).all() and not path.endswith(target.may_be_infinite or ("\0",)):
            return f"result{path} is not finite"
    return None
