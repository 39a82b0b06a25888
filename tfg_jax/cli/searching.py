"""From the options of `tfg-jax search` to a search, what it would cost, and the options of its best."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from tfg_jax.cli import methods
from tfg_jax.cli.labels import own_objective
from tfg_jax.cli.options import Options, as_json
from tfg_jax.cli.samplers import sampler_of
from tfg_jax.cli.subjects import subject_of


@dataclasses.dataclass(frozen=True)
class SearchOptions:
    """What is searched, for what, and how."""

    axes: tuple[str, ...] = ()
    """Settings that change, from the values they are given: rho (steps by a factor of 2), rho=*1.5, n_recur=1,2,4,
    horizon=none,0.5,1, window=none,-30:2; default every strength of the method."""
    aim: tuple[str, ...] = ()
    """One metric of metrics.json, or two for a Pareto front; cost is network evaluations a sample, and name=lower or
    name=higher a number of your own; default that of the task."""
    strategy: Literal["halving", "beam", "optuna"] = "halving"
    """Successive halving of neighbors above and below, the published beam search (upward only), or Optuna, which must
    be installed."""
    trial_samples: int = 64
    """Samples of a full trial; that of --config best.json has as many as sample's options say."""
    max_cost: float | None = None
    """Network evaluations (forwards and pullbacks) a sample may cost; default any number."""
    budget: float | None = None
    """Network evaluations of all trials together; default as many as the strategy takes."""
    search_seed: int = 1000
    """Root of the random numbers of trials; --seed is that of what is reported, and must be another."""
    search_seeds: int = 2
    """How many seeds, from that one on."""
    search_evaluator: str = ""
    """Network that chooses, while --evaluator reports: released name or folder; default another one of the data set, if
    it has one."""


def search_of(options: Any) -> Any:
    """The search that options ask for. Raises ValueError for one that cannot be meant."""
    subject = subject_of(options.task)
    choice = methods.named(options.guidance, subject.presets, subject.unguided)
    method, sampler = methods.build(choice, options), sampler_of(options, subject.sampler)
    changes = {"lookahead": methods.look_ahead(choice, options), "window": methods.window_of(options)}
    if options.objective is not None:
        changes[subject.objective] = own_objective(options.objective)
    changes = {name: value for name, value in changes.items() if value is not None}

    from tfg_jax.search import by_optuna
    from tfg_jax.search.aim import Aim
    from tfg_jax.search.beam import Beam
    from tfg_jax.search.halving import Halving
    from tfg_jax.search.run import space_of
    from tfg_jax.search.setup import Search

    def task_by(evaluator: str) -> Any:
        values = options._values | ({"evaluator": evaluator} if evaluator else {})
        return dataclasses.replace(subject.task(Options(values, options._tuned), choice, sampler), **changes)

    chooser = chooser_of(subject, options)
    task = task_by(chooser)
    strategies = {"halving": Halving, "beam": Beam, "optuna": by_optuna.Optuna}
    what = Search(
        space_of(task, method, options.axes, options.max_cost), Aim.of(*(options.aim or subject.aim(options))),
        strategies[options.strategy](samples=options.trial_samples), seed_search=options.search_seed,
        seeds=options.search_seeds, seed_report=options.seed, report_task=task_by("") if chooser else None,
        report_samples=subject.size(task, options),
        chunk=options.chunk, budget=options.budget,
    )  # fmt: skip
    what.check()
    return what


def chooser_of(subject: Any, options: Any) -> str:
    """The evaluator that chooses; empty where the one that reports has to. ValueError where a task has none."""
    evaluators = hasattr(options, "evaluator")
    if options.search_evaluator and not evaluators:
        raise ValueError("--search-evaluator has no effect on a task that brings its own scores; drop it")
    if not evaluators or options.search_evaluator:
        return options.search_evaluator
    other = subject.source.networks.get("reward", "")
    shipped = options.evaluator == subject.source.networks["evaluator"] and options.model == subject.common["model"]
    return other if shipped and other != options.guide else ""


def notes(what: Any) -> list[str]:
    """Warnings about what chooses and what reports."""
    told = what.space.task.notes()
    if what.report_task is None and getattr(what.space.task, "evaluator", None) is not None:
        told = [*told, "one evaluator both chooses and reports, on seeds apart; --search-evaluator keeps them apart"]
    return told


def plan(what: Any) -> str:
    """What a search would do at most: the text of a dry run."""
    from tfg_jax.report import text_table
    from tfg_jax.search.evaluate import seconds_a_forward
    from tfg_jax.studies.progress import in_words

    space = what.space
    most = what.strategy.plan(space)
    cost = space.task.upper_cost(space.built(space.start)[1])
    evaluations = min(most.samples * space.cost(space.start), what.budget or float("inf"))
    share = (float(cost.forwards) + 2 * float(cost.pullbacks)) / (space.cost(space.start) or 1.0)
    seconds = seconds_a_forward(space.task, what.chunk) * share * evaluations
    rows = [{"axis": axis.name, "of": axis.owner, "start": axis.start, "values": _values(axis)} for axis in space.axes]
    return (
        f"{text_table(rows)}\n\nAt most {most.candidates} candidates, {most.samples} samples and {evaluations:,.0f} "
        f"network evaluations at the start's {space.cost(space.start):g} a sample: about {in_words(seconds)}, "
        "compilation aside.\nNothing was searched or written."
    )


def _values(axis: Any) -> str:
    from tfg_jax.search.axis import shown

    return ", ".join(map(shown, axis.values)) or f"*{axis.factor:g} in [{axis.low:g}, {axis.high:g}]"


def best_options(options: Any, found: Any) -> dict[str, Any]:
    """The options of `sample` that make the samples of the best: those that were given, and its values."""
    from tfg_jax.guidance.tfg import OWNERS

    own = {field.name for field in dataclasses.fields(SearchOptions)}
    given = {name: value for name, value in as_json(options).items() if name not in own}
    values = found.best.candidate.by_name
    absent = {name: 0.0 for name, value in values.items() if value is None and name in ("rho", "mu", "smoothing")}
    best = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    needless = [name for name, term in OWNERS.items() if term in absent]  # of what is left out
    needless += ["lookahead_steps", "solver"] if values.get("horizon", 0) is None else []
    return {**given, **best, **absent, **dict.fromkeys(needless), "out": str(options.out / "best")}
