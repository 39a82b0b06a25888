"""The tables of the documentation are what the declarations say."""

from pathlib import Path

import pytest

import tfg_jax as tfg
from tfg_jax import tables
from tfg_jax.config import library_classes
from tfg_jax.declare import describe, told

REPO = Path(__file__).parents[1]
PAGES = [
    page
    for page in (REPO / "README.md", *sorted((REPO / "docs").glob("*.md")))
    if "<!-- end -->" in page.read_text("utf-8")
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_hold_what_the_declarations_say(page):
    text = page.read_text("utf-8")
    assert tables.filled(text) == text, f"run make tables: {page.name} is not as its classes say"


def test_every_class_stands_in_one_table_and_every_setting_says_what_it_is():
    listed = [cls for table in tables.HEADS for cls in tables.classes_of(table)]
    alone = {tfg.Clip, tfg.Churn, tfg.Reach, tfg.PerSample}
    assert len(listed) == len(set(listed)) and set(listed) == set(library_classes()) - alone
    silent = [
        f"{cls.__name__}.{f.name}"
        for cls in (*listed, *alone - {tfg.PerSample})
        for f in describe(cls)
        if not f.spec.help
    ]
    assert not silent


def test_the_parts_of_a_docstring():
    parts = told(tfg.DPS)
    assert parts.title == "Diffusion posterior sampling" and parts.source == "arXiv 2209.14687"
    assert parts.equation == "x_next = rule(x0, eps) + strength grad_{x_t} f(x0) / normalizer"
    assert parts.cost == "1 network forward, 1 pullback, 1 objective gradient" and parts.reduces_to.startswith(
        "TFG with"
    )


def test_a_page_keeps_what_stands_around_the_marks():
    page = "before\n<!-- table: lookaheads, short -->\nold\n<!-- end -->\nafter\n"
    new = tables.filled(page)
    assert new.startswith("before\n<!-- table") and new.endswith("<!-- end -->\nafter\n") and "old" not in new
    assert "| `Tweedie` |" in new and tables.filled(new) == new
