"""`tfg-jax train RECIPE`: the networks that tasks come with, or a recipe of your own as module:NAME."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Sequence
from typing import Any

import tyro

from tfg_jax.cli.main import OK
from tfg_jax.references import is_reference, resolve
from tfg_jax.tasks.find import recipes

USAGE = """usage: tfg-jax train RECIPE [OPTIONS]      (tfg-jax train RECIPE --help lists the options;
                                               --dry-run shows what would be trained)

{}
  module:NAME         a tfg_jax.training.Recipe of your own

Stopped at any moment, the same command goes on (exit code 75)."""
OLD_PREFIX = re.compile(r"^--model\.(net\.)?")


@dataclasses.dataclass(frozen=True)
class Options:
    """What to train; None: say what there is.

    ``asks`` says that nothing was typed: what would be done is shown, and nothing starts.
    """

    recipe: Any = None
    asks: bool = False


def parse(program: str, arguments: Sequence[str]) -> Options:
    """The recipe that is named first, by default the diffusion model, with its options."""
    name, rest = ("diffusion", [*arguments])
    if arguments and (not arguments[0].startswith("-") or arguments[0] in ("-h", "--help")):
        name, *rest = arguments
    if name in ("-h", "--help"):
        return Options()
    known = recipes()
    if name in known:
        recipe = importlib.import_module(known[name][0]).RECIPES[name]
    elif is_reference(name):
        from tfg_jax.training.recipe import Recipe

        recipe = resolve("recipe", name)
        if not isinstance(recipe, Recipe):
            raise ValueError(f"recipe={name} is a {type(recipe).__name__}; name a tfg_jax.training.Recipe")
    else:
        raise ValueError(f"{name!r} is no recipe; choose one of {', '.join(known)}, or module:NAME")
    words = [OLD_PREFIX.sub("--", word) for word in rest if word != "--yes"]  # as called before version 0.2
    kind = tyro.conf.OmitArgPrefixes[type(recipe)]
    return Options(tyro.cli(kind, default=recipe, prog=f"{program} {name}", args=words), asks=not arguments)


def run(options: Options) -> int:
    """Train."""
    if options.recipe is None:
        print(USAGE.format("\n".join(f"  {name:<20}{words}" for name, (_, words) in recipes().items())))
        return OK
    from tfg_jax.training.recipe import train

    if options.asks:
        train(dataclasses.replace(options.recipe, dry_run=True))
        raise ValueError(
            f"this trains {options.recipe.updates():,} updates, which takes hours; pass --yes to start (stopped, the "
            "same command goes on), --minutes for a part, or a recipe (--help lists them)"
        )
    train(options.recipe)
    return OK
