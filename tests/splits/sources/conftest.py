"""Fixtures of the tests of the sources."""

from collections.abc import Callable
from pathlib import Path

import pytest

from splits.errors import InputError


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Write a text or bytes below the folder of the test."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def change(tmp_path: Path) -> Callable[..., Path]:
    """Replace the first occurrence of a text in a file below the folder of the test."""

    def replace(name: str, old: str, new: str) -> Path:
        path = tmp_path / name
        text = path.read_bytes().decode()
        assert old in text
        path.write_bytes(text.replace(old, new, 1).encode())
        return path

    return replace


@pytest.fixture
def refused() -> Callable[..., str]:
    """Call a function that must fail with one sentence, which has a place and a text."""

    def check(place: str, text: str, call: Callable[[], object]) -> str:
        with pytest.raises(InputError) as error:
            call()
        sentence = str(error.value)
        assert place in sentence and text in sentence, sentence
        assert "\n" not in sentence
        return sentence

    return check
