"""Images: the shipped Fashion-MNIST model, rewarded by the guide's log-odds of a class, at several strengths."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

import tfg_jax as tfg
from gradient_guidance.common import ResultFolder, curves
from tfg_jax import metrics, report
from tfg_jax.data.fashion_mnist import CLASS_NAMES
from tfg_jax.tasks import load_label_task
from tfg_jax.tasks.rewards import class_log_odds


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is run."""

    rounds: int = 16
    batch: int = 32
    steps: int = 25
    strengths: tuple[float, ...] = (0.25, 1.0, 4.0)  # multiplies the formula's strength
    wanted: str = "bag"
    goal: float = 10.0
    noise_std: float = 1.0


TINY = Sizes(rounds=2, batch=2, steps=3, strengths=(0.5, 1.0))


def run(results: ResultFolder, sizes: Sizes, seed: int) -> None:
    """Rounds at every strength from the same starting noise, as in the paper; judged by the evaluator, too."""
    task = load_label_task(guide="fashion-mnist-guide", steps=sizes.steps)
    wanted = CLASS_NAMES.index(sizes.wanted)
    reward = class_log_odds(task.guide, wanted)
    initial = jax.random.normal(jax.random.key(seed), (sizes.batch, *task.model.shape))
    found, kept = {}, {}
    for strength in sizes.strengths:
        images: dict[int, np.ndarray] = {}
        file = results.runs / results.part / f"images-{strength}.npz"
        out = results.iterate(
            f"strength-{strength}", seed, task.model, reward, rounds=sizes.rounds, batch=sizes.batch, goal=sizes.goal,
            sampler=tfg.DDIM(steps=sizes.steps, eta=0.0), clip=task.clip, initial=initial,
            guidance=tfg.GradientGuidance(noise_std=sizes.noise_std, beta_coef=strength),
            on_round=lambda k, batch, numbers, images=images, file=file: _keep(file, images, k, batch.z),
        )  # fmt: skip
        found[strength] = out
        with np.load(file, allow_pickle=False) as stored:
            kept[strength] = {int(name): stored[name] for name in stored.files}
    shown = sorted({0, 1, sizes.rounds // 4, sizes.rounds // 2, sizes.rounds})
    rows = []
    for strength, out in found.items():
        scores = task.evaluator.score(kept[strength][out.rounds])
        accuracy = metrics.accuracy(scores.evaluator_logits, np.full(sizes.batch, wanted))
        rows.append(
            {
                "strength": strength, "reward, round 0": float(out.history["reward"][0]),
                "reward, last": float(out.history["reward"][-1]), "best mean": float(out.history["reward"].max()),
                "evaluator says so": accuracy, "failed": int(out.history["failed"].sum()),
                "seconds a round": float(np.median(out.history["seconds"][1:])),
            }
        )  # fmt: skip
    lines = {f"strength {s}": (np.arange(out.rounds + 1), out.history["reward"]) for s, out in found.items()}
    curves(results.picture("reward"), {f"log-odds of {sizes.wanted}": lines}, "round", "reward")
    strongest = max(kept)
    grid = report.grid(
        [kept[s][k][:12] for s in (min(kept), strongest) for k in shown if k in kept[s]],
        row_labels=[f"{s}, round {k}" for s in (min(kept), strongest) for k in shown if k in kept[s]], scale=2,
    )  # fmt: skip
    report.save_png(results.picture("rounds"), grid)
    text = [
        "## Images\n",
        f"Reward: the guide's log-odds of *{sizes.wanted}*, goal {sizes.goal:g} in every round; the shipped "
        f"Fashion-MNIST model without condition, DDIM {sizes.steps} steps, eta 0, clipped; {sizes.batch} images, the "
        f"same starting noise in every round; G_loss with noise_std {sizes.noise_std:g} and the strength below as "
        "beta_coef. The evaluator never guides.\n",
        report.markdown_table(rows),
        f"\n![reward]({results.picture('reward').name})\n\n![rounds]({results.picture('rounds').name})\n",
    ]
    results.write_section(text, {"rows": [{k: v for k, v in row.items() if k != "evaluator says so"} for row in rows]})


def _keep(file, images: dict[int, np.ndarray], number: int, x: jax.Array) -> None:  # noqa: ANN001
    if file.exists() and not images:
        with np.load(file, allow_pickle=False) as stored:
            images |= {int(name): stored[name] for name in stored.files}
    images[number] = np.asarray(x)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **{str(k): v for k, v in images.items()})  # type: ignore[arg-type]
