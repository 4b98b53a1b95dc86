"""The feature cache: features of images by a frozen backbone, computed once.

Each combination of backbone, weights, transform, precision and views has a folder of shards:

    CACHE/<backbone>-<key>/shard-<digest>.npz     digests uint8 [n, 32], features float32 [n, V, D],
                                                  checksum uint8 [32]

A row is keyed by the SHA-256 of the image file, so a file may be moved or renamed. Shards are
written under a temporary name, synced and renamed; a killed extraction leaves complete shards and
temporary files that are never read. A shard with a wrong checksum is removed with a message, and
its images are computed again.

Interrupted and uninterrupted extractions give the same bits. The last bits of a convolution may
depend on the batch size and on the position in the batch, so every batch has the same size (the
last one is padded), and a shard is a whole number of batches, so a resumed extraction forms the
same batches.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from benchkit.base.errors import BenchkitError
from benchkit.base.files import atomic, format_size, remove_all_unfinished
from benchkit.base.messages import Log, no_log
from benchkit.base.paths import regular_file
from benchkit.images.backbones import Backbone

PRECISIONS = ("fp32", "bf16")
SHARD_ROWS = 256  # images per shard, rounded to whole batches
_FORMAT = 1
_IMAGE_BYTES = 1 << 30  # the size of the largest image file that is read
_PROGRAMS = ("EPS",)  # formats that Pillow hands to another program
_MEMBERS = ("digests", "features", "checksum")


@dataclass(frozen=True)
class _Settings:
    """The settings of one extraction."""

    backbone: Backbone
    views: int
    precision: str
    device: torch.device
    batch_size: int


def extract(
    image_paths: Sequence[Path],
    image_ids: Sequence[str],
    backbone: Backbone,
    *,
    cache: Path,
    views: int = 1,
    precision: str = "fp32",
    device: torch.device | str = "cpu",
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
    log: Log = no_log,
) -> np.ndarray:
    """Features of images, read from the cache or computed and added to it.

    Args:
        image_paths: N image files in a format that Pillow reads.
        image_ids: N image ids, for messages.
        backbone: from `benchkit.images.backbones.build`; its module is moved to the device.
        cache: a folder, created if necessary; any number of splits may share it.
        views: 1, or 2 to add the horizontally flipped image.
        precision: `fp32`, or `bf16` for mixed precision in bfloat16.
        device: the device of the backbone.
        batch_size: images per forward pass.
        progress: called with the number of newly finished images.
        log: called with a message for each damaged or unfinished file in the cache.

    Returns:
        float32 [N, V, D].

    Raises:
        BenchkitError: an image is missing or does not decode, the disk is full, or features are
            not finite.
    """
    if views not in (1, 2) or precision not in PRECISIONS or batch_size < 1:
        raise BenchkitError(
            f"features need 1 or 2 views, precision fp32 or bf16 and a batch size of 1 or more, "
            f"not {views}, '{precision}' and {batch_size}"
        )
    settings = _Settings(backbone, views, precision, torch.device(device), batch_size)
    advance = progress or (lambda _: None)
    features = np.empty((len(image_paths), views, backbone.dim), np.float32)
    folder = cache / _folder_name(settings)
    remove_all_unfinished(folder, log)
    rows = _rows_by_content(image_paths, image_ids)

    def fill(digests: np.ndarray, values: np.ndarray) -> None:
        for digest, value in zip(digests, values, strict=True):
            same_content = rows.pop(digest.tobytes(), [])
            features[same_content] = value
            advance(len(same_content))

    # NumPy and Pillow warn about damaged files, with lines of their own code.
    with warnings.catch_warnings(action="ignore"):
        for shard in sorted(folder.glob("shard-*.npz")):
            fill(*_read(shard, settings, log))
        missing = [
            _Missing(digest, image_paths[same[0]], image_ids[same[0]])
            for digest, same in rows.items()
        ]
        for digests, values in _compute(missing, settings):
            _write(folder, digests, values, log)
            fill(digests, values)
    return features


def _folder_name(settings: _Settings) -> str:
    backbone = settings.backbone
    key = (
        f"{_FORMAT}\n{backbone.name}\n{backbone.weights_digest}\n{backbone.transform_name}\n"
        f"{settings.precision}\n{settings.views}"
    )
    return f"{backbone.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


# ----------------------------------------------------------------------------- images


@dataclass(frozen=True)
class _Missing:
    """An image whose features are not in the cache: the SHA-256 of its file, its path and id."""

    digest: bytes
    path: Path
    image_id: str


def _read_image(path: Path) -> bytes:
    try:
        size = regular_file(path, "image file").stat().st_size
        if size > _IMAGE_BYTES:
            raise BenchkitError(
                f"the image file {path} has {format_size(size)}; at most "
                f"{format_size(_IMAGE_BYTES)} are read"
            )
        return path.read_bytes()
    except OSError as error:
        raise BenchkitError(f"the image file {path} cannot be read: {error.strerror}") from error


def _rows_by_content(paths: Sequence[Path], ids: Sequence[str]) -> dict[bytes, list[int]]:
    """The rows of each file content: SHA-256 -> row indices, in the order of the rows."""

    def digest(path: Path, image_id: str) -> bytes:
        try:
            return hashlib.sha256(_read_image(path)).digest()
        except BenchkitError as error:
            raise BenchkitError(f"{error} (image id {image_id})") from error

    rows: dict[bytes, list[int]] = {}
    with ThreadPoolExecutor() as pool:
        for row, content in enumerate(pool.map(digest, paths, ids)):
            rows.setdefault(content, []).append(row)
    return rows


def _pixels(entry: _Missing, backbone: Backbone) -> Tensor:
    """An image as the input of the backbone, uint8 [3, H, W]."""
    content = _read_image(entry.path)
    if hashlib.sha256(content).digest() != entry.digest:
        raise BenchkitError(
            f"image {entry.path} changed while its features were computed; run the command again"
        )
    try:
        with Image.open(io.BytesIO(content), formats=_formats()) as image:
            return backbone.transform(image.convert("RGB"))
    # Pillow raises many types for broken files, including SyntaxError and struct.error.
    except Exception as error:
        reason = "the file is empty" if not content else _reason(error)
        raise BenchkitError(
            f"image {entry.path} does not decode: {reason} (image id {entry.image_id})"
        ) from error


def _formats() -> list[str]:
    Image.init()
    return [name for name in Image.ID if name not in _PROGRAMS]


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image, or has an unknown format"
    if isinstance(error, Image.DecompressionBombError):
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        return f"it has more than {limit:,} pixels"
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    return "it is truncated or damaged"


# ----------------------------------------------------------------------------- computing


def _compute(
    missing: list[_Missing], settings: _Settings
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Shards of (digests, features); the next batch is decoded while one is computed."""
    size = settings.batch_size
    batches = [missing[start : start + size] for start in range(0, len(missing), size)]
    per_shard = max(1, SHARD_ROWS // size)
    module = settings.backbone.module.to(settings.device)
    with ThreadPoolExecutor() as pool:

        def decode(batch: list[_Missing]) -> list[Tensor]:
            return list(pool.map(lambda entry: _pixels(entry, settings.backbone), batch))

        with ThreadPoolExecutor(1) as ahead:
            pending = ahead.submit(decode, batches[0]) if batches else None
            shard: list[np.ndarray] = []
            for number in range(1, len(batches) + 1):
                assert pending is not None
                images = torch.stack(pending.result())
                if number < len(batches):
                    pending = ahead.submit(decode, batches[number])
                shard.append(_forward(module, images, settings))
                if len(shard) == per_shard or number == len(batches):
                    first = (number - len(shard)) * size
                    content = b"".join(entry.digest for entry in missing[first : number * size])
                    digests = np.frombuffer(content, np.uint8).reshape(-1, 32)
                    yield digests, np.concatenate(shard)
                    shard = []


@torch.inference_mode()
def _forward(module: torch.nn.Module, images: Tensor, settings: _Settings) -> np.ndarray:
    """Features [b, V, D] of b <= batch_size images, padded to a full batch."""
    count = len(images)
    padded = torch.cat([images, images[-1:].expand(settings.batch_size - count, -1, -1, -1)])
    padded = padded.to(settings.device)
    views = [padded, padded.flip(-1)][: settings.views]
    with (
        _deterministic(),
        torch.autocast(settings.device.type, torch.bfloat16, enabled=settings.precision == "bf16"),
    ):
        features = torch.stack([module(view).float() for view in views], 1)
    values = features[:count].cpu().numpy()
    if not np.isfinite(values).all():
        raise BenchkitError(
            f"backbone '{settings.backbone.name}' computes features that are not finite; its "
            f"weights are damaged, or it needs --precision fp32"
        )
    return values


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    """On CUDA: deterministic convolutions, in true float32 instead of TF32."""
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    ):
        yield


