"""Gaussians in closed form: the distributions that guidance is meant to sample beside those that samplers really
produce."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import tfg_jax as tfg
from cfg import guided_distributions, tilted
from cfg.common import Options, V
from tfg_jax import report
from tfg_jax.config import to_dict
from tfg_jax.runs.study import Row

TOY = {
    "ancestral, v 0, T 1024": tfg.DDPM(steps=1024, grid=tfg.CosineLogSNR()),
    "ancestral, v 0.3, T 256": tfg.DDPM(steps=256, v=V, grid=tfg.CosineLogSNR()),
    "ODE, T 256": tfg.DDIM(steps=256, eta=None, grid=tfg.CosineLogSNR()),
}
TILTED = "tilted, by quadrature"
FIGURE, SIDE = (0.0, 1.0, 2.0, 4.0, 8.0), 5.0  # weights and half width of the picture


def gaussian_rows(options: Options) -> Iterator[Row]:
    """Tilted distributions by quadrature beside what samplers produce, the two Gaussians on a line, the picture."""
    n = options.toy_samples
    for radius in (1.0, 2.0):
        data = tilted.triangle(radius)
        for w in FIGURE[1:]:
            yield _row(f"r {radius:g}, w {w:g}, tilted", {}, {"r": radius, "w": w, "distribution": TILTED},
                       lambda data=data, w=w: dataclasses.asdict(tilted.tilted(data, 0, w)))  # fmt: skip
            for name, sampler in TOY.items():
                if sampler.steps > 256 and not (radius == 2.0 and w <= 2.0):
                    continue
                sample = partial(toy_samples, radius, w, sampler, n)
                yield _row(
                    f"r {radius:g}, w {w:g}, {name}", {"sampler": to_dict(sampler), "samples": n},
                    {"r": radius, "w": w, "distribution": name},
                    lambda data=data, sample=sample: dataclasses.asdict(tilted.moments(data, 0, sample())),
                )  # fmt: skip
    for gamma in (2.0, 3.0):
        yield _row(f"gamma {gamma:g}", {}, {"gamma = 1 + w": gamma}, partial(line, gamma))
    picture = figure_of(options)
    yield _row("picture", {"picture": str(picture), "samples": n}, {}, partial(save_figure, picture, 1.0, n))


def _row(name: str, config: dict[str, Any], first: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> Row:
    return Row(name, "toy", config | first, lambda choice, trial: first | compute())


def figure_of(options: Options) -> Path:
    """Where the picture goes."""
    return options.page.with_name(f"{options.page.stem}_gaussians.png")


def line(gamma: float) -> dict[str, float]:
    """Variances of the two Gaussians on a line."""
    grid = tfg.Karras(0.002)
    ode, sde = tfg.Heun(steps=300, grid=grid), tfg.DDPM(steps=1000, grid=grid)
    return {
        "ODE": round(guided_distributions.ode_variance(gamma), 5),
        "Heun, T 300": round(guided_distributions.sampled_variance(gamma, ode), 5),
        "SDE": round(guided_distributions.sde_variance(gamma), 5),
        "ancestral, T 1000": round(guided_distributions.sampled_variance(gamma, sde), 5),
        "tilted": round(guided_distributions.tilted_variance(gamma), 5),
    }


def toy_samples(radius: float, w: float, sampler: Any, n: int) -> np.ndarray:
    """Samples of class 0 with exact scores, (n, 2)."""
    model = tfg.CFG(tilted.triangle(radius).class_denoiser(tfg.VPTruncatedCosine()), w)
    out: Any = tfg.sample(
        jax.random.key(0), model, cond=jnp.zeros(n, jnp.int32), sampler=sampler, chunk=min(n, 5000)
    ).x  # fmt: skip
    return np.asarray(out)


def save_figure(path: Path, radius: float, n: int) -> dict[str, Any]:
    """Figure 2 of the paper, the tilted densities, above densities of what the ancestral sampler produces."""
    from matplotlib.figure import Figure

    data, axis = tilted.triangle(radius), np.linspace(-SIDE, SIDE, 121)
    points = np.stack(np.meshgrid(axis, axis, indexing="xy"), axis=-1).reshape(-1, 2)
    cell = (axis[1] - axis[0]) ** 2
    figure = Figure(figsize=(2.2 * len(FIGURE), 4.8), dpi=120, layout="constrained")
    panels: Any = figure.subplots(2, len(FIGURE), sharex=True, sharey=True)
    for column, w in enumerate(FIGURE):
        each = [tilted.tilted_density(data, label, w, points, cell)[0] for label in range(3)]
        panels[0, column].imshow(
            np.mean(each, axis=0).reshape(121, 121), origin="lower", extent=(-SIDE, SIDE, -SIDE, SIDE)
        )
        x = toy_samples(radius, w, TOY["ancestral, v 0.3, T 256"], n)
        # The other two classes are the first one turned by a third.
        turns = [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in 2 * np.pi / 3 * np.arange(3)]
        cloud = np.concatenate([x @ turn.T for turn in turns])
        panels[1, column].hist2d(*cloud.T, bins=60, range=[[-SIDE, SIDE]] * 2)
        panels[1, column].set_aspect("equal")
        panels[0, column].set_title(f"w = {w:g}")
    panels[0, 0].set_ylabel("tilted, by quadrature")
    panels[1, 0].set_ylabel("ancestral sampler")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return {}


def gaussians_text(options: Options, known: Mapping[str, Any]) -> list[str]:
    """The section on distributions in closed form, of the rows that are known."""
    n = options.toy_samples
    reports = [known[row.name]["report"] for row in gaussian_rows(options) if row.name in known]
    on_plane, on_line = ([each for each in reports if key in each] for key in ("r", "gamma = 1 + w"))
    if not on_plane or not on_line:
        return ["## Three Gaussians\n\nNot run yet: `--only toy`.\n"]
    columns = {
        "r": "r", "w": "w", "distribution": "distribution", "mean y": "mean_y", "var x": "var_x", "var y": "var_y",
        "skew y": "skew_y",
        "p(class)": "class_probability", "entropy": "entropy",
    }  # fmt: skip
    digits = lambda value: round(value, 3) if isinstance(value, float) else value  # noqa: E731
    plane = [{title: digits(row[key]) for title, key in columns.items()} for row in on_plane]
    order = ("gamma = 1 + w", "ODE", "Heun, T 300", "SDE", "ancestral, T 1000", "tilted")
    lines = [{title: row[title] for title in order} for row in on_line]
    return [
        "## Three Gaussians\n\nClasses N(mean, 1) at distance r from the origin (our choice: the paper's figure 2 "
        "gives no numbers), exact scores. Guidance is meant to sample p(x|c) p(c|x)^w / Z, which is integrated on a "
        f"grid; samplers produce another distribution ({n} samples a row, standard error of a mean below "
        f"{1.0 / n**0.5:.3f}). y points away from the other classes; by symmetry the mean of x is 0, and "
        f"all sampled ones lie within {max(abs(row['mean_x']) for row in on_plane):.3f} of it.\n",
        report.markdown_table(plane),
        f"\n![tilted and sampled densities]({figure_of(options).name})\n",
        "## Two Gaussians on a line\n\nVariances for p(x|c) = N(0, 1), p(x) = N(0, 2): the limits of the deterministic "
        "and the stochastic sampler, what the samplers give at finite T (exactly: they are linear), and the tilted "
        "distribution.\n",
        report.markdown_table(lines) + "\n",
    ]
