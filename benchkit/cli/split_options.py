"""The options of `benchkit make-split`, by what they decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchkit.base.terminal import wrong_call
from splits.errors import InputError
from splits.sources import registry

FILE = click.Path(path_type=Path)


def _help_source(context: click.Context, _: click.Parameter, kind: str | None) -> None:
    """Print the forms of all sources, or the form and the options of one, and stop."""
    if kind is None or context.resilient_parsing:
        return
    with wrong_call(InputError):
        if kind == "all":
            for module in map(registry.get, registry.names()):
                click.echo(f"{module.FORM}\n  {module.HELP}")
        else:
            click.echo(registry.describe(kind))
    context.exit()


SOURCE_OPTIONS = [
    click.option(
        "--source-option",
        "source_options",
        metavar="KEY=VALUE",
        multiple=True,
        help="An option of a source KIND:PATH; may be given several times.",
    ),
    click.option(
        "--help-source",
        metavar="KIND|all",
        is_eager=True,
        expose_value=False,
        callback=_help_source,
        help="Print the form and the options of a source KIND, or the forms of all, and stop.",
    ),
    click.option("--annotations", type=FILE, help="coco: the training instances JSON."),
    click.option("--images", type=FILE, help="coco, lists: the folder of the images."),
    click.option("--test-annotations", type=FILE, help="coco: the test instances JSON."),
    click.option("--test-images", type=FILE, help="coco: the folder of the test images."),
    click.option(
        "--keep-empty",
        type=click.Choice(["none", "test", "both"]),
        default="none",
        show_default=True,
        help="coco: in which parts images without any label stay, as all-negative rows.",
    ),
    click.option(
        "--crowd/--no-crowd",
        default=True,
        show_default=True,
        help="coco: whether crowd annotations make a label positive.",
    ),
    click.option(
        "--scenes-dir",
        type=FILE,
        help="scenes: where the images go.  [default: OUT's folder/scenes]",
    ),
    click.option(
        "--scenes-train",
        type=click.IntRange(min=1),
        default=4000,
        show_default=True,
        help="scenes: training images to draw.",
    ),
    click.option(
        "--scenes-test",
        type=click.IntRange(min=1),
        default=1000,
        show_default=True,
        help="scenes: test images to draw.",
    ),
]

BACKBONE_OPTIONS = [
    click.option(
        "--backbone",
        help="A torchvision model by name, glyphs, or none.  [default: glyphs for scenes, "
        "resnet50 for coco, none for arrays]",
    ),
    click.option(
        "--weights",
        help="imagenet, random, shipped (glyphs) or a file.  [default: shipped for glyphs, "
        "else imagenet]",
    ),
    click.option(
        "--image-size",
        type=click.IntRange(min=1),
        help="The backbone sees images resized to a square of this many pixels.  [default: 96 for "
        "glyphs, else 224]",
    ),
    click.option(
        "--views",
        type=click.IntRange(1, 2),
        default=1,
        show_default=True,
        help="Cached views per image; 2 adds the horizontal flip.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["fp32", "bf16"]),
        default="fp32",
        show_default=True,
        help="Precision of the backbone's forward pass.",
    ),
    click.option(
        "--feature-type",
        type=click.Choice(["float32", "float16"]),
        default="float32",
        show_default=True,
        help="How features are stored in the split file.",
    ),
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where the backbone runs.",
    ),
    click.option(
        "--extract-batch",
        type=click.IntRange(min=1),
        default=64,
        show_default=True,
        help="Images per forward pass of the backbone.",
    ),
    click.option(
        "--cache",
        type=FILE,
        help="Feature cache, shared by splits and resumed after a stop.  [default: OUT's "
        "folder/features]",
    ),
]

LABEL_OPTIONS = [
    click.option(
        "--long-tail",
        type=click.Choice(["pareto", "exponential", "natural", "none"]),
        default="none",
        show_default=True,
        help="Draw a long-tailed subset of the training images; natural keeps them all, as none "
        "does, and says that they are long-tailed by themselves.",
    ),
    click.option("--pareto-b", default=6.0, show_default=True, help="pareto: the exponent b."),
    click.option(
        "--max",
        "maximum",
        default=800,
        show_default=True,
        help="pareto, exponential: the first class's count.",
    ),
    click.option(
        "--min", "minimum", default=1, show_default=True, help="pareto: the curve's floor."
    ),
    click.option(
        "--tail-quantile",
        default=0.99,
        show_default=True,
        help="pareto: the quantile at which the last class stands.",
    ),
    click.option(
        "--imbalance-ratio",
        default=100.0,
        show_default=True,
        help="exponential: the first class's count over the last one's.",
    ),
    click.option(
        "--target-counts",
        type=FILE,
        help="Draw towards the counts of this file instead of a law's: CSV lines name,count or a "
        "JSON object.",
    ),
    click.option(
        "--generator",
        type=click.Choice(["benchkit", "dbl"]),
        default="benchkit",
        show_default=True,
        help="long tail: our draws, or the published walk to the image (VOC-LT: seed 0).",
    ),
    click.option(
        "--regime",
        default="full",
        show_default=True,
        help="Which training labels are seen: full, pal:R, ppl:R, spl, missing:Q, candidates:RHO.",
    ),
    click.option(
        "--counts",
        type=click.Choice(["exact", "bernoulli"]),
        help="Beyond the papers: choose a share of each image's labels, or each label on its own.  "
        "[default: exact for ppl, else bernoulli]",
    ),
    click.option(
        "--noise-by-class",
        metavar="FILE|frequency",
        help="Beyond the papers, candidates: rates in proportion to the numbers of a file "
        "(name,number), or to the classes' training counts; RHO stays their mean.",
    ),
    click.option(
        "--instance-noise",
        type=click.FloatRange(0, 1),
        default=0.0,
        show_default=True,
        help="Beyond the papers, candidates: images differ in their rate by up to this share of "
        "RHO, which stays the mean.",
    ),
    click.option(
        "--missing-by-class",
        type=FILE,
        help="Beyond the papers, missing: rates in proportion to the numbers of a file "
        "(name,number); Q stays their mean.",
    ),
    click.option(
        "--val-fraction",
        type=click.FloatRange(0, 1, max_open=True),
        default=0.0,
        show_default=True,
        help="Share of the training images held out for validation.",
    ),
    click.option(
        "--test-fraction",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        default=0.2,
        show_default=True,
        help="Share of the images for the test part, where the source names none.",
    ),
    click.option("--seed", default=0, show_default=True, help="Seed of everything random."),
    click.option(
        "--many", default=100, show_default=True, help="Least training count of a many-shot class."
    ),
    click.option(
        "--few",
        default=20,
        show_default=True,
        help="Training count below which a class is few-shot.",
    ),
    click.option(
        "--shot-reference",
        type=click.Choice(["true", "observed"]),
        default="true",
        show_default=True,
        help="Whether shot groups count true or observed training positives.",
    ),
    click.option("--name", help="Name of the split in tables.  [default: from source and laws]"),
]

PUBLISHED_OPTIONS = [
    click.option(
        "--published",
        metavar="NAME",
        help="A published split by name: voc-lt, coco-lt, plt-voc, spml-coco, ... (docs/published"
        ".md); SOURCE is what it is made from, or the word lists.",
    ),
    click.option(
        "--published-file",
        multiple=True,
        metavar="ROLE=PATH",
        help="A list file of the published split's authors; may be repeated.",
    ),
]


def with_options(options: list[Any]) -> Any:
    """A decorator that adds a list of options to a command, in order."""

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate
