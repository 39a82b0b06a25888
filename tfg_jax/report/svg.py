"""The bare bones of a chart: axes with round ticks, a legend, and data coordinates mapped to an inline SVG picture."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10

# Okabe and Ito's palette, told apart with every common colour vision; mid tones first, legible on light and dark paper.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
DASHES = ("", "7 3", "2 3", "9 3 2 3")
MARKS = ("circle", "square", "diamond", "triangle")

WIDTH, HEIGHT = 640.0, 380.0
LEFT, RIGHT, TOP, BOTTOM = 72.0, 20.0, 16.0, 56.0
LEGEND_LINE = 20.0


class Svg(str):
    """SVG markup made by this package, every text in it escaped; pages embed it as it is."""


@dataclass(frozen=True)
class Axes:
    """A plotting area: data ranges, labels, and the pixels set aside on top for the legend."""

    x: tuple[float, float]
    y: tuple[float, float]
    xlabel: str
    ylabel: str
    top: float = TOP

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixel position of a data point."""
        fx, fy = ((v - low) / (high - low) for v, (low, high) in ((x, self.x), (y, self.y)))
        return LEFT + fx * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - fy * (HEIGHT - BOTTOM - self.top)

    def frame(self, xticks: Sequence[tuple[float, str]] | None = None) -> str:
        """Grid lines, tick labels and axis labels; xticks replaces the round x ticks by named positions."""
        parts = []
        for value, label in xticks if xticks is not None else _labelled(self.x):
            px, py = self.at(value, self.y[0])
            if xticks is None:
                parts.append(line(px, py, px, py + 5, 'class="axis"'))
            parts.append(text(px, py + 18, label, anchor="middle"))
        for value, label in _labelled(self.y):
            px, py = self.at(self.x[0], value)
            parts.append(line(px, py, WIDTH - RIGHT, py, 'class="grid"') + text(px - 8, py + 4, label, anchor="end"))
        (x0, y0), (x1, y1) = self.at(self.x[0], self.y[0]), self.at(self.x[1], self.y[1])
        parts += [line(x0, y0, x1, y0, 'class="axis"'), line(x0, y0, x0, y1, 'class="axis"')]
        parts.append(text((x0 + x1) / 2, HEIGHT - 12, self.xlabel, anchor="middle"))
        middle = (y0 + y1) / 2
        parts.append(text(16.0, middle, self.ylabel, anchor="middle", extra=f'transform="rotate(-90 16 {middle:.1f})"'))
        return "".join(parts)


def picture(body: str, title: str) -> Svg:
    """A complete, scalable `<svg>` whose text takes the page's colour; the title is its alternative text."""
    style = (
        ".grid{stroke:currentColor;stroke-opacity:.15}.axis{stroke:currentColor;stroke-opacity:.6}"
        "text{fill:currentColor;font:13px system-ui,sans-serif}"
    )
    return Svg(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" class="chart">'
        f"<title>{escape(title)}</title><style>{style}</style>{body}</svg>"
    )


def line(x0: float, y0: float, x1: float, y1: float, attributes: str) -> str:
    """A straight line between two pixels."""
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" {attributes}/>'


def text(x: float, y: float, content: str, anchor: str = "start", extra: str = "") -> str:
    """Escaped text at a pixel."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{escape(content)}</text>'


def mark(x: float, y: float, index: int, size: float = 5.5) -> str:
    """The index-th data mark: shape and colour both differ, so neither is needed alone."""
    colour, shape = PALETTE[index % len(PALETTE)], MARKS[index % len(MARKS)]
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" fill="{colour}"/>'
    corners = {
        "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        "diamond": ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
        "triangle": ((0, -1.2), (1.2, 1), (-1.2, 1)),
    }[shape]
    points = " ".join(f"{x + dx * size:.1f},{y + dy * size:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" fill="{colour}"/>'


def legend(names: Sequence[str], sample: Iterable[str]) -> tuple[str, float]:
    """Names beside their samples (drawn around the origin), wrapped; returns the markup and the height it takes."""
    x, y, parts = LEFT, 14.0, []
    for name, drawn in zip(names, sample, strict=True):
        width = 44 + 7.2 * len(name)
        if x > LEFT and x + width > WIDTH - RIGHT:
            x, y = LEFT, y + LEGEND_LINE
        parts.append(f'<g transform="translate({x:.1f} {y:.1f})">{drawn}{text(30.0, 4.0, name)}</g>')
        x += width
    return "".join(parts), y + LEGEND_LINE


def span(values: Iterable[float], margin: float = 0.05) -> tuple[float, float]:
    """Range of the finite values, widened by a margin on both sides; (0, 1) if there are none."""
    finite = [float(v) for v in values if isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    widen = margin * (high - low) or max(0.5 * abs(high), 0.5)
    return low - widen, high + widen


def ticks(low: float, high: float, most: int = 8) -> list[float]:
    """At most most + 1 round numbers (steps of 1, 2 or 5 times a power of ten) within [low, high]."""
    raw = (high - low) / most
    power = 10.0 ** floor(log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    return [k * step for k in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def _labelled(span: tuple[float, float]) -> list[tuple[float, str]]:
    found = ticks(*span)
    step = found[1] - found[0] if len(found) > 1 else 1.0
    decimals = max(0, -floor(log10(step) + 1e-9))
    plain = max(abs(found[0]), abs(found[-1])) < 1e6 and decimals < 6 if found else True
    return [(v, f"{v:.{decimals}f}".replace("-", "−") if plain else f"{v:.3g}") for v in found]
