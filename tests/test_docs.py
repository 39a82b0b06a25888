"""Documentation that is run: the Python of the pages, the commands of the pages, a docstring for every public name."""

import inspect
import re
import shlex
from pathlib import Path

import pytest

import tfg_jax
from tfg_jax.cli import runs
from tfg_jax.cli.main import main

REPO = Path(__file__).parents[1]
PAGES = [REPO / "README.md", *sorted((REPO / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?P<kind>[^\n]*)\n(?P<body>.*?)^```\s*$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, kind: str) -> list[tuple[int, str]]:
    """The fenced blocks opened with exactly ```kind, each with the number of its first line."""
    text = page.read_text("utf-8")
    found = [m for m in FENCE.finditer(text) if m["kind"].strip() == kind]
    return [(text.count("\n", 0, m.start("body")) + 1, m["body"]) for m in found]


def commands() -> list[tuple[str, list[str]]]:
    """Every `tfg-jax ...` line of a bash block, with its continuation lines joined and its comment dropped."""
    return [
        (f"{page.name}:{line}", words[1:])
        for page in PAGES
        for line, body in blocks(page, "bash")
        for command in body.replace("\\\n", " ").splitlines()
        if (words := shlex.split(command, comments=True))[:1] == ["tfg-jax"]
    ]


@pytest.mark.parametrize("name", tfg_jax.__all__)
def test_public_names_are_documented(name):
    public = getattr(tfg_jax, name)
    doc = inspect.getdoc(public) if callable(public) or inspect.ismodule(public) else "a value"
    # A dataclass without a docstring is given its signature as one.
    assert doc and not doc.startswith(f"{name}("), f"tfg_jax.{name} has no docstring"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_python_of_the_page_runs(page, tmp_path, monkeypatch):
    """The blocks of one page in order, in one namespace; ```python no-run marks what needs an accelerator."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "page"}
    for line, body in blocks(page, "python"):
        # Blank lines in front, so that a traceback points into the page.
        exec(compile("\n" * (line - 1) + body, str(page), "exec"), namespace)


@pytest.mark.parametrize(("where", "arguments"), commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_commands_of_the_pages_are_understood(where, arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "_memory", lambda *_: None)  # compiles every method; tested where one is sampled
    dry_run = [] if "--dry-run" in arguments or "--help" in arguments else ["--dry-run"]
    try:
        code = main([*arguments, *dry_run])
    except SystemExit as stop:
        code = stop.code or 0
    assert code == 0, f"{where}\n{capsys.readouterr()}"
