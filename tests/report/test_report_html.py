"""Tables, charts and pages: aligned, well-formed, escaped, self-contained."""

import base64
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from tfg_jax import report
from tfg_jax.metrics import Estimate
from tfg_jax.report.charts import svg_data_uri
from tfg_jax.studies.panels import panels

ROWS = [
    {"method": "TFG", "accuracy": Estimate(0.871, 0.85, 0.89, 9), "time": 12.34567, "ok": True},
    {"method": "DPS | x", "accuracy": None, "time": float("nan")},
]
COLUMNS = ["method", "accuracy", report.Column("time", "wall clock", "s")]
EVIL = "<script>alert('\"&')</script>"


def test_text_table_is_aligned():
    assert report.text_table(ROWS, COLUMNS) == (
        "method             accuracy  wall clock (s)\n"
        "-------  ------------------  --------------\n"
        "TFG      0.871 [0.85, 0.89]           12.35\n"
        "DPS | x                   –               –"
    )


def test_markdown_table_escapes_bars_and_aligns():
    lines = report.markdown_table(ROWS, COLUMNS).splitlines()
    assert len({len(line) for line in lines}) == 1 and "DPS \\| x" in lines[3]
    assert lines[1].split("|")[2].strip().endswith(":") and not lines[1].split("|")[1].strip().endswith(":")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (EVIL, "&lt;script>alert('\"&')&lt;/script>"),
        ("&lt;b&gt; &amp;copy", "&amp;lt;b&amp;gt; &amp;amp;copy"),
        ("[a](javascript:b) ![c][d]", "[a\\](javascript:b) ![c\\][d]"),
        ("*a* _b_ __c__ `d` ~~e~~ \\|", r"\*a\* \_b\_ \_\_c\_\_ \`d\` \~\~e\~\~ \\\|"),
        ("n_recur 4, <= 1.10, 0.9 [0.8, 1], a < b & c", "n_recur 4, <= 1.10, 0.9 [0.8, 1], a < b & c"),
    ],
)
def test_markdown_shows_names_as_they_are(name, shown):
    header, _, row = report.markdown_table([{"x": name}], [report.Column("x", title=name)]).splitlines()
    assert header == row == f"| {shown} |"


def test_default_columns_are_all_keys_and_unknown_ones_raise():
    assert report.text_table(ROWS).splitlines()[0].split() == ["method", "accuracy", "time", "ok"]
    with pytest.raises(ValueError, match="speed"):
        report.text_table(ROWS, ["speed"])


def texts(chart):
    """What a chart says: labels of its axes and ticks, and its legend."""
    (axes,) = chart.axes
    legend = [text.get_text() for each in chart.legends for text in each.get_texts()]
    return {axes.get_xlabel(), axes.get_ylabel(), *(t.get_text() for t in axes.get_xticklabels()), *legend}


def test_line_chart_breaks_at_gaps_and_draws_every_series():
    x = np.arange(6.0)
    y = np.array([0, 1, np.nan, 3, 4, 5])
    chart = report.line_chart({"a": (x, y), EVIL: (x, -x, -x - 1, -x + 1)}, "step", "value")
    line, banded = chart.axes[0].get_lines()
    np.testing.assert_array_equal(line.get_xydata(), np.stack([np.where(np.isnan(y), np.nan, x), y], 1))
    np.testing.assert_array_equal(banded.get_ydata(), -x)
    assert len(chart.axes[0].collections) == 1 and {"step", "value", "a", EVIL} <= texts(chart)
    assert chart.get_label() == f"value against step: a, {EVIL}"


def test_charts_place_points_where_the_numbers_are():
    points = {"low": (0.0, 0.0), "$high": (1.0, Estimate(2.0, 1.5, 2.5, 4)), "lost": (np.nan, 1.0)}
    chart = report.scatter(points, "accuracy", "distance")
    bars = chart.axes[0].containers
    assert [bar.lines[0].get_xydata().tolist() for bar in bars[:2]] == [[[0.0, 0.0]], [[1.0, 2.0]]]
    assert bars[1].lines[2][0].get_segments()[0].tolist() == [[1.0, 1.5], [1.0, 2.5]]
    assert np.isnan(bars[2].lines[0].get_xydata()).all()
    assert {"accuracy", "distance", "low", r"\$high", "lost (not finite)"} <= texts(chart)


def test_bars_have_heights_in_proportion():
    chart = report.bar_chart({"a": 1.0, EVIL: Estimate(2.0, 1.5, 2.5, 9), "c": float("nan")}, "height")
    assert [bar.get_height() for bar in chart.axes[0].patches] == [1.0, 2.0]
    assert [text.get_text() for text in chart.axes[0].texts] == ["–"] and {"a", EVIL, "c", "height"} <= texts(chart)
    assert chart.get_label() == f"height: a 1, {EVIL} 2.00 [1.5, 2.5], c –"


