"""The embeddings: what counts as similar, and which one is chosen."""

import math
import sys

import pytest


@pytest.fixture(scope="module")
def embedding(load):
    return load("dytopo.embedding")


def cosine(embedding, one, other):
    a, b = embedding.embed_by_hashing([one, other])
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_similar_texts_are_closer_than_dissimilar_ones(embedding):
    """Texts about the same thing are clearly closer than texts about different things."""
    need = "failing unit tests of the cache class"

    assert cosine(embedding, need, "A report: which unit tests of the cache fail") > 0.5
    assert abs(cosine(embedding, need, "Licences of third-party packages")) < 0.15


def test_word_forms_are_related(embedding):
    """A word and its longer form share their beginning, and so some similarity."""
    assert cosine(embedding, "benchmarking", "benchmarks") > 0.2


def test_stop_words_carry_no_meaning(embedding):
    """A text of nothing but stop words is the zero vector, similar to nothing."""
    assert cosine(embedding, "what is it that they have", "what is it that they have") == 0.0


def test_vectors_are_normalised(embedding):
    """The cosine of two vectors is their dot product, because each has length 1."""
    (vector,) = embedding.embed_by_hashing(["one lock guards order and deadlines"])

    assert math.isclose(1.0, math.hypot(*vector))


def test_auto_imports_no_heavy_library(embedding, monkeypatch):
    """Choosing an embedding imports nothing, so that the choice is free of charge."""
    monkeypatch.delenv(embedding.MINILM_PATH_VARIABLE, raising=False)
    before = set(sys.modules)
    embedding.select_embedder("auto")

    assert not {"sentence_transformers", "torch", "transformers"} & (set(sys.modules) - before)


def test_minilm_that_is_not_here_is_refused(embedding, monkeypatch, tmp_path):
    """MiniLM by name, without its files, is refused with the remedy; `auto` falls back."""
    monkeypatch.setenv(embedding.MINILM_PATH_VARIABLE, str(tmp_path))

    assert embedding.embed_by_hashing is embedding.select_embedder("auto")
    with pytest.raises(embedding.EmbeddingUnavailable, match=embedding.MINILM_PATH_VARIABLE):
        embedding.select_embedder("minilm")
