"""Tables, charts and pages: aligned, well-formed, escaped, self-contained."""

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest

from tfg_jax import report
from tfg_jax.metrics import Estimate
from tfg_jax.report.svg import span, ticks

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


@pytest.mark.parametrize("low, high", [(0.0, 1.0), (-3e-7, 2e-7), (12.0, 98123.0), (-1.05, 1.05), (0.8712, 0.8713)])
def test_ticks_are_round_and_inside(low, high):
    found = ticks(low, high)
    steps = np.diff(found)
    assert 3 <= len(found) <= 9 and low <= found[0] and found[-1] <= high * (1 + 1e-9) + 1e-12
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    assert round(steps[0] / 10 ** np.floor(np.log10(steps[0] * 1.0001)), 6) in (1, 2, 5)


def test_span_survives_nothing_and_one_value():
    assert span([]) == pytest.approx((-0.05, 1.05)) and span([3.0])[0] < 3 < span([3.0])[1]
    assert all(np.isfinite(span([np.nan, 1.0, np.inf])))


def svg(markup):
    return ET.fromstring(markup.replace(' xmlns="http://www.w3.org/2000/svg"', ""))


def test_line_chart_breaks_at_gaps_and_draws_every_series():
    x = np.arange(6.0)
    y = np.array([0, 1, np.nan, 3, 4, 5])
    root = svg(report.line_chart({"a": (x, y), EVIL: (x, -x, -x - 1, -x + 1)}, "step", "value"))
    assert len(root.findall("path")) == 3 and len(root.findall("polygon")) == 1
    labels = [t.text for t in root.iter("text")]
    assert {"step", "value", "a", EVIL, "−2"} <= set(labels)


def test_charts_place_points_where_the_numbers_are():
    points = {"low": (0.0, 0.0), "high": (1.0, Estimate(2.0, 1.5, 2.5, 4)), "lost": (np.nan, 1.0)}
    root = svg(report.scatter(points, "accuracy", "distance"))
    circle, square = root.find("circle"), root.find("polygon")
    assert circle is not None and square is not None
    x, y = np.mean([[float(v) for v in p.split(",")] for p in square.attrib["points"].split()], axis=0)
    assert x > float(circle.attrib["cx"]) and y < float(circle.attrib["cy"])
    assert "lost (not finite)" in [t.text for t in root.iter("text")]


def test_bars_have_heights_in_proportion():
    root = svg(report.bar_chart({"a": 1.0, "b": Estimate(2.0, 1.5, 2.5, 9), "c": float("nan")}, "height"))
    heights = [float(r.attrib["height"]) for r in root.iter("rect")]
    assert len(heights) == 2 and heights[1] == pytest.approx(2 * heights[0], abs=0.2)


@pytest.mark.parametrize("series", [{}, {"a": (np.zeros(3), np.zeros(4))}, {"a": (np.zeros(3),)}])
def test_bad_series_are_named(series):
    with pytest.raises(ValueError, match="series"):
        report.line_chart(series, "x", "y")


def test_matplotlib_scatter_is_written(tmp_path):
    path = report.save_scatter(
        tmp_path / "s.png", {"a": (0.5, Estimate(2.0, 1.0, 3.0, 9)), "b": (np.nan, 1.0)}, "x", "y"
    )
    assert path.read_bytes()[:4] == b"\x89PNG"


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
