"""The layout of the library: which room may import which, and what every file keeps."""

import ast
import builtins
import importlib
import re
import symtable
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
PACKAGE = REPO / "tfg_jax"
FILES = sorted(PACKAGE.rglob("*.py"))

# A room is a file or folder of tfg_jax. A core room imports only rooms to the left of it.
CORE: tuple[str, ...] = tuple(
    "lazy old_names references struct checks networks modules per_sample kinds files readers rows locks signals host "
    "machine loops hoist noise result declare schedules timesteps class_table domains denoiser constructors numbers "
    "lookahead ode truncated analytic operators objectives guidance samplers arguments problem trajectory batch "
    "sample best invert diagnose health endtoend config aot citations tables distributed runs/store shards".split()
)
# Side rooms import the core and each other, but models knows nothing of files, data or training.
SIDE: tuple[str, ...] = tuple("models weights data training".split())
# Top rooms import the core, the side rooms and the top rooms to the left of them.
TOP: tuple[str, ...] = tuple("optimize optimise metrics tasks runs search report studies benchmark cli".split())

# Slow to import, and needed by few: loaded inside the functions that use them.
LAZY = {"diffrax", "equinox", "jinja2", "matplotlib", "orbax", "tensorstore"}
MODULE_SCOPE = (ast.Module, ast.If, ast.Try, ast.With, ast.ClassDef)
BANNED = ["pickle.load", "allow_pickle=True", "weights_only=False", "yaml.load(", "TODO", "FIXME"]
MACHINE_PATH = re.compile(r"(?<![\w.])/(work|farm|tmp|root|home|Users)/")


def may_import(room: str) -> tuple[str, ...]:
    if room in CORE:
        return CORE[: CORE.index(room)]
    if room in SIDE:
        return CORE if room == "models" else CORE + SIDE
    return CORE + SIDE + TOP[: TOP.index(room)]


# Files of a room that stand earlier than the rest of it: sample folders serve rooms that studies and pages build on.
EARLY = "behind claim claim_values lease mesh npz_shards record run store values workers zarr_shards".split()
PARTS = {f"runs/{file}.py": "runs/store" for file in EARLY}


def room_of(path: Path) -> str:
    inside = path.relative_to(PACKAGE)
    return PARTS.get(str(inside), inside.parts[0].removesuffix(".py"))


def room_of_module(module: str) -> str:
    """The room of `tfg_jax.room.file`."""
    parts = module.split(".")[1:]
    return PARTS.get("/".join(parts[:2]) + ".py", parts[0] if parts else "")


def imported_modules(tree: ast.Module, path: Path) -> list[str]:
    """Absolute names of the modules that a file imports, at any depth."""
    package = ("tfg_jax", *path.relative_to(PACKAGE).parent.parts)
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*parent, *([node.module] if node.module else [])])
            # `from tfg_jax import schedules` names the room in the imported name
            names += [f"{module}.{alias.name}" for alias in node.names] if module == "tfg_jax" else [module]
    return names


def module_level_imports(node: ast.AST) -> list[str]:
    """First parts of what a file imports the moment it is imported itself."""
    names: list[str] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            names += [alias.name.split(".")[0] for alias in child.names]
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            names.append(child.module.split(".")[0])
        elif isinstance(child, MODULE_SCOPE):
            names += module_level_imports(child)
    return names


@cache
def parsed() -> list[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text("utf-8"), str(path))) for path in FILES]


def test_every_room_has_a_place_in_the_order():
    rooms = {room_of(path) for path in FILES} - {"__init__"}
    assert rooms <= set(CORE + SIDE + TOP), "a new room needs its place in CORE, SIDE or TOP"


def test_rooms_import_only_rooms_above_them():
    wrong = []
    for path, tree in parsed():
        room = room_of(path)
        if room == "__init__":  # exports the public names of every room
            continue
        for module in imported_modules(tree, path):
            if module.split(".")[0] == "tfg_jax" and module != "tfg_jax.__version__":
                if room_of_module(module) not in (room, *may_import(room)):
                    wrong.append(f"{path.relative_to(REPO)} imports {module}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("room", "allowed", "refused"),
    [
        ("schedules", "checks", "denoiser"),
        ("guidance", "objectives", "samplers"),
        ("sample", "batch", "runs/store"),
        ("models", "schedules", "weights"),
        ("training", "models", "metrics"),
        ("noise", "checks", "training"),
        ("cli", "report", "cli"),
        ("optimize", "training", "cli"),
    ],
)
def test_the_order_says_what_the_design_says(room, allowed, refused):
    assert allowed in may_import(room)
    assert refused not in may_import(room)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from tfg_jax import denoiser", ["tfg_jax.denoiser"]),
        ("def f():\n    import tfg_jax.cli.main", ["tfg_jax.cli.main"]),
        ("from .base import StepContext", ["tfg_jax.guidance.base"]),
        ("from ..samplers.ddim import DDIM", ["tfg_jax.samplers.ddim"]),
        ("from .. import sample", ["tfg_jax.sample"]),
    ],
)
def test_imports_are_read_in_every_form(source, expected):
    assert imported_modules(ast.parse(source), PACKAGE / "guidance" / "dps.py") == expected


