"""Backbones: their features, their weights, and the errors about both."""

import contextlib
import os
import pickle
import urllib.error
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from benchkit.base import random
from benchkit.base.errors import BenchkitError
from benchkit.images import backbones, brush, glyphs, scenes
from benchkit.images.backbones import Backbone


def image(side: int) -> Image.Image:
    pixels = random.generator(0, "test/image").integers(0, 256, (side, side, 3))
    return Image.fromarray(pixels.astype(np.uint8))


@torch.inference_mode()
def features_of(backbone: Backbone, pictures: list[Image.Image]) -> np.ndarray:
    return backbone.module(torch.stack([backbone.transform(p) for p in pictures])).numpy()


def test_the_weights_of_glyphs_are_small() -> None:
    assert glyphs.WEIGHTS.stat().st_size <= 2 * 2**20
    built = backbones.build("glyphs", "shipped")
    assert 128 <= built.dim <= 256
    assert built.weights_digest == backbones.build("glyphs", "shipped").weights_digest
    assert built.weights_digest != backbones.build("glyphs", "random").weights_digest
    assert not built.module.training
    assert not any(p.requires_grad for p in built.module.parameters())


def test_glyphs_tell_symbols_apart_where_random_weights_do_not() -> None:
    # Forty pictures of each of five symbols of one theme. The mean features of half of them are the
    # class's prototype, and the other half is classified by the nearest prototype.
    symbols, size = "♚♛♜♞♠", 64
    pictures, labels = [], []
    for index in range(200):
        rng = random.generator(0, "test/glyphs", index)
        picture = brush.clutter(rng, size, scenes.LETTERS)
        mask = brush.glyph_mask(rng, symbols[index % 5], 30)
        brush.paint(rng, picture, mask, *((size - side) // 2 for side in mask.size))
        pictures.append(brush.add_noise(rng, picture))
        labels.append(index % 5)
    truth = np.array(labels)
    accuracy = {}
    for weights in ("shipped", "random"):
        features = features_of(backbones.build("glyphs", weights, image_size=size), pictures)
        features = (features - features.mean(0)) / (features.std(0) + 1e-6)
        prototypes = np.stack([features[:100][truth[:100] == c].mean(0) for c in range(5)])
        nearest = ((features[100:, None] - prototypes) ** 2).sum(-1).argmin(1)
        accuracy[weights] = (nearest == truth[100:]).mean()
    assert accuracy["shipped"] > 0.7
    assert accuracy["random"] < 0.5


def test_a_torchvision_network_without_its_head() -> None:
    built = backbones.build("resnet18", "random", image_size=48)
    pictures = [image(32), image(40).rotate(90)]
    features = features_of(built, pictures)
    assert features.shape == (2, 512) and built.dim == 512
    network = built.module[1]
    assert isinstance(network.fc, torch.nn.Identity)
    # The reference: torchvision's normalisation of floats, and the layers one after another.
    pixels = built.transform(pictures[0]).float() / 255
    x = torchvision.transforms.functional.normalize(
        pixels, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )[None]
    for name, layer in network.named_children():
        if name != "avgpool" and name != "fc":
            x = layer(x)
    np.testing.assert_allclose(features[0], x.mean((2, 3))[0].numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "dim"),
    [("squeezenet1_1", 512), ("mobilenet_v3_small", 1024), ("shufflenet_v2_x0_5", 1024)],
)
def test_heads_of_any_name_are_removed(name: str, dim: int) -> None:
    built = backbones.build(name, "random", image_size=64)
    assert built.dim == dim
    assert features_of(built, [image(64)]).shape == (1, dim)


def test_random_weights_are_fixed_and_do_not_change_the_global_generator() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = backbones.build("resnet18", "random", image_size=32)
    assert torch.equal(torch.rand(4), expected)
    second = backbones.build("resnet18", "random", image_size=64)
    assert first.weights_digest == second.weights_digest
    assert first.transform_name != second.transform_name
    third = backbones.build("resnet34", "random", image_size=32)
    assert third.weights_digest != first.weights_digest


def test_weights_from_files(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=7)
    torch.save(network.state_dict(), tmp_path / "seven.pt")
    arrays = {key: value.numpy() for key, value in network.state_dict().items()}
    np.savez(tmp_path / "seven.npz", **arrays)
    built = [
        backbones.build("resnet18", str(tmp_path / name), image_size=32)
        for name in ("seven.pt", "seven.npz")
    ]
    assert built[0].weights_digest == built[1].weights_digest
    network.fc = torch.nn.Identity()
    assert built[0].weights_digest == backbones.state_digest(network.state_dict())
    torch.save(torchvision.models.resnet34(num_classes=7).state_dict(), tmp_path / "bigger.pt")
    with pytest.raises(
        BenchkitError, match=r"does not match backbone 'resnet18'.*has no 'layer.*unexpected"
    ):
        backbones.build("resnet18", str(tmp_path / "bigger.pt"))
    with pytest.raises(
        BenchkitError, match=r"does not match backbone 'resnet34'.*tensors are missing"
    ):
        backbones.build("resnet34", str(tmp_path / "seven.pt"))


def test_the_digest_depends_on_names_types_shapes_and_values() -> None:
    base = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3])}
    changes = [
        {"c": base["a"], "b": base["b"]},
        {"a": base["a"].double(), "b": base["b"]},
        {"a": base["a"][None], "b": base["b"]},
        {"a": base["a"] + 1, "b": base["b"]},
    ]
    digests = {backbones.state_digest(state) for state in [base, *changes]}
    assert len(digests) == 5
    assert backbones.state_digest(dict(reversed(base.items()))) == backbones.state_digest(base)


