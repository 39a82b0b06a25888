"""A small trained score network in place of the exact one: how G and G_loss part, and what fine-tuning adds.

The network is an MLP, not the paper's 1-D U-Net: 64 numbers without neighbourhood, noise level as 32 Fourier features,
`blocks` residual blocks of `width` with layer normalization; it predicts eps - sigma x.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import tfg_jax as tfg
from gradient_guidance import problems
from gradient_guidance.common import ResultFolder, clouds, curves, points, rounds_to
from tfg_jax import optimize, report
from tfg_jax.training.loop import fit, shuffled

NAIVE, LOOK = tfg.NaiveGradientGuidance(), tfg.GradientGuidance()


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is run: twenty-five minutes of one core. As published, but for the training batch (32 there)."""

    data: int = 65_536
    epochs: int = 20
    batch: int = 128
    rates: tuple[float, ...] = (3e-3, 1e-3)
    width: int = 128
    blocks: int = 3
    steps: int = 200
    rounds: int = 1000
    short: int = 50
    tune_rates: tuple[float, ...] = (1e-6, 1e-5, 1e-4)
    tune_rounds: int = 1200
    sphere_rounds: int = 25
    sphere_batch: int = 256
    deltas: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.35, 0.52)


TINY = Sizes(
    data=256, epochs=1, batch=64, width=16, blocks=1, steps=4, rounds=3, short=2, tune_rates=(1e-6, 1e-3),
    tune_rounds=3, sphere_rounds=2, sphere_batch=4, deltas=(0.1, 0.2),
)  # fmt: skip


def init(key: jax.Array, dim: int, width: int, blocks: int) -> dict[str, Any]:
    """Weights of the network."""
    keys = iter(jax.random.split(key, 2 * blocks + 3))
    dense = lambda fan, out: jax.random.normal(next(keys), (out, fan)) / np.sqrt(fan)  # noqa: E731
    return {
        "in": dense(dim, width), "time": dense(32, width),
        "blocks": [
            {"first": dense(width, width), "second": 0.1 * dense(width, width), "shift": jnp.zeros(width)}
            for _ in range(blocks)
        ],
        "out": 0.1 * dense(width, dim),
    }  # fmt: skip


def network(params: dict[str, Any], x: jax.Array, log_snr: jax.Array, cond: None) -> jax.Array:
    """eps of one sample."""
    angle = log_snr * jnp.exp(jnp.linspace(-3.0, 1.0, 16))
    time = params["time"] @ jnp.concatenate([jnp.sin(angle), jnp.cos(angle)])
    h = params["in"] @ x
    for block in params["blocks"]:
        normed = (h - h.mean()) * jax.lax.rsqrt(h.var() + 1e-5)
        h = h + block["second"] @ jax.nn.silu(block["first"] @ normed + time + block["shift"])
    return jnp.sqrt(jax.nn.sigmoid(-log_snr)) * x + params["out"] @ h


def log_snr_time(schedule: Any, t: jax.Array) -> jax.Array:
    """The network reads the log-SNR."""
    return schedule.level(t).log_snr


