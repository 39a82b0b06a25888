"""Search by Optuna, an optional dependency."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from tfg_jax.search.aim import Aim
from tfg_jax.search.axis import DIGITS, Axis
from tfg_jax.search.space import Candidate, Space
from tfg_jax.search.strategy import Plan, Proposal, untried
from tfg_jax.search.trials import Trial


@dataclasses.dataclass(frozen=True)
class Optuna:
    """The tree-structured Parzen estimator of Optuna (Akiba et al., KDD 2019, arXiv 1907.10902).

    Its study is made anew from the trials for every round, so that a search can be taken up again.

    Attributes:
        samples: of every trial.
        trials: at most.
        batch: candidates a round, which are computed together.
        seed: of its own random choices.
    """

    samples: int = 64
    trials: int = 32
    batch: int = 8
    seed: int = 0

    def propose(self, space: Space, aim: Aim, trials: Sequence[Trial]) -> list[Proposal]:
        """The start with the first round, then what the estimator asks for. Raises ValueError without Optuna."""
        optuna = _optuna()
        count = min(self.batch, self.trials - len(trials))
        if count <= 0:
            return []
        spaces = {axis.name: _distribution(optuna, axis) for axis in space.axes}
        sampler = optuna.samplers.TPESampler(seed=self.seed + len(trials), n_startup_trials=self.batch)
        study = optuna.create_study(directions=["maximize"] * len(aim.metrics), sampler=sampler)
        for trial in trials:
            values = [float(value) for value in aim.interval(trial)[:, 0]]
            named = trial.candidate.by_name
            params = {axis.name: _as_param(axis, named[axis.name]) for axis in space.axes}
            # To the estimator, a pruned trial is worse than every complete one.
            known = {"values": values} if all(map(math.isfinite, values)) else {"state": optuna.trial.TrialState.PRUNED}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=spaces, **known))
        new = [] if trials else [space.start]
        for _ in range(10 * count):  # some are asked for twice, or not allowed
            params = study.ask(spaces).params
            new.append(Candidate(tuple((axis.name, _from_param(axis, params[axis.name])) for axis in space.axes)))
            allowed = [each for each in untried(new, trials) if space.allows(each)]
            if len(allowed) >= count:
                break
        return [Proposal(each, self.samples) for each in allowed[:count]]

    def plan(self, space: Space, aim: Aim) -> Plan:
        """Every trial."""
        return Plan(self.trials, self.trials * self.samples)


def _optuna() -> Any:
    try:
        import optuna  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError('strategy=optuna needs Optuna; pip install "tfg_jax[search]", or use halving') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _distribution(optuna: Any, axis: Axis) -> Any:
    kinds = optuna.distributions
    if axis.values:
        return kinds.CategoricalDistribution(tuple(range(len(axis.values))))
    if axis.whole:
        return kinds.IntDistribution(math.ceil(axis.low), math.floor(axis.high), log=True)
    return kinds.FloatDistribution(axis.low, axis.high, log=True)


def _as_param(axis: Axis, value: Any) -> Any:
    return axis.values.index(value) if axis.values else value


def _from_param(axis: Axis, param: Any) -> Any:
    if axis.values:
        return axis.values[param]
    return int(param) if axis.whole else min(max(float(f"{param:.{DIGITS}g}"), axis.low), axis.high)
