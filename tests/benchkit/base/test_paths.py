"""Only regular files are opened."""

import os
import socket
from pathlib import Path

import pytest

from benchkit.base.errors import BenchkitError
from benchkit.base.paths import regular_file


def test_files_and_links_to_files_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "link").symlink_to("a")
    for name in ("a", "link"):
        assert regular_file(tmp_path / name, "image") == tmp_path / name


def test_everything_else_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nothing")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    kinds = {
        tmp_path: "is a folder; it must be a regular file",
        tmp_path / "pipe": "is a named pipe",
        tmp_path / "link": "is a named pipe",
        tmp_path / "socket": "is a socket",
        Path("/dev/zero"): "is a device",
        tmp_path / "dangling": "does not exist",
        tmp_path / "loop": "cannot be read: Too many levels",
        tmp_path / ("n" * 300): "cannot be read: File name too long",
        tmp_path / "a\0b": "has an invalid name",
    }
    for path, message in kinds.items():
        with pytest.raises(BenchkitError, match=message) as caught:
            regular_file(path, "image")
        assert str(caught.value).startswith("the image ")
