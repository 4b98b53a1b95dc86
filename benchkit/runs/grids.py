"""From the arguments of a call to the grid of runs that it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchkit.base.devices import pick_device
from benchkit.base.errors import BenchkitError, UsageError
from benchkit.base.messages import Log
from benchkit.runs import embeddings
from benchkit.runs.plan import Grid
from benchkit.runs.specs import Methods, Settings, in_regime, specs
from benchkit.split import file
from benchkit.training import recipe as recipes
from benchkit.training.recipe import Recipe

RecipeArguments = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]


def grid_of(
    split: str | Path,
    methods: Methods,
    *,
    out: str | Path,
    seeds: int | Sequence[int],
    hyperparameters: Settings | None,
    papers: Sequence[str],
    recipe: RecipeArguments,
    select: str,
    device: str,
    stack: int,
    plugins: Sequence[str | Path],
    class_embeddings: str | Path | None,
    log: Log,
) -> Grid:
    """The grid of a call; the arguments are those of `benchkit.run`.

    Raises:
        UsageError: an unknown method, hyperparameter or recipe.
        BenchkitError: the split or the class embeddings cannot be read.
    """
    plugin_paths = tuple(Path(path) for path in plugins)
    rows = specs(
        methods, settings=hyperparameters, papers=tuple(papers), plugins=plugin_paths, log=log
    )
    parsed_recipe = _recipe(recipe)
    path = Path(split)
    loaded = file.read(path)
    table, digest = (
        (None, None)
        if class_embeddings is None
        else embeddings.read(Path(class_embeddings), len(loaded.class_names))
    )
    return Grid(
        split_path=path,
        split=loaded,
        fingerprints=file.stored_fingerprints(path),
        specs=in_regime(rows, loaded.regime.kind, log),
        seeds=list(range(seeds)) if isinstance(seeds, int) else list(dict.fromkeys(seeds)),
        recipe=parsed_recipe,
        selection=select,
        device=pick_device(device),
        out=Path(out),
        width=stack,
        embeddings=table,
        embeddings_digest=digest,
        embeddings_path=None if class_embeddings is None else Path(class_embeddings),
        plugins=plugin_paths,
    )


def recipe_list(recipe: RecipeArguments) -> list[str | Mapping[str, Any]]:
    """The arguments of a recipe as a list."""
    return [recipe] if isinstance(recipe, str | Mapping) else list(recipe)


def _recipe(recipe: RecipeArguments) -> Recipe:
    try:
        return recipes.parse(recipe_list(recipe))
    except BenchkitError as error:
        raise UsageError(str(error)) from None
