"""`benchkit make-split`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from benchkit.base import fields
from benchkit.base.errors import BenchkitError, UsageError
from benchkit.base.terminal import bar, log
from benchkit.cli.groups import GroupedCommand
from benchkit.cli.split_options import REPLACED, with_options
from benchkit.split.request import Request


@click.command("make-split", cls=GroupedCommand, replaced=REPLACED)
@click.argument("source")
@with_options
def make_split(
    source: str,
    source_options: tuple[str, ...],
    published_files: tuple[str, ...],
    **options: Any,
) -> None:
    """Build a split file from labels and images.

    SOURCE is KIND:PATH, as in voc:VOCdevkit/VOC2007, or scenes, which is drawn and needs no
    download. `--help-source all` lists the kinds. Prints the fingerprint of the split.

    \b
    Examples:
      benchkit make-split arrays:mine.npz --out mine.h5 --regime pal:0.5
      benchkit make-split coco:instances_train2017.json -o images=train2017 \\
          -o test=instances_val2017.json -o test_images=val2017 -o keep_empty=test \\
          --long-tail pareto --max 1200 --out coco-lt.h5
      benchkit make-split voc:VOCdevkit/VOC2012 -o test_root=VOCdevkit/VOC2007 \\
          --long-tail pareto --generator dbl --out voc-lt.h5
      benchkit make-split scenes --long-tail pareto --regime ppl:0.5 --out scenes.h5
    """  # noqa: D301 (click looks for the backspace itself)
    from benchkit.split import file as split_file
    from benchkit.split.make import make

    files = _assignments(published_files, "--published-file", "images=img_id.pkl")
    request = Request(
        source=source,
        source_options=_assignments(
            (_with_underscores(text) for text in source_options), "-o", "images=train2017"
        ),
        published_files={role: Path(path) for role, path in files.items()},
        explicit=_explicit(),
        **options,
    )
    make(request, log, bar)
    click.echo(split_file.stored_fingerprints(request.out)["both"])


def _explicit() -> frozenset[str]:
    """The names of the arguments on the command line."""
    context = click.get_current_context()
    return frozenset(
        name
        for name in context.params
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    )


def _with_underscores(text: str) -> str:
    """NAME=VALUE with underscores for the dashes in NAME."""
    name, equals, value = text.partition("=")
    return name.replace("-", "_") + equals + value


def _assignments(texts: Iterable[str], option: str, example: str) -> dict[str, str]:
    """Name -> value of repeated NAME=VALUE arguments.

    Raises:
        UsageError: an argument of another form, or a name that occurs twice.
    """
    values: dict[str, str] = {}
    for text in texts:
        try:
            name, value = fields.assignment(text, option, example)
        except BenchkitError as error:
            raise UsageError(str(error)) from None
        if name in values:
            raise UsageError(f"{option} sets {name!r} twice")
        values[name] = value
    return values
