"""The feature cache: its values, its reuse, and the recovery from kills and damage."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchkit.base import files, random
from benchkit.base.errors import BenchkitError
from benchkit.images import backbones, features
from benchkit.images.backbones import Backbone


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return backbones.build("glyphs", "random", image_size=32)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Forty different pictures of 40 x 32 pixels."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{index}.png" for index in range(40)]
    for index, path in enumerate(paths):
        pixels = random.generator(0, "test/pictures", index).integers(0, 256, (32, 40, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return paths


def extract(paths: list[Path], backbone: Backbone, cache: Path, **options) -> np.ndarray:
    options = {"batch_size": 4, **options}
    ids = [f"id{index}" for index in range(len(paths))]
    return features.extract(paths, ids, backbone, cache=cache, **options)


def shards(cache: Path) -> list[Path]:
    return sorted(cache.glob("*/shard-*.npz"))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "SHARD_ROWS", 8)


def test_values_are_those_of_the_backbone(
    pictures: list[Path], backbone: Backbone, tmp_path: Path
) -> None:
    values = extract(pictures[:6], backbone, tmp_path, views=2)
    assert values.shape == (6, 2, 256) and values.dtype == np.float32
    with Image.open(pictures[5]) as image:
        pixels = backbone.transform(image.convert("RGB"))[None]
    with torch.inference_mode():
        expected = [backbone.module(view)[0].numpy() for view in (pixels, pixels.flip(-1))]
    np.testing.assert_allclose(values[5], expected, rtol=1e-4, atol=1e-5)
    assert np.abs(values[5, 0] - values[5, 1]).max() > 1e-3


def test_cached_rows_are_not_computed_again(
    pictures: list[Path], backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    first = extract(pictures[:20], backbone, tmp_path, progress=steps.append)
    assert sum(steps) == 20
    assert len(shards(tmp_path)) == 3  # with 8, 8 and 4 rows
    computed: list[int] = []
    forward = features._forward

    def counting(module, images, settings):
        computed.append(len(images))
        return forward(module, images, settings)

    monkeypatch.setattr(features, "_forward", counting)
    moved = [tmp_path / f"moved-{path.name}" for path in pictures[:20]]
    for path, copy in zip(pictures, moved, strict=False):
        shutil.copy(path, copy)
    again = extract(moved[::-1], backbone, tmp_path)
    np.testing.assert_array_equal(again, first[::-1])
    assert computed == []
    extract(pictures[:22], backbone, tmp_path)
    assert computed == [2]


def test_equal_contents_are_computed_once(
    pictures: list[Path], backbone: Backbone, tmp_path: Path
) -> None:
    shutil.copy(pictures[0], tmp_path / "copy.png")
    values = extract([pictures[0], pictures[1], tmp_path / "copy.png"], backbone, tmp_path / "c")
    np.testing.assert_array_equal(values[0], values[2])
    with np.load(shards(tmp_path / "c")[0]) as arrays:
        assert arrays["features"].shape == (2, 1, 256)


def test_rows_do_not_depend_on_their_neighbours(
    pictures: list[Path], backbone: Backbone, tmp_path: Path
) -> None:
    together = extract(pictures, backbone, tmp_path / "a", batch_size=16)
    for index in (0, 15, 17, 39):
        alone = extract([pictures[index]], backbone, tmp_path / f"b{index}", batch_size=16)
        np.testing.assert_array_equal(alone[0], together[index])


def test_each_setting_has_a_cache_of_its_own(
    pictures: list[Path], backbone: Backbone, tmp_path: Path
) -> None:
    other = backbones.build("glyphs", "random", image_size=40)
    for built in (backbone, other):
        extract(pictures[:1], built, tmp_path)
    extract(pictures[:1], backbone, tmp_path, views=2)
    coarse = extract(pictures[:1], backbone, tmp_path, precision="bf16")
    assert len(list(tmp_path.iterdir())) == 4
    exact = extract(pictures[:1], backbone, tmp_path)
    difference = np.abs(coarse - exact).max() / np.abs(exact).max()
    assert 0 < difference < 0.05


SCRIPT = """
import sys, time
from pathlib import Path
from benchkit.images import backbones, features
features.SHARD_ROWS = 8
forward = features._forward
def slowly(*arguments):
    time.sleep(0.05)
    return forward(*arguments)
