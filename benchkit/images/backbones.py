"""Backbones: a name and weights in, a module out that turns pixels into pooled features.

Torchvision's classification models by their names, and the package's own `glyphs`. A module takes
uint8 images [B, 3, H, W], scales and normalises them on its own device, and gives float features
[B, D]: the classifier head is taken off, whatever its weights.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from benchkit.base import random
from benchkit.base.errors import BenchkitError
from benchkit.images import glyphs
from splits import npy

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HEAD_OUTPUTS = 1000  # every torchvision classification model is made for ImageNet's classes
State = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Backbone:
    """A network without its head, and how an image gets into it.

    Attributes:
        name: as in `build`.
        module: in evaluation mode; uint8 [B, 3, H, W] -> [B, dim].
        dim: D, the number of features.
        transform_name: says all that `transform` and the normalisation do.
        transform: an RGB image -> uint8 [3, H, W]; a quarter of the bytes of floats.
        weights_digest: SHA-256 of the module's state, hexadecimal.
    """

    name: str
    module: nn.Module
    dim: int
    transform_name: str
    transform: Callable[[Image.Image], Tensor]
    weights_digest: str


def names() -> list[str]:
    """Every backbone that `build` knows."""
    return ["glyphs", *torchvision.models.list_models(module=torchvision.models)]


def build(name: str, weights: str, *, image_size: int | None = None) -> Backbone:
    """Make a backbone.

    Args:
        name: `glyphs` or a torchvision classification model.
        weights: `shipped` (glyphs), `imagenet` (torchvision's default, downloaded once), `random`
            (always the same), or a state dict: a `.npz` file, or one that `torch.load` reads.
        image_size: images are resized to this square; by default 96 for glyphs, else 224.

    Raises:
        BenchkitError: an unknown name, weights that are missing, fail to download or do not fit.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1, 0.0)[0]
        raise BenchkitError(f"there is no backbone '{name}'; the nearest name is '{near}'")
    kind = "shipped" if name == "glyphs" else "imagenet"
    other = {"shipped", "imagenet"} - {kind}
    if weights in other:
        raise BenchkitError(
            f"backbone '{name}' has no weights '{weights}'; give {kind}, random or a file"
        )
    network, head = _network(name, weights)
    if weights not in ("random", "imagenet"):
        path = glyphs.WEIGHTS if weights == "shipped" else Path(weights)
        _fill(network, _read(path), head, f"{path} does not fit backbone '{name}'")
    # Measured on glyphs: 1.8 times as fast on a processor; the weights' digest does not see it.
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
    """Bytes to numbers: (x / 255 - mean) / std per channel. Its constants are no weights."""

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
    """SHA-256 over (name, type, shape, bytes) of every tensor, in the order of the names."""
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
    """A network without its head, drawn from a keyed seed where nothing else fills it.

    Returns:
        The network, and the path of the head that it had ("" where it had none).
    """
    # Layers initialise themselves from torch's global generator. The fork gives it a seed that is
    # bound to the model's name, and puts the caller's state back afterwards.
    with torch.random.fork_rng(devices=[]):
        # The processor's generator alone: `torch.manual_seed` would reseed every GPU's as well.
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
                f"the ImageNet weights of '{name}' could not be downloaded ({error}); check the "
                f"network, or give --weights random or a file"
            ) from error
    return network, _behead(network)


def _behead(network: nn.Module) -> str:
    """Replace the layer that gives ImageNet's classes by nothing, and say what it was called."""
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
    """D, found by looking at one grey image."""
    try:
        return int(module(torch.full((1, 3, size, size), 128, dtype=torch.uint8)).shape[1])
    except (RuntimeError, AssertionError) as error:
        raise BenchkitError(
            f"backbone '{name}' cannot take images of {size} pixels: {error}"
        ) from error


# ----------------------------------------------------------------------------- weights


def _read(path: Path) -> State:
    """A state dict from a file."""
    if not path.is_file():
        raise BenchkitError(
            f"there is no weights file {path}; --weights takes imagenet, random, shipped or a file"
        )
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {key: torch.from_numpy(arrays[key]) for key in arrays.files}
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load reports a bad file in half a dozen types
        text = npy.reason(path, error) if path.suffix == ".npz" else str(error)
        reason = text.strip().split("\n")[0]
        raise BenchkitError(f"{path} is not a weights file: {reason}") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise BenchkitError(f"{path} is not a state dict, which is names and tensors only")
    return state


def _fill(network: nn.Module, state: State, head: str, misfit: str) -> None:
    """Load a state dict, which may hold the head besides, of whatever classes."""
    wanted = network.state_dict()
    absent = [key for key in wanted if key not in state]
    # A file of resnet34 holds all that resnet18 wants; only what is left over tells them apart.
    surplus = [key for key in state if key not in wanted and not (head and key.startswith(head))]
    if absent:
        raise BenchkitError(
            f"{misfit}: it has no '{absent[0]}' ({len(absent)} of {len(wanted)} tensors missing)"
        )
    if surplus:
        raise BenchkitError(
            f"{misfit}: '{surplus[0]}' has no place in it ({len(surplus)} such tensors)"
        )
    for key, tensor in wanted.items():
        if state[key].shape != tensor.shape:
            raise BenchkitError(
                f"{misfit}: '{key}' has shape {tuple(state[key].shape)} instead of "
                f"{tuple(tensor.shape)}"
            )
    network.load_state_dict({key: state[key] for key in wanted})
