"""Axes, aims and strategies on landscapes that are known, without sampling."""

import dataclasses
import math
import sys

import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax.search import Aim, Beam, Candidate, Halving, Optuna, Space, Strategy, Trial, axis_of
from tfg_jax.search.axis import strengths


def eps(params, x, t, cond):
    return x * t


def objective(x0, target):
    return -((x0 - target) ** 2).sum()


MODEL = tfg.from_fn(eps, None, tfg.VPLinear(), prediction="eps", shape=(2,))
TASK = tfg.tasks.own_task(MODEL, objective=objective, targets=np.zeros((1, 2)), sampler=tfg.DDIM(steps=4))


def score(candidate: Candidate) -> float:
    """Best at rho = 2, mu = 0.5, n_recur = 2."""
    values = candidate.by_name
    off = math.log2(values["rho"] / 2) ** 2 + math.log2(values["mu"] / 0.5) ** 2
    return -off - (values.get("n_recur", 2) != 2)


def played(strategy: Strategy, space: Space, noise: float = 0.3) -> list[Trial]:
    """All trials of a search whose scores have a bias that shrinks with the number of samples."""
    aim, trials = Aim.of("objective"), []
    while proposals := strategy.propose(space, aim, trials):
        number = trials[-1].round + 1 if trials else 0
        assert len({each.candidate for each in proposals}) == len(proposals)
        for candidate, n in proposals:
            off = noise * math.sin(100 * score(candidate)) / n**0.5
            value, half = score(candidate) + off, 2 * noise / n**0.5
            scores = {"objective": (value, value - half, value + half)}
            trials.append(Trial(candidate, n, number, (0,), scores, space.cost(candidate), 0.0, 0.0))
    taken = {trial.candidate: trial.samples for trial in sorted(trials, key=lambda trial: trial.samples)}
    plan = strategy.plan(space, aim)
    assert len(taken) <= plan.candidates and sum(taken.values()) <= plan.samples
    return trials


@pytest.mark.parametrize(
    ("strategy", "start", "axes", "most"),
    [
        (Beam(16), (0.5, 0.25), ["rho", "mu"], 176),
        (Halving(32), (0.5, 0.25), ["rho", "mu"], 280),
        (Halving(32), (8.0, 2.0), ["rho", "mu", "n_recur=1,2,4"], 352),
        (Halving(32), (1.5, 0.75), ["rho", "mu"], 336),
        (Optuna(16, trials=64), (8.0, 2.0), ["rho", "mu", "n_recur=1,2,4"], 1024),
    ],
)
def test_a_strategy_finds_the_optimum_within_its_budget(strategy, start, axes, most):
    space = Space.of(TASK, tfg.TFG(rho=start[0], mu=start[1]), axes)
    trials = played(strategy, space)
    full = [trial for trial in trials if trial.samples == strategy.samples]
    best = Aim.of("objective").order(full)[0].candidate
    finest = {"rho": 2.0, "mu": 0.5} | ({"n_recur": 2} if len(axes) > 2 else {})
    if start[0] in (0.5, 8.0) and not isinstance(strategy, Optuna):
        assert best.by_name == finest
    else:
        assert score(best) > -0.3
    new: dict[Candidate, int] = {}
    for trial in trials:
        new[trial.candidate] = max(new.get(trial.candidate, 0), trial.samples)
    assert sum(new.values()) <= most and played(strategy, space) == trials


def test_the_published_search_only_goes_up():
    trials = played(Beam(16), Space.of(TASK, tfg.TFG(rho=8.0, mu=2.0), ["rho", "mu"]))
    assert min(trial.candidate.by_name["rho"] for trial in trials) == 8.0 and trials[-1].round == 1


@pytest.mark.parametrize("metrics", [["objective"], ["objective", "cost"]])
def test_optuna_keeps_away_from_where_samples_fail(metrics):
    space, aim, trials = Space.of(TASK, tfg.TFG(rho=0.5, mu=0.25), ["rho", "mu"]), Aim.of(*metrics), []
    strategy = Optuna(16, trials=48)
    while proposals := strategy.propose(space, aim, trials):
        for candidate, n in proposals:
            value = None if candidate.by_name["rho"] > 1.0 else 0.0  # where there is no better and no worse
            scores = {"objective": (value,) * 3, "cost": (4.0,) * 3}
            trials.append(Trial(candidate, n, len(trials), (0,), scores, 4.0, 0.0, 0.0))
    failed = [trial.scores["objective"][0] is None for trial in trials]
    assert 2 <= sum(failed[:8]) and sum(failed[24:]) <= 6


def test_optuna_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ValueError, match=r'strategy=optuna needs Optuna; pip install "tfg_jax\[search\]"'):
        Optuna().propose(Space.of(TASK, tfg.TFG()), Aim.of("objective"), [])


@pytest.mark.parametrize(
    ("text", "value", "up", "down"),
    [
        ("rho", 0.5, 1.0, 0.25),
        ("rho=*4", 0.5, 2.0, 0.125),
        ("rho=none,0.5,0.7", 0.5, 0.7, None),
        ("rho", 16.0, 16.0, 8.0),
        ("n_recur", 1, 2, 1),
        ("n_recur=1,3", 1, 3, 1),
        ("steps", 4, 8, 2),
        ("eta", 1.0, 1.0, 0.5),
        ("horizon", None, 0.25, None),
        ("lookahead_steps=2,4", 4, 4, 2),
        ("window=none,-30:2", None, (-30.0, 2.0), None),
        ("rho_structure", "increase", "decrease", "increase"),
    ],
)
def test_axes_are_read_off_the_declarations(text, value, up, down):
    axis = axis_of(text, TASK, tfg.TFG(rho=0.5, mu=0.1, rho_structure="increase"))
    assert (axis.moved(value, True), axis.moved(value, False)) == (up, down)


