"""Gaussians in closed form: the distributions that guidance is meant to sample beside those that samplers really
produce."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import tfg_jax as tfg
from cfg.common import Run, Store, V
from tfg_jax import report
from tfg_jax.config import to_dict
from tfg_jax.runs.store import config_hash
from tfg_jax.tasks import guided_distributions, tilted

TOY = {
    "ancestral, v 0, T 1024": tfg.DDPM(steps=1024, grid=tfg.CosineLogSNR()),
    "ancestral, v 0.3, T 256": tfg.DDPM(steps=256, v=V, grid=tfg.CosineLogSNR()),
    "ODE, T 256": tfg.DDIM(steps=256, eta=None, grid=tfg.CosineLogSNR()),
}
FIGURE, SIDE = (0.0, 1.0, 2.0, 4.0, 8.0), 5.0  # weights and half width of the picture


def toy(run: Run) -> dict[str, Any]:
    """Tilted distributions by quadrature beside what samplers produce, and the two Gaussians on a line."""
    store, plane, n = Store(run.folder / "toy.json"), [], run.toy_samples
    path = run.page.with_name(f"{run.page.stem}_gaussians.png")
    fresh = not path.exists()
    for radius in (1.0, 2.0):
        for w in FIGURE[1:]:
            aim = dataclasses.asdict(tilted.tilted(tilted.triangle(radius), 0, w))
            plane.append({"r": radius, "w": w, "distribution": "tilted, by quadrature", **aim})
            for name, sampler in TOY.items():
                if sampler.steps > 256 and not (radius == 2.0 and w <= 2.0):
                    continue
                key = config_hash({"radius": radius, "w": w, "sampler": to_dict(sampler), "samples": n})
                label = f"r {radius:g}, w {w:g}, {name}"
                if (found := store.get(label, key)) is None:
                    fresh = True
                    x = toy_samples(radius, w, sampler, n)
                    found = store.put(label, key, dataclasses.asdict(tilted.moments(tilted.triangle(radius), 0, x)))
                    print(f"{label}: mean_y {found['mean_y']:.3f}", flush=True)
                plane.append({"r": radius, "w": w, "distribution": name, **found})
    line, grid = [], tfg.Karras(0.002)
    for gamma in (2.0, 3.0):
        ode, sde = tfg.Heun(steps=300, grid=grid), tfg.DDPM(steps=1000, grid=grid)
        line.append(
            {
                "gamma = 1 + w": gamma,
                "ODE": round(guided_distributions.ode_variance(gamma), 5),
                "Heun, T 300": round(guided_distributions.sampled_variance(gamma, ode), 5),
                "SDE": round(guided_distributions.sde_variance(gamma), 5),
                "ancestral, T 1000": round(guided_distributions.sampled_variance(gamma, sde), 5),
                "tilted": round(guided_distributions.tilted_variance(gamma), 5),
            }
        )
    if fresh:
        save_figure(path, 1.0, n)
    return {"plane": plane, "line": line}


def toy_samples(radius: float, w: float, sampler: Any, n: int) -> np.ndarray:
    """Samples of class 0 with exact scores, (n, 2)."""
    model = tfg.CFG(tilted.triangle(radius).class_denoiser(tfg.VPTruncatedCosine()), w)
    out: Any = tfg.sample(
        jax.random.key(0), model, cond=jnp.zeros(n, jnp.int32), sampler=sampler, chunk=min(n, 5000)
    ).x  # fmt: skip
    return np.asarray(out)


def save_figure(path: Path, radius: float, n: int) -> None:
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


def gaussians_text(run: Run, distributions: dict[str, Any]) -> list[str]:
    """The section on distributions in closed form."""
    columns = {
        "r": "r", "w": "w", "distribution": "distribution", "mean y": "mean_y", "var x": "var_x", "var y": "var_y",
        "skew y": "skew_y",
        "p(class)": "class_probability", "entropy": "entropy",
    }  # fmt: skip
    digits = lambda value: round(value, 3) if isinstance(value, float) else value  # noqa: E731
    plane = [{title: digits(row[key]) for title, key in columns.items()} for row in distributions["plane"]]
    order = ("gamma = 1 + w", "ODE", "Heun, T 300", "SDE", "ancestral, T 1000", "tilted")
    line = [{title: row[title] for title in order} for row in distributions["line"]]
    return [
        "## Three Gaussians\n\nClasses N(mean, 1) at distance r from the origin (our choice: the paper's figure 2 "
        "gives no numbers), exact scores. Guidance is meant to sample p(x|c) p(c|x)^w / Z, which is integrated on a "
        f"grid; samplers produce another distribution ({run.toy_samples} samples a row, standard error of a mean below "
        f"{1.0 / run.toy_samples**0.5:.3f}). y points away from the other classes; by symmetry the mean of x is 0, and "
        f"all sampled ones lie within {max(abs(row['mean_x']) for row in distributions['plane']):.3f} of it.\n",
        report.markdown_table(plane),
        f"\n![tilted and sampled densities]({run.page.stem}_gaussians.png)\n",
        "## Two Gaussians on a line\n\nVariances for p(x|c) = N(0, 1), p(x) = N(0, 2): the limits of the deterministic "
        "and the stochastic sampler, what the samplers give at finite T (exactly: they are linear), and the tilted "
        "distribution.\n",
        report.markdown_table(line) + "\n",
    ]
