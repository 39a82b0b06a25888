"""Documentation that is run: Python and commands of the pages, a docstring for every public name and member."""

import functools
import importlib
import inspect
import pkgutil
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import tfg_jax
from tfg_jax.cli.main import main
from tfg_jax.cli.options import parse
from tfg_jax.runs import run as runs

REPO = Path(__file__).parents[1]
PAGES = [REPO / "README.md", *sorted((REPO / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?P<kind>[^\n]*)\n(?P<body>.*?)^```\s*$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, kind: str) -> list[tuple[int, str]]:
    """The fenced blocks opened with exactly ```kind, each with the number of its first line."""
    text = page.read_text("utf-8")
    found = [m for m in FENCE.finditer(text) if m["kind"].strip() == kind]
    return [(text.count("\n", 0, m.start("body")) + 1, m["body"]) for m in found]


def commands(kind: str) -> list[tuple[str, list[str]]]:
    """Every `tfg-jax ...` line of the ```kind blocks, with its continuation lines joined and its comment dropped."""
    return [
        (f"{page.name}:{line}", words[1:])
        for page in PAGES
        for line, body in blocks(page, kind)
        for command in body.replace("\\\n", " ").splitlines()
        if (words := shlex.split(command, comments=True))[:1] == ["tfg-jax"]
    ]


METHODS = (property, functools.cached_property, classmethod, staticmethod)


def public_modules() -> list[ModuleType]:
    """The package and its modules that say what they offer."""
    names = [found.name for found in pkgutil.walk_packages(tfg_jax.__path__, "tfg_jax.")]
    modules = [importlib.import_module(name) for name in ["tfg_jax", *names]]
    return [module for module in modules if hasattr(module, "__all__")]


def members(cls: type) -> Iterator[str]:
    """Public methods and properties that the library itself wrote, in a class or in what it inherits from."""
    for name in dir(cls):
        owner = next((base for base in cls.__mro__ if name in vars(base)), cls)
        own = owner.__module__.split(".")[0] == "tfg_jax" and not name.startswith("_")
        if own and (isinstance(vars(owner)[name], METHODS) or inspect.isfunction(vars(owner)[name])):
            yield name


def undocumented(module: ModuleType) -> Iterator[str]:
    for name in module.__all__:
        public = getattr(module, name)
        if inspect.ismodule(public) or callable(public):
            doc = inspect.getdoc(public)
            # A dataclass without a docstring is given its signature as one.
            if not doc or doc.startswith(f"{name}("):
                yield f"{module.__name__}.{name}"
        if inspect.isclass(public):
            found = (member for member in members(public) if not inspect.getdoc(getattr(public, member)))
            yield from (f"{module.__name__}.{name}.{member}" for member in found)


def test_public_names_and_members_are_documented():
    assert not [name for module in public_modules() for name in undocumented(module)]


def test_what_is_missing_is_found():
    class Shown:
        """A class."""

        def told(self):
            """A method."""

        def silent(self):
            pass

        @property
        def number(self):
            return 1

    Shown.__module__ = "tfg_jax.made_up"
    module = ModuleType("made_up")
    module.__dict__.update(__all__=["Shown"], Shown=Shown)
    assert list(undocumented(module)) == ["made_up.Shown.number", "made_up.Shown.silent"]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_python_of_the_page_runs(page, tmp_path, monkeypatch):
    """The blocks of one page in order, in one namespace; ```python no-run marks what needs an accelerator."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "page"}
    for line, body in blocks(page, "python"):
        # Blank lines in front, so that a traceback points into the page.
        exec(compile("\n" * (line - 1) + body, str(page), "exec"), namespace)


@pytest.mark.parametrize(
    ("where", "arguments"), commands("bash"), ids=lambda value: value if isinstance(value, str) else ""
)
def test_commands_of_the_pages_are_understood(where, arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs.Run, "memory", lambda run: None)  # compiles every method; tested where one is sampled
    dry_run = [] if "--dry-run" in arguments or "--help" in arguments else ["--dry-run"]
    try:
        code = main([*arguments, *dry_run])
    except SystemExit as stop:
        code = stop.code or 0
    assert code == 0, f"{where}\n{capsys.readouterr()}"


@pytest.mark.parametrize(("where", "arguments"), commands("sh"), ids=lambda v: v if isinstance(v, str) else "")
def test_commands_on_files_of_the_reader_are_parsed(where, arguments, tmp_path, monkeypatch, capsys):
    """An sh block may name files that only the reader has: its options are read, nothing is checked beyond them."""
    monkeypatch.chdir(tmp_path)
    name, *rest = arguments
    try:
        parse(importlib.import_module(f"tfg_jax.cli.{name}"), name, rest)
    except SystemExit:
        pytest.fail(f"{where}\n{capsys.readouterr()}")
