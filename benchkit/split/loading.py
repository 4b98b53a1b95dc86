"""From the text of a source to its labels, through `splits.sources.registry`."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from benchkit.base import fields
from benchkit.base.errors import BenchkitError, UsageError
from benchkit.base.messages import Bar, Log
from benchkit.split import hdf5
from benchkit.split.request import LISTS, Request
from splits.errors import InputError
from splits.source import Source
from splits.sources import registry


@dataclass(frozen=True)
class SourceCall:
    """A source with its path and options, checked but not read.

    Attributes:
        text: KIND:PATH, for messages.
        kind: KIND.
        module: the module of the source; None for the list files of a published split.
        path: the path; for list files the folder of the images, or None.
        options: option -> value, for every option of the source.
        recorded: the options that a split records.
        explicit: the names of the options that the caller passed.
    """

    text: str
    kind: str
    module: ModuleType | None
    path: Path | None
    options: Mapping[str, Any]
    recorded: Mapping[str, Any]
    explicit: Collection[str] = ()

    @property
    def backbone(self) -> str:
        """The backbone if none is named, or none."""
        default = getattr(self.module, "default_backbone", None)
        return "none" if default is None else str(default(self.options))

    @property
    def has_observed(self) -> bool:
        """Whether the options name observed labels of the source."""
        return any(self.options.get(name) for name in ("observed", "candidates"))

    @property
    def has_test_part(self) -> bool | None:
        """Whether the source has a test part; None if only its files can tell."""
        return getattr(self.module, "HAS_TEST_PART", None)


def parse(request: Request) -> SourceCall:
    """Check the source of a request and its options, without reading the source.

    Raises:
        UsageError: an unknown kind, a missing path, or an option that is unknown, has a wrong
            value or has no effect.
    """
    kind, colon, rest = request.source.partition(":")
    rest = os.path.expanduser(rest)  # a shell expands ~ only at the beginning of a word
    text = f"{kind}{colon}{rest}"
    if kind == LISTS:
        return _parse_lists(request, text, rest)
    try:
        module = registry.get(kind)
    except InputError as error:
        raise UsageError(f"source {text!r}: {error}; see --help-source all") from None
    if not rest and not hasattr(module, "DEFAULT_PATH"):
        raise UsageError(f"source {kind!r} needs a path: {module.FORM}")
    path = Path(rest) if rest else request.out.parent / module.DEFAULT_PATH
    path_kind = "folder" if path.is_dir() else "file" if path.is_file() else ""
    try:
        options = registry.complete(kind, _typed(kind, request.source_options), path_kind)
    except (InputError, BenchkitError) as error:
        raise UsageError(str(error)) from None
    recorded = registry.recorded(kind, options, path_kind)
    explicit = frozenset(request.source_options)
    return SourceCall(text, kind, module, path, options, recorded, explicit)


def _parse_lists(request: Request, text: str, folder: str) -> SourceCall:
    if request.published is None:
        raise UsageError(f"source {LISTS!r} must be used with --published NAME")
    if request.source_options:
        raise UsageError(f"source {LISTS!r} has no options")
    path = Path(folder) if folder else None
    if path is not None and not path.is_dir():
        raise BenchkitError(f"{path}: there is no such folder of images")
    return SourceCall(text, LISTS, None, path, {}, {"kind": LISTS})


def _typed(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a source with the types of their defaults."""
    options = registry.get(kind).OPTIONS
    known = [
        fields.Field(name, option.default, option.choices, option.low)
        for name, option in options.items()
    ]
    plain = {
        name: os.fspath(value) if isinstance(value, os.PathLike) else value
        for name, value in values.items()
    }
    return fields.parse(known, plain, f"source {kind}")


def load(call: SourceCall, seed: int, bar: Bar, log: Log) -> Source | None:
    """Read a source; None for the list files of a published split.

    Args:
        call: from `parse`.
        seed: the seed of sources that are drawn.
        bar: makes a progress bar.
        log: called with messages about removed leftovers.

    Raises:
        InputError: the source cannot be read.
        BenchkitError: an HDF5 file cannot be read, or scenes cannot be drawn.
    """
    if call.module is None:
        return None
    tools: dict[str, Callable[..., Any]] = {
        "read_hdf5": hdf5.read_arrays,
        "draw_scenes": _draw_scenes(seed, bar, log),
    }
    names = getattr(call.module, "TOOLS", ())
    try:
        source: Source = call.module.load(
            call.path, **call.options, **{name: tools[name] for name in names}
        )
    except OSError as error:
        reason = error.strerror or str(error)
        raise BenchkitError(
            f"{error.filename or call.text}: the file cannot be read: {reason}"
        ) from None
    except MemoryError:
        raise BenchkitError(f"{call.text}: there is not enough memory to read the source") from None
    return source


def _draw_scenes(seed: int, bar: Bar, log: Log) -> Callable[..., None]:
    def draw(folder: Path, *, images: int, test_images: int) -> None:
        from benchkit.images import scenes

        with bar("drawing scenes", images + test_images) as advance:
            scenes.write(
                folder,
                images=images,
                test_images=test_images,
                seed=seed,
                progress=advance,
                log=log,
            )

    return draw