# ----------------------------------------------------------------------------- shards


def _checksum(digests: np.ndarray, features: np.ndarray) -> np.ndarray:
    digest = hashlib.sha256(f"{features.shape}\n".encode())
    digest.update(digests.tobytes())
    digest.update(features.tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def _write(folder: Path, digests: np.ndarray, features: np.ndarray, log: Log) -> None:
    name = hashlib.sha256(digests.tobytes()).hexdigest()[:16]
    checksum = _checksum(digests, features)
    target = folder / f"shard-{name}.npz"
    with atomic(target, log, needed=features.nbytes) as partial, partial.open("wb") as file:
        np.savez(file, digests=digests, features=features, checksum=checksum)


def _read(shard: Path, settings: _Settings, log: Log) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a shard; a damaged shard is removed and has none."""
    shape = (settings.views, settings.backbone.dim)
    try:
        content = regular_file(shard, "shard of the feature cache").read_bytes()
    except OSError as error:
        raise BenchkitError(f"{shard} cannot be read: {error.strerror or error}") from error
    # zipfile and NumPy raise many types for broken files.
    with contextlib.suppress(Exception):
        digests, features, checksum = _members(content)
        if (
            (digests.dtype, digests.shape[1:]) == (np.uint8, (32,))
            and (features.dtype, features.shape[1:]) == (np.float32, shape)
            and len(digests) == len(features)
            and checksum.dtype == np.uint8
            and np.array_equal(checksum, _checksum(digests, features))
        ):
            return digests, features
    log(f"ignoring and removing {shard}: it is damaged; its images are computed again")
    with contextlib.suppress(OSError):
        shard.unlink()
    return np.empty((0, 32), np.uint8), np.empty((0, *shape), np.float32)


def _members(content: bytes) -> list[np.ndarray]:
    """The arrays of a shard, as `_write` stores them: uncompressed, so no larger than the file."""
    arrays = []
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in _MEMBERS:
            member = archive.getinfo(f"{name}.npy")
            if member.compress_type != zipfile.ZIP_STORED or member.file_size > len(content):
                raise ValueError(name)
            with archive.open(member) as file:
                arrays.append(np.lib.format.read_array(file, allow_pickle=False))
    return arrays
