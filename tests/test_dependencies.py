"""What the library imports is what its package asks for: nothing borrowed from the dependencies of a dependency."""

import ast
import re
import sys
import tomllib
from pathlib import Path

REPO = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["project"]
# Modules that are called otherwise than their distribution; asking the environment takes seconds.
DISTRIBUTION = {"PIL": "pillow", "orbax": "orbax-checkpoint"}
IN_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def declared(requirements: list[str]) -> set[str]:
    """Normalized names of distributions, without versions and extras."""
    return {normal(re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0]) for requirement in requirements}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def third_party(node: ast.AST, lazy: bool = False) -> set[tuple[str, bool]]:
    """First part of every foreign import below a node, and whether it waits for a function to be called."""
    found: set[tuple[str, bool]] = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            names = [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            names = [child.module]
        else:
            found |= third_party(child, lazy or isinstance(child, IN_FUNCTIONS))
            continue
        firsts = {name.split(".")[0] for name in names}
        found |= {(first, lazy) for first in firsts - sys.stdlib_module_names - {"tfg_jax"}}
    return found


def undeclared(tree: ast.AST, core: set[str], extras: set[str]) -> set[str]:
    """Imports of no declared distribution; an extra may be imported inside functions alone."""
    return {
        name
        for name, lazy in third_party(tree)
        if normal(DISTRIBUTION.get(name, name)) not in (core | extras if lazy else core)
    }


def test_every_import_is_declared():
    core = declared(PROJECT["dependencies"])
    # What is for developers is not there for users.
    extras = declared([r for name, rs in PROJECT["optional-dependencies"].items() if name != "dev" for r in rs])
    wrong = [
        f"{path.relative_to(REPO)} imports {name}"
        for path in sorted((REPO / "tfg_jax").rglob("*.py"))
        for name in undeclared(ast.parse(path.read_text("utf-8"), str(path)), core, extras)
    ]
    assert not wrong, "\n".join(wrong)


def test_what_is_not_declared_is_found():
    tree = ast.parse(
        "import os, numpy\nfrom PIL import Image\nfrom scipy.stats import beta\ndef f():\n import jax.numpy, optax"
    )
    assert undeclared(tree, {"numpy", "pillow"}, {"jax", "scipy"}) == {"scipy", "optax"}
