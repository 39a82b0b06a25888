"""Studies: rows computed once and kept, tuned on a seed apart, planned before, shared between processes."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace

import numpy as np
import pytest

from tfg_jax.locks import lock
from tfg_jax.runs.run import Run
from tfg_jax.runs.study import Row, Study


class Guess:
    """A task whose method is a number, off by noise of its seed: the nearer to 3 the better."""

    model = SimpleNamespace(shape=(1,))

    def targets(self, n):
        return np.full(n, 3.0)

    def describe(self, method, conditional, targets):
        return {"method": method}

    def evaluate(self, arrays, *, seconds, config):
        return SimpleNamespace(numbers={"error": float(np.abs(arrays["x"] - 3.0).mean())})


@dataclasses.dataclass(frozen=True)
class Sampled(Run):
    """A run that needs no compiler."""

    calls: list = dataclasses.field(default_factory=list)

    def samples(self, path, *, overwrite=False):
        self.calls.append((self.method, self.seed, self.n))
        return {"x": self.method + 0.01 * np.random.default_rng(self.seed).standard_normal(self.n)}


@pytest.fixture
def calls():
    return []


def study_of(folder, calls, n=4, inputs: Callable[[], Mapping] = dict):
    def measure(method, trial):
        run = Sampled(Guess(), method, 2 if trial else n, int(trial), calls=calls)
        numbers = run.numbers(folder / "samples")
        return {**numbers, "score": -numbers["error"], "seconds": 1.5}

    tuned = Row("tuned", "main", {"n": n}, measure, (1.0, 2.9, 4.0), samples=6 + n, evaluations=5, seconds=60.0)
    fixed = Row("fixed", "more", {"n": n}, measure, (2.0,), n, 1, 30.0, shown={"what": "no choice"}, claim="one of two")
    return Study(folder, (tuned, dataclasses.replace(fixed, inputs=inputs)))


def test_choices_are_tried_on_a_seed_apart_and_the_best_is_reported(tmp_path, calls):
    results: dict = {row.name: result for row, result in study_of(tmp_path, calls).compute()}
    assert calls == [(1.0, 1, 2), (2.9, 1, 2), (4.0, 1, 2), (2.9, 0, 4), (2.0, 0, 4)]
    assert results["tuned"]["kept"] == 1 and len(results["tuned"]["trials"]) == 3 and not results["fixed"]["trials"]
    assert results["tuned"]["seconds"] == 6.0 and results["tuned"]["report"]["error"] < 0.2
    stored = json.loads((tmp_path / "rows.json").read_text())
    assert stored == results and [*stored["tuned"]["report"]] == ["error", "score", "seconds"]  # not sorted


def test_a_finished_row_is_computed_again_only_for_what_it_depends_on(tmp_path, calls):
    for _ in range(2):
        assert all(result for _, result in study_of(tmp_path, calls).compute(["fixed"]))
    assert len(calls) == 1 and [row.name for row in study_of(tmp_path, calls).missing()] == ["tuned"]
    other = study_of(tmp_path, calls, inputs=lambda: {"weights": "1f"})
    assert set(other.known()) == {"fixed"}  # a plan does not ask
    assert list(other.compute(["fixed"])) and len(calls) == 2
    assert len(study_of(tmp_path, calls, n=5).missing()) == 2
    text = (tmp_path / "rows.json").read_text()
    for edited in (text.replace('"error": ', '"error": 1'), text.replace('"report"', '"reports"'), "[]", "{"):
        (tmp_path / "rows.json").write_text(edited)
        assert len(study_of(tmp_path, calls).missing()) == 2
    assert list(study_of(tmp_path, calls).compute(["fixed"])) and (tmp_path / "rows.json.damaged").read_text() == "{"
    assert [row.name for row in study_of(tmp_path, calls).missing()] == ["tuned"]


def test_a_plan_says_what_it_costs_and_computes_nothing(tmp_path, calls):
    def inputs():
        raise AssertionError("a plan loads nothing")

    plan = study_of(tmp_path / "none", calls, inputs=inputs).plan()
    assert plan[0] == {"table": "main", "row": "tuned", "evaluations": 5, "samples": 10, "all evaluations": 50,
                       "minutes": 1.0, "done": ""}  # fmt: skip
    assert plan[1]["what"] == "no choice" and not calls and not (tmp_path / "none").exists()


def test_only_names_tables_or_rows(tmp_path, calls):
    study = study_of(tmp_path, calls)
    for only, expected in (
        (["main"], ["tuned"]),
        (["fixed"], ["fixed"]),
        (["main", "fixed"], []),
        ([], ["tuned", "fixed"]),
    ):
        assert [row.name for row in study.selected(only)] == expected
    with pytest.raises(ValueError, match="only='rest' is no table or row; choose of fixed, main, more, tuned"):
        study.selected(["rest", "main"])


def test_a_row_of_another_process_is_left_to_it(tmp_path, calls):
    with lock(tmp_path / "claims/one-of-two"):
        assert [result is None for _, result in study_of(tmp_path, calls).compute()] == [False, True]
    assert all(result for _, result in study_of(tmp_path, calls).compute())
