"""Targets, chunks and the objective of the label task, on a model that needs no training."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax.objectives import Classifier, NoisyClassifier
from tfg_jax.sample import sample_all
from tfg_jax.tasks import Evaluator, LabelTask, balanced_targets, preset, run_chunked

SHAPE = (4, 4, 1)


def prior(params, x, t, cond):
    """eps of standard normal data under a VP schedule is sigma x; the class only shifts it."""
    return params * x + 0.01 * cond


def logits(params, x):
    return jnp.stack([params * jnp.sum(x), -params * jnp.sum(x), 0.0 * jnp.sum(x)])


def noisy_logits(params, x, log_snr):
    return logits(params, x)


@pytest.fixture(scope="module")
def task():
    model = tfg.from_fn(
        prior, jnp.asarray(0.7), tfg.VPCosine(), prediction="eps", shape=SHAPE, num_classes=3, null_cond=0
    )
    guide = Classifier(jnp.asarray(0.5), logits, 3)
    return LabelTask(
        model, guide, Evaluator(guide), NoisyClassifier(jnp.asarray(0.5), noisy_logits, 3),
        tfg.DDIM(steps=3), class_names=("a", "b", "c"),
    )  # fmt: skip


def test_targets_are_balanced_in_every_leading_part():
    targets = balanced_targets(25)
    assert targets.dtype == np.int32 and targets.tolist() == [i % 10 for i in range(25)]
    assert balanced_targets(5, [7, 2]).tolist() == [7, 2, 7, 2, 7]
    for bad in ((0, range(10)), (3, [])):
        with pytest.raises(ValueError):
            balanced_targets(*bad)


@pytest.mark.parametrize("name", ["classifier", "tfg"])
def test_chunks_are_the_whole_run_in_parts(name, task):
    key, targets, guidance = jax.random.key(3), balanced_targets(5, range(3)), preset(name)
    whole = task.sample(key, targets, guidance)
    parts = dict(run_chunked(task, key, targets, guidance, chunk=2))
    assert list(parts) == [range(0, 2), range(2, 4), range(4, 5)]
    np.testing.assert_allclose(np.concatenate([part.x for part in parts.values()]), whole.x, rtol=2e-5, atol=1e-6)
    summary = np.concatenate([part.info["summary"] for part in parts.values()])
    assert summary.shape == (5, 3) and (summary <= 0).all()
    again = dict(run_chunked(task, key, targets, guidance, chunk=2, ranges=[range(2, 4)]))
    np.testing.assert_array_equal(again[range(2, 4)].x, parts[range(2, 4)].x)


def test_all_chunks_share_one_compiled_program(task):
    chunks = run_chunked(task, jax.random.key(0), balanced_targets(7, range(3)), preset("mpgd"), chunk=2)
    next(chunks)
    compiled = sample_all._cache_size()  # type: ignore[attr-defined]
    assert len(list(chunks)) == 3 and sample_all._cache_size() == compiled  # type: ignore[attr-defined]


def test_stop_is_asked_before_every_range(task):
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > 2

    chunks = run_chunked(task, jax.random.key(0), balanced_targets(9, range(3)), None, chunk=2, stop=stop)
    assert len(list(chunks)) == 2
    with pytest.raises(ValueError, match="longer than chunk=2"):
        list(run_chunked(task, jax.random.key(0), balanced_targets(9), None, chunk=2, ranges=[range(0, 3)]))


def test_guidance_raises_the_objective_and_classes_reach_the_network(task):
    key, targets = jax.random.key(0), balanced_targets(6, [0, 1])
    free, guided = (task.sample(key, targets, method) for method in (None, preset("tfg")))
    assert (guided.info["summary"][:, -1] > free.info["summary"][:, -1]).all()
    conditional = task.sample(key, targets, None, conditional=True)
    same = np.asarray(targets) == 0  # class 0 is this model's null class
    np.testing.assert_array_equal(conditional.x[same], free.x[same])
    assert (np.abs(conditional.x[~same] - free.x[~same]).max(axis=(1, 2, 3)) > 0).all()


def test_the_source_can_be_optimized_through_the_whole_solve(task):
    key, targets = jax.random.key(0), balanced_targets(3, range(3))
    source = tfg.DFlow(tfg.TruncatedSolve(1.0, 2, "euler"), iterations=2, line_search=3)
    out = task.sample(key, targets, source)
    reached = jax.vmap(task.objective(source))(out.x, targets)
    np.testing.assert_allclose(out.info["summary"][:, 0], reached, rtol=1e-5)
    assert (np.asarray(out.cost.forwards) <= task.upper_cost(source).forwards).all()


def test_a_model_can_be_guided_away_from_a_weaker_one(task):
    """Both networks are counted, before the run and after it; a weight of 0 leaves the model as it is."""
    key, targets = jax.random.key(3), balanced_targets(3, range(3))
    weak = task.model.replace(params=jnp.asarray(0.5))
    away = dataclasses.replace(task, model=tfg.Autoguidance(task.model, weak, 1.0))
    off = dataclasses.replace(task, model=tfg.Autoguidance(task.model, weak, 0.0))
    found, plain = away.sample(key, targets, preset("dps")), task.sample(key, targets, preset("dps"))
    np.testing.assert_allclose(off.sample(key, targets, preset("dps")).x, plain.x, rtol=1e-5, atol=1e-6)
    assert np.abs(found.x - plain.x).max() > 1e-3
    np.testing.assert_array_equal(found.cost.forwards, 2 * plain.cost.forwards)
    bound = away.upper_cost(preset("dps"))
    assert bound == tfg.Cost(2 * 3, 2 * 3, 3) and (np.asarray(found.cost.forwards) <= bound.forwards).all()


def test_a_window_spares_the_steps_outside_it(task):
    key, targets = jax.random.key(3), balanced_targets(3, range(3))
    low, high = (float(value) for value in task.model.schedule.level(jnp.asarray([0.999, 0.5])).log_snr)
    windowed = dataclasses.replace(task, window=(low, high))
    found = windowed.sample(key, targets, preset("dps"))
    assert (
        found.cost.pullbacks.tolist()
        == [2] * 3
        == (task.sample(key, targets, preset("dps")).cost.pullbacks - 1).tolist()
    )
    with pytest.raises(ValueError, match="no effect on DFlow"):
        windowed.sample(key, targets, tfg.DFlow())


def test_missing_noisy_guide_and_unknown_presets_are_named(task):
    import dataclasses

    with pytest.raises(ValueError, match="noisy_guide=None"):
        dataclasses.replace(task, noisy_guide=None).objective(preset("classifier"))
    with pytest.raises(ValueError, match="choose one of"):
        preset("magic")
