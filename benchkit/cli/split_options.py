"""The options of `benchkit make-split`, by heading. Defaults and choices are those of `Request`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import click

from benchkit.base.terminal import wrong_call
from benchkit.cli.groups import GroupedOption
from benchkit.cli.types import FILE, Whole
from benchkit.split.request import CHOICES, Request

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Request)}

Decorator = Callable[[Any], Any]


def _section(heading: str) -> Callable[..., Decorator]:
    """`option(flags, argument, help=...)` for the options under one heading.

    The argument is a field of `Request`, which gives the default, and the choices if it has any.
    """

    def option(flags: str, argument: str, **attributes: Any) -> Decorator:
        if argument in CHOICES:
            attributes["type"] = click.Choice(CHOICES[argument])
        default = _DEFAULTS[argument]
        if default is not None and default is not dataclasses.MISSING:
            attributes |= {"default": default, "show_default": True}
        names = flags.split("/")
        return click.option(*names, argument, cls=GroupedOption, heading=heading, **attributes)

    return option


def _help_source(context: click.Context, _: click.Parameter, kind: str | None) -> None:
    """Print the forms of all sources, or the form and the options of one, and exit."""
    if kind is None or context.resilient_parsing:
        return
    from splits.errors import InputError
    from splits.sources import registry

    with wrong_call(InputError):
        if kind == "all":
            for module in map(registry.get, registry.names()):
                click.echo(f"{module.FORM}\n  {module.HELP}")
        else:
            click.echo(registry.describe(kind))
    context.exit()


_output = _section("Output")
_source = _section("Source")
_published = _section("Published splits")
_tail = _section("Long tail")
_labels = _section("Labels and parts")
_shots = _section("Shot groups")
_features = _section("Features")

OPTIONS: list[Decorator] = [
    _output("--out", "out", type=FILE, required=True, help="The split file to write (.h5)."),
    _output("--name", "name", help="The name of the split in tables.  [default: from the options]"),
    _source(
        "-o/--source-option",
        "source_options",
        metavar="KEY=VALUE",
        multiple=True,
        help="Set an option of the source. May be repeated.  [default: see --help-source KIND]",
    ),
    click.option(
        "--help-source",
        cls=GroupedOption,
        heading="Source",
        metavar="KIND|all",
        is_eager=True,
        expose_value=False,
        callback=_help_source,
        help="Show the form and the options of a kind of source, or the forms of all, and exit.",
    ),
    _published(
        "--published",
        "published",
        metavar="NAME",
        help="Build a published split from SOURCE: voc-lt, coco-lt, plt-voc, spml-coco, ... "
        "(docs/published.md).  [default: none]",
    ),
    _published(
        "--published-file",
        "published_files",
        metavar="ROLE=PATH",
        multiple=True,
        help="A list file from the authors of the published split. May be repeated. With SOURCE "
        "`lists`, or `lists:FOLDER` to name the folder of the images, no other source is read.  "
        "[default: none]",
    ),
    _tail(
        "--long-tail",
        "long_tail",
        help="Draw a long-tailed subset of the training images. Both natural and none keep all "
        "images; natural records that they are long-tailed already.",
    ),
    _tail("--pareto-b", "pareto_b", type=float, help="pareto: the exponent b."),
    _tail(
        "--max",
        "maximum",
        type=Whole(),
        help="pareto, exponential: the count of the largest class.",
    ),
    _tail("--min", "minimum", type=Whole(), help="pareto: the floor of the curve."),
    _tail(
        "--tail-quantile",
        "tail_quantile",
        type=float,
        help="pareto: the quantile of the distribution at the last class.",
    ),
    _tail(
        "--imbalance-ratio",
        "imbalance_ratio",
        type=float,
        help="exponential: the count of the first class over that of the last.",
    ),
    _tail(
        "--target-counts",
        "target_counts",
        type=FILE,
        help="Use the counts in a file instead of a curve: CSV lines name,count or a JSON object.  "
        "[default: the curve]",
    ),
    _tail(
        "--generator",
        "generator",
        help="The generator of the draws: benchkit's, or exactly the published one (VOC-LT: seed "
        "0).",
    ),
    _labels(
        "--regime",
        "regime",
        help="Which training labels are observed: full, pal:R, ppl:R, spl, missing:Q or "
        "candidates:RHO. Non-standard variants follow after a comma: counts=exact|bernoulli, "
        "by-class=FILE (candidates: or frequency), by-image=SPREAD, as in "
        "candidates:0.3,by-class=frequency.",
    ),
    _labels(
        "--val-fraction",
        "val_fraction",
        type=click.FloatRange(0, 1, max_open=True),
        help="The size of the validation part as a share of the training images.",
    ),
    _labels(
        "--val-from",
        "val_from",
        help="Validate on images held out of the training part, or on images that the long tail "
        "left out, which costs no training image. Without --val-fraction, left-out takes as many "
        "images as there are training images, or all if fewer were left out.",
    ),
    _labels(
        "--test-fraction",
        "test_fraction",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        help="The share of the images in the test part, if the source has none.",
    ),
    _labels("--seed", "seed", type=Whole(), help="The seed of all random draws."),
    _shots(
        "--many", "many", type=Whole(), help="The smallest training count of a many-shot class."
    ),
    _shots(
        "--few", "few", type=Whole(), help="The smallest training count of a medium-shot class."
    ),
    _shots(
        "--shot-reference",
        "shot_reference",
        help="Whether shot groups use true or observed training counts.",
    ),
    _features(
        "--backbone",
        "backbone",
        help="A torchvision model, glyphs, or none.  [default: glyphs for scenes, resnet50 for "
        "coco with images=FOLDER, else none]",
    ),
    _features(
        "--weights",
        "weights",
        help="imagenet, random, shipped (glyphs) or a file.  [default: shipped for glyphs, else "
        "imagenet]",
    ),
    _features(
        "--image-size",
        "image_size",
        type=Whole(1),
        help="Resize images to a square of this many pixels.  [default: 96 for glyphs, else 224]",
    ),
    _features(
        "--views",
        "views",
        type=Whole(1, 2),
        help="Views per image: 1, or 2 to add the horizontal flip.",
    ),
    _features("--precision", "precision", help="The precision of the backbone's forward pass."),
    _features("--feature-type", "feature_type", help="The type of the stored features."),
    _features("--device", "device", help="The device of the backbone."),
    _features(
        "--extract-batch",
        "extract_batch",
        type=Whole(1),
        help="Images per forward pass of the backbone.",
    ),
    _features(
        "--cache",
        "cache",
        type=FILE,
        help="The folder of the feature cache, which splits share and interrupted calls resume.  "
        "[default: features, beside the split file]",
    ),
]

_SOURCE = "is now an option of the source:"
_REGIME = "is now part of the regime: --regime"
REPLACED = {
    "--annotations": "is now part of the source: coco:FILE.json",
    "--images": f"{_SOURCE} coco:FILE.json -o images=FOLDER; with published lists, lists:FOLDER",
    "--test-annotations": f"{_SOURCE} coco:FILE.json -o test=FILE.json",
    "--test-images": f"{_SOURCE} coco:FILE.json -o test_images=FOLDER",
    "--keep-empty": f"{_SOURCE} -o keep_empty=none|test|both",
    "--crowd": f"{_SOURCE} -o crowd=yes",
    "--no-crowd": f"{_SOURCE} -o crowd=no",
    "--scenes-dir": "is now part of the source: scenes:FOLDER",
    "--scenes-train": f"{_SOURCE} scenes -o train=N",
    "--scenes-test": f"{_SOURCE} scenes -o test=N",
    "--counts": f"{_REGIME} ppl:0.5,counts=exact|bernoulli",
    "--noise-by-class": f"{_REGIME} candidates:0.3,by-class=FILE|frequency",
    "--instance-noise": f"{_REGIME} candidates:0.3,by-image=SPREAD",
    "--missing-by-class": f"{_REGIME} missing:0.4,by-class=FILE",
}
"""Former option -> the sentence that names its replacement."""


def with_options(command: Any) -> Any:
    """Add all options to a command, in order."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command
