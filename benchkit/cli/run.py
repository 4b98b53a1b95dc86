"""`benchkit run` and `benchkit evaluate`."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click
import numpy as np

from baselines.core import Method, hyperparameters, registry
from benchkit.base.devices import pick_device
from benchkit.base.errors import BenchkitError
from benchkit.base.terminal import bar, log, wrong_call
from benchkit.runs import execute as runs
from benchkit.runs import external
from benchkit.runs import plan as grids
from benchkit.split import file as split_file
from benchkit.training import recipe as recipes

FILE = click.Path(path_type=Path)


@click.command()
@click.option("--split", "split_path", type=FILE, required=True, help="The split file.")
@click.option(
    "--method", "methods", required=True, help="Keys separated by commas, or all (see `methods`)."
)
@click.option("--seeds", type=click.IntRange(min=1), help="Run seeds 0 .. N-1.  [default: 1]")
@click.option(
    "--seed", "only", type=int, multiple=True, help="Run this seed only; repeat for several."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY.NAME=VALUE",
    help="Set a hyperparameter; repeat for several.",
)
@click.option(
    "--paper",
    "sets",
    multiple=True,
    metavar="DATASET",
    help="Start from the papers' values for a data set, such as coco-lt, where a method has them; "
    "of several the first that states one. --set goes before.",
)
@click.option(
    "--recipe",
    "recipe_words",
    multiple=True,
    metavar="NAME|FILE.toml|KEY=VALUE",
    help="Optimiser, schedule, epochs, batch, sampler, head; repeat, left to right. Names: "
    + ", ".join(recipes.RECIPES)
    + ".  [default: features]",
)
@click.option(
    "--select",
    "selection",
    type=click.Choice(grids.SELECTIONS),
    default="last",
    show_default=True,
    help="Which epoch is scored: the last, the best on the validation part, or (marked as an "
    "oracle) the best on the test part.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to train.",
)
@click.option(
    "--stack",
    type=click.IntRange(min=1),
    default=grids.DEFAULT_WIDTH,
    show_default=True,
    help="The most runs trained as one program.",
)
@click.option(
    "--plugin", "plugins", type=FILE, multiple=True, help="A Python file with methods; repeatable."
)
@click.option(
    "--class-embeddings",
    type=FILE,
    help="An .npy with one row per class, for methods that use label embeddings.  "
    "[default: identity]",
)
@click.option("--out", type=FILE, required=True, help="The folder of run records.")
def run(
    split_path: Path,
    methods: str,
    seeds: int | None,
    only: tuple[int, ...],
    settings: tuple[str, ...],
    sets: tuple[str, ...],
    recipe_words: tuple[str, ...],
    selection: str,
    device: str,
    stack: int,
    plugins: tuple[Path, ...],
    class_embeddings: Path | None,
    out: Path,
) -> None:
    """Train methods on a split and record their test scores.

    Runs of one method that differ in seed train as one program. Records that exist are kept:
    starting the same grid again runs what is missing. A run that fails is recorded as a failure,
    tried again next time, and makes the exit code 1.

    \b
    Examples:
      benchkit run --split s.h5 --method bce,asl,db-focal --seeds 3 --out runs
      benchkit run --split s.h5 --method all --recipe epochs=20 --recipe batch=64 --out runs
      benchkit run --split s.h5 --method asl --set asl.clip=0.1 --out runs
      benchkit run --split voc-lt.h5 --method all --paper voc-lt --paper voc --out runs
    """  # noqa: D301 (click looks for the backspace itself)
    if seeds is not None and only:
        raise click.UsageError("give --seeds N or --seed S, not both")
    specs = choose_methods(methods, settings, plugins, sets)
    with wrong_call(BenchkitError):
        recipe = recipes.parse(recipe_words)
    split = split_file.read(split_path)
    embeddings, digest = _embeddings(class_embeddings, len(split.class_names))
    grid = grids.Grid(
        split_path=split_path,
        split=split,
        fingerprints=split_file.stored_fingerprints(split_path),
        specs=specs,
        seeds=list(dict.fromkeys(only)) or list(range(seeds or 1)),
        recipe=recipe,
        selection=selection,
        device=pick_device(device),
        out=out,
        width=stack,
        embeddings=embeddings,
        embeddings_digest=digest,
        embeddings_path=class_embeddings,
        plugins=plugins,
    )
    outcome = runs.execute(grid, log, bar)
    counts = f"{len(outcome.done)} runs done, {len(outcome.cached)} kept"
    click.echo(f"{counts}, {len(outcome.failed)} failed, {len(outcome.skipped)} methods skipped")
    if outcome.failed:
        raise click.exceptions.Exit(1)


def choose_methods(
    text: str, settings: tuple[str, ...], plugins: tuple[Path, ...], sets: tuple[str, ...] = ()
) -> list[grids.Spec]:
    """The methods of `--method`, with the hyperparameters of `--set` and `--paper`."""
    extra: dict[str, type[Method]] = {}
    versions: dict[str, str] = {}
    for path in plugins:
        found = registry.load_plugin(path)
        twice = set(found) & set(extra)
        if twice:
            raise BenchkitError(f"two plugins define the method '{twice.pop()}'; rename one")
        extra |= found
        versions |= {k: grids.plugin_version(m.info.version, path) for k, m in found.items()}
    every = list(registry.builtin() | extra)
    words = (word.strip() for word in text.split(","))
    keys = dict.fromkeys(key for word in words for key in (every if word == "all" else [word]))
    with wrong_call(ValueError):
        chosen = {key: registry.get(key, extra) for key in keys}
    values, papers = _settings(settings, chosen), _of_papers(sets, chosen)
    specs = []
    for key, method in chosen.items():
        with wrong_call(ValueError):
            hyper = hyperparameters.parse(key, method.Hyper, values.get(key, {}), papers[key])
        kind = "plugin" if key in extra else "builtin"
        specs.append(grids.Spec(method, hyper, kind, versions.get(key, method.info.version)))
    return specs


def _settings(
    settings: tuple[str, ...], chosen: dict[str, type[Method]]
) -> dict[str, dict[str, str]]:
    values: dict[str, dict[str, str]] = {}
    for text in settings:
        target, equals, value = text.partition("=")
        key, dot, name = target.partition(".")
        if not (equals and dot and name):
            raise click.UsageError(f"--set {text!r} is not KEY.NAME=VALUE, as in asl.clip=0.1")
        if key not in chosen:
            raise click.UsageError(f"--set {text}: the method '{key}' is not in --method")
        values.setdefault(key, {})[name] = value
    return values


def _of_papers(
    sets: tuple[str, ...], chosen: dict[str, type[Method]]
) -> dict[str, dict[str, object]]:
    """Method -> the papers' values for the data sets; says which depart from the defaults."""
    known = {
        name
        for method in (registry.builtin() | chosen).values()
        for entry in hyperparameters.describe(method.Hyper)
        for name in entry.get("paper") or ()
    }
    for name in sets:
        if name not in known:
            raise click.UsageError(
                f"--paper {name}: no method has values for it; there are {', '.join(sorted(known))}"
            )
    found = {key: hyperparameters.published(method.Hyper, sets) for key, method in chosen.items()}
    for key, values in found.items():
        default = chosen[key].Hyper()
        other = [f"{k}={v}" for k, v in values.items() if v != getattr(default, k)]
        if other:
            log(f"{key} as in its paper: {', '.join(other)}")
    return found