features._forward = slowly
paths = [Path(name) for name in sys.argv[2:]]
backbone = backbones.build("glyphs", "random", image_size=32)
features.extract(paths, [p.name for p in paths], backbone, cache=Path(sys.argv[1]), batch_size=4)
"""


def test_a_killed_extraction_resumes_to_the_same_bits(
    pictures: list[Path], backbone: Backbone, tmp_path: Path
) -> None:
    uninterrupted = extract(pictures, backbone, tmp_path / "uninterrupted")
    cache = tmp_path / "killed"
    command = [sys.executable, "-c", SCRIPT, str(cache), *map(str, pictures)]
    worker = subprocess.Popen(command)
    deadline = time.monotonic() + 60
    while not shards(cache):
        assert worker.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    kept = shards(cache)
    assert 1 <= len(kept) < 5
    # A writer that is killed in the middle of a shard leaves a partial file, which is never read.
    owner = files._owner().rpartition("-")[0]
    leftover = kept[0].parent / f".shard-0123456789abcdef.npz.{owner}-{worker.pid}.partial"
    leftover.write_bytes(b"half a shard")
    messages: list[str] = []
    resumed = extract(pictures, backbone, cache, log=messages.append)
    np.testing.assert_array_equal(resumed, uninterrupted)
    assert not leftover.exists()
    assert sum("its writer was interrupted" in message for message in messages) >= 1
    names = [[shard.name for shard in shards(c)] for c in (cache, tmp_path / "uninterrupted")]
    assert names[0] == names[1]


@pytest.mark.parametrize("damage", ["cut", "flipped", "swapped"])
def test_a_damaged_shard_is_reported_and_computed_again(
    damage: str, pictures: list[Path], backbone: Backbone, tmp_path: Path
) -> None:
    intact = extract(pictures[:20], backbone, tmp_path)
    shard = shards(tmp_path)[1]
    content = shard.read_bytes()
    if damage == "cut":
        shard.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        middle = len(content) // 2
        shard.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:  # a readable file whose checksum belongs to other numbers
        with np.load(shard) as arrays:
            altered = {**arrays, "features": arrays["features"] + 1}
        np.savez(shard, **altered)
    messages: list[str] = []
    again = extract(pictures[:20], backbone, tmp_path, log=messages.append)
    np.testing.assert_array_equal(again, intact)
    assert len(messages) == 1
    assert shard.name in messages[0] and "damaged" in messages[0]
    assert shard.read_bytes() == content


def test_bad_images_are_named(pictures: list[Path], backbone: Backbone, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(pictures[0].read_bytes()[:500])
    with pytest.raises(BenchkitError, match=r"broken\.jpg does not decode"):
        extract([pictures[0], broken], backbone, tmp_path / "cache")
    assert shards(tmp_path / "cache") == []
    with pytest.raises(
        BenchkitError, match=r"the image file .*absent\.jpg does not exist \(image id id1\)"
    ):
        extract([pictures[0], tmp_path / "absent.jpg"], backbone, tmp_path / "cache")


def test_a_full_disk_is_an_error(
    pictures: list[Path], backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(features.np, "savez", full)
    with pytest.raises(BenchkitError, match=r"no disk space to write .*shard-"):
        extract(pictures[:4], backbone, tmp_path)
    assert list(tmp_path.rglob("*shard*")) == []


def test_features_that_are_not_finite_are_refused(pictures: list[Path], tmp_path: Path) -> None:
    broken = backbones.build("glyphs", "random", image_size=32)
    next(iter(broken.module[1].parameters())).data.fill_(float("nan"))
    with pytest.raises(BenchkitError, match="not finite"):
        extract(pictures[:1], broken, tmp_path)


def test_options_out_of_range_are_refused(
    pictures: list[Path], backbone: Backbone, tmp_path: Path
) -> None:
    with pytest.raises(BenchkitError, match="not 3, 'fp32' and 4"):
        extract(pictures[:1], backbone, tmp_path, views=3)
    with pytest.raises(BenchkitError, match="not 1, 'fp8' and 4"):
        extract(pictures[:1], backbone, tmp_path, precision="fp8")


def test_no_images_have_no_features(backbone: Backbone, tmp_path: Path) -> None:
    assert extract([], backbone, tmp_path).shape == (0, 1, 256)