def test_slow_packages_are_imported_inside_functions():
    wrong = [
        f"{path.relative_to(REPO)} imports {name}"
        for path, tree in parsed()
        for name in module_level_imports(tree)
        if name in LAZY
    ]
    assert not wrong, "\n".join(wrong)


def test_files_are_short_and_say_what_they_are():
    too_long = [str(path.relative_to(REPO)) for path in FILES if len(path.read_text("utf-8").splitlines()) > 400]
    silent = [str(path.relative_to(REPO)) for path, tree in parsed() if not ast.get_docstring(tree)]
    assert not too_long and not silent, f"over 400 lines: {too_long}; without a module docstring: {silent}"


def test_no_assert_guards_the_library():
    """An assert disappears under `python -O`: user errors are ValueErrors."""
    wrong = [
        f"{path.relative_to(REPO)}:{node.lineno}"
        for path, tree in parsed()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_unsafe_loading_no_loose_ends_no_machine_paths():
    texts = [*FILES, *sorted((REPO / "scripts").rglob("*.py")), *sorted((REPO / "docs").rglob("*.md"))]
    wrong = []
    for path in [*texts, REPO / "README.md", REPO / "Makefile"]:
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            found = [word for word in BANNED if word in line] + [m.group() for m in MACHINE_PATH.finditer(line)]
            wrong += [f"{path.relative_to(REPO)}:{number} has {word}" for word in found]
    assert not wrong, "\n".join(wrong)


def tables_of(table: symtable.SymbolTable) -> list[symtable.SymbolTable]:
    return [table, *(each for child in table.get_children() for each in tables_of(child))]


def test_every_name_that_is_read_is_there():
    """Shapes of jaxtyping are strings that linters read as code, so they are told not to look for undefined names."""
    wrong = []
    for path in [*FILES, *sorted((REPO / "scripts").rglob("*.py")), *sorted((REPO / "tests").rglob("*.py"))]:
        module, *inner = tables_of(symtable.symtable(path.read_text("utf-8"), str(path), "exec"))
        symbols = [
            *module.get_symbols(),
            *(each for table in inner for each in table.get_symbols() if each.is_global()),
        ]
        bound = {each.get_name() for each in symbols if each.is_assigned() or each.is_imported()}
        read = {each.get_name() for each in symbols if each.is_referenced()}
        wrong += [f"{path.relative_to(REPO)}: {name}" for name in read - bound - {*dir(builtins), "__file__"}]
    assert not wrong, "\n".join(wrong)


def test_scripts_import_no_command_line():
    """They build on what it builds on; only those that put the command itself to the test name it."""
    scripts = REPO / "scripts"
    wrong = []
    for path in sorted(scripts.rglob("*.py")):
        if path.parent != scripts / "stress" and path != scripts / "fuzz.py":
            tree = ast.parse(path.read_text("utf-8"), str(path))
            nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
            wrong += [f"{path.relative_to(REPO)}: {ast.unparse(n)}" for n in nodes if "tfg_jax.cli" in ast.unparse(n)]
    assert not wrong, "\n".join(wrong)


MOST_POSITIONAL = 6
# Signatures that a kept library asks for.
GIVEN_BY_OTHERS = {"init", "adapt_step_size"}


def test_results_of_more_than_three_parts_have_names():
    """A tuple of four and more says what its parts are: a NamedTuple or a dataclass."""
    wrong = []
    for path, tree in parsed():
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef) or node.returns is None:
                continue
            for part in ast.walk(node.returns):
                if isinstance(part, ast.Subscript) and ast.unparse(part.value) == "tuple":
                    if isinstance(part.slice, ast.Tuple) and len(part.slice.elts) > 3:
                        wrong.append(f"{path.relative_to(REPO)}:{node.lineno} {ast.unparse(part)}")
    assert not wrong, "\n".join(wrong)


def test_no_call_needs_more_than_six_arguments_counted_by_position():
    """Constructors included; what more is needed goes by keyword, or into an object."""
    wrong = []
    for path, tree in parsed():
        for node in ast.walk(tree):
            count, name = 0, ""
            if isinstance(node, ast.FunctionDef | ast.Lambda):
                parameters = [*node.args.posonlyargs, *node.args.args]
                count = len([each for each in parameters if each.arg not in ("self", "cls")])
                name = getattr(node, "name", "lambda")
            elif isinstance(node, ast.Call):
                count, name = len(node.args), ast.unparse(node.func)
            if count > MOST_POSITIONAL and name not in GIVEN_BY_OTHERS:
                wrong.append(f"{path.relative_to(REPO)}:{getattr(node, 'lineno', 0)} {name} has {count}")
    assert not wrong, "\n".join(wrong)


def test_commands_are_short():
    """What commands share lives in rooms above the command line."""
    commands = importlib.import_module("tfg_jax.cli.main").COMMANDS
    lines = {name: len((PACKAGE / f"cli/{name}.py").read_text("utf-8").splitlines()) for name in commands}
    assert {name: count for name, count in lines.items() if count > 80} == {}
