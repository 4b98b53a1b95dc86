"""`benchkit make-split`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchkit import make_split as making
from benchkit import split_file
from benchkit.errors import BenchkitError
from benchkit.terminal import bar, say
from splits.source import Source

FILE = click.Path(path_type=Path)

_SOURCE_OPTIONS = [
    click.option("--annotations", type=FILE, help="coco: the training instances JSON."),
    click.option("--images", type=FILE, help="coco: the folder of its images."),
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

_BACKBONE_OPTIONS = [
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

_LABEL_OPTIONS = [
    click.option(
        "--long-tail",
        type=click.Choice(["pareto", "none"]),
        default="none",
        show_default=True,
        help="Draw a long-tailed subset of the training images.",
    ),
    click.option("--pareto-b", default=6.0, show_default=True, help="pareto: the exponent b."),
    click.option(
        "--max", "maximum", default=800, show_default=True, help="pareto: the first class's count."
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
        "--generator",
        type=click.Choice(["benchkit", "dbl"]),
        default="benchkit",
        show_default=True,
        help="pareto: our draws, or the published walk to the image (VOC-LT: seed 0).",
    ),
    click.option(
        "--regime",
        default="full",
        show_default=True,
        help="Which training labels are seen: full, pal:R, ppl:R, spl, missing:Q, candidates:RHO.",
    ),
    click.option(
        "--val-fraction",
        default=0.0,
        show_default=True,
        help="Share of the training images held out for validation.",
    ),
    click.option(
        "--test-fraction",
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


def _with(options: list[Any]) -> Any:
    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@click.command("make-split")
@click.argument("source")
@click.option("--out", type=FILE, required=True, help="The split file to write (.h5).")
@_with(_LABEL_OPTIONS)
@_with(_SOURCE_OPTIONS)
@_with(_BACKBONE_OPTIONS)
def make_split(source: str, out: Path, **options: Any) -> None:
    r"""Build one HDF5 split file from labels and images.

    SOURCE is arrays:FILE.npz (X, and Y or indptr + indices + shape; optional split, label_names,
    image_ids), coco (with --annotations), or scenes (drawn here, no download).

    \b
    Examples:
      benchkit make-split arrays:mine.npz --out mine.h5 --regime pal:0.5
      benchkit make-split coco --annotations instances_train2017.json --images train2017 \
          --test-annotations instances_val2017.json --test-images val2017 --keep-empty test \
          --long-tail pareto --max 1200 --out coco-lt.h5
      benchkit make-split scenes --long-tail pareto --regime ppl:0.5 --out scenes.h5
    """
    law = making.LongTail(
        kind=options["long_tail"],
        b=options["pareto_b"],
        maximum=options["maximum"],
        minimum=options["minimum"],
        tail_quantile=options["tail_quantile"],
        generator=options["generator"],
    )
    wanted = making.Options(
        long_tail=law,
        regime=options["regime"],
        val_fraction=options["val_fraction"],
        test_fraction=options["test_fraction"],
        seed=options["seed"],
        many=options["many"],
        few=options["few"],
        shot_reference=options["shot_reference"],
    )
    making.check(wanted)
    loaded, kind = _load_source(source, out, options)
    features = _features(loaded, kind, out, options)
    name = options["name"] or making.default_name(loaded.name, wanted)
    split = making.build(loaded, wanted, features, name)
    prints = split_file.write(split, out, say)
    sizes = ", ".join(f"{len(part.ids)} {name}" for name, part in split.parts.items())
    say(f"{out}: {sizes} images, {len(split.class_names)} classes, {split.regime} labels")
    click.echo(prints["both"])


def _load_source(text: str, out: Path, options: dict[str, Any]) -> tuple[Source, str]:
    kind, _, rest = text.partition(":")
    if kind == "arrays" and rest:
        from splits.sources import arrays

        return arrays.load(Path(rest)), kind
    from splits.sources import coco

    if kind == "coco" and not rest:
        if options["annotations"] is None:
            raise click.UsageError("source coco needs --annotations FILE.json")
        return coco.load(
            options["annotations"],
            train_images=options["images"],
            test_json=options["test_annotations"],
            test_images=options["test_images"],
            keep_empty_train=options["keep_empty"] == "both",
            keep_empty_test=options["keep_empty"] in ("test", "both"),
            crowd=options["crowd"],
        ), kind
    if kind == "scenes" and not rest:
        return _scenes(out, options), kind
    raise click.UsageError(f"source {text!r} is neither arrays:FILE.npz, coco nor scenes")


def _scenes(out: Path, options: dict[str, Any]) -> Source:
    from benchkit import scenes
    from splits.sources import coco

    folder = options["scenes_dir"] or out.parent / "scenes"
    images, test = options["scenes_train"], options["scenes_test"]
    with bar("drawing scenes", images + test) as advance:
        scenes.write(
            folder, images=images, test_images=test, seed=options["seed"], progress=advance
        )
    return coco.load(
        folder / "annotations" / "instances_train.json",
        train_images=folder / "train",
        test_json=folder / "annotations" / "instances_test.json",
        test_images=folder / "test",
        name="scenes",
    )


def _features(source: Source, kind: str, out: Path, options: dict[str, Any]) -> making.Features:
    name = options["backbone"] or {"scenes": "glyphs", "coco": "resnet50"}.get(kind, "none")
    if kind == "coco" and options["images"] is None and options["backbone"] is None:
        name = "none"
    if name == "none":
        features = making.source_features(source)
    else:
        if source.features is not None:
            raise BenchkitError(
                f"source '{source.name}' brings features of its own; leave --backbone out, or X"
            )
        features = _backbone(source, name, out, options)
    return making.stored_as(features, options["feature_type"])


def _backbone(source: Source, name: str, out: Path, options: dict[str, Any]) -> making.Features:
    from benchkit import backbones, runs
    from benchkit import features as extraction

    weights = options["weights"] or ("shipped" if name == "glyphs" else "imagenet")
    backbone = backbones.build(name, weights)
    device = runs.pick_device(options["device"])
    cache = options["cache"] or out.parent / "features"

    def extract(files: list[Path], ids: list[str]) -> Any:
        with bar("computing features", len(files)) as advance:
            return extraction.extract(
                files,
                ids,
                backbone,
                cache=cache,
                views=options["views"],
                precision=options["precision"],
                device=device,
                batch_size=options["extract_batch"],
                progress=advance,
                say=say,
            )

    recipe = {
        "backbone": backbone.name,
        "weights": backbone.weights_digest,
        "transform": backbone.transform_name,
        "views": options["views"],
        "precision": options["precision"],
    }
    return making.backbone_features(source, extract, recipe)
