"""A split in memory, and its fingerprint.

The fingerprint is the SHA-256 over the names, types, shapes and little-endian bytes of the logical
arrays and over the recipe. It has two parts: `labels` is the same on every machine, `features` may
differ in the last bits between processors and libraries. Together they identify the split.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchkit.base.errors import BenchkitError
from leaderboard.record import canonical
from splits import labels as matrices
from splits.labels import Labels, SparseLabels
from splits.regimes import Regime

if TYPE_CHECKING:
    import pandas as pd

    from benchkit.split.torch_dataset import SplitDataset

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Part:
    """The images of train, val or test.

    Attributes:
        ids: unicode [N].
        paths: unicode [N], relative to the image folder, or None.
        true: int8 [N, C], 1 positive, 0 negative, -1 unknown to the source; dense or sparse.
        observed: int8 [N, C], dense or sparse, or None for test.
        features: float16 or float32 [N, V, D], or None.
    """

    ids: np.ndarray
    paths: np.ndarray | None
    true: Labels
    observed: Labels | None
    features: np.ndarray | None

    def labels(self, kind: str) -> Labels:
        """The `true` or `observed` labels, dense or sparse.

        Raises:
            BenchkitError: another kind, or the observed labels of a test part.
        """
        if kind not in ("true", "observed"):
            raise BenchkitError(f"labels are 'true' or 'observed', not {kind!r}")
        labels: Labels | None = getattr(self, kind)
        if labels is None:
            raise BenchkitError(
                "a test part has no observed labels, because test labels are never hidden; use "
                "'true'"
            )
        return labels

    def dense(self, kind: str) -> np.ndarray:
        """The `true` or `observed` labels as an array.

        Args:
            kind: "true" or "observed".

        Returns:
            int8 [N, C], codes 1 (positive, or candidate), 0 (negative) and -1 (unknown).

        Raises:
            BenchkitError: another kind, or the observed labels of a test part.
        """
        return matrices.dense(self.labels(kind))


@dataclass(frozen=True)
class Split:
    """A split in memory.

    Attributes:
        name: the name in tables.
        recipe: how it was made, in two parts, `labels` and `features`; without seed and paths.
        class_names: C names.
        train_count: int64 [C], true positives of the training part.
        observed_count: int64 [C], observed positives (or candidates) of the training part.
        shot: uint8 [C], 0 many, 1 medium, 2 few (positions in `splits.shots.SHOT_NAMES`).
        thresholds: many, few and reference ("true" or "observed").
        parts: train, test, and val if images are held out for validation.
        provenance: seed, digests, versions; not part of the identity.
    """

    name: str
    recipe: Mapping[str, Any]
    class_names: tuple[str, ...]
    train_count: np.ndarray
    observed_count: np.ndarray
    shot: np.ndarray
    thresholds: Mapping[str, Any]
    parts: Mapping[str, Part]
    provenance: Mapping[str, Any]

    @property
    def train(self) -> Part:
        """The training part."""
        return self.parts["train"]

    @property
    def val(self) -> Part | None:
        """The validation part, or None."""
        return self.parts.get("val")

    @property
    def test(self) -> Part:
        """The test part."""
        return self.parts["test"]

    @property
    def regime(self) -> Regime:
        """The label regime; in `by_class`, the digest of the weights stands for their file."""
        labels = self.recipe["labels"]
        variants = labels.get("regime_options", {})
        return dataclasses.replace(
            Regime.parse(labels["regime"]),
            counts=variants.get("counts"),
            by_class=variants.get("noise_by_class") or variants.get("missing_by_class"),
            by_image=variants.get("instance_noise", 0.0),
        )

    def dataset(
        self, part: str = "train", labels: str = "observed", *, view: int | None = 0
    ) -> SplitDataset:
        """A part as a torch `Dataset`.

        Args:
            part: "train", "val" or "test".
            labels: "observed" or "true"; the test part has true labels only.
            view: the view of each image, or None for all views.

        Returns:
            A dataset of (features, labels, row): float32 [D], or [V, D] for all views; int8 [C];
            the row of the image in the part.

        Raises:
            BenchkitError: the split has no such part, view or labels, or no features.
        """
        from benchkit.split.torch_dataset import SplitDataset

        return SplitDataset(self._part(part), labels, view)

    def frame(self, part: str = "train", labels: str = "observed") -> pd.DataFrame:
        """The labels of a part as a pandas frame.

        Args:
            part: "train", "val" or "test".
            labels: "observed" or "true"; the test part has true labels only.

        Returns:
            One row per image, indexed by its id, and one int8 column per class.

        Raises:
            BenchkitError: the split has no such part or labels.
        """
        import pandas as pd

        images = self._part(part)
        index = pd.Index(images.ids, name="id")
        return pd.DataFrame(images.dense(labels), index=index, columns=list(self.class_names))

    def _part(self, name: str) -> Part:
        if name not in self.parts:
            names = ", ".join(self.parts)
            raise BenchkitError(f"the split '{self.name}' has no part {name!r}; it has {names}")
        return self.parts[name]

    def arrays(self, kind: str) -> Iterator[tuple[str, np.ndarray]]:
        """The logical arrays of one part of the fingerprint, `labels` or `features`, in order."""
        if kind == "labels":
            yield "classes/name", encode(self.class_names)
            yield "classes/train_count", self.train_count
            yield "classes/observed_count", self.observed_count
            yield "classes/shot", self.shot
        for name in PARTS:
            part = self.parts.get(name)
            if part is None:
                continue
            if kind == "features":
                if part.features is not None:
                    yield f"{name}/features", part.features
                continue
            yield f"{name}/id", encode(part.ids)
            yield from _matrix(f"{name}/true", part.true)
            if part.observed is not None:
                yield from _matrix(f"{name}/observed", part.observed)

    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of `labels`, of `features`, and of `both`, which identifies the split."""
        labels, features = self.labels_fingerprint(), self.features_fingerprint()
        return {
            "labels": labels,
            "features": features,
            "both": combined_fingerprint(labels, features),
        }

    def labels_fingerprint(self) -> str:
        """The SHA-256 of everything but the features; it takes a fraction of their time."""
        documents = [self.recipe["labels"], dict(self.thresholds)]
        return content_digest(self.arrays("labels"), documents)

    def features_fingerprint(self) -> str:
        """The SHA-256 of the features."""
        return content_digest(self.arrays("features"), [self.recipe["features"]])


