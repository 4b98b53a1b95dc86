"""Backbones: torchvision's classification models and the built-in `glyphs`, without their heads.

The module of a backbone maps uint8 images [B, 3, H, W] to float features [B, D]. It scales and
normalises the pixels on its own device.
"""

from __future__ import annotations

import difflib
import hashlib
import urllib.error
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from benchkit.base import random
from benchkit.base.errors import BenchkitError
from benchkit.base.paths import regular_file
from benchkit.images import glyphs
from splits import npy

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HEAD_OUTPUTS = 1000  # the classes of ImageNet, in every torchvision classification model
State = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Backbone:
    """A network without its head, and the transform of its input images.

    Attributes:
        name: as in `build`.
        module: in evaluation mode; uint8 [B, 3, H, W] -> float [B, dim].
        dim: D, the number of features.
        transform_name: describes `transform` and the normalisation completely.
        transform: an RGB image -> uint8 [3, H, W], a quarter of the bytes of float32.
        weights_digest: SHA-256 of the network's state, hexadecimal.
    """

    name: str
    module: nn.Module
    dim: int
    transform_name: str
    transform: Callable[[Image.Image], Tensor]
    weights_digest: str


def names() -> list[str]:
    """The names of all backbones."""
    return ["glyphs", *torchvision.models.list_models(module=torchvision.models)]


def build(name: str, weights: str, *, image_size: int | None = None) -> Backbone:
    """Build a backbone.

    Args:
        name: `glyphs` or the name of a torchvision classification model.
        weights: `shipped` (glyphs only), `imagenet` (torchvision's default weights, downloaded
            once), `random` (a fixed seed per name), or the path of a state dict: an `.npz` file or
            a file of `torch.save`.
        image_size: images are resized to a square of this side; 96 for glyphs by default, else 224.

    Raises:
        BenchkitError: the name is unknown, or the weights are missing, cannot be downloaded or do
            not match the network.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1, 0.0)[0]
        raise BenchkitError(f"unknown backbone '{name}'; the nearest name is '{near}'")
    pretrained = "shipped" if name == "glyphs" else "imagenet"
    if weights in {"shipped", "imagenet"} - {pretrained}:
        raise BenchkitError(
            f"backbone '{name}' has no weights '{weights}'; use {pretrained}, random or a file"
        )
    network, head = _network(name, weights)
    if weights not in ("random", "imagenet"):
        path = glyphs.WEIGHTS if weights == "shipped" else Path(weights)
        _load_state(network, _read(path), head, f"{path} does not match backbone '{name}'")
    # Measured on glyphs: 1.8 times as fast on a CPU. The weights digest does not depend on it.
    network.to(memory_format=torch.channels_last)
    size = image_size or (glyphs.IMAGE_SIZE if name == "glyphs" else 224)
    mean, std = (glyphs.MEAN, glyphs.STD) if name == "glyphs" else _IMAGENET
    module = nn.Sequential(Normalise(mean, std), network).eval().requires_grad_(False)
    return Backbone(
        name=name,
        module=module,
        dim=_width(module, name, size),
        transform_name=f"resize{size}-bilinear-antialias, mean {_text(mean)}, std {_text(std)}",
        transform=v2.Compose([v2.PILToTensor(), v2.Resize((size, size), antialias=True)]),
        weights_digest=state_digest(network.state_dict()),
    )


class Normalise(nn.Module):
    """(x / 255 - mean) / std per channel. The constants are not part of the state dict."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Uint8 [B, 3, H, W] -> float32."""
        return (pixels.float() / 255 - self.mean) / self.std


def state_digest(state: State) -> str:
    """SHA-256 over (name, dtype, shape, bytes) of every tensor, sorted by name."""
    digest = hashlib.sha256()
    for key in sorted(state):
        array = state[key].detach().cpu().contiguous().numpy()
        digest.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _text(numbers: tuple[float, ...]) -> str:
    return "/".join(f"{number:g}" for number in numbers)


# ----------------------------------------------------------------------------- the network


def _network(name: str, weights: str) -> tuple[nn.Module, str]:
    """Build a network without its head. Its random weights are a function of its name.

    Returns:
        The network, and the path of its former head ("" if it never had one).
    """
    # Layers initialise themselves from torch's global generator. The fork seeds that by the name of
    # the model, and restores its state afterwards.
    with torch.random.fork_rng(devices=[]):
        # Seed the generator of the CPU only; `torch.manual_seed` would reseed every GPU as well.
        seed = int(random.bits(0, "backbone/random", random.hash_text(name)))
        torch.default_generator.manual_seed(seed)
        if name == "glyphs":
            return glyphs.Glyphs(), ""
        try:
            network = torchvision.models.get_model(
                name, weights="DEFAULT" if weights == "imagenet" else None
            )
        except (OSError, RuntimeError) as error:
            raise BenchkitError(
                f"the ImageNet weights of '{name}' could not be downloaded "
                f"({_download_reason(error)}); check the network, or use --weights random or "
                f"--weights FILE"
            ) from error
    return network, _remove_head(network)


