"""`benchkit make-split`."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchkit.base.devices import pick_device
from benchkit.base.errors import BenchkitError
from benchkit.base.terminal import bar, log, writable, wrong_call
from benchkit.cli import option_rules
from benchkit.cli.split_options import (
    BACKBONE_OPTIONS,
    FILE,
    LABEL_OPTIONS,
    PUBLISHED_OPTIONS,
    SOURCE_OPTIONS,
    with_options,
)
from benchkit.split import build as making
from benchkit.split import file as split_file
from benchkit.split import published
from splits import class_file, regimes
from splits.errors import InputError
from splits.labels import counts
from splits.source import Source
from splits.sources import registry

_OWN = {"coco": ("keep_empty", "crowd"), "scenes": ("scenes_train", "scenes_test")}
"""Sources with options on the command line itself, and those of them that labels depend on."""


@click.command("make-split")
@click.argument("source")
@click.option("--out", type=FILE, required=True, help="The split file to write (.h5).")
@with_options(LABEL_OPTIONS)
@with_options(PUBLISHED_OPTIONS)
@with_options(SOURCE_OPTIONS)
@with_options(BACKBONE_OPTIONS)
def make_split(source: str, out: Path, **options: Any) -> None:
    """Build one HDF5 split file from labels and images.

    SOURCE is KIND:PATH, as in voc:VOCdevkit/VOC2007 (--help-source all lists the kinds), coco (with
    --annotations), or scenes (drawn here, no download).

    \b
    Examples:
      benchkit make-split arrays:mine.npz --out mine.h5 --regime pal:0.5
      benchkit make-split coco --annotations instances_train2017.json --images train2017 \\
          --test-annotations instances_val2017.json --test-images val2017 --keep-empty test \\
          --long-tail pareto --max 1200 --out coco-lt.h5
      benchkit make-split voc:VOCdevkit/VOC2012 --source-option test_root=VOCdevkit/VOC2007 \\
          --long-tail pareto --generator dbl --out voc-lt.h5
      benchkit make-split scenes --long-tail pareto --regime ppl:0.5 --out scenes.h5
    """  # noqa: D301 (click looks for the backspace itself)
    given = _given()
    kind, colon, rest = source.partition(":")
    source = kind + colon + os.path.expanduser(rest)  # after a colon, no shell does that
    with wrong_call(BenchkitError, InputError):
        wanted = _wanted(options)
        files = _published_files(options, given)
        call = _call(source, wanted, options)
        option_rules.check(call, given)
        making.check(wanted)
    _keep_inputs(source, out, options)
    loaded, reading = _load_source(source, out, options)
    chosen = _chosen(loaded, files, given, options)
    images = loaded if chosen is None else chosen.source
    assert images is not None
    features_come = call.computes or images.features is not None
    call = dataclasses.replace(call, parts=images.part is not None, features=features_come)
    option_rules.check(call, given)
    writable(out)
    features = _features(images, call, out, options)
    if chosen is None:
        name = options["name"] or making.default_name(images.name, wanted)
        split = making.build(images, wanted, features, name, reading)
    else:
        name = options["name"] or published.default_name(chosen, wanted)
        split = making.build(images, published.laws(chosen, wanted), features, name, reading)
        split = published.finish(split, chosen)
    fingerprints = split_file.write(split, out, log)
    sizes = ", ".join(f"{len(part.ids)} {name}" for name, part in split.parts.items())
    log(f"{out}: {sizes} images, {len(split.class_names)} classes, {split.regime} labels")
    click.echo(fingerprints["both"])


def _keep_inputs(source: str, out: Path, options: dict[str, Any]) -> None:
    """Refuse to write the split over a file that the call names as an input."""
    words = [source, *options["source_options"], *options["published_file"]]
    named = [word.partition(":" if word is source else "=")[2] for word in words]
    keys = ("annotations", "test_annotations", "target_counts", "noise_by_class")
    named += [options[key] for key in (*keys, "missing_by_class", "weights")]
    for path in map(Path, filter(None, named)):
        if out.is_file() and path.is_file() and path.samefile(out):
            raise BenchkitError(f"{out} is read by this call; --out names another file to write")


def _wanted(options: dict[str, Any]) -> making.Options:
    """The laws that the command line asks for, with the files of classes that they name."""
    tail, noise, missing = (
        options[key] for key in ("target_counts", "noise_by_class", "missing_by_class")
    )
    if tail is not None and options["long_tail"] != "none":
        raise click.UsageError("--target-counts takes the place of a law; leave --long-tail out")
    if noise is not None and noise != "frequency":
        noise = class_file.read(Path(noise), whole=False)
    law = making.LongTail(
        kind=options["long_tail"] if tail is None else "counts",
        b=options["pareto_b"],
        maximum=options["maximum"],
        minimum=options["minimum"],
        tail_quantile=options["tail_quantile"],
        generator=options["generator"],
        imbalance_ratio=options["imbalance_ratio"],
        targets=None if tail is None else class_file.read(tail, whole=True),
    )
    return making.Options(
        long_tail=law,
        regime=options["regime"],
        val_fraction=options["val_fraction"],
        test_fraction=options["test_fraction"],
        seed=options["seed"],
        many=options["many"],
        few=options["few"],
        shot_reference=options["shot_reference"],
        counts=options["counts"],
        noise_by_class=noise,
        instance_noise=options["instance_noise"],
        missing_by_class=None if missing is None else class_file.read(missing, whole=False),
    )


def _given() -> set[str]:
    """The parameters that stand in the call itself."""
    context = click.get_current_context()
    told = click.core.ParameterSource.COMMANDLINE
    return {key for key in context.params if context.get_parameter_source(key) is told}


def _call(source: str, wanted: making.Options, options: dict[str, Any]) -> option_rules.Call:
    """What the call has chosen, before anything is read."""
    kind, _, rest = source.partition(":")
    kind = (
        source if source == published.SOURCE else kind if kind in _OWN and not rest else f"{kind}:"
    )
    by_default = {"scenes": "glyphs", "coco": "resnet50" if options["images"] else "none"}
    parts = {"scenes": True, "coco": options["test_annotations"] is not None}.get(kind)
    name = options["published"]
    return option_rules.Call(
        source=kind,
        tail=wanted.long_tail.kind if name is None else "published",
        regime=regimes.parse(wanted.regime).kind,
        backbone=options["backbone"] or by_default.get(kind, "none"),
        parts=parts if name is None else None,
    )


def _published_files(options: dict[str, Any], given: set[str]) -> dict[str, Path]:
    """Role -> list file of the published split that a call names."""
    name, words = options["published"], options["published_file"]
    if name is None:
        if words:
            raise click.UsageError("--published-file needs --published NAME")
        return {}
    return published.request(name, words, given)


def _chosen(
    source: Source | None, files: dict[str, Path], given: set[str], options: dict[str, Any]
) -> published.Chosen | None:
    """The published split that a source is cut down to, if one is named."""
    name = options["published"]
    if name is None:
        return None
    roots = (options["images"],) if source is None and options["images"] is not None else ()
    chosen = published.choose(name, source, files, given, roots)
    for note in chosen.notes:
        log(f"{name}: {note}")
    return chosen


def _load_source(
    text: str, out: Path, options: dict[str, Any]
) -> tuple[Source | None, dict[str, Any]]:
    """The source, None for the lists of a published split, and the options it was read with."""
    kind, _, rest = text.partition(":")
    if text == published.SOURCE and options["published"] is not None:
        return None, {"kind": text}
    if kind in _OWN and not rest:
        if options["source_options"]:
            raise click.UsageError(f"--source-option is for sources KIND:PATH, not for {text!r}")
        loaded = _scenes(out, options) if kind == "scenes" else _annotated(options)
        reading = {"kind": kind, **{key: options[key] for key in _OWN[kind]}}
    else:
        loaded, reading = _registered(text, options["source_options"])
    if empty := int((counts(loaded.labels, 1) == 0).sum()):
        log(f"{text}: {empty} of {len(loaded.class_names)} classes have no positive image")
    return loaded, reading


def _registered(text: str, words: Sequence[str]) -> tuple[Source, dict[str, Any]]:
    kind, _, rest = text.partition(":")
    with wrong_call(InputError):
        if kind not in registry.names():
            forms = ", ".join(registry.get(name).FORM for name in registry.names())
            raise InputError(f"source {text!r} is none of {forms}, coco and scenes")
        module = registry.get(kind)
        if not rest:
            raise InputError(f"source {kind} needs a path: {module.FORM}")
        what = "folder" if Path(rest).is_dir() else "file" if Path(rest).is_file() else ""
        chosen = registry.parse_options(kind, words, what)
    reading = registry.recorded(kind, chosen, what)
    if getattr(module, "NEEDS_HDF5", False):
        chosen["read"] = split_file.read_arrays
    loaded: Source = module.load(Path(rest), **chosen)
    return loaded, reading


def _annotated(options: dict[str, Any]) -> Source:
    from splits.sources import coco

    if options["annotations"] is None:
        raise click.UsageError("source coco needs --annotations FILE.json, or write coco:ROOT")
    if options["keep_empty"] == "test" and options["test_annotations"] is None:
        raise click.UsageError(
            "--keep-empty test has no effect, because there is no test part; it goes with "
            "--test-annotations"
        )
    return coco.load(
        options["annotations"],
        train_images=options["images"],
        test_json=options["test_annotations"],
        test_images=options["test_images"],
        keep_empty_train=options["keep_empty"] == "both",
        keep_empty_test=options["keep_empty"] in ("test", "both"),
        crowd=options["crowd"],
    )


def _scenes(out: Path, options: dict[str, Any]) -> Source:
    from benchkit.images import scenes
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


def _features(
    source: Source, call: option_rules.Call, out: Path, options: dict[str, Any]
) -> making.Features:
    name = call.backbone
    if name == "none":
        features = making.source_features(source)
    else:
        if source.features is not None:
            raise BenchkitError(
                f"source '{source.name}' brings features of its own; leave --backbone out, or X"
            )
        if call.source == "coco" and options["images"] is None:
            raise click.UsageError(f"--backbone {name} has nothing to look at without --images")
        features = _backbone(source, name, out, options)
    return making.stored_as(features, options["feature_type"])


def _backbone(source: Source, name: str, out: Path, options: dict[str, Any]) -> making.Features:
    from benchkit.images import backbones
    from benchkit.images import features as extraction

    weights = options["weights"] or ("shipped" if name == "glyphs" else "imagenet")
    # torch announces a download on standard output, which is kept for results.
    with contextlib.redirect_stdout(sys.stderr):
        backbone = backbones.build(name, weights, image_size=options["image_size"])
    device = pick_device(options["device"])
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
                log=log,
            )

    recipe = {
        "backbone": backbone.name,
        "weights": backbone.weights_digest,
        "transform": backbone.transform_name,
        "views": options["views"],
        "precision": options["precision"],
    }
    return making.backbone_features(source, extract, recipe)
