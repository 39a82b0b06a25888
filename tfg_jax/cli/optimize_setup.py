"""From the options of `tfg-jax optimize` to networks, reward and the configuration its folder is known by."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tfg_jax.checks import check_count, check_number, check_seed
from tfg_jax.cli.labels import network
from tfg_jax.config import to_dict
from tfg_jax.denoiser import Denoiser
from tfg_jax.guidance.gradient import GradientGuidance, NaiveGradientGuidance
from tfg_jax.lookahead import Clip
from tfg_jax.objectives.linear import linear
from tfg_jax.optimize import FineTune
from tfg_jax.report import text_table
from tfg_jax.runs.run import compiled_memory
from tfg_jax.runs.store import fingerprint
from tfg_jax.sample import sample, upper_cost
from tfg_jax.samplers.ddim import DDIM
from tfg_jax.tasks.find import find_task
from tfg_jax.tasks.rewards import Reward, reward_of


@dataclasses.dataclass(frozen=True)
class Setup:
    """A run ready to start: arguments of `tfg_jax.optimize.iterate`, and what is written beside the samples."""

    model: Denoiser
    reward: Reward
    options: dict[str, Any]
    config: dict[str, Any]


def setup_of(options: Any) -> Setup:
    """Everything a run needs. Raises ValueError for options that cannot be meant or have no effect."""
    for name in ("rounds", "batch"):
        check_count(name, getattr(options, name))
    check_seed("seed", options.seed)
    sampler = DDIM(steps=options.steps, eta=options.eta)
    subject = find_task(options.task)
    units = subject.REWARD_UNITS[options.reward]
    noise_std = units[2] if options.noise_std is None and options.beta != "constant" else options.noise_std
    method = GradientGuidance if options.method == "look-ahead" else NaiveGradientGuidance
    guidance = method(noise_std, options.beta, options.beta_coef)
    delta, goal = options.delta, options.goal
    if delta is not None and goal is not None:
        raise ValueError(f"delta={delta} has no effect with goal={goal}; drop one")
    if delta is None and goal is None:
        delta, goal, _ = units
    check_number("delta", delta, low=0.0, strict=True)
    check_number("goal", goal)
    model = network("model", options.model, Denoiser)
    reward = reward_of(
        options.reward, options.request, model, options.guide, options.batch, names=subject.CLASS_NAMES,
        default=subject.request,
    )  # fmt: skip
    initial = None
    if options.same_start:
        initial = jax.random.normal(jax.random.fold_in(jax.random.key(options.seed), 2**31 - 1),
                                    (options.batch, *model.shape))  # fmt: skip
    adapt = None if options.learning_rate is None else FineTune(learning_rate=options.learning_rate)
    if adapt is not None:
        adapt.check(model, None)
    given = dict(
        rounds=options.rounds, batch=options.batch, delta=delta, goal=goal, guidance=guidance,
        linearize=options.linearize, sampler=sampler, clip=Clip() if options.clip else None,
    )  # fmt: skip
    config = {name: to_dict(value) for name, value in given.items()} | {
        "reward": reward.name, "schedule": to_dict(model.schedule), "prediction": model.prediction,
        "learning_rate": options.learning_rate, "same_start": options.same_start, "seed": options.seed,
        "weights_sha256": {key: fingerprint(params) for key, params in reward.networks.items()},
    }  # fmt: skip
    return Setup(model, reward, {**given, "adapt": adapt, "initial": initial}, config)


def describe(setup: Setup) -> str:
    """What a run would cost: the table of a dry run."""
    given, shape = setup.options, setup.model.shape
    cost = upper_cost(given["guidance"], None, given["sampler"]) * (given["rounds"] * given["batch"])
    first = upper_cost(None, None, given["sampler"]) * given["batch"]
    row = {
        "reward": setup.reward.name,
        "rounds": given["rounds"],
        "batch": given["batch"],
        "shape": " x ".join(map(str, shape)),
        "forwards": cost.forwards + first.forwards,
        "pullbacks": cost.pullbacks,
        "reward gradients": (given["rounds"] + 1) * given["batch"],
        "memory (MB)": _memory(setup),
    }
    note = f"Upper bounds; memory is of the program compiled for one guided round on {jax.devices()[0]}."
    return f"{text_table([row])}\n{note} Nothing was sampled or written."


def _memory(setup: Setup) -> float | None:
    """MB of the program of a guided round."""
    given, batch = setup.options, setup.options["batch"]

    def program(key: Any, model: Denoiser, target: Any) -> Any:
        return sample(
            key, model, num_samples=batch, guidance=given["guidance"], objective=linear(), target=target,
            sampler=given["sampler"], clip=given["clip"],
        )  # fmt: skip

    target = (jnp.zeros((batch, *setup.model.shape)), jnp.zeros(batch))
    return compiled_memory(program, jax.random.key(0), setup.model, target)
