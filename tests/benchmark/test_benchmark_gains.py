"""The headline against numbers by hand, its intervals, and what rows add up to."""

import dataclasses

import numpy as np
import pytest

from tfg_jax.benchmark import Outcome, Scores, headline, read_suite, relative_gain
from tfg_jax.benchmark.rows import cells_of


def test_relative_gains_by_hand():
    assert relative_gain(0.55, 0.5, "higher") == pytest.approx(0.1)
    assert relative_gain(0.55, 0.5, "lower") == pytest.approx(-0.1)
    assert relative_gain(-2.0, -4.0, "higher") == pytest.approx(0.5)
    assert np.isnan(relative_gain(1.0, 0.0, "higher"))


def test_the_headline_by_hand():
    """Two tasks: accuracy 0.75 against 0.5, the better of two baselines, and distance 3 against 2 on the request that
    both finished: +50 % and -50 %; a third without baselines and one whose method failed do not count."""
    tasks = [
        Scores("labels", "higher", {"tfg": np.array([1, 1, 1, 0.0]), "dps": np.array([1, 1, 0, 0.0]),
                                    "lgd": np.array([1, 0, 0, 0.0]), "none": np.ones(4)}),
        Scores("sr4", "lower", {"tfg": np.array([3.0, 9]), "dps": np.array([2.0, np.nan]), "lgd": np.array([3.0, 9])}),
        Scores("alone", "higher", {"tfg": np.ones(3)}),
        Scores("failed", "higher", {"tfg": np.full(2, np.nan), "dps": np.ones(2)}),
    ]  # fmt: skip
    result = headline(tasks, "tfg", ("dps", "lgd"))
    assert result is not None and [(gain.task, gain.baseline) for gain in result.gains] == [
        ("labels", "dps"),
        ("sr4", "dps"),
    ]
    assert [gain.estimate.value for gain in result.gains] == pytest.approx([0.5, -0.5])
    assert result.mean.value == pytest.approx(0.0) and result.wins == 1 and result.mean.n == 2
    assert result.over_tasks.low == pytest.approx(-0.5 * 12.706, rel=1e-3)  # Student's t of one degree of freedom
    assert headline(tasks, "tfg", ("ugd",)) is None


def test_a_method_does_not_gain_by_failing_with_the_hard_seed():
    """Equal wherever both finished: seeds are paired before they are averaged."""
    nan = np.nan
    scores = {"dps": np.array([[30.0] * 4, [10.0] * 4]), "tfg": np.array([[30.0] * 4, [nan, nan, 10, 10]])}
    result = headline([Scores("a", "higher", scores)], "tfg", ("dps",))
    assert result is not None and result.mean.value == 0.0 and result.wins == 0


def test_all_right_has_an_interval_though_one_failed():
    scores = {"tfg": np.array([1, 1, 1, np.nan]), "dps": np.ones(4)}
    result = headline([Scores("a", "higher", scores)], "tfg", ("dps",))
    assert result is not None and -1 < result.mean.low < 0.0 < result.mean.high < 2


def test_intervals_pair_the_requests_and_cover():
    """Two methods that differ by a tenth on requests of very different difficulty: unpaired, nothing would be seen."""
    difficulty = np.exp(np.random.default_rng(0).normal(size=200))
    paired = headline([Scores("a", "lower", {"tfg": 0.9 * difficulty, "dps": difficulty})], "tfg", ("dps",))
    assert paired is not None and paired.mean.high - paired.mean.low < 1e-6 and paired.mean.value == pytest.approx(0.1)
    certain = headline([Scores("a", "higher", {"tfg": np.ones(80), "dps": np.ones(80)})], "tfg", ("dps",))
    assert (
        certain is not None and -0.06 < certain.mean.low < -0.01 < 0.0 == certain.mean.value < certain.mean.high < 0.06
    )
    alone = headline([Scores("a", "higher", {"tfg": np.ones(1), "dps": np.ones(1)})], "tfg", ("dps",))
    assert alone is not None and alone.mean.high == np.inf  # one request tells nothing
    inside = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        noisy = {"tfg": rng.normal(9.0, 1.0, 50), "dps": rng.normal(10.0, 1.0, 50)}
        result = headline([Scores("a", "lower", noisy)], "tfg", ("dps",), seed=seed)
        assert result is not None
        inside += result.mean.low <= 0.1 <= result.mean.high
    assert inside >= 34  # of 38 expected


def test_rows_add_up_to_lines():
    """Means over seeds of one request, requests of all targets; a proportion with Wilson's interval, a distance of
    whole rows with the mean's."""
    suite = dataclasses.replace(read_suite("smoke"), seeds=(0, 1))
    known = {}
    for cell in cells_of(suite):
        if cell.task not in ("labels", "sr4", "box"):
            continue
        shift = {"none": 3.0, "dps": 1.0, "tfg": 0.5}[cell.name] + cell.seed
        values, numbers = {cell.metric: [shift, None, 1.0 + shift]}, {}
        if cell.task == "labels":
            values, numbers = {cell.metric: [1.0, 0.0]}, {"frechet_distance": [8.0 + cell.seed, 6.0, 11.0]}
        if (cell.task, cell.name, cell.seed) != ("box", "dps", 1):  # not done yet
            known[cell.row] = {"report": {
                "samples": len(values[cell.metric]), "failed": 0, "seconds": 3.0, "values": values, "numbers": numbers,
                "cost": {"forwards": 50, "pullbacks": 50, "objective": 40},
            }}  # fmt: skip
    outcome = Outcome(suite, known)
    lines = {(line.task, line.method): line for line in outcome.lines}
    label, sr4, box = lines["labels", "tfg"], lines["sr4", "tfg"], lines["box", "dps"]
    assert (label.score.value, label.score.n, label.rows, label.of, label.evaluations) == (0.5, 4, 2, 2, 100)
    assert 0 < label.score.low < 0.2 and label.also["frechet_distance"].value == 8.5
    assert label.also["frechet_distance"].low == pytest.approx(8.5 - np.sqrt(2.0**2 + 3.0**2) / 2)
    np.testing.assert_array_equal(sr4.values, [[0.5, np.nan, 1.5], [1.5, np.nan, 2.5]])
    assert (sr4.score.value, sr4.score.n, sr4.seconds, sr4.metric) == (1.5, 2, 1.0, "feature_distance")
    assert (box.rows, box.of) == (1, 2)
    assert [(gain.task, gain.estimate.value) for gain in outcome.headline.gains] == [  # type: ignore[union-attr]
        ("labels", 0.0), ("sr4", pytest.approx(0.25)),
    ]  # fmt: skip
