"""Results pages: short, filled in from stored tables, and what is committed is what the stored tables give."""

import importlib.util
import sys
from pathlib import Path

import pytest

from tfg_jax.runs.page import page_text, tables_of, write_details

REPO = Path(__file__).parents[2]
DETAILS = (
    "# Study\n\n## Rows\n\n| row | value | n |\n| --- | ---: | --: |\n"
    "| a | 0.5 [0.4, 0.6] | 10 |\n| b | -1,200 | 10 |\n"
)
SECTIONS = "\n\n## What to use\n\nThis.\n\n## Protocol\n\nSo.\n\n## Limits\n\nNone.\n"
PAGE = (
    "# T\n\n**Q?**\n\nIt is {{ number('Rows', 'a', 'value') }}.\n\n![f](f.png)\n\n"
    "{{ table({'row': 'name', 'value': 'value'}, {'A': ('Rows', 'a'), 'B': ('Rows', 'b | -1,200')}) }}" + SECTIONS
)


def test_a_page_is_filled_in_from_stored_tables(tmp_path):
    write_details(tmp_path / "d.md", DETAILS)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["d.json", "d.md"]
    text = page_text(PAGE, tables_of(DETAILS))
    assert "It is 0.5." in text and "| A | 0.5 [0.4, 0.6] |\n| B | -1,200 |" in text
    assert tables_of(text) == {"T": [{"name": "A", "value": "0.5 [0.4, 0.6]"}, {"name": "B", "value": "-1,200"}]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("'a', 'value'", "'c', 'value'"), "row='c' is not in 'Rows'; there are a, b"),
        (("'a', 'value'", "'a', 'other'"), "column='other' is not in 'Rows'; there are row, value, n"),
        (("number('Rows'", "number('Other'"), "table='Other' is not stored; there are Rows"),
        (("number('Rows', 'a', 'value')", "number('Rows', 'a', 'row')"), "cell='a' holds no number"),
        (("It is", "One. Two. Three. It is"), "4 sentences, at most 3"),
        (("It is", "1 2 3 4 is"), "5 numbers, at most 4"),
        (("![f](f.png)", ""), "has no figure"),
        (("## Limits", "## Other"), "lacks the section 'Limits'"),
        (
            ("{'A': ('Rows', 'a'),", "{" + ", ".join(f"'{i}': ('Rows', 'a')" for i in range(9)) + ","),
            "10 rows, at most 8",
        ),
    ],
)
def test_what_does_not_fit_one_screen_is_refused(change, message):
    assert change[0] in PAGE
    with pytest.raises(ValueError, match=message):
        page_text(PAGE.replace(*change), tables_of(DETAILS))


def test_committed_pages_are_what_the_stored_tables_give(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(REPO / "scripts"), *sys.path])
    spec = importlib.util.spec_from_file_location("write_pages", REPO / "scripts/write_pages.py")
    scripts = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(scripts)  # type: ignore[union-attr]
    folder = REPO / "docs/results"
    assert set(scripts.TEMPLATES) == {file.stem for file in folder.glob("*.md")}
    template = (REPO / "scripts/method_guide/page.md.jinja").read_text("utf-8")
    stored = scripts.load_json("tables", folder / "details/which_method.json")
    assert (REPO / "docs/which_method.md").read_text("utf-8") == page_text(template, stored)
    for name in scripts.TEMPLATES:
        page, details = folder / f"{name}.md", folder / f"details/{name}"
        assert page.read_text("utf-8") == scripts.text_of(name, folder), f"run: python scripts/write_pages.py {name}"
        stored = scripts.load_json("tables", details.with_suffix(".json"))
        assert stored == tables_of(details.with_suffix(".md").read_text("utf-8"))
