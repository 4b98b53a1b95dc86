"""The feature cache: its values, its reuse, and the recovery from kills and damage."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from benchkit.base import random
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
    name = "shard-0123456789abcdef.npz"
    leftover = kept[0].parent / f".{name}.0123456789abcdef.partial"
    leftover.mkdir()
    (leftover / name).write_bytes(b"half a shard")
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


def test_a_shard_of_other_types_or_shapes_is_computed_again(
    pictures: list[Path], backbone: Backbone, tmp_path: Path
) -> None:
    intact = extract(pictures[:4], backbone, tmp_path)
    shard = shards(tmp_path)[0]
    content = shard.read_bytes()
    with np.load(shard) as arrays:
        digests, values = arrays["digests"], arrays["features"]

    def stored(digests: np.ndarray, values: np.ndarray, save=np.savez) -> None:
        save(
            shard,
            digests=digests,
            features=values,
            checksum=features._checksum(digests, values),
        )

    changes = {
        "float32 read as int32": lambda: shard.write_bytes(content.replace(b"<f4", b"<i4")),
        "the other byte order": lambda: shard.write_bytes(content.replace(b"<f4", b">f4")),
        "float64": lambda: stored(digests, values.astype(np.float64)),
        "too wide": lambda: stored(digests, np.concatenate([values, values], 2)),
        "a row too few": lambda: stored(digests, values[:3]),
        "short digests": lambda: stored(digests[:, :31], values),
        "flat": lambda: stored(digests.reshape(-1), values),
        "objects": lambda: stored(digests, np.array([None] * 4)),
        "compressed": lambda: stored(digests, values, np.savez_compressed),
        "no arrays": lambda: np.savez(shard, x=values),
        "empty": lambda: shard.write_bytes(b""),
        "one array": lambda: np.save(shard.open("wb"), values),
    }
    for name, damage in changes.items():
        damage()
        messages: list[str] = []
        again = extract(pictures[:4], backbone, tmp_path, log=messages.append)
        np.testing.assert_array_equal(again, intact)
        assert len(messages) == 1, name
        assert "damaged; its images are computed again" in messages[0]
        assert shard.read_bytes() == content


changed_bytes = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from("<>="), st.integers(0, 255)),
    min_size=1,
    max_size=3,
)


@given(changed_bytes)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_changed_bytes_of_a_shard_change_nothing(
    pictures: list[Path],
    backbone: Backbone,
    tmp_path: Path,
    changes: list[tuple[float, str, int]],
) -> None:
    cache = tmp_path / "cache"
    intact = extract(pictures[:3], backbone, cache)
    shard = shards(cache)[0]
    content = shard.read_bytes()
    data = bytearray(content)
    for fraction, region, value in changes:
        # The headers of the members are in the first bytes, those of the archive in the last.
        size = len(data) if region == "=" else min(700, len(data))
        at = int(fraction * size) if region != ">" else len(data) - 1 - int(fraction * size)
        data[at] = value
    shard.write_bytes(data)
    np.testing.assert_array_equal(extract(pictures[:3], backbone, cache), intact)
    shard.write_bytes(content)


def test_a_shard_that_is_not_a_file_is_an_error(
    pictures: list[Path], backbone: Backbone, tmp_path: Path
) -> None:
    extract(pictures[:4], backbone, tmp_path)
    shard = shards(tmp_path)[0]
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(BenchkitError, match=r"shard-.*\.npz is a named pipe; it must be a regular"):
        extract(pictures[:4], backbone, tmp_path)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_images_of_every_mode_and_size_have_features(
    mode: str, backbone: Backbone, tmp_path: Path
) -> None:
    # Pillow before 11 cannot read the YCbCr TIFF files that it writes.
    suffix = {"P": ".gif", "YCbCr": ".jpg"}.get(mode, ".tif")
    paths = [tmp_path / f"{number}{suffix}" for number in range(3)]
    for path, size in zip(paths, [(1, 1), (1, 600), (30, 20)], strict=True):
        Image.new(mode, size).save(path)
    assert np.isfinite(extract(paths, backbone, tmp_path / "cache")).all()


def test_images_that_are_not_regular_files_are_named(
    pictures: list[Path], backbone: Backbone, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    with (tmp_path / "endless.jpg").open("wb") as file:
        file.truncate(2**41)
    bad = {
        tmp_path / "pipe.jpg": "is a named pipe",
        tmp_path / "zero.jpg": "is a device",
        tmp_path: "is a folder",
        tmp_path / "endless.jpg": r"has 2048\.0 GiB; at most 1\.0 GiB are read",
    }
    for path, message in bad.items():
        with pytest.raises(BenchkitError, match=rf"the image file {path} {message}.* id1\)"):
            extract([pictures[0], path], backbone, tmp_path / "cache")


def test_images_that_do_not_decode_are_named(
    pictures: list[Path],
    backbone: Backbone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
) -> None:
    good = pictures[0].read_bytes()
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    contents = {
        b"": "the file is empty",
        b"text": "it is not an image, or has an unknown format",
        postscript: "it is not an image, or has an unknown format",  # it would start a program
        good[:-200]: "it is truncated or damaged",
    }
    broken = tmp_path / "broken"
    for content, reason in contents.items():
        broken.write_bytes(content)
        message = rf"image .*broken does not decode: {reason} \(image id id0\)"
        with pytest.raises(BenchkitError, match=message):
            extract([broken], backbone, tmp_path / "cache")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # the pictures have 1280
    broken.write_bytes(good)
    extract([broken], backbone, tmp_path / "cache")
    assert not recwarn.list
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    with pytest.raises(BenchkitError, match=r"does not decode: it has more than 1,200 pixels"):
        extract([broken], backbone, tmp_path / "bomb")


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
