"""Whole searches on a Gaussian mixture: compilation, samples, resuming, what is refused, what is found."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax.metrics.titles import COSTS
from tfg_jax.search import Beam, Halving, Space, Trial, evaluate, run, search
from tfg_jax.search.strategy import Proposal
from tfg_jax.search.trials import TrialFile

DATA = tfg.analytic.mixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], [0.05 * jnp.eye(2)] * 2)
TARGETS = jnp.array([[1.0, 0.3], [-1.0, 0.3]])


def near(x0, target):
    return -2.0 * jnp.sum((x0 - target) ** 2)


def distances(x, target):
    return {"distance": jnp.linalg.norm(x - target, axis=1)}


TASK = tfg.tasks.own_task(
    DATA.denoiser(tfg.VPCosine()), objective=near, targets=TARGETS, evaluate=distances, sampler=tfg.DDIM(3, 0.5)
)
METHOD = tfg.TFG(rho=0.5, mu=0.1)
ASKED = {"aim": "distance=lower", "axes": ["rho", "mu", "n_recur=1,2"], "chunk": 16}
HALVING = Halving(samples=16, cycles=3)


def without_seconds(trials) -> list[Trial]:
    return [dataclasses.replace(trial, seconds=0.0) for trial in trials]


@pytest.fixture(scope="module")
def program():
    """The program of the lanes, which refuses to be traced for a third structure, or for one a second time."""
    traced = jax.jit(chex.assert_max_traces(evaluate.lanes, n=2), static_argnames="form")
    evaluate._program, kept = traced, evaluate._program
    yield traced
    evaluate._program = kept


@pytest.fixture(scope="module")
def found(program, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search") / "whole"
    return search(TASK, METHOD, path=folder, strategy=HALVING, **ASKED), folder


def test_a_search_finds_better_and_compiles_once_a_structure(found, program):
    result, folder = found
    start, best = result.report_of(result.search.space.start), result.report_of(result.best.candidate)
    assert best.scores["distance"][0] < 0.5 * start.scores["distance"][0]
    assert best.seeds == (0,) and result.best.seeds == (1000, 1001)
    assert {trial.candidate.by_name["n_recur"] for trial in result.trials} == {1, 2}
    assert program._cache_size() == 2
    assert set(result.importance) == {"rho", "mu", "n_recur"} and all(0 <= v <= 1 for v in result.importance.values())
    spent, values = zip(*result.path, strict=True)
    assert list(spent) == sorted(spent) and list(values) == sorted(values, reverse=True)
    assert result.method.rho == result.best.candidate.by_name["rho"]
    lines = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    assert {str(Trial.from_dict(line)) for line in lines} == {str(t) for t in (*result.trials, *result.reported)}


def test_a_lane_is_the_sample_that_the_library_draws(program):
    """And it does not depend on what is computed beside it, or on whether there were fewer samples before."""
    space = Space.of(TASK, METHOD, ASKED["axes"])
    moves = [space.start, *space.moves(space.start)]
    sampling = evaluate.Sampling(space, (5, 6), chunk=16)
    some = {each.candidate: arrays for each, arrays, _ in sampling.run([Proposal(move, 3) for move in moves])}
    more = {each.candidate: arrays for each, arrays, _ in sampling.run([Proposal(move, 5) for move in moves[::-1]])}
    fresh = evaluate.Sampling(space, (5, 6), chunk=16)
    for move in moves:
        (_, arrays, _), *rest = fresh.run([Proposal(move, 5)])
        assert not rest
        for name in arrays:
            np.testing.assert_array_equal(arrays[name], more[move][name])
            np.testing.assert_array_equal(arrays[name][:3], some[move][name])
    task, method = space.built(moves[1])
    expected = [task.sample(jax.random.key(5 + i % 2), TASK.targets(5), method).x[i] for i in range(5)]
    np.testing.assert_allclose(more[moves[1]]["x"], np.stack(expected), rtol=2e-5, atol=1e-6)


SPLIT = """
import sys
from test_search import ASKED, HALVING, METHOD, TASK, evaluate, search
search(TASK, METHOD, path=sys.argv[1], strategy=HALVING, **ASKED)
print(evaluate.mesh_of(ASKED["chunk"]).size)
"""


def test_trials_split_over_devices_are_those_of_one(found, tmp_path):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parent)])
    told = subprocess.run(
        [sys.executable, "-c", SPLIT, str(tmp_path)], env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": path},
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert told.stdout.split() == ["4"]
    lines = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    split, (whole, _) = [Trial.from_dict(line) for line in lines], found
    assert len(split) == len(whole.trials) + len(whole.reported)
    for one, other in zip(split, [*whole.trials, *whole.reported], strict=True):
        assert (one.candidate, one.samples, one.round) == (other.candidate, other.samples, other.round)
        np.testing.assert_allclose(one.scores["distance"], other.scores["distance"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("strategy", [HALVING, Beam(8, rounds=2)], ids=["halving", "beam"])
def test_a_stopped_search_goes_on_to_the_same_trials(strategy, program, tmp_path, monkeypatch):
    whole = search(TASK, METHOD, path=tmp_path / "whole", strategy=strategy, **ASKED)
    append, left = TrialFile.append, 4

    def until_killed(file, trial):
        nonlocal left
        left -= 1
        append(file, trial)
        if not left:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrialFile, "append", until_killed)
        with pytest.raises(KeyboardInterrupt):
            search(TASK, METHOD, path=tmp_path / "killed", strategy=strategy, **ASKED)
    file = tmp_path / "killed" / "trials.jsonl"
    file.write_bytes(file.read_bytes() + b'{"candidate": {"rho"')  # half a line
    stored = [Trial.from_dict(json.loads(line)) for line in file.read_text().splitlines()[:-1]]
    assert len(stored) == 4
    again = search(TASK, METHOD, path=tmp_path / "killed", strategy=strategy, **ASKED)
    assert without_seconds(again.trials) == without_seconds(whole.trials)
    assert without_seconds(again.reported) == without_seconds(whole.reported)
    assert all(trial in again.trials for trial in stored)
    size = file.stat().st_size
    assert search(TASK, METHOD, path=tmp_path / "killed", strategy=strategy, **ASKED).trials == again.trials
    assert file.stat().st_size == size


@pytest.mark.parametrize(
    "damaged",
    [
        lambda line: line.replace(b'"samples": 8', b'"samples": 16'),
        lambda line: line.replace(b'"seeds": [1000, 1001]', b'"seeds": [5, 6]'),
        lambda line: line[:40],
        lambda line: b"[" * 100_000,
        lambda line: b"\xff",
        lambda line: b'{"candidate": null}',
        lambda line: b"",
    ],
)
def test_a_line_that_is_not_as_it_was_written_is_refused(damaged, found, tmp_path):
    """And nothing of the file is changed. So is one of another search."""
    result, folder = found
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    first, *rest = (tmp_path / "trials.jsonl").read_bytes().splitlines()
    text = b"\n".join([damaged(first), *rest]) + b"\n"
    (tmp_path / "trials.jsonl").write_bytes(text)
    with pytest.raises(ValueError, match=r"line 1 of path=.*trials.jsonl is damaged, or of another search; delete it"):
        TrialFile(tmp_path, result.search.config())
    assert (tmp_path / "trials.jsonl").read_bytes() == text
    (tmp_path / "trials.jsonl").write_bytes(first + b"\n")
    (tmp_path / "search.json").write_text(json.dumps({"another": 1}))
    with pytest.raises(ValueError, match="line 1 of"):
        TrialFile(tmp_path, {"another": 1})


def test_another_search_is_refused_unless_overwritten(found, program):
    _, folder = found
    with pytest.raises(ValueError, match=r"holds another search \(strategy.cycles: 3 -> 1\)"):
        search(TASK, METHOD, path=folder, strategy=Halving(samples=16, cycles=1), **ASKED)
    other = search(TASK, METHOD, path=folder, strategy=Halving(16, cycles=1), overwrite=True, **ASKED)
    assert other.trials[-1].round == 1


def test_what_one_axis_explains_is_beyond_chance(found):
    """Scores of rho alone: its quarters explain nearly all, and values that are all different nothing by themselves."""
    result, _ = found
    trials = [
        dataclasses.replace(
            result.trials[0], candidate=tfg.search.Candidate.of({"rho": float(i), "mu": mu, "n_recur": 1 + i % 2}),
            scores={"distance": [float(i), None, None]},
        )
        for i, mu in enumerate(np.random.default_rng(0).permutation(40))
    ]  # fmt: skip
    importance = dataclasses.replace(result, trials=tuple(trials)).importance
    assert importance["rho"] > 0.9 and max(importance["mu"], importance["n_recur"]) < 0.1


def test_a_trial_whose_samples_failed_has_no_score(found):
    """Means are over the others, which may look the better the more failed."""
    result, _ = found
    rounds = run._Rounds(result.search, None)  # type: ignore[arg-type]
    arrays = {"x": np.zeros((8, 2), np.float32), "target": np.zeros((8, 2)), "objective": np.zeros((8, 1)),
              "status_code": np.zeros(8, np.int32)} | {f"cost_{key}": np.ones(8, int) for key in COSTS}  # fmt: skip
    assert rounds.scores(arrays, 3.0, 1.0)["distance"][0] == 0.0
    arrays["x"][0] = np.nan
    assert rounds.scores(arrays, 3.0, 1.0) == {"distance": [None] * 3}


@tfg.struct.dataclass
class Learned:
    """Scores of a network."""

    weight: object
    name: str = tfg.struct.field(pytree_node=False, default="mine")

    def __call__(self, x, target):
        return {"distance": self.weight * jnp.linalg.norm(x - target, axis=1)}


def scored(weight: float):
    return dataclasses.replace(TASK, score=Learned(jnp.asarray(weight)))


def broken(x, target):
    raise KeyError("lost")


def unscored(x, target):
    return {"distance": jnp.full(len(x), jnp.nan)}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"task": dataclasses.replace(TASK, score=broken)},
            "cannot score its samples .KeyError: 'lost'.; mend",
        ),
        ({"task": dataclasses.replace(TASK, score=unscored)}, "aim=distance has no number in any of 9 trials"),
        ({"task": dataclasses.replace(TASK, score=broken), "axes": ["rho=nan"]}, "rho=nan must be a finite number"),
        ({"seed_report": 1001}, r"seed_report=1001 \(--seed\) is among the seeds that choose, 1000, 1001"),
        ({"seed_search": 0}, r"seed_report=0 \(--seed\) is among the seeds that choose"),
        ({"task": scored(1.0)}, "aim=distance is given by 'mine', which would both choose and report"),
        ({"task": scored(1.0), "report_task": scored(1.0)}, "give report_task another one"),
        ({"aim": "psnr"}, "aim='psnr' is not among the task's numbers; there are samples, "),
        ({"axes": ["rho", "rho=1,2"]}, "names a setting twice"),
        ({"seeds": 0}, "seeds=0"),
        ({"budget": 1.0}, "budget=1.0 allows no trial"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, said, program, tmp_path):
    with pytest.raises(ValueError, match=said):
        search(method=METHOD, path=tmp_path, strategy=HALVING, **{"task": TASK, **ASKED, **options})


def test_the_network_that_reports_is_another(program, tmp_path):
    """And one network may do both where the aim is none of its numbers."""
    small = {**ASKED, "axes": ["rho=0.5,1"], "path": tmp_path, "strategy": Halving(4), "report_samples": 6}
    result = search(scored(1.0), METHOD, report_task=scored(2.0), **small)
    assert {trial.samples for trial in result.reported} == {6} and len(result.trials) <= 5
    priced = search(scored(1.0), METHOD, **{**small, "aim": ["objective", "cost"]}, overwrite=True)
    assert priced.best.scores.keys() == {"objective", "cost"}


def test_a_pair_gives_a_front_at_a_cost(program, tmp_path):
    asked = {**ASKED, "aim": ["distance=lower", "cost"], "max_cost": 12.0}
    result = search(TASK, METHOD, path=tmp_path, strategy=Halving(8, cycles=2), budget=600.0, **asked)
    costs = [trial.cost for trial in result.front]
    assert result.best in result.front and max(costs) <= 12
    assert sum(trial.evaluations for trial in result.trials) <= 600
    for trial in result.full:
        better = [t for t in result.front if t.cost <= trial.cost and t.scores["distance"] <= trial.scores["distance"]]
        assert better
