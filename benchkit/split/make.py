"""From a request to a split file, for `benchkit make-split` and `benchkit.make_split`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchkit.base.devices import pick_device
from benchkit.base.errors import BenchkitError, UsageError
from benchkit.base.files import check_name
from benchkit.base.messages import Bar, Log, no_bar, no_log
from benchkit.base.outputs import writable
from benchkit.split import file as split_file
from benchkit.split import loading, option_rules, published, source_checks
from benchkit.split.build import build, default_name
from benchkit.split.decision import Subject, draw
from benchkit.split.features import Features, backbone_features, check_images, source_features
from benchkit.split.loading import SourceCall
from benchkit.split.model import Split
from benchkit.split.option_rules import Call
from benchkit.split.options import LongTail, Options
from benchkit.split.request import Request
from splits import class_file
from splits.errors import InputError
from splits.labels import counts
from splits.regimes import Regime
from splits.source import VAL, Source


def make(request: Request, log: Log = no_log, bar: Bar = no_bar) -> Split:
    """Make a split file.

    Args:
        request: the arguments.
        log: called with messages.
        bar: makes a progress bar.

    Returns:
        The split, as the file stores it.

    Raises:
        UsageError: an argument with a wrong value, or one that has no effect.
        BenchkitError: the split cannot be built or written.
        InputError: the source or a list file cannot be read.
    """
    checked = _check(request)
    writable(request.out, log)
    source = loading.load(checked.source_call, request.seed, bar, log)
    if source is not None:
        for note in source.notes:
            log(f"{checked.source_call.text}: {note}")
        _log_empty_classes(source, checked.source_call, log)
    subject = _decide(request, checked, source, log)
    _check_against(subject, checked.call, request)
    call = checked.source_call
    features = _features(subject.source, checked.call.backbone, request, log, bar)
    split = build(
        subject.source,
        subject.options,
        features,
        request.name or subject.name,
        decision=subject.decision,
        source_options=call.recorded,
        check=functools.partial(source_checks.check_evaluation, call),
    )
    split_file.write(split, request.out, log)
    if features.of is None:
        source_checks.log_missing_features(subject.source, call, request.explicit, log)
    source_checks.log_evaluation(call, split, log)
    source_checks.log_repeated_images(call.text, split.parts, log)
    sizes = ", ".join(f"{len(part.ids)} {name}" for name, part in split.parts.items())
    log(f"{request.out}: {sizes} images, {len(split.class_names)} classes, {split.regime} labels")
    return split


# ----------------------------------------------------------------------------- checks


@dataclass(frozen=True)
class _Checked:
    """A request after all checks that need no source."""

    options: Options
    source_call: SourceCall
    call: Call


def _check(request: Request) -> _Checked:
    """Check a request without reading its source.

    Raises:
        UsageError: an argument with a wrong value, or one that has no effect.
        BenchkitError: the split file is an input of the call.
    """
    with _usage_errors():
        options = _options(request)
        if request.published is not None:
            published.check(request.published, request.published_files, request.explicit)
        elif request.published_files:
            raise UsageError("--published-file must be used with --published NAME")
    source_call = loading.parse(request)
    if request.published is not None and source_call.has_observed:
        raise UsageError(
            "the options observed and candidates cannot be used with --published, which fixes the "
            "labels"
        )
    call = _call(request, source_call, options)
    option_rules.check(call, request.explicit)
    with _usage_errors():
        options.check()
    _check_out(request, source_call, options)
    return _Checked(options, source_call, call)


@contextlib.contextmanager
def _usage_errors() -> Iterator[None]:
    """Turn errors about the values of arguments into usage errors."""
    try:
        yield
    except (BenchkitError, InputError) as error:
        raise UsageError(str(error)) from None


def _options(request: Request) -> Options:
    """The decisions about labels, with the target counts read from their file."""
    targets = None
    if request.target_counts is not None:
        if request.long_tail != "none":
            raise UsageError("--target-counts replaces the curve; leave --long-tail out")
        targets = class_file.read(request.target_counts, whole_numbers=True)
    tail = LongTail(
        kind=request.long_tail if targets is None else "counts",
        b=request.pareto_b,
        maximum=request.maximum,
        minimum=request.minimum,
        tail_quantile=request.tail_quantile,
        generator=request.generator,
        imbalance_ratio=request.imbalance_ratio,
        targets=targets,
    )
    return Options(
        long_tail=tail,
        regime=Regime.parse(request.regime),
        val_fraction=_val_fraction(request),
        val_from=request.val_from,
        test_fraction=request.test_fraction,
        seed=request.seed,
        many=request.many,
        few=request.few,
        shot_reference=request.shot_reference,
    )


def _val_fraction(request: Request) -> float:
    """The share of the validation part; by default, left-out images are as many as training images.

    Raises:
        UsageError: `val_from` has no effect, or the call has no long tail that leaves images out.
    """
    if request.val_from == "train":
        if "val_from" in request.explicit and not request.val_fraction:
            raise UsageError("--val-from train must be used with --val-fraction")
        return request.val_fraction
    has_tail = request.target_counts is not None or request.long_tail in ("pareto", "exponential")
    if request.published is not None or not has_tail:
        raise UsageError(
            "--val-from left-out takes images that a long tail leaves out; it must be used with "
            "--long-tail pareto or exponential or --target-counts"
        )
    if "val_fraction" not in request.explicit:
        return 1.0
    if not request.val_fraction:
        raise UsageError("--val-fraction 0 leaves --val-from left-out without effect")
    return request.val_fraction


def _call(request: Request, source_call: SourceCall, options: Options) -> Call:
    """The properties of the call that are known before the source is read."""
    if request.published is not None:
        tail, parts = "published", None
    else:
        tail, parts = options.long_tail.kind, source_call.has_test_part
    return Call(
        tail=tail,
        backbone=request.backbone or source_call.backbone,
        parts=parts,
        observed=source_call.has_observed,
    )


def _check_out(request: Request, source_call: SourceCall, options: Options) -> None:
    """Check that the split file has a valid name and is no file that the call reads."""
    check_name(request.out)
    inputs = [
        source_call.path,
        *source_call.options.values(),
        *request.published_files.values(),
        request.target_counts,
        request.weights,
        options.regime.by_class,
    ]
    for path in (Path(value) for value in inputs if isinstance(value, str | Path) and str(value)):
        if request.out.is_file() and path.is_file() and path.samefile(request.out):
            raise BenchkitError(
                f"{request.out} is an input of this call; --out must name another file"
            )


def _check_against(subject: Subject, call: Call, request: Request) -> None:
    """Check the options whose effect depends on the source that was read."""
    part = subject.source.part
    known = dataclasses.replace(
        call,
        parts=request.published is not None or part is not None,
        features=call.computes or subject.source.features is not None,
        val=request.published is None and part is not None and bool((part == VAL).any()),
    )
    option_rules.check(known, request.explicit)


# ----------------------------------------------------------------------------- source, features


def _log_empty_classes(source: Source, source_call: SourceCall, log: Log) -> None:
    empty, total = int((counts(source.labels, 1) == 0).sum()), len(source.class_names)
    if empty:
        log(f"{source_call.text}: {empty} of {total} classes have no positive image")


def _decide(request: Request, checked: _Checked, source: Source | None, log: Log) -> Subject:
    """Cut the source down to a published split if one is named."""
    if request.published is None:
        assert source is not None  # only published splits are made without a source
        # The name contains the regime of the source's own labels, which the decision measures.
        decision = None if source.observed is None else draw(source, checked.options)
        own = None if decision is None else decision.regime
        name = default_name(source.name, checked.options, own)
        return Subject(source, checked.options, decision, name)
    subject = published.decide(
        request.published,
        source,
        request.published_files,
        checked.options,
        explicit=request.explicit,
        images=checked.source_call.path if source is None else None,
    )
    for note in subject.notes:
        log(f"{request.published}: {note}")
    return subject


def _features(source: Source, backbone: str, request: Request, log: Log, bar: Bar) -> Features:
    if backbone == "none":
        features = source_features(source)
    else:
        if source.features is not None:
            raise BenchkitError(
                f"source '{source.name}' has features of its own; leave out --backbone, or the "
                "features of the source"
            )
        with _usage_errors():
            check_images(source)
        features = _computed(source, backbone, request, log, bar)
    return features.stored_as(request.feature_type)


def _computed(source: Source, name: str, request: Request, log: Log, bar: Bar) -> Features:
    """Features from a backbone. Imports torch, and downloads weights if they are missing."""
    from benchkit.images import backbones
    from benchkit.images.features import extract

    weights = request.weights or ("shipped" if name == "glyphs" else "imagenet")
    # torch announces a download on standard output, which is reserved for results.
    with contextlib.redirect_stdout(sys.stderr):
        backbone = backbones.build(name, weights, image_size=request.image_size)
    device = pick_device(request.device)
    cache = request.cache or request.out.parent / "features"

    def compute(files: list[Path], ids: list[str]) -> Any:
        with bar("computing features", len(files)) as advance:
            return extract(
                files,
                ids,
                backbone,
                cache=cache,
                views=request.views,
                precision=request.precision,
                device=device,
                batch_size=request.extract_batch,
                progress=advance,
                log=log,
            )

    recipe = {
        "backbone": backbone.name,
        "weights": backbone.weights_digest,
        "transform": backbone.transform_name,
        "views": request.views,
        "precision": request.precision,
    }
    return backbone_features(source, compute, recipe)