def train(
    results: ResultFolder, name: str, data: np.ndarray, sizes: Sizes, seed: int
) -> tuple[tfg.Denoiser, dict[str, float]]:
    """The network of the learning rate with the lowest held-out error, and the errors of all."""
    schedule = tfg.from_alphas_cumprod(tfg.cosine_table(sizes.steps))
    held = jnp.asarray(data[: max(len(data) // 32, 8)], jnp.float32)
    kept = data[len(held) :].astype(np.float32)
    start = init(jax.random.key(seed), data.shape[1], sizes.width, sizes.blocks)
    make = lambda params: tfg.from_fn(  # noqa: E731
        network, params, schedule, prediction="eps", shape=(data.shape[1],), network_time=log_snr_time
    )

    def error(params: Any, points: jax.Array, key: jax.Array) -> jax.Array:
        times, noise = jax.random.split(key)
        t = (jax.random.randint(times, (len(points),), 0, sizes.steps) + 1) / sizes.steps
        eps = jax.random.normal(noise, points.shape)
        level = schedule.level(t[:, None])
        x = level.alpha * points + level.sigma * eps
        return jnp.mean((jax.vmap(make(params))(x, t).eps - eps) ** 2)

    errors, found = {}, {}
    steps = max(sizes.epochs * len(kept) // sizes.batch, 1)
    for rate in sizes.rates:
        index = shuffled(len(kept), sizes.batch, seed)
        state = fit(
            lambda params, batch, key: (error(params, batch, key), {}), start,
            optax.adam(optax.cosine_decay_schedule(rate, steps), 0.9, 0.99),
            lambda step, index=index: kept[index(step)],
            steps=steps, folder=results.runs / results.part / f"train-{name}-{rate}", key=jax.random.key(seed),
            config={"sizes": str(sizes), "rate": rate}, log_every=max(steps // 10, 1),
        )  # fmt: skip
        found[rate] = state.ema
        errors[str(rate)] = float(np.mean([error(state.ema, held, jax.random.key(i)) for i in range(10)]))
    best = min(found, key=lambda rate: errors[str(rate)])
    return make(found[best]), errors | {"chosen": best, "steps": float(steps)}


def run(results: ResultFolder, sizes: Sizes, seed: int) -> None:
    """All of the network part."""
    problem = problems.linear_problem(seed=seed)
    rng = np.random.default_rng(seed)
    linear, errors = train(results, "linear", rng.standard_normal((sizes.data, 16)) @ problem.basis.T, sizes, seed)
    ball = rng.standard_normal((sizes.data, 64))
    sphere, ball_errors = train(results, "sphere", ball / np.linalg.norm(ball, axis=1, keepdims=True), sizes, 1)
    basis = jnp.asarray(problem.basis, jnp.float32)
    f1 = {"theta_1": problems.parabola(problem.theta_in), "theta_2": problems.parabola(problem.theta_across)}
    f2 = {"b_1": problems.distance(problem.b_same), "b_2": problems.distance(problem.b_spread)}
    common = dict(batch=32, sampler=tfg.DDPM(steps=sizes.steps), basis=basis)
    go = lambda name, f, **options: results.iterate(name, seed, linear, f, **common, **options)  # noqa: E731

    one = {
        "G, f1 theta_2": go("G-theta_2", f1["theta_2"], rounds=sizes.rounds, delta=0.9, guidance=NAIVE),
        "G_loss, f1 theta_2": go("L-theta_2", f1["theta_2"], rounds=sizes.rounds, delta=0.2),
        "G_loss, f1 theta_1": go("L-theta_1", f1["theta_1"], rounds=sizes.rounds, delta=0.05),
        "G_loss, f2 b_1": go("L-b_1", f2["b_1"], rounds=sizes.short, delta=1.0),
        "G_loss, f2 b_2": go("L-b_2", f2["b_2"], rounds=sizes.short, delta=1.0),
    }
    tuned, tune_errors = {}, {}
    for rate in sizes.tune_rates:  # the rate is chosen on G_loss, theta_2, and used for both
        out = go(
            f"tuned-L-{rate}", f1["theta_2"], rounds=sizes.tune_rounds, delta=0.2,
            adapt=optimize.FineTune(learning_rate=rate, start=min(60, sizes.tune_rounds)),
        )  # fmt: skip
        tuned[rate], tune_errors[rate] = out, float(out.history["reward"][-max(sizes.tune_rounds // 10, 1) :].mean())
    chosen = max(tune_errors, key=lambda rate: tune_errors[rate])
    two = {
        "G_loss, f1 theta_2": tuned[chosen],
        "G, f1 theta_2": go(
            f"tuned-G-{chosen}", f1["theta_2"], rounds=sizes.tune_rounds, delta=0.9, guidance=NAIVE,
            adapt=optimize.FineTune(learning_rate=chosen, start=min(40, sizes.tune_rounds)),
        ),
    }  # fmt: skip
    theta = rng.standard_normal(64)
    spheres = sphere_runs(results, sphere, problems.along(theta / np.linalg.norm(theta)), sizes)
    figures(results, problem, one, two, spheres)
    section(results, sizes, errors, ball_errors, one, two, tune_errors, chosen, spheres)


def sphere_runs(
    results: ResultFolder, model: Any, objective: Any, sizes: Sizes
) -> dict[str, dict[float, tuple[float, float]]]:
    """(reward, |x| - 1) after the last round, by guidance and delta."""
    found: dict[str, dict[float, tuple[float, float]]] = {}
    for name, guidance in (("G", NAIVE), ("G_loss", LOOK)):
        found[name] = {}
        for delta in sizes.deltas:
            out = results.iterate(
                f"sphere-{name}-{delta}", 1, model, objective, rounds=sizes.sphere_rounds, batch=sizes.sphere_batch,
                delta=delta, sampler=tfg.DDPM(steps=sizes.steps), guidance=guidance,
            )  # fmt: skip
            radius = np.linalg.norm(np.asarray(out.x), axis=1)
            found[name][delta] = float(out.history["reward"][-1]), float((radius - 1.0).mean())
    return found


def figures(results: ResultFolder, problem: Any, one: dict, two: dict, spheres: dict) -> None:
    """As the paper's 4, 5, 9 and 11, and the drift in three dimensions."""
    line = lambda out, name: (np.arange(len(out.history[name])), out.history[name])  # noqa: E731
    both = {"Algorithm 1": one, "Algorithm 2": two}
    curves(
        results.picture("off_support"),
        {
            title: {n: line(o, "off_support") for n, o in runs.items() if "theta_2" in n}
            for title, runs in both.items()
        },
        "round", "r_off", log=True,
    )  # fmt: skip
    name = "G_loss, f1 theta_2"
    curves(
        results.picture("convergence"),
        {"f1, theta_2": {title: line(runs[name], "reward") for title, runs in both.items()}},
        "round", "reward",
    )  # fmt: skip
    by_f = {f: {n: line(o, "reward") for n, o in one.items() if f in n and "loss" in n} for f in ("f1", "f2")}
    curves(results.picture("algorithm_1"), by_f, "round", "reward")
    front = {n: ([v[1] for v in by.values()], [v[0] for v in by.values()]) for n, by in spheres.items()}
    points(results.picture("sphere"), front, "|x| - 1", "reward")
    inside = problem.basis @ (problem.basis.T @ problem.theta_across)
    across = problem.theta_across - inside
    other = problem.basis @ np.linalg.svd((problem.basis.T @ inside)[None])[2][1]
    frame = np.stack([inside / np.linalg.norm(inside), other, across / np.linalg.norm(across)], 1)
    start = np.random.default_rng(0).standard_normal((32, 16)) @ problem.basis.T
    views = {
        n: {"data": start @ frame, "Algorithm 1": np.asarray(one[n].x) @ frame, "Algorithm 2": np.asarray(o.x) @ frame}
        for n, o in two.items()
    }
    clouds(results.picture("views"), views, ["along theta, inside", "inside", "across"])


def section(
    results: ResultFolder, sizes: Sizes, errors: dict, ball_errors: dict, one: dict, two: dict, tune_errors: dict,
    chosen: float, spheres: dict,
) -> None:  # fmt: skip
    """Tables and pictures of the part."""
    rows = []
    for title, runs in (("1", one), ("2", two)):
        for name, out in runs.items():
            reward = out.history["reward"]
            rows.append(
                {
                    "algorithm": title, "run": name, "rounds": out.rounds,
                    "reward, last tenth": float(reward[-max(len(reward) // 10, 1) :].mean()),
                    "best mean": float(reward.max()), "first round at 9": rounds_to(reward, 9.0),
                    "r_off, round 0": float(out.history["off_support"][0]),
                    "r_off, last": float(out.history["off_support"][-1]),
                    "seconds a round": float(np.median(out.history["seconds"][1:])),
                }
            )  # fmt: skip
    ball = [
        {"delta": delta, **{f"{n} {part}": by[delta][k] for n, by in spheres.items() for k, part in
                            enumerate(("reward", "ratio"))}}
        for delta in sizes.deltas
    ]  # fmt: skip
    given = {rate: round(reward, 3) for rate, reward in tune_errors.items()}
    text = [
        "## A small trained network\n",
        f"An MLP ({sizes.blocks} residual blocks of {sizes.width}) where the paper has a 1-D U-Net, trained here on "
        f"{sizes.data} samples for {sizes.epochs} epochs (published: 20) at batch {sizes.batch} (32), Adam (0.9, "
        f"0.99), cosine decay; learning rate chosen by held-out eps error: {_told(errors)} on the subspace, "
        f"{_told(ball_errors)} on the sphere. {sizes.rounds} rounds (published: 1000), and {sizes.tune_rounds} (1200) "
        f"with fine-tuning, one Adam step a round from round 60 (G: 40) at learning rate {chosen}, chosen by G_loss's "
        f"reward in the last tenth of the rounds: {given}; the paper's is 1e-6.\n",
        report.markdown_table(rows),
        f"\n![off support]({results.picture('off_support').name})\n\n![views]({results.picture('views').name})\n",
        f"\n![convergence]({results.picture('convergence').name})\n",
        f"![Algorithm 1]({results.picture('algorithm_1').name})\n",
        f"\n**Sphere**, {sizes.sphere_rounds} rounds of {sizes.sphere_batch} (published: 256); ratio is |x| - 1:\n",
        report.markdown_table(ball),
        f"\n![sphere]({results.picture('sphere').name})\n",
    ]
    results.write_section(text, {"errors": errors, "sphere_errors": ball_errors, "chosen": chosen, "rows": rows})


def _told(errors: dict[str, float]) -> str:
    tried = ", ".join(f"{error:.4f} at {rate}" for rate, error in errors.items() if rate not in ("chosen", "steps"))
    return f"{tried} ({errors['steps']:.0f} updates)"
