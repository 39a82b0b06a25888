"""What mkdocs calls while it builds: pages made of notebooks, of the public names and of the results there are."""

import json
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path[:0] = [str(Path(__file__).parents[1])]

from site_pages import notebook, reference  # noqa: E402


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the sections of the navigation that are lists of files."""
    docs = Path(config.docs_dir)
    results = [page.relative_to(docs).as_posix() for page in sorted((docs / "results").glob("*.md"))]
    details = [page.relative_to(docs).as_posix() for page in sorted((docs / "results" / "details").glob("*.md"))]
    sections: dict[str, list[Any]] = {
        "Results": results + ([{"Details": details}] if details else []),
        "Reference": [f"reference/{room}.md" for room in reference.pages()],
    }
    for entry in config.nav or []:
        for title in entry.keys() & sections.keys():
            entry[title] = sections[title]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    for path in sorted(Path(config.docs_dir).glob("*.ipynb")):
        page, pictures = notebook.to_markdown(json.loads(path.read_text("utf-8")), path.stem)
        files.append(File.generated(config, f"{path.stem}.md", content=page))
        for name, png in pictures.items():
            files.append(File.generated(config, name, content=png))
    for room, page in reference.pages().items():
        files.append(File.generated(config, f"reference/{room}.md", content=page))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to notebooks lead to the pages made of them."""
    return re.sub(r"\(([\w/.]+)\.ipynb\)", r"(\1.md)", markdown)
