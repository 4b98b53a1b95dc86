"""The public API: everything the command line does, as functions.

Each function takes paths as strings or `pathlib.Path`s, writes the same files as the command of
the same name, and raises `benchkit.BenchkitError` (or a `ValueError` of the package concerned) with
one sentence where the command would print it. Nothing is printed unless `log` is given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchkit.base.errors import UsageError
from benchkit.base.messages import Bar, Log, no_bar, no_log

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from baselines.core import Method
    from benchkit.runs.plan import Outcome
    from benchkit.runs.tune import Tuning
    from benchkit.split.model import Split
    from leaderboard.table import Table


def make_split(
    source: str,
    out: str | Path,
    *,
    name: str | None = None,
    source_options: Mapping[str, Any] | None = None,
    published: str | None = None,
    published_files: Mapping[str, str | Path] | None = None,
    long_tail: str = "none",
    pareto_b: float = 6.0,
    maximum: int = 800,
    minimum: int = 1,
    tail_quantile: float = 0.99,
    imbalance_ratio: float = 100.0,
    target_counts: str | Path | None = None,
    generator: str = "benchkit",
    regime: str = "full",
    val_fraction: float = 0.0,
    val_from: str = "train",
    test_fraction: float = 0.2,
    seed: int = 0,
    many: int = 100,
    few: int = 20,
    shot_reference: str = "true",
    backbone: str | None = None,
    weights: str | None = None,
    image_size: int | None = None,
    views: int = 1,
    precision: str = "fp32",
    feature_type: str = "float32",
    device: str = "auto",
    extract_batch: int = 64,
    cache: str | Path | None = None,
    log: Log = no_log,
    bar: Bar = no_bar,
) -> Split:
    """Build one split file from labels and images.

    Args:
        source: KIND:PATH, such as `arrays:mine.npz` or `coco:train.json`, or `scenes`.
            `benchkit make-split --help-source all` lists the kinds.
        out: the split file to write (.h5).
        name: the name of the split in tables; derived from the other arguments by default.
        source_options: option of the source -> value.
        published: the name of a published split, such as `voc-lt`, that is made from the source.
        published_files: role -> list file of the published split.
        long_tail: the long tail of the training images: "none", "pareto", "exponential", or
            "natural" (keep all images and say that they are long-tailed already).
        pareto_b: pareto: the exponent b.
        maximum: pareto, exponential: the training count of the largest class.
        minimum: pareto: the floor of the curve.
        tail_quantile: pareto: the quantile at the last class.
        imbalance_ratio: exponential: the first class's count over the last one's.
        target_counts: a file of target counts per class, in place of a curve.
        generator: "benchkit" (keyed by image and class) or "dbl" (the published generator).
        regime: which training labels are observed: `full`, `pal:R`, `ppl:R`, `spl`, `missing:Q` or
            `candidates:RHO`, with variants such as `pal:0.5,counts=exact`.
        val_fraction: the size of the validation part as a share of the training images.
        val_from: "train" holds images of the training part out for validation; "left-out" takes
            images that the long tail left out instead, by default as many as there are training
            images, if so many were left out.
        test_fraction: the share of the images in the test part, if the source has none.
        seed: the seed of all random draws.
        many: the smallest training count of a many-shot class.
        few: the smallest training count of a medium-shot class.
        shot_reference: whether shot groups use "true" or "observed" training counts.
        backbone: a torchvision model, "glyphs" or "none"; by default what suits the source.
        weights: "imagenet", "random", "shipped" or a file.
        image_size: the side in pixels to which images are resized.
        views: views per image: 1, or 2 to add the horizontal flip.
        precision: "fp32" or "bf16", of the backbone's forward pass.
        feature_type: "float32" or "float16", of the stored features.
        device: "auto", "cpu" or "cuda", for the backbone.
        extract_batch: images per forward pass.
        cache: the folder of the feature cache; by default `features` beside `out`.
        log: called with messages.
        bar: makes a progress bar; `benchkit.base.terminal.bar` shows one in a terminal.

    Returns:
        The split, as `load_split` reads it.

    Raises:
        UsageError: an argument with a wrong value, or one that has no effect here.
        BenchkitError: the result cannot be built or written.
        splits.errors.InputError: the source cannot be read.

    Example:
        >>> split = benchkit.make_split("arrays:mine.npz", "half.h5", regime="pal:0.5")
        >>> split.train.features.shape
        (160, 1, 8)
        >>> split.class_names
        ('cat', 'dog', 'moose')
    """
    arguments = {name: value for name, value in locals().items() if name not in ("log", "bar")}
    from benchkit.split.make import make
    from benchkit.split.request import Request

    defaults = {field.name: field.default for field in dataclasses.fields(Request)}
    explicit = {
        name
        for name, value in arguments.items()
        if name not in ("source", "out") and value is not None and value != defaults[name]
    }
    for name in ("out", "target_counts", "cache"):
        if arguments[name] is not None:
            arguments[name] = Path(arguments[name])
    arguments["source_options"] = dict(source_options or {})
    files = published_files or {}
    arguments["published_files"] = {role: Path(path) for role, path in files.items()}
    return make(Request(**arguments, explicit=frozenset(explicit)), log, bar)


def load_split(path: str | Path) -> Split:
    """Read a split file.

    Args:
        path: the file that `make_split` or `benchkit make-split` wrote.

    Returns:
        The split: `split.train`, `split.test` (and `split.val`, or None) hold NumPy arrays;
        `split.dataset("train")` is a torch `Dataset`, `split.frame("train")` a pandas frame.

    Raises:
        BenchkitError: the file is missing, damaged or unfinished.

    Example:
        >>> split = benchkit.load_split("mine.h5")
        >>> split.train.dense("observed").shape
        (160, 3)
        >>> split.frame("test", labels="true").columns.tolist()
        ['cat', 'dog', 'moose']
    """
    from benchkit.split import file

    return file.read(Path(path))


def run(
    split: str | Path,
    methods: str | type[Method] | Sequence[str | type[Method]],
    *,
    out: str | Path,
    seeds: int | Sequence[int] = 1,
    hyperparameters: Mapping[str, Mapping[str, Any]] | None = None,
    papers: Sequence[str] = (),
    recipe: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] = (),
    select: str = "last",
    device: str = "auto",
    stack: int = 16,
    plugins: Sequence[str | Path] = (),
    class_embeddings: str | Path | None = None,
    log: Log = no_log,
    bar: Bar = no_bar,
) -> Outcome:
    """Train methods on a split and record their test scores.

    Existing records are kept: the same call again trains only what is missing.

    Args:
        split: the split file.
        methods: method keys, `"all"`, or `Method` classes of your own.
        out: the folder of run records.
        seeds: the number of seeds (0 to N-1), or the seeds themselves.
        hyperparameters: method key -> name -> value; other hyperparameters keep their defaults. A
            list of values makes a row for each of them.
        papers: data sets whose published hyperparameters are used where a method has them.
        recipe: a recipe's name, a TOML file, fields (`{"epochs": 40}`), or several of these,
            applied in order.
        select: the epoch that is scored: "last", "val" (the best on the validation part), or
            "test-oracle".
        device: "auto", "cpu" or "cuda".
        stack: the maximum number of runs that train as one program.
        plugins: Python files with further methods.
        class_embeddings: an .npy file with one row per class.
        log: called with messages.
        bar: makes a progress bar; `benchkit.base.terminal.bar` shows one in a terminal.

    Returns:
        The run ids by outcome: `done`, `cached` (existed already), `failed` (run id -> reason),
        `skipped` (method -> reason) and `busy` (another process is training them).

    Raises:
        UsageError: an unknown method, hyperparameter, recipe or selection rule.
        BenchkitError: the split cannot be read or has no features, or `out` cannot be written.

    Example:
        >>> outcome = benchkit.run("mine.h5", ["bce", "asl"], out="new-runs", seeds=3)
        >>> len(outcome.done)
        6
    """
    from benchkit.runs.execute import execute
    from benchkit.runs.grids import grid_of
    from benchkit.runs.options import SELECTIONS

    if select not in SELECTIONS:
        raise UsageError(f"select {select!r} is not one of {', '.join(SELECTIONS)}")
    grid = grid_of(
        split,
        methods,
        out=out,
        seeds=seeds,
        hyperparameters=hyperparameters,
        papers=papers,
        recipe=recipe,
        select=select,
        device=device,
        stack=stack,
        plugins=plugins,
        class_embeddings=class_embeddings,
        log=log,
    )
    return execute(grid, log, bar)


def tune(
    split: str | Path,
    methods: str | type[Method] | Sequence[str | type[Method]],
    *,
    out: str | Path,
    draws: int = 16,
    seeds: int = 3,
    select: str = "val",
    hyperparameters: Mapping[str, Mapping[str, Any]] | None = None,
    recipe: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] = (),
    device: str = "auto",
    stack: int = 16,
    plugins: Sequence[str | Path] = (),
    class_embeddings: str | Path | None = None,
    log: Log = no_log,
    bar: Bar = no_bar,
) -> Tuning:
    """Choose the setting of each method on the validation part, and record its test scores.

    Every method gets the same number of draws: its default, and random values of its
    hyperparameters and of the recipe's learning rate, weight decay and number of steps. The draw
    with the best validation score is trained anew, beside the default; no other draw gets a test
    score. Existing draws and records are kept, so the same call continues an interrupted one, and
    a call with more draws trains only the new ones.

    Args:
        split: the split file; it needs a validation part.
        methods: method keys, `"all"`, or `Method` classes of your own.
        out: the folder of run records; draws are kept in its folder `draws`.
        draws: the number of settings per method, including the default.
        seeds: the number of seeds (0 to N-1) of every draw and of the recorded runs.
        select: the validation score: "val" (mAP on true labels), or "val-observed" (estimated from
            the labels that are observed there).
        hyperparameters: method key -> name -> value; these values are not drawn.
        recipe: as for `run`; fields that are set here are not drawn.
        device: "auto", "cpu" or "cuda".
        stack: the maximum number of runs that train as one program.
        plugins: Python files with further methods.
        class_embeddings: an .npy file with one row per class.
        log: called with messages.
        bar: makes a progress bar; `benchkit.base.terminal.bar` shows one in a terminal.

    Returns:
        `choices`, one per method (`method`, `draw`, `changes`, `default_score`, `score`), and
        `outcome`, the run ids of the default and the tuned runs as `run` returns them.

    Raises:
        UsageError: an unknown method, hyperparameter, recipe or selection rule.
        BenchkitError: the split cannot be read or has no features or no validation part, or `out`
            cannot be written.

    Example:
        >>> tuning = benchkit.tune("mine.h5", "asl", out="runs", draws=4, seeds=1)
        >>> tuning.choices[0].score >= tuning.choices[0].default_score
        True
    """
    from benchkit.runs.grids import grid_of, recipe_list
    from benchkit.runs.options import SEARCH_SELECTIONS
    from benchkit.runs.tune import Search, fixed_fields
    from benchkit.runs.tune import tune as search

    if select not in SEARCH_SELECTIONS:
        raise UsageError(f"select {select!r} is not one of {', '.join(SEARCH_SELECTIONS)}")
    for name, value in (("draws", draws), ("seeds", seeds)):
        if value < 1:
            raise UsageError(f"{name}={value} is less than 1")
    for key, values in (hyperparameters or {}).items():
        for name, value in values.items():
            if isinstance(value, list | tuple):
                raise UsageError(f"{key}.{name} has several values; tune takes one, or draws them")
    grid = grid_of(
        split,
        methods,
        out=out,
        seeds=seeds,
        hyperparameters=hyperparameters,
        papers=(),
        recipe=recipe,
        select="last",
        device=device,
        stack=stack,
        plugins=plugins,
        class_embeddings=class_embeddings,
        log=log,
    )
    return search(Search(grid, draws, select, fixed_fields(recipe_list(recipe))), log, bar)


def evaluate(
    split: str | Path,
    scores: str | Path | np.ndarray,
    *,
    name: str,
    out: str | Path,
    seed: int = 0,
    select: str = "last",
    scale: str | None = None,
    oracle: Sequence[str] = (),
    note: str = "",
    log: Log = no_log,
) -> str:
    """Record test scores that were computed elsewhere, for the same leaderboard.

    Args:
        split: the split file.
        scores: float [test images, classes] in the split's row order; or an .npz file with `scores`
            and, if the rows are in another order, `ids`.
        name: the name of the row.
        out: the folder of run records.
        seed: the seed of these scores.
        select: the selection rule that produced them: "last", "val" or "test-oracle".
        scale: "logit" or "probability"; required if all scores lie between 0 and 1, otherwise
            "logit" by default. Probabilities are converted to logits.
        oracle: hidden information that the scores used, such as "true_counts"; marks the row.
        note: a remark that is shown under the table.
        log: called with messages.

    Returns:
        The run id.

    Raises:
        UsageError: an unknown selection rule, scale or oracle, or scores that do not fit the scale.
        BenchkitError: the scores have the wrong shape, are not finite, or their ids are not those
            of the split's test part.

    Example:
        >>> run_id = benchkit.evaluate("mine.h5", scores, name="mine", out="runs")
        >>> len(run_id)
        16
    """
    from benchkit.runs import external
    from benchkit.runs.options import ORACLES, SCALES, SELECTIONS

    if not name.strip():
        raise UsageError("--name is blank; give the name of the row")
    for option, text, longest in (("name", name, 200), ("note", note, 2000)):
        if not text.strip().isprintable() or len(text) > longest:
            raise UsageError(
                f"--{option} must be one line of at most {longest} printable characters"
            )
    oracle = [oracle] if isinstance(oracle, str) else oracle
    choices = [("select", select, SELECTIONS), *(("oracle", value, ORACLES) for value in oracle)]
    if scale is not None:
        choices.append(("scale", scale, SCALES))
    for option, value, allowed in choices:
        if value not in allowed:
            raise UsageError(f"{option} {value!r} is not one of {', '.join(allowed)}")
    declared = external.Declaration(scale, tuple(dict.fromkeys(oracle)), note.strip())
    source = Path(scores) if isinstance(scores, str | Path) else scores
    name = name.strip()
    return external.record(Path(split), source, name, seed, select, Path(out), log, declared)


def report(
    runs: str | Path,
    *,
    format: str = "terminal",
    out: str | Path | None = None,
    split: str | None = None,
    selection: str | None = None,
    metric_version: str | None = None,
    strict: bool = False,
    log: Log = no_log,
) -> str:
    """Render the per-shot leaderboard of a folder of run records.

    Records of different splits, selection rules or metric versions never share a table: each
    combination gets its own.

    Args:
        runs: the folder of run records.
        format: "terminal", "markdown", "csv" or "html".
        out: a file to write as well.
        split: only this split: the beginning of its fingerprint.
        selection: only this selection rule.
        metric_version: only this metric version.
        strict: refuse a record that cannot be read. By default it is left out, and named under
            every table.
        log: called with messages, one for each failure and each record that is left out.

    Returns:
        The text in that format.

    Raises:
        UsageError: an unknown format.
        BenchkitError: `out` cannot be written.
        ReportError: no records; if `strict`, also a record that cannot be read.

    Example:
        >>> page = benchkit.report("runs", format="html", out="leaderboard.html")
        >>> table = benchkit.report("runs", format="markdown")
    """
    import io

    from benchkit.base.files import atomic
    from benchkit.base.outputs import writable
    from leaderboard import render

    renderers = {"markdown": render.markdown, "csv": render.csv, "html": render.html}
    if format != "terminal" and format not in renderers:
        names = ", ".join(["terminal", *renderers])
        raise UsageError(f"format {format!r} is not one of {names}")
    rendered = tables(runs, split, selection, metric_version, strict, log)
    if out is not None:
        writable(Path(out), log)
    if format == "terminal":
        from rich.console import Console

        buffer = io.StringIO()
        Console(file=buffer, width=100).print(render.terminal(rendered))
        text = buffer.getvalue()
    else:
        text = renderers[format](rendered)
    if out is not None:
        with atomic(Path(out), log) as partial:
            partial.write_text(text, encoding="utf-8", errors="backslashreplace")
        log(f"wrote {out}")
    return text


def tables(
    runs: str | Path,
    split: str | None,
    selection: str | None,
    metric_version: str | None,
    strict: bool,
    log: Log,
) -> list[Table]:
    """The tables of a folder of run records; the arguments are those of `report`."""
    from leaderboard import records, table

    loaded = records.load(Path(runs), strict)
    result = table.build_all(
        loaded, split=split, selection=selection, metric_version=metric_version
    )
    for sentence in loaded.notes:
        log(sentence)
    return result


def read_records(runs: str | Path, *, strict: bool = False, log: Log = no_log) -> pd.DataFrame:
    """The run records of a folder as a pandas frame, one row per run.

    Args:
        runs: the folder of run records.
        strict: refuse a record that cannot be read. By default it is left out.
        log: called with messages, one for each failure and each record that is left out.

    Returns:
        Columns `run_id`, `split` (its name), `regime`, `method`, `seed`, `selection`, the mAP
        columns of the leaderboard as fractions (`total`, `many`, `medium`, `few`, `average`,
        `micro_f1`, `macro_f1`), `oracle`, `wall_seconds`, and `hyperparameters` and `recipe` as
        dictionaries.

    Raises:
        ReportError: the folder does not exist; if `strict`, also a record that cannot be read.

    Example:
        >>> frame = benchkit.read_records("runs")
        >>> frame.groupby("method")["total"].mean().index.tolist()
        ['bce']
    """
    from leaderboard import frames, records

    loaded = records.load(Path(runs), strict)
    for sentence in loaded.notes:
        log(sentence)
    return frames.runs(loaded.records)
