"""Seconds of a round against unguided sampling, as the paper's table 1: exact scores and the shipped image model."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import tfg_jax as tfg
from gradient_guidance import problems
from gradient_guidance.common import ResultFolder
from tfg_jax import optimize, report
from tfg_jax.data.fashion_mnist import CLASS_NAMES
from tfg_jax.tasks import load_label_task
from tfg_jax.tasks.rewards import class_log_odds


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is run."""

    rounds: int = 5  # timed, of which the median is shown
    batch: int = 32
    steps: int = 200
    image_batch: int = 8
    image_steps: int = 50


TINY = Sizes(rounds=1, batch=2, steps=3, image_batch=2, image_steps=2)


def run(results: ResultFolder, sizes: Sizes, seed: int) -> None:
    """Time both models; best on a machine with nothing else to do."""
    problem = problems.linear_problem(seed=seed)
    exact = problem.model(tfg.from_alphas_cumprod(tfg.cosine_table(sizes.steps)))
    task = load_label_task(steps=sizes.image_steps)
    rows = [
        timed(
            f"exact scores, DDPM {sizes.steps}, {sizes.batch} samples", exact, problems.parabola(problem.theta_across),
            sizes.batch, sizes.rounds, sampler=tfg.DDPM(steps=sizes.steps),
        ),
        timed(
            f"Fashion-MNIST, DDIM {sizes.image_steps}, {sizes.image_batch} images", task.model,
            class_log_odds(task.guide, CLASS_NAMES.index("bag")), sizes.image_batch, sizes.rounds,
            sampler=task.sampler, clip=task.clip,
        ),
    ]  # fmt: skip
    text = [
        "## Runtime\n",
        "Seconds of a round, compiled (medians; a CPU of two hyperthreads). A whole round adds to G_loss the "
        "reward, its gradient and the host's work.\n",
        report.markdown_table(rows),
        "",
    ]
    results.write_section(text, {"rows": rows})


def timed(name: str, model: Any, objective: Any, batch: int, repeats: int, **options: Any) -> dict[str, Any]:
    """One row: unguided sampling, both guidances, a whole round of the loop."""
    key = jax.random.key(0)
    asked = {
        "objective": tfg.objectives.linear(),
        "target": (jnp.full((batch, *model.shape), 0.1), jnp.ones(batch)),
    }
    draw = lambda **given: tfg.sample(  # noqa: E731
        key, model, num_samples=batch, **options, **given
    ).x.block_until_ready()  # type: ignore[attr-defined]
    plain = _median(draw, repeats)
    naive = _median(lambda: draw(guidance=tfg.NaiveGradientGuidance(), **asked), repeats)
    lossy = _median(lambda: draw(guidance=tfg.GradientGuidance(), **asked), repeats)
    whole = optimize.iterate(key, model, objective, rounds=repeats + 2, batch=batch, delta=0.2, **options)
    round_ = float(np.median(whole.history["seconds"][2:]))
    return {
        "model": name, "unguided": plain, "G": naive, "G_loss": lossy, "whole round, G_loss": round_,
        "of unguided": round_ / plain,
    }  # fmt: skip


def _median(call: Callable[[], Any], repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        since = time.perf_counter()
        call()
        times.append(time.perf_counter() - since)
    return float(np.median(times))