def combined_fingerprint(labels: str, features: str) -> str:
    """The fingerprint of a split from the fingerprints of its two parts."""
    return hashlib.sha256(f"{labels}:{features}".encode()).hexdigest()


def _matrix(name: str, labels: Labels) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(labels, SparseLabels):
        yield from ((f"{name}/{key}", array) for key, array in labels.arrays().items())
    else:
        yield name, labels


def encode(texts: Any) -> np.ndarray:
    """Unicode texts as a fixed-length UTF-8 byte array."""
    if isinstance(texts, np.ndarray) and texts.dtype.kind == "U" and texts.size:
        letters = _letters(texts, np.uint32)
        if letters.max() < 128:  # ASCII; NumPy's own conversion takes five times as long
            return _texts(letters, np.uint8)
    plain = texts.tolist() if isinstance(texts, np.ndarray) else texts
    encoded = [str(text).encode() for text in plain]
    return np.array(encoded, dtype=f"S{max(map(len, encoded), default=1) or 1}")


def decode(encoded: np.ndarray) -> np.ndarray:
    """The unicode texts of a UTF-8 byte array [N].

    Raises:
        UnicodeDecodeError: bytes that are not UTF-8.
    """
    if encoded.size:
        letters = _letters(encoded, np.uint8)
        if letters.max() < 128:
            return _texts(letters, np.uint32)
    return np.char.decode(encoded, "utf-8")


def _letters(texts: np.ndarray, kind: type[np.unsignedinteger[Any]]) -> np.ndarray:
    """The codes of texts of fixed length, [N, length]."""
    native = np.ascontiguousarray(texts, texts.dtype.newbyteorder("="))
    return native.view(kind).reshape(len(native), -1)


def _texts(letters: np.ndarray, kind: type[np.unsignedinteger[Any]]) -> np.ndarray:
    """Texts [N] of the codes [N, length], as long as the longest of them."""
    length = letters.shape[1]
    if not letters[:, -1].any():
        length = int(np.flatnonzero(letters.any(0)).max(initial=0)) + 1
    codes = np.ascontiguousarray(letters[:, :length], kind)
    return codes.view(f"{'S' if kind is np.uint8 else 'U'}{length}").reshape(-1)


def content_digest(arrays: Iterable[tuple[str, np.ndarray]], documents: Sequence[Any]) -> str:
    """The SHA-256 of named arrays and JSON documents.

    Args:
        arrays: pairs of a name and an array. Its name, type, shape and little-endian bytes are
            hashed.
        documents: values that JSON can represent. Their canonical text is hashed.
    """
    digest = hashlib.sha256()
    for name, array in arrays:
        little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
        head = canonical([name, little.dtype.str, list(little.shape)])
        digest.update(head.encode() + b"\0")
        digest.update(little.view(np.uint8).data if little.size else b"")
    for document in documents:
        digest.update(canonical(document).encode() + b"\0")
    return digest.hexdigest()
