"""A damaged file is read, or refused with one sentence; sources raise no other error."""

import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat
from source_files import FILES, SOURCES, STARTS, TOKENS

from benchkit.base import random
from splits.errors import InputError
from splits.sources import registry

# Texts of Python and its libraries, outside of what a message quotes from the file.
QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'")
LIBRARY_TEXT = re.compile(
    r"codec|object at 0x|Errno|char \d|Expecting|invalid literal|could not convert|NoneType|Arrow|"
    r"zlib|unpack|has no attribute|out of bounds|requires a buffer|tokenizing|[A-Z]\w+Error"
)


@pytest.fixture
def written(tmp_path, put):
    def write(kind):
        for name, content in FILES[kind].items():
            put(name, content)
        if kind == "mat":
            savemat(tmp_path / "a.mat", {"X": np.ones((2, 3)), "Y": np.eye(2, 4)})
        return tmp_path / STARTS.get(kind, ""), [tmp_path / name for name in FILES[kind]]

    return write


def attempt(kind: str, start: Path, damaged: Path) -> bool:
    """Whether the source was read; an error message must be one sentence."""
    try:
        registry.get(kind).load(start, **registry.complete(kind, {}))
    except InputError as error:
        assert "\n" not in str(error), (damaged, str(error))
        return False
    return True


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", FILES)
def test_truncated_and_overwritten_files(kind, written):
    start, files = written(kind)
    assert attempt(kind, start, start)
    for file in files:
        content = file.read_bytes()
        step = 1 if len(content) < 100 else len(content) // 60
        for length in range(0, len(content), step):
            file.write_bytes(content[:length])
            attempt(kind, start, file)
        count = 40
        positions = random.uniform(0, "places", np.arange(count)) * len(content)
        values = random.uniform(0, "values", np.arange(count)) * 256
        for position, value in zip(positions.astype(int), values.astype(int), strict=True):
            file.write_bytes(content[:position] + bytes([value]) + content[position + 1 :])
            attempt(kind, start, file)
        file.unlink()
        assert not attempt(kind, start, file)
        file.write_bytes(content)
    assert attempt(kind, start, start)


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind != "mat"])
def test_byte_order_marks_and_line_ends_change_nothing(kind, written):
    start, files = written(kind)
    load, options = registry.get(kind).load, registry.complete(kind, {})
    before = load(start, **options)
    for file in files:
        text = file.read_bytes()
        file.write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    after = load(start, **options)
    assert after.class_names == before.class_names
    assert (after.image_ids == before.image_ids).all()
    dense = [
        s.labels if isinstance(s.labels, np.ndarray) else s.labels.to_dense()
        for s in (before, after)
    ]
    assert (dense[0] == dense[1]).all()


@st.composite
def edits(draw: st.DrawFn) -> list[tuple[float, int, bytes]]:
    """Up to three replacements: a position as a share of the file, bytes to remove, new bytes."""
    edit = st.tuples(
        st.floats(0, 1),
        st.integers(0, 8) | st.just(1000),
        st.binary(max_size=4) | st.sampled_from(TOKENS),
    )
    return draw(st.lists(edit, min_size=1, max_size=3))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SOURCES)
@settings(max_examples=40, deadline=None)
@given(data=st.data(), changes=edits())
def test_a_damaged_file_is_read_or_refused_with_one_sentence(name, data, changes):
    kind, files = SOURCES[name]
    damaged = data.draw(st.sampled_from(sorted(files)))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for file, content in files.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            if file == damaged:
                for share, count, new in changes:
                    start = int(share * len(content))
                    content = content[:start] + new + content[start + count :]
            (root / file).write_bytes(content)
        first = next(iter(files))
        source = root / STARTS.get(kind, first if len(files) == 1 else "")
        options = {"labels": "xml"} if name == "voc xml" else {}
        try:
            read = registry.get(kind).load(source, **registry.complete(kind, options))
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 2000
            assert not LIBRARY_TEXT.search(QUOTED.sub("''", str(error))), str(error)
            return
        assert all(str(image).encode() for image in read.image_ids)
        assert read.features is None or np.isfinite(read.features).all()


@pytest.mark.parametrize("kind", ["csv", "list", "libsvm", "mulan", "mat", "coco", "arrays"])
def test_a_named_pipe_is_refused_and_does_not_hang(kind, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"pipe(\.xml)?: (this is a named pipe|there is no such)"):
        registry.get(kind).load(tmp_path / "pipe", **registry.complete(kind, {}))


@pytest.mark.parametrize("kind", ["nus", "cub", "openimages", "voc"])
def test_a_named_pipe_in_a_folder_is_refused_and_does_not_hang(kind, written):
    start, files = written(kind)
    files[-1].unlink()
    os.mkfifo(files[-1])
    with pytest.raises(InputError, match="this is a named pipe, a socket or a device; a file"):
        registry.get(kind).load(start, **registry.complete(kind, {}))
