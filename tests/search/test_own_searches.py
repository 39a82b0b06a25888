"""Searches of a task of one's own: numbers that are missing or say nothing, and what a search is known by."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax.search import Halving, search
from tfg_jax.search.strategy import Plan, Proposal


def near(x0, target):
    return -jnp.sum((x0 - target) ** 2)


def distances(x, target):
    return {"distance": jnp.linalg.norm(x - target, axis=1)}


def task_of(evaluate):
    model = tfg.analytic.gaussian([0.0, 0.0], jnp.eye(2)).denoiser(tfg.VPCosine())
    return tfg.tasks.own_task(
        model, objective=near, targets=jnp.array([[1.0, 0.5]]), evaluate=evaluate, sampler=tfg.DDIM(2)
    )


def late(x, target):
    """Numbers of eight samples alone."""
    values = np.asarray(distances(x, target)["distance"])
    return {"distance": np.where(np.arange(len(values)) < 8, values, np.nan)}


def test_a_trial_without_numbers_never_wins(tmp_path):
    with pytest.warns(UserWarning, match="there is no mean of it"):
        result = search(
            task_of(late), tfg.DPS(0.1), path=tmp_path, strategy=Halving(samples=16, cycles=1), aim="distance=lower",
            report_samples=8, chunk=16,
        )  # fmt: skip
    assert any(trial.samples == 16 for trial in result.trials) and result.best.samples == 8
    assert np.isfinite(result.best.scores["distance"][0])


def times(x, target, sign):
    return {"distance": sign * distances(x, target)["distance"]}


def constant(x, target):
    return {"distance": np.full(len(x), 0.1), "cost": np.arange(len(x)) * 1.0}


class Once:
    """The least that a strategy is."""

    samples = 8

    def propose(self, space, aim, trials):
        return [] if trials else [Proposal(space.start, 8)]

    def plan(self, space, aim):
        return Plan(1, 8)


def test_what_scores_and_strategies_of_ones_own_are_part_of_a_search(tmp_path):
    options = {"path": tmp_path, "strategy": Once(), "aim": "distance=lower", "chunk": 16}
    assert len(search(task_of(functools.partial(times, sign=1.0)), tfg.DPS(1 / 30), **options).trials) == 1
    with pytest.raises(ValueError, match="holds another search"):
        search(task_of(functools.partial(times, sign=-1.0)), tfg.DPS(1 / 30), **options)
    with pytest.raises(ValueError, match="report_samples=0"):
        search(task_of(distances), tfg.DPS(1 / 30), report_samples=0, **options)


def test_equal_scores_explain_nothing_and_the_start_is_tried_once(tmp_path):
    result = search(
        task_of(constant), tfg.DPS(1 / 30), path=tmp_path, strategy=Halving(samples=8, cycles=4), aim="distance=lower",
        chunk=16,
    )  # fmt: skip
    assert result.importance == {"strength": 0.0}
    assert sum(abs(trial.candidate.by_name["strength"] * 30 - 1) < 1e-3 for trial in result.trials) == 1
    with pytest.raises(ValueError, match="aim='cost' is network evaluations a sample, and the task has a number"):
        search(
            task_of(constant), tfg.DPS(1 / 30), path=tmp_path / "c", strategy=Halving(samples=8), aim="cost", chunk=16
        )


def test_true_and_false_are_proportions(tmp_path):
    task = task_of(lambda x, target: {"hit": np.asarray(distances(x, target)["distance"]) < 9.0})
    result = search(task, tfg.DPS(0.1), path=tmp_path, strategy=Once(), aim="hit=higher", chunk=16)
    value, low, high = result.best.scores["hit"]
    assert value == high == 1.0 and low == pytest.approx(0.676, abs=1e-3)  # Wilson's, of 8 of 8
