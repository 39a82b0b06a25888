"""From the options of `tfg-jax search` to a search, what it would cost, and the options of its best."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from tfg_jax.cli import solve
from tfg_jax.cli.options import Options, as_json
from tfg_jax.cli.subjects import run_of, subject_of
from tfg_jax.references import resolve


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
    """Samples of a full trial; that of --config best.json has as many as the task's options say."""
    max_cost: float | None = None
    """Network evaluations (forwards and pullbacks) a sample may cost; default any number."""
    budget: float | None = None
    """Network evaluations of all trials together; default as many as the strategy takes."""
    search_seed: int = 1000
    """Root of the random numbers of trials; --seed is that of what is reported, and must be another."""
    search_seeds: int = 2
    """How many seeds, from that one on."""
    search_evaluator: str = ""
    """Network that chooses, while --evaluator reports: released name, folder, or code; default another one of the data
    set. Of a task of your own, what takes the place of its evaluate."""


def search_of(options: Any) -> Any:
    """The search that options ask for. Raises ValueError for one that cannot be meant."""
    restored = hasattr(options, "problem")
    run = (solve.run_of if restored else run_of)(options)
    samples = options.trial_samples

    from tfg_jax.checks import check_count, check_seed
    from tfg_jax.search import by_optuna
    from tfg_jax.search.aim import Aim
    from tfg_jax.search.beam import Beam
    from tfg_jax.search.halving import Halving
    from tfg_jax.search.setup import Search
    from tfg_jax.search.space import Space

    check_count("trial_samples", samples, 2)
    check_count("search_seeds", options.search_seeds)
    check_seed("search_seed", options.search_seed)
    if restored:  # trials are of images that the report does not show
        own = {"num_images": samples, "draws": 1, "seed": options.search_seed}
        task = solve.run_of(_changed(options, **own, **_evaluator(options.search_evaluator)), run.task.images).task
        samples, aim = min(samples, task.images), ("psnr",)
    else:
        subject = subject_of(options.task)
        task, aim = subject.chooser(_chooser(subject, options, run.task), run.n), subject.aim(options)
    strategies = {"halving": Halving, "beam": Beam, "optuna": by_optuna.Optuna}
    what = Search(
        Space.of(task, run.method, options.axes, options.max_cost), Aim.of(*(options.aim or aim)),
        strategies[options.strategy](samples=samples), seed_search=options.search_seed, seeds=options.search_seeds,
        seed_report=options.seed, report_task=run.task, report_samples=run.n, chunk=options.chunk,
        budget=options.budget,
    )  # fmt: skip
    what.check()
    return what


def _chooser(subject: Any, options: Any, task: Any) -> Any:
    """The task with the evaluator that chooses: of a data set's own networks one that neither guides nor reports."""
    given = options.search_evaluator
    if not hasattr(options, "evaluator"):
        fields = [name for name in ("score", "evaluator") if hasattr(task, name)]
        if given and not fields:
            raise ValueError("--search-evaluator has no effect on a task without score or evaluator; drop it")
        return dataclasses.replace(task, **{fields[0]: resolve("search_evaluator", given)}) if given else task
    networks = subject.source.networks
    if not given and all(getattr(options, role) == networks[role] for role in ("model", "evaluator")):
        given = networks["guide" if options.guide == networks["chooser"] else "chooser"]
    return run_of(_changed(options, **_evaluator(given))).task if given else task


def _evaluator(name: str) -> dict[str, str]:
    return {"evaluator": name} if name else {}


def _changed(options: Any, **values: Any) -> Options:
    return Options({**options._values, **values}, options._tuned)


def notes(what: Any) -> list[str]:
    """Warnings about the networks, and about what chooses."""
    from tfg_jax.search.setup import weights_of

    guides = weights_of(getattr(what.space.task, "guide", None))
    by_guide = [name for name in what.aim.names if weights_of(what.scored_by(name)) == guides is not None]
    told = [f"{name} is given by the network that guides, which guidance pleases whatever the samples are: go by what "
            "is reported, or choose by another --search-evaluator" for name in by_guide]  # fmt: skip
    if "objective" in what.aim.names:
        told.append("the objective both guides and chooses: how far it gets does not say how good samples are")
    return [*what.report_task.notes(), *told]


def plan(what: Any) -> str:
    """What a search would do at most: the text of a dry run."""
    from tfg_jax.report import text_table
    from tfg_jax.search.axis import shown
    from tfg_jax.search.evaluate import seconds_a_forward
    from tfg_jax.studies.progress import in_words

    space, most = what.space, what.strategy.plan(what.space, what.aim)
    cost = space.task.upper_cost(space.built(space.start)[1])
    evaluations = min(most.samples * space.cost(space.start), math.inf if what.budget is None else what.budget)
    samples = min(most.samples, math.ceil(evaluations / (space.cost(space.start) or 1.0)))
    share = (float(cost.forwards) + 2 * float(cost.pullbacks)) / (space.cost(space.start) or 1.0)
    seconds = seconds_a_forward(space.task, what.chunk) * share * evaluations
    rows = [
        {"axis": axis.name, "of": axis.owner, "start": axis.start,
         "values": ", ".join(map(shown, axis.values)) or f"*{axis.factor:g} in [{axis.low:g}, {axis.high:g}]"}
        for axis in space.axes
    ]  # fmt: skip
    return (
        f"{text_table(rows)}\n\nAt most {most.candidates} candidates, {samples} samples and {evaluations:,.0f} "
        f"network evaluations at the start's {space.cost(space.start):g} a sample: about {in_words(seconds)}, "
        "compilation aside.\nNothing was searched or written."
    )


def best_options(options: Any, found: Any) -> dict[str, Any]:
    """The options of the command that makes the samples of the best: those that were given, and its values."""
    from tfg_jax.guidance.tfg import OWNERS

    own = {field.name for field in dataclasses.fields(SearchOptions)}
    given = {name: value for name, value in as_json(options).items() if name not in own}
    values = found.best.candidate.by_name
    absent = {name: 0.0 for name, value in values.items() if value is None and name in ("rho", "mu", "smoothing")}
    best = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    needless = [name for name, term in OWNERS.items() if term in absent]  # of what is left out
    needless += ["lookahead_steps", "solver"] if values.get("horizon", 0) is None else []
    return {**given, **best, **absent, **dict.fromkeys(needless), "out": str(options.out / "best")}