def _embeddings(path: Path | None, classes: int) -> tuple[np.ndarray | None, str | None]:
    if path is None:
        return None, None
    if not path.is_file():
        raise BenchkitError(f"class embeddings {path} do not exist; give an .npy of numbers")
    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise BenchkitError(
            f"class embeddings {path} are not a readable .npy of numbers; write one with numpy.save"
        ) from None
    if array.dtype.kind not in "biuf" or array.ndim != 2 or len(array) != classes:
        raise BenchkitError(
            f"class embeddings {path} are {array.dtype} of shape {list(array.shape)}; one row of "
            f"numbers for each of the split's {classes} classes is needed"
        )
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, refused below
        array = np.array(array, np.float32, order="C")
    finite = np.isfinite(array).all(1)
    if not finite.all():
        raise BenchkitError(
            f"class embeddings {path}: row {int(finite.argmin())} holds a value that is not a "
            "finite float32 number"
        )
    return array, hashlib.sha256(array.tobytes()).hexdigest()


@click.command()
@click.option("--split", "split_path", type=FILE, required=True, help="The split file.")
@click.option(
    "--scores",
    type=FILE,
    required=True,
    help="An .npz with scores [test images, classes] and, in another row order, ids.",
)
@click.option("--name", required=True, help="The name of the row.")
@click.option("--seed", default=0, show_default=True, help="The seed these scores belong to.")
@click.option(
    "--select",
    "selection",
    type=click.Choice(grids.SELECTIONS),
    default="last",
    show_default=True,
    help="The selection rule that made these scores.",
)
@click.option("--out", type=FILE, required=True, help="The folder of run records.")
def evaluate(
    split_path: Path, scores: Path, name: str, seed: int, selection: str, out: Path
) -> None:
    """Put test scores that were computed elsewhere into the same leaderboard.

    The threshold metrics read scores as logits (0 is probability one half); AP needs the order
    only.
    """
    if not name.strip():
        raise click.UsageError("--name is blank; give the name that the row is to have")
    click.echo(external.record(split_path, scores, name.strip(), seed, selection, out, log))