def test_every_way_to_a_value_gives_the_same_one():
    axis, value = axis_of("rho", TASK, tfg.TFG(rho=0.1)), 0.1
    for power in (0.5, 1.0, -0.5, -0.25, -0.5, 0.75, -1.0):
        value = axis.moved(value, power > 0, abs(power))
    assert value == 0.1 and axis.moved(axis.moved(value, True, 0.5), True, 0.5) == axis.moved(value, True) == 0.2


def test_where_a_solve_stops_is_no_strength():
    assert strengths(tfg.DFlow(tfg.TruncatedSolve(1.0, 2), regularizer=1.0, rate=0.1)) == ["regularizer", "rate"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("strength", "axis='strength' names no setting; there are eta, horizon, lookahead_steps, mu, "),
        ("smoothing", "starts at None, which no factor moves"),
        ("rho=*1", "needs a factor above 1"),
        ("rho=1,1", "names a value twice"),
        ("rho=one,2", "lists 'one', which cannot be read; write a number or none"),
        ("window=3", "which cannot be read; write low:high or none"),
        ("rho=nan,1", "lists nan: rho=nan must be a finite number"),
        ("n_recur=0,1", "lists 0: n_recur=0 must be an integer >= 1"),
        ("lookahead_steps=0,1", "axis='lookahead_steps=0,1' lists 0"),
        ("horizon=none,2", "lists 2: horizon=2"),
        ("rho_structure=increase,up", "lists up: rho_structure='up' is unknown"),
        ("window=2:-30", "lists 2:-30: window="),
    ],
)
def test_an_axis_that_cannot_be_meant_is_named(text, said):
    with pytest.raises(ValueError, match=said):
        axis_of(text, TASK, tfg.TFG(rho=0.5, mu=0.1))


def test_candidates_over_the_cost_are_never_proposed():
    axes, method = ["n_recur=1,2,4", "horizon=none,0.5"], tfg.TFG(rho=0.5)
    space = Space.of(TASK, method, axes, max_cost=16.0)
    assert [str(move) for move in space.moves(space.start)] == ["n_recur=2 horizon=none"]
    task, built = Space.of(TASK, method, axes).built(Candidate.of({"n_recur": 2, "horizon": 0.5}))
    assert task.lookahead == tfg.TruncatedSolve(0.5) and built == tfg.TFG(rho=0.5, n_recur=2)
    with pytest.raises(ValueError, match="max_cost=4 is below the 8 network evaluations"):
        _ = Space.of(TASK, method, axes, max_cost=4.0).start
    without = Space.of(TASK, tfg.TFG(rho=0.5, mu=0.1, n_iter=2), ["mu=none,0.1"])
    assert [without.built(move)[1] for move in without.moves(without.start)] == [tfg.TFG(rho=0.5, mu=None)]
    # What does not fit together is no candidate: draws need a smoothing.
    space = Space.of(TASK, tfg.TFG(rho=0.5, smoothing=0.1, n_mc=2), ["smoothing=none,0.1", "n_mc=1,2"])
    assert [str(move) for move in space.moves(space.start)] == ["smoothing=0.1 n_mc=1"]


def trial(*values: float | None, cost: float = 1.0) -> Trial:
    names = ("psnr", "feature_distance")
    scores = {name: (v, v and v - 0.1, v and v + 0.1) for name, v in zip(names, values, strict=False)}
    return Trial(Candidate(()), 4, 0, (0,), scores, cost, 0.0, 0.0)


def test_the_front_is_right():
    aim = Aim.of("psnr", "feature_distance")
    best, cheap, inside, failed = trial(20.0, 5.0), trial(10.0, 1.0), trial(10.0, 5.5), trial(None, None)
    middle = trial(19.0, 2.0)
    assert aim.front([failed, inside, cheap, best, middle]) == [middle, best, cheap]
    assert aim.order([failed, inside, cheap, best, middle]) == [middle, best, cheap, inside, failed]
    assert aim.clearly_worse(inside, best) and not aim.clearly_worse(cheap, best)
    # One that lacks a number is on no front, however good the other; one without an interval is never clearly worse.
    assert aim.front([trial(None, 0.1), cheap]) == [cheap] and aim.order([trial(None, 0.1), inside])[0] is inside
    vague = dataclasses.replace(inside, scores={name: (each[0], None, None) for name, each in inside.scores.items()})
    assert not aim.clearly_worse(vague, best) and str(vague.estimate("psnr")) == "10 (no interval)"
    assert Aim.of("psnr").order([trial(None), trial(1.0), trial(3.0, cost=2.0), trial(3.0)])[0].cost == 1.0
    for names, said in {
        ("speed",): "write speed=higher or =lower",
        ("psnr", "psnr"): "one metric or two",
        (): "one metric or two",
    }.items():
        with pytest.raises(ValueError, match=said):
            Aim.of(*names)