def _download_reason(error: Exception) -> str:
    """Why torchvision could not download weights, as a phrase."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered with the status {error.code}"
    if isinstance(error, urllib.error.URLError):
        return "no connection to the server"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "the received file is not the published one"


def _remove_head(network: nn.Module) -> str:
    """Replace the layer with ImageNet's classes by the identity; returns its path."""
    heads = [
        path
        for path, layer in network.named_modules()
        if (isinstance(layer, nn.Linear) and layer.out_features == _HEAD_OUTPUTS)
        or (isinstance(layer, nn.Conv2d) and layer.out_channels == _HEAD_OUTPUTS)
    ]
    parent, _, child = heads[-1].rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
    return heads[-1]


@torch.inference_mode()
def _width(module: nn.Module, name: str, size: int) -> int:
    """D, measured on one grey image."""
    try:
        return int(module(torch.full((1, 3, size, size), 128, dtype=torch.uint8)).shape[1])
    except (RuntimeError, AssertionError) as error:
        needed = next((m.image_size for m in module.modules() if hasattr(m, "image_size")), None)
        raise BenchkitError(
            f"backbone '{name}' does not accept images of {size} pixels; use --image-size "
            f"{needed or 'with another number'}"
        ) from error


# ----------------------------------------------------------------------------- weights


def _read(path: Path) -> State:
    """Read a state dict from a file."""
    if not path.exists():
        raise BenchkitError(
            f"the weights file {path} does not exist; --weights takes imagenet, random, shipped or "
            f"the path of a file"
        )
    regular_file(path, "weights file")
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns with lines of its own code
            state = _arrays(path) if path.suffix == ".npz" else _tensors(path)
    except PermissionError:
        raise BenchkitError(f"the weights file {path} may not be read") from None
    # torch.load and numpy.load raise many types for a bad file.
    except Exception as error:
        reason = _reason(path, error)
        raise BenchkitError(f"{path} is not a weights file: {reason}") from error
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise BenchkitError(f"{path} is not a state dict: it must map names to tensors only")
    for key, value in state.items():
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise BenchkitError(f"{path}: the tensor '{key}' must be dense and hold its numbers")
    return state


def _arrays(path: Path) -> State:
    archive = npy.load(path)
    if isinstance(archive, np.ndarray):
        raise BenchkitError("it holds one array without a name")
    with archive:
        return {key: torch.from_numpy(npy.member(archive, key)) for key in archive.files}


def _tensors(path: Path) -> Any:
    """The content of a file of `torch.save`; a file that could run code is not loaded."""
    return torch.load(path, map_location="cpu", weights_only=True)


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, BenchkitError):
        return str(error)
    if path.suffix == ".npz":
        reason = npy.reason(path, error)
        return "it is damaged, or holds more than numbers" if "header" in reason else reason
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    if "Weights only" in str(error) or "weights_only" in str(error):
        return (
            "it is damaged, or holds Python objects, which are not loaded because they can run "
            "code; write it with torch.save(model.state_dict(), FILE)"
        )
    return "it is damaged, or not a file of torch.save"


def _load_state(network: nn.Module, state: State, head: str, mismatch: str) -> None:
    """Load a state dict, which may also contain a head with any number of classes.

    Args:
        network: without its head.
        state: the state dict.
        head: the path of the former head, "" for none.
        mismatch: the beginning of the message for a state dict that does not match.
    """
    expected = network.state_dict()
    missing = [key for key in expected if key not in state]
    # The state of resnet34 contains all keys of resnet18; only the surplus tells them apart.
    surplus = [key for key in state if key not in expected and not (head and key.startswith(head))]
    if missing:
        raise BenchkitError(
            f"{mismatch}: it has no '{missing[0]}' ({len(missing)} of {len(expected)} tensors are "
            f"missing)"
        )
    if surplus:
        raise BenchkitError(
            f"{mismatch}: the backbone has no '{surplus[0]}' ({len(surplus)} unexpected tensors)"
        )
    for key, tensor in expected.items():
        if state[key].shape != tensor.shape:
            raise BenchkitError(
                f"{mismatch}: '{key}' has shape {tuple(state[key].shape)} instead of "
                f"{tuple(tensor.shape)}"
            )
        if state[key].is_floating_point() != tensor.is_floating_point():
            raise BenchkitError(
                f"{mismatch}: '{key}' holds {_kind(state[key])} instead of {_kind(tensor)}"
            )
        if not bool(torch.isfinite(state[key]).all()):
            raise BenchkitError(f"{mismatch}: '{key}' holds a value that is not finite")
    network.load_state_dict({key: state[key] for key in expected})


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
