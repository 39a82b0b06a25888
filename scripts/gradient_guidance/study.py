"""The rows of the study: how each is measured, and where its samples lie."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from studied import flat
from timing import interleaved, seconds_of

import tfg_jax as tfg
from gradient_guidance import distributions, problems
from gradient_guidance.network import train
from gradient_guidance.settings import GUIDANCES, NOISE_STD, Climb, Options, exact_climbs, network_climbs, tuned
from tfg_jax import metrics, optimize
from tfg_jax.data.fashion_mnist import CLASS_NAMES
from tfg_jax.report.optimize import optimize_metrics
from tfg_jax.runs.study import Row, Study
from tfg_jax.tasks import load_label_task
from tfg_jax.tasks.label import LabelTask
from tfg_jax.tasks.rewards import class_log_odds

DEPENDS = {
    "exact": ("seed", "steps", "batch"),
    "network": (
        "seed", "steps", "batch", "data", "epochs", "train_batch", "rates", "width", "blocks", "tune_rates",
        "tune_rounds",
    ),
    "image": ("seed", "image_rounds", "images", "image_steps", "wanted", "goal", "image_noise_std"),
    "runtime": ("seed", "steps", "batch", "timed_rounds", "timed_images", "timed_steps"),
}  # fmt: skip
"""The options that a row of each part depends on, beside its own."""


def study_of(options: Options) -> Study:
    """All rows."""
    return Study(options.folder, list(rows_of(options)))


def rows_of(options: Options) -> Iterator[Row]:
    """Rows, part by part; all that need a trained network are left to one process."""
    lab = Lab(options)

    def row(part: str, name: str, measure: Callable[..., Any], choices: Any = (None,), **more: Any) -> Row:
        config = {key: getattr(options, key) for key in DEPENDS[part]} | more
        return Row(f"{part}-{name}", part, config, measure, choices, claim="network" if part == "network" else "")

    yield row("exact", "one-round", lab.one_round, samples=options.one_round)
    for climb in exact_climbs(options):
        yield row("exact", climb.name, partial(lab.climb, climb), rounds=climb.rounds)
    yield from (row("exact", name, partial(lab.sphere, *each), rounds=options.sphere_rounds, batch=options.sphere_batch)
                for name, each in spheres("exact", options.deltas).items())  # fmt: skip
    for kind in ("linear", "sphere"):
        yield row("network", f"train-{kind}", lambda choice, trial, kind=kind: lab.trained[kind][1])
    for climb in network_climbs(options):
        yield row("network", climb.name, partial(lab.climb, climb), rounds=climb.rounds)
    yield row("network", "tuned-G_loss", lab.tune, options.tune_rates)
    yield row("network", "tuned-G", lambda choice, trial: lab.climb(tuned(options, "G", lab.best_rate), None, trial))
    yield from (row("network", name, partial(lab.sphere, *each), rounds=options.sphere_rounds,
                    batch=options.sphere_batch)
                for name, each in spheres("network", options.network_deltas).items())  # fmt: skip
    for strength in options.strengths:
        yield row("image", f"strength-{strength}", partial(lab.images, strength))
    yield row("runtime", "exact", lab.time_exact)
    yield row("runtime", "image", lab.time_images)


def spheres(part: str, deltas: tuple[float, ...]) -> dict[str, tuple[str, str, float]]:
    """Name of a row on the sphere -> part, guidance, delta."""
    return {f"sphere-{name}-{delta}": (part, name, delta) for name in GUIDANCES for delta in deltas}


def images_file(options: Options, strength: float) -> Path:
    """Where the images of all rounds lie."""
    return options.folder / "image" / f"images-{strength}.npz"


class Lab:
    """The models, made when the first row is measured, and how rows are measured with them."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.problem = problems.linear_problem(seed=options.seed)
        self.schedule = tfg.from_alphas_cumprod(tfg.cosine_table(options.steps))
        self.sampler = tfg.DDPM(steps=options.steps)

    @cached_property
    def exact(self) -> dict[str, tfg.Denoiser]:
        """The models in closed form."""
        return {"linear": self.problem.model(self.schedule), "sphere": problems.sphere(64, self.schedule)}

    @cached_property
    def data(self) -> dict[str, np.ndarray]:
        """What the networks are trained on, and a direction for the sphere."""
        rng, n = np.random.default_rng(self.options.seed), self.options.data
        linear, ball = rng.standard_normal((n, 16)) @ self.problem.basis.T, rng.standard_normal((n, 64))
        sphere = ball / np.linalg.norm(ball, axis=1, keepdims=True)
        return {"linear": linear, "sphere": sphere, "theta": rng.standard_normal(64)}

    @cached_property
    def trained(self) -> dict[str, tuple[tfg.Denoiser, dict[str, float]]]:
        """The trained networks with their errors."""
        seeds = {"linear": self.options.seed, "sphere": 1}
        return {kind: train(self.options, kind, self.data[kind], seed) for kind, seed in seeds.items()}

    @cached_property
    def task(self) -> LabelTask:
        """The shipped image model and its guide."""
        return load_label_task(guide="fashion-mnist-guide", steps=self.options.image_steps)

    @cached_property
    def best_rate(self) -> float:
        """The learning rate of the best trial; used for both guidances."""
        return max(self.options.tune_rates, key=lambda rate: self.tune(rate, True)["score"])

    def model(self, part: str, kind: str) -> tfg.Denoiser:
        """In closed form, or trained."""
        return self.exact[kind] if part == "exact" else self.trained[kind][0]

    def iterate(self, part: str, name: str, *given: Any, **options: Any) -> optimize.Optimized:
        """`optimize.iterate`, which goes on where it was; done already if it is on disk."""
        folder, every = self.options.folder / part / name, max(options["rounds"] // 4, 1)
        return optimize.iterate(*given, folder=folder, save_every=every, **options)

    def climb(self, climb: Climb, choice: Any, trial: bool) -> dict[str, Any]:
        """What a run's rounds gave, and where its last batch lies; of Algorithm 1 also exact distributions."""
        model, objective = self.model(climb.part, "linear"), self.problem.objective(climb.which)
        out = self.iterate(
            climb.part, climb.name, jax.random.key(self.options.seed), model, objective, rounds=climb.rounds,
            batch=self.options.batch, delta=climb.delta, guidance=GUIDANCES[climb.guidance], linearize=climb.linearize,
            adapt=climb.adapt, sampler=self.sampler, basis=jnp.asarray(self.problem.basis, jnp.float32),
        )  # fmt: skip
        report = optimize_metrics(out, climb.which) | {"view": np.asarray(out.x) @ self.problem.frame()}
        if climb.part == "network":
            return report
        if climb.guidance == "G":
            report["last"] = self.last_step(objective, out.x, climb.delta)
        elif climb.adapt is None:
            f = distributions.reward(self.problem, climb.which)
            drawn = distributions.rewards(
                self.problem.basis, f, climb.delta, climb.rounds, linearize=climb.linearize, batch=self.options.batch
            )
            report |= {"drawn": drawn, "optimum": f.optimum(NOISE_STD**2 / climb.delta)}
        return report

    def tune(self, rate: float, trial: bool) -> dict[str, Any]:
        """Algorithm 2 at a learning rate; the score is the reward of the last tenth of the rounds."""
        report = self.climb(tuned(self.options, "G_loss", rate), None, trial)
        return {"rate": rate, "score": tail(report["history"]["reward"])} if trial else report | {"rate": rate}

    def one_round(self, choice: None, trial: bool) -> dict[str, float]:
        """Moments of one guided round against ``p(x_0 | g^T x_0 + noise = y)``."""
        g, y, n = 3.7 * self.problem.theta_across, 1.3, self.options.one_round
        x = tfg.sample(
            jax.random.key(self.options.seed), self.exact["linear"], objective=tfg.objectives.linear(),
            guidance=GUIDANCES["G_loss"], sampler=self.sampler, chunk=1000,
            target=(jnp.broadcast_to(jnp.asarray(g, jnp.float32), (n, len(g))), jnp.full(n, y)),
        ).x  # fmt: skip
        u, g_in = np.asarray(x, np.float64) @ self.problem.basis, self.problem.basis.T @ g
        size = float(np.linalg.norm(g_in))
        along = u @ g_in / size
        beside = u - np.outer(along, g_in / size)
        return {
            "mean": float(along.mean()), "mean_theory": size * y / (NOISE_STD**2 + size**2),
            "var": float(along.var()), "var_theory": NOISE_STD**2 / (NOISE_STD**2 + size**2),
            "beside": float(beside.var(axis=0).sum() / (len(g_in) - 1)), "beside_theory": 1.0,
        }  # fmt: skip

    def last_step(self, objective: Any, x: Any, delta: float) -> dict[str, float]:
        """Naive guidance: what one more round leaves off the support, against ``h_1 / noise^2 (y - g^T x) g_perp``.

        That is ``h_1 / alpha_1 G_perp`` of the last step, with its gap ``y - g^T x0`` told from the sample it gives.
        """
        g = jax.vmap(jax.grad(objective), (0, None))(jnp.asarray(x), None)
        y = delta + jnp.sum(g * x, axis=1)
        made: Any = tfg.sample(
            jax.random.key(0), self.exact["linear"], objective=tfg.objectives.linear(), target=(g, y),
            guidance=GUIDANCES["G"], sampler=self.sampler,
        ).x  # fmt: skip
        g, y, made = (np.asarray(a, np.float64) for a in (g, y, made))
        across = np.eye(len(self.problem.basis)) - self.problem.basis @ self.problem.basis.T
        level = self.schedule.level(1.0 / self.options.steps)
        gap = (y - np.sum(g * made, axis=1))[:, None]
        expected = float(level.sigma) ** 2 / NOISE_STD**2 * gap * (g @ across)
        parts = {"measured": made @ across, "expected": expected, "difference": made @ across - expected}
        return {name: float(np.linalg.norm(part, axis=1).mean()) for name, part in parts.items()}

    def sphere(self, part: str, guidance: str, delta: float, choice: None, trial: bool) -> dict[str, float]:
        """Reward and radius after the last round on the sphere."""
        exact = part == "exact"
        seed = self.options.seed if exact else 1
        theta = np.random.default_rng(seed).standard_normal(64) if exact else self.data["theta"]
        out = self.iterate(
            part, f"sphere-{guidance}-{delta}", jax.random.key(seed), self.model(part, "sphere"),
            problems.along(theta / np.linalg.norm(theta)), rounds=self.options.sphere_rounds,
            batch=self.options.sphere_batch, delta=delta, sampler=self.sampler, guidance=GUIDANCES[guidance],
        )  # fmt: skip
        radius = np.linalg.norm(np.asarray(out.x), axis=1)
        return {"reward": float(out.history["reward"][-1]), "ratio": float((radius - 1.0).mean())}

    def images(self, strength: float, choice: None, trial: bool) -> dict[str, Any]:
        """Rounds from the same starting noise, as in the paper; judged by the evaluator, too."""
        options, task, file = self.options, self.task, images_file(self.options, strength)
        wanted = CLASS_NAMES.index(options.wanted)
        images = {} if not file.exists() else read_images(file)

        def keep(number: int, batch: Any, numbers: Mapping[str, float]) -> None:
            images[number] = np.asarray(batch.z)
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(file, **{str(k): v for k, v in images.items()})  # type: ignore[arg-type]

        out = self.iterate(
            "image", f"strength-{strength}", jax.random.key(options.seed), task.model,
            class_log_odds(task.guide, wanted), rounds=options.image_rounds, batch=options.images, goal=options.goal,
            sampler=tfg.DDIM(steps=options.image_steps, eta=0.0), clip=task.clip, on_round=keep,
            initial=jax.random.normal(jax.random.key(options.seed), (options.images, *task.model.shape)),
            guidance=tfg.GradientGuidance(noise_std=options.image_noise_std, beta_coef=strength),
        )  # fmt: skip
        logits = task.evaluator.score(images[out.rounds]).evaluator_logits
        accuracy = metrics.accuracy(logits, np.full(options.images, wanted))
        return optimize_metrics(out, options.wanted) | flat(evaluator_accuracy=accuracy) | {"samples": options.images}

    def time_exact(self, choice: None, trial: bool) -> dict[str, Any]:
        """A round with exact scores."""
        name = f"exact scores, DDPM {self.options.steps}, {self.options.batch} samples"
        objective = self.problem.objective("theta_2")
        return self.timed(name, self.exact["linear"], objective, self.options.batch, sampler=self.sampler)

    def time_images(self, choice: None, trial: bool) -> dict[str, Any]:
        """A round of images."""
        steps, n = self.options.timed_steps, self.options.timed_images
        task = load_label_task(steps=steps)
        reward = class_log_odds(task.guide, CLASS_NAMES.index("bag"))
        name = f"Fashion-MNIST, DDIM {steps}, {n} images"
        return self.timed(name, task.model, reward, n, sampler=task.sampler, clip=task.clip)

    def timed(self, name: str, model: Any, objective: Any, batch: int, **options: Any) -> dict[str, Any]:
        """Unguided sampling, both guidances, a whole round of the loop."""
        key, repeats = jax.random.key(0), self.options.timed_rounds
        target = (jnp.full((batch, *model.shape), 0.1), jnp.ones(batch))
        sample = partial(tfg.sample, key, model, num_samples=batch, **options)
        guided = partial(sample, objective=tfg.objectives.linear(), target=target)
        programs: dict[str, Any] = {"unguided": sample}
        programs |= {name: partial(guided, guidance=guidance) for name, guidance in GUIDANCES.items()}
        runs = {name: lambda run=run: run().x for name, run in programs.items()}
        seconds = interleaved(runs, repeats, partial(seconds_of, clock=time.perf_counter))
        medians = {name: float(np.median(each)) for name, each in seconds.items()}
        out = optimize.iterate(key, model, objective, rounds=repeats + 2, batch=batch, delta=0.2, **options)
        whole = float(np.median(out.history["seconds"][2:]))
        return {
            "model": name, **medians, "whole round, G_loss": whole, "of unguided": whole / medians["unguided"],
        }  # fmt: skip


def read_images(file: Path) -> dict[int, np.ndarray]:
    """Images by round."""
    with np.load(file, allow_pickle=False) as stored:
        return {int(name): stored[name] for name in stored.files}


def tail(reward: np.ndarray | list[float]) -> float:
    """Mean of the last tenth of the rounds."""
    return float(np.mean(reward[-max(len(reward) // 10, 1) :]))
