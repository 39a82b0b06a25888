"""What the docstring of a declared class says: equation, cost, source and BibTeX."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from typing import NamedTuple

BALANCED = r"[^{}]"
for _ in range(4):  # braces within braces, more than BibTeX's fields need
    BALANCED = rf"(?:[^{{}}]|\{{{BALANCED}*\}})"
ENTRY = re.compile(rf"^@\w+\{{(?P<key>[^,\s]+),{BALANCED}*\}}", re.MULTILINE)
CITED = re.compile(r"^Cite: (.+)$", re.MULTILINE)
PART = r"^(Cost[^:]*|Reduces to|Source): "
ABOUT = re.compile(PART + r"(.*?)(?=^(?:Cost[^:]*|Reduces to|Source): |^$|\Z)", re.MULTILINE | re.DOTALL)
SOURCES = re.compile(r"\b\d{4}\.\d{5}\b")


class Told(NamedTuple):
    """The parts of a class's docstring; a part that it does not have is empty."""

    title: str
    source: str
    equation: str
    cost: str
    reduces_to: str


def told(cls: type) -> Told:
    """The parts of a class's own docstring, each on one line."""
    text = inspect.cleandoc(vars(cls).get("__doc__") or "")
    head, _, rest = text.partition("\n\n")
    title = " ".join(head.split())
    equation = re.match(r"((?: {4}.*\n?)+)", rest)
    about = {m[1].partition(" ")[0]: " ".join(m[2].split()).removesuffix(".") for m in ABOUT.finditer(rest)}
    prose = ENTRY.sub("", text)
    papers = list(dict.fromkeys(SOURCES.findall(prose)))
    named = re.search(r"\(([^()]*\b(?:19|20)\d\d)\b[^()]*\)", title)
    return Told(
        re.sub(r" *\([^()]*(?:arXiv|et al|19|20)[^()]*\)", "", title).removesuffix("."),
        "arXiv " + ", ".join(papers) if papers else named[1] if named else "",
        "; ".join(map(_one_line, filter(str.strip, equation[1].splitlines()))) if equation else "",
        about.get("Cost", ""),
        about.get("Reduces", ""),
    )


def _one_line(line: str) -> str:
    """A line of an equation whose parts stand apart."""
    return " ".join(re.sub(r",?(?<! =) {4,}(?![ =])", ", ", line.strip()).split())


def bibtex_of_text(text: str | None) -> dict[str, str]:
    """Key -> BibTeX entry of those that a docstring holds in full."""
    return {entry["key"]: entry[0] for entry in ENTRY.finditer(inspect.cleandoc(text or ""))}


def bibtex(cls: type) -> dict[str, str]:
    """Key -> BibTeX entry of what a class's docstring cites.

    An entry stands in it in full, or in that of another class which it names, ``Cite: Other, Another``; a class without
    either takes those of its base.
    """
    for base in cls.__mro__:
        text = inspect.cleandoc(vars(base).get("__doc__") or "")
        entries = bibtex_of_text(text)
        for names in CITED.findall(text):
            for name in names.split(", "):
                entries |= bibtex(_class(name.strip(), base))
        if entries:
            return entries
    return {}


def _class(name: str, where: type) -> type:
    own = getattr(sys.modules[where.__module__], name, None)
    return own if isinstance(own, type) else getattr(importlib.import_module("tfg_jax"), name)
