"""Features of images by a frozen backbone, computed once and kept.

The cache is a folder per (backbone, weights, transform, precision, views) with shards in it:

    CACHE/<backbone>-<key>/shard-<digest>.npz     digests uint8 [n, 32], features float32 [n, V, D],
                                                  checksum uint8 [32]

A row belongs to the content of an image file (its SHA-256), wherever the file lies. Shards are
written once, under a temporary name, and renamed when they are on the disk; a killed extraction
leaves whole shards and names that are never read. A shard whose checksum is wrong is put aside with
a note, and its images are computed again.

Results do not depend on interruptions, to the bit: a convolution's last bits may depend on the size
of the batch and on the place in it, so every batch has the same size (the last one is padded), and
a shard is a whole number of batches, which leaves a resumed extraction with the same batches.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchkit.base.errors import BenchkitError
from benchkit.base.files import Log, atomic, remove_unfinished
from benchkit.images.backbones import Backbone

PRECISIONS = ("fp32", "bf16")
SHARD_ROWS = 256  # images per shard, rounded to whole batches
_FORMAT = 1


@dataclass(frozen=True)
class _Job:
    """What is the same for every image of one extraction."""

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
    log: Log = lambda _: None,
) -> np.ndarray:
    """Features of images, from the cache where it has them.

    Args:
        image_paths: N image files that Pillow reads.
        image_ids: their ids, for messages.
        backbone: from `benchkit.images.backbones.build`; its module moves to the device.
        cache: a folder, made where it is not; shared by any number of splits.
        views: 1, or 2 to add the horizontally flipped image.
        precision: fp32, or bf16 for mixed precision in bfloat16.
        device: where the backbone runs.
        batch_size: images per forward pass.
        progress: told of finished images, as a number to add.
        log: called with a message about what was found broken or unfinished in the cache.

    Returns:
        float32 [N, V, D].

    Raises:
        BenchkitError: an image that is missing or does not decode, no disk space, features that
            are not finite.
    """
    if views not in (1, 2) or precision not in PRECISIONS or batch_size < 1:
        raise BenchkitError(
            f"features need 1 or 2 views, precision fp32 or bf16 and a batch of 1 or more, not "
            f"{views}, '{precision}' and {batch_size}"
        )
    job = _Job(backbone, views, precision, torch.device(device), batch_size)
    advance = progress or (lambda _: None)
    features = np.empty((len(image_paths), views, backbone.dim), np.float32)
    folder = cache / _folder_name(job)
    _clean(folder, log)
    rows = _rows_by_content(image_paths, image_ids)

    def fill(digests: np.ndarray, values: np.ndarray) -> None:
        for digest, value in zip(digests, values, strict=True):
            known = rows.pop(digest.tobytes(), [])
            features[known] = value
            advance(len(known))

    for shard in sorted(folder.glob("shard-*.npz")):
        fill(*_read(shard, job, log))
    missing = [(digest, image_paths[known[0]]) for digest, known in rows.items()]
    for digests, values in _computed(missing, job):
        _write(folder, digests, values, log)
        fill(digests, values)
    return features


def _folder_name(job: _Job) -> str:
    backbone = job.backbone
    key = (
        f"{_FORMAT}\n{backbone.name}\n{backbone.weights_digest}\n{backbone.transform_name}\n"
        f"{job.precision}\n{job.views}"
    )
    return f"{backbone.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


# ----------------------------------------------------------------------------- images


def _load(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BenchkitError(f"there is no image file {path}") from None
    except OSError as error:
        raise BenchkitError(f"image {path} cannot be read: {error.strerror}") from error


def _rows_by_content(paths: Sequence[Path], ids: Sequence[str]) -> dict[bytes, list[int]]:
    """Which rows show which content: the digest of each different file, in order of appearance."""

    def digest(path: Path, image_id: str) -> bytes:
        try:
            return hashlib.sha256(_load(path)).digest()
        except BenchkitError as error:
            raise BenchkitError(f"{error} (image id {image_id})") from error

    rows: dict[bytes, list[int]] = {}
    with ThreadPoolExecutor() as pool:
        for row, content in enumerate(pool.map(digest, paths, ids)):
            rows.setdefault(content, []).append(row)
    return rows


def _pixels(entry: tuple[bytes, Path], backbone: Backbone) -> Tensor:
    """An image as the backbone wants it, uint8 [3, H, W]."""
    digest, path = entry
    content = _load(path)
    if hashlib.sha256(content).digest() != digest:
        raise BenchkitError(f"image {path} changed while its features were computed; start again")
    try:
        with Image.open(io.BytesIO(content)) as image:
            return backbone.transform(image.convert("RGB"))
    # Pillow reports broken files in many types, SyntaxError and struct.error among them.
    except Exception as error:
        raise BenchkitError(f"image {path} does not decode: {error}") from error


# ----------------------------------------------------------------------------- computing


def _computed(
    missing: list[tuple[bytes, Path]], job: _Job
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Shards of (digests, features); one batch is decoded while the one before is computed."""
    size = job.batch_size
    batches = [missing[start : start + size] for start in range(0, len(missing), size)]
    per_shard = max(1, SHARD_ROWS // size)
    module = job.backbone.module.to(job.device)
    with ThreadPoolExecutor() as pool:

        def decode(batch: list[tuple[bytes, Path]]) -> list[Tensor]:
            return list(pool.map(lambda entry: _pixels(entry, job.backbone), batch))

        with ThreadPoolExecutor(1) as ahead:
            waiting = ahead.submit(decode, batches[0]) if batches else None
            done: list[np.ndarray] = []
            for number in range(1, len(batches) + 1):
                assert waiting is not None
                images = torch.stack(waiting.result())
                if number < len(batches):
                    waiting = ahead.submit(decode, batches[number])
                done.append(_forward(module, images, job))
                if len(done) == per_shard or number == len(batches):
                    first = (number - len(done)) * size
                    content = b"".join(digest for digest, _ in missing[first : number * size])
                    digests = np.frombuffer(content, np.uint8).reshape(-1, 32)
                    yield digests, np.concatenate(done)
                    done = []


@torch.inference_mode()
def _forward(module: torch.nn.Module, images: Tensor, job: _Job) -> np.ndarray:
    """Features [b, V, D] of b <= batch_size images, computed as a full batch."""
    count = len(images)
    padded = torch.cat([images, images[-1:].expand(job.batch_size - count, -1, -1, -1)])
    padded = padded.to(job.device)
    views = [padded, padded.flip(-1)][: job.views]
    with (
        _same_bits(),
        torch.autocast(job.device.type, torch.bfloat16, enabled=job.precision == "bf16"),
    ):
        features = torch.stack([module(view).float() for view in views], 1)
    values = features[:count].cpu().numpy()
    if not np.isfinite(values).all():
        raise BenchkitError(
            f"backbone '{job.backbone.name}' gives features that are not finite; its weights "
            f"are broken, or bf16 is too coarse for it"
        )
    return values


@contextlib.contextmanager
def _same_bits() -> Iterator[None]:
    """On CUDA: convolutions that repeat to the bit, in true float32 where fp32 was asked for."""
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


def _read(shard: Path, job: _Job, log: Log) -> tuple[np.ndarray, np.ndarray]:
    """A shard's rows; none, and the file removed, where it is not what was written."""
    nothing = np.empty((0, 32), np.uint8), np.empty((0, job.views, job.backbone.dim), np.float32)
    try:
        with np.load(shard, allow_pickle=False) as arrays:
            digests, features = arrays["digests"], arrays["features"]
            intact = (arrays["checksum"] == _checksum(digests, features)).all()
    except FileNotFoundError:
        return nothing
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile):
        intact = False
    except OSError as error:
        raise BenchkitError(f"{shard} cannot be read: {error.strerror or error}") from error
    if intact and features.shape[1:] == nothing[1].shape[1:] and len(digests) == len(features):
        return digests, features
    log(f"ignoring and removing {shard}: it is damaged; its images are computed again")
    shard.unlink(missing_ok=True)
    return nothing


def _clean(folder: Path, log: Log) -> None:
    """Remove what interrupted extractions left, and say so."""
    for partial in sorted(folder.glob(".shard-*.partial")):
        target = partial.name[1:].removesuffix(".partial").rpartition(".")[0]
        remove_unfinished(folder / target, log)