def test_bad_names_and_weights_are_errors(tmp_path: Path) -> None:
    with pytest.raises(
        BenchkitError, match="unknown backbone 'resnet5O'; the nearest name is 'resnet50'"
    ):
        backbones.build("resnet5O", "random")
    with pytest.raises(BenchkitError, match="no weights 'imagenet'; use shipped, random or a"):
        backbones.build("glyphs", "imagenet")
    with pytest.raises(BenchkitError, match="no weights 'shipped'; use imagenet"):
        backbones.build("resnet18", "shipped")
    with pytest.raises(BenchkitError, match=r"the weights file nowhere\.pt does not exist"):
        backbones.build("resnet18", "nowhere.pt")
    (tmp_path / "junk.npz").write_bytes(b"junk")
    with pytest.raises(BenchkitError, match=r"not a weights file: it is neither an \.npy nor an"):
        backbones.build("resnet18", str(tmp_path / "junk.npz"))
    np.savez(tmp_path / "junk.npz", a=np.array([None]), allow_pickle=True)
    with pytest.raises(BenchkitError, match="not a weights file: it holds Python objects, which"):
        backbones.build("resnet18", str(tmp_path / "junk.npz"))
    (tmp_path / "junk.pt").write_bytes(b"junk")
    with pytest.raises(BenchkitError, match=r"junk\.pt is not a weights file"):
        backbones.build("resnet18", str(tmp_path / "junk.pt"))
    torch.save({"a": 1}, tmp_path / "numbers.pt")
    with pytest.raises(BenchkitError, match="must map names to tensors only"):
        backbones.build("resnet18", str(tmp_path / "numbers.pt"))
    with pytest.raises(BenchkitError, match=r"of 100 pixels; use --image-size 224$"):
        backbones.build("vit_b_32", "random", image_size=100)


class Program:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def test_weights_that_are_not_tensors_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.chdir(tmp_path)
    state = backbones.build("glyphs", "random").module[1].state_dict()
    first = next(iter(state))
    bad: dict[str, Any] = {
        "it is damaged, or holds Python objects, which are not loaded": {first: Program()},
        "is not a state dict: it must map names to tensors only": {**state, 3: torch.zeros(1)},
        "must be dense and hold its numbers": {**state, first: state[first].to_sparse()},
        f"'{first}' holds complex64 instead of float32": {**state, first: state[first] + 0j},
        f"'{first}' holds int64 instead of float32": {**state, first: state[first].long()},
        f"'{first}' holds a value that is not finite": {**state, first: state[first] / 0},
    }
    for message, content in bad.items():
        torch.save(content, "w.pt")
        with pytest.raises(BenchkitError, match=message):
            backbones.build("glyphs", "w.pt")
    Path("w.pt").write_bytes(pickle.dumps(Program(), 4))
    with pytest.raises(BenchkitError, match="it is damaged, or holds Python objects"):
        backbones.build("glyphs", "w.pt")
    np.savez("w.npz", **{name: value.numpy().astype("U9") for name, value in state.items()})
    with pytest.raises(BenchkitError, match="it is damaged, or holds more than numbers"):
        backbones.build("glyphs", "w.npz")
    os.mkfifo("pipe.pt")
    for name in ("pipe.pt", "/dev/zero", "."):
        with pytest.raises(BenchkitError, match=r"the weights file .* it must be a regular file"):
            backbones.build("glyphs", name)
    assert not Path("ran").exists()
    assert not recwarn.list


@given(
    st.sampled_from(["w.pt", "w.npz"]),
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.booleans(), st.integers(0, 255)),
        min_size=1,
        max_size=3,
    ),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_changed_bytes_of_weights_are_refused_or_read(
    tmp_path: Path, name: str, changes: list[tuple[float, bool, int]]
) -> None:
    state = {"a": torch.arange(12.0).reshape(3, 4), "b": torch.arange(5)}
    path = tmp_path / name
    if name == "w.pt":
        torch.save(state, path)
    else:
        np.savez(path, **{key: value.numpy() for key, value in state.items()})
    data = bytearray(path.read_bytes())
    for fraction, cuts, value in changes:
        at = int(fraction * len(data))
        if cuts:
            del data[at : at + value]
        else:
            data[at] = value
        data = data or bytearray(1)
    path.write_bytes(data)
    with contextlib.suppress(BenchkitError):
        assert all(isinstance(value, torch.Tensor) for value in backbones._read(path).values())


def test_a_failed_download_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for error, reason in (
        (urllib.error.URLError(OSError(-2, "Name or service not known")), "no connection to the"),
        (urllib.error.HTTPError("", 403, "", Message(), None), "the server answered with the st"),
        (OSError(28, "No space left on device"), "no space left on device"),
        (RuntimeError('invalid hash value (expected "1", got "2")'), "is not the published one"),
    ):

        def refuse(*_, error: Exception = error, **__):
            raise error

        monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
        with pytest.raises(BenchkitError, match=rf"could not be downloaded \(.*{reason}.*\); ch"):
            backbones.build("resnet18", "imagenet")
