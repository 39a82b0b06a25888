"""Docstrings as the site shows them: BibTeX entries as code."""

import re
from typing import Any

import griffe

ENTRY = re.compile(r"^@\w+\{.*?^\}\n?", re.MULTILINE | re.DOTALL)


class Citations(griffe.Extension):
    """Fences the BibTeX entries of docstrings."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Called for every object that is read."""
        if obj.docstring is not None and "@" in obj.docstring.value:
            obj.docstring.value = ENTRY.sub(lambda entry: f"```bibtex\n{entry[0].rstrip()}\n```\n", obj.docstring.value)