@pytest.mark.parametrize("series", [{}, {"a": (np.zeros(3), np.zeros(4))}, {"a": (np.zeros(3),)}])
def test_bad_series_are_named(series):
    with pytest.raises(ValueError, match="series"):
        report.line_chart(series, "x", "y")


def test_panels_share_names_and_colors(tmp_path):
    one, two = {"a": ([1, 2], [3, 4])}, {"b": ([1, 9], [1, 2], [0, 1], [2, 3]), "a": ([1], [5])}
    chart: Any = panels(
        {"first": one, "second": two}, "cost", {"first": "up", "second": "down"}, log_x=True, log_y=True
    )
    assert [axes.get_ylabel() for axes in chart.axes] == ["up", "down"]
    colors = [{bar.lines[0].get_color() for bar in axes.containers} for axes in chart.axes]
    assert colors[0] < colors[1] and [t.get_text() for t in chart.legends[0].get_texts()] == ["a", "b"]
    with pytest.raises(ValueError, match="series"):
        panels({}, "x", "y")


def test_charts_are_drawn_as_png_and_as_the_same_svg_again(tmp_path, recwarn):
    points = {"a": (0.5, Estimate(2.0, 1.0, 3.0, 9)), "_日本 $": (1.0, 1.0)}
    assert report.save_scatter(tmp_path / "s.png", {}, "x", "y").read_bytes()[:4] == b"\x89PNG"
    first, second = (svg_data_uri(report.scatter(points, "x", "y")) for _ in range(2))
    drawn = base64.b64decode(first.removeprefix("data:image/svg+xml;base64,")).decode()
    assert first == second and "日本 $" in drawn and not recwarn.list
    assert not re.search(r"(href|src)=.(?!#)", drawn) and "url(h" not in drawn  # it refers to nothing outside itself


class Outline(HTMLParser):
    """Collects tags and fails on tags closed out of order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def outline(text):
    parser = Outline()
    parser.feed(text)
    assert not parser.open
    return parser.seen


def test_page_is_well_formed_escaped_and_self_contained(tmp_path):
    pixels = np.zeros((4, 4, 3), np.uint8)
    section = report.Section(
        EVIL,
        [
            report.Text(EVIL, warning=True),
            report.Numbers({EVIL: EVIL}),
            report.Table([{EVIL: EVIL}], caption=EVIL),
            report.Figure(pixels, EVIL, EVIL),
            report.Figure(report.bar_chart({EVIL: 1.0}, EVIL), EVIL),
            report.Cards([report.Card(EVIL, pixels, {EVIL: EVIL}, EVIL)]),
            report.Config({EVIL: EVIL}),
        ],
    )
    text = report.write_report(tmp_path / "report.html", EVIL, [section]).read_text()
    tags = outline(text)
    names = [tag for tag, _ in tags]
    assert "script" not in names and {"main", "h1", "h2", "section", "title"} <= set(names)
    assert ("html", {"lang": "en"}) in tags
    assert all(a["alt"] and a["src"].startswith("data:") for tag, a in tags if tag == "img")
    assert not re.search(r'(src|href)="(?!data:)', text) and "url(" not in text and "@import" not in text


def test_a_report_is_a_page_in_html_or_markdown_with_files_beside_it(tmp_path):
    pixels, chart = np.zeros((4, 4, 3), np.uint8), report.bar_chart({"a": 1.0}, "height")
    blocks = [
        report.Text("Some *words*."),
        report.Numbers({"psnr": 1.5}),
        report.Table([{"x": EVIL}], caption="Rows"),
        report.Figure(pixels, "pixels", name="pixels"),
        report.Figure(chart, "bars", "Bars", "bars"),
        report.Cards([report.Card("#0", pixels, {"p": 0.5}, "missed")]),
        report.Config({"steps": 5}),
    ]
    page = report.Report("A_b", [report.Section("One", blocks)], "Why?", {"n": 1, "bad": float("nan")}, pixels)
    page.write(tmp_path / "new")
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["grid.png", "metrics.json", "report.html"]
    assert (tmp_path / "new" / "metrics.json").read_text() == '{\n  "bad": null,\n  "n": 1\n}\n'
    html = (tmp_path / "new" / "report.html").read_text()
    assert html == page.html() and "<p>Why?</p>" in html and 'alt="bars. height: a 1"' in html
    assert "prefers-color-scheme: dark" in html and re.search(r"\.chart \{[^}]*background: #fff", html)
    text = page.markdown(tmp_path / "page.md")
    assert text.startswith("# A_b\n\nWhy?\n\n## One\n\nSome *words*.\n\n") and "&lt;script" in text
    for part in (
        "Rows:\n\n| x",
        "![pixels](page_pixels.png)\n",
        "Bars:\n\n![bars](page_bars.png)",
        '"steps": 5',
        "missed",
    ):
        assert part in text, part
    assert {"page_bars.png", "page_pixels.png"} <= {file.name for file in tmp_path.iterdir()}
