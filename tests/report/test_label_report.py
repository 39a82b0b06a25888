"""The label-guidance report from made-up arrays whose metrics are known."""

import dataclasses
import json
import re

import numpy as np
import pytest

from tfg_jax.metrics import LabelRun, label_metrics, wilson
from tfg_jax.report import label_guidance_report, with_failed

NAMES = ["Bag", "Coat", "<b>Shirt</b>"]


def make_run(n=12, **changes):
    rng = np.random.default_rng(0)
    targets = np.arange(n) % 3
    logits = 8.0 * np.eye(3)[targets]
    logits[0] = [0, 8, 0]  # one miss
    code, step = np.zeros(n, int), np.full(n, -1)
    code[1], step[1] = 1, 17  # one failure, whose last state the evaluator would have liked
    run = LabelRun(
        x=rng.uniform(-1, 1, (n, 8, 8, 1)).astype(np.float32),
        targets=targets,
        evaluator_logits=logits,
        status_code=code,
        status_step=step,
        cost={"forwards": np.full(n, 50), "pullbacks": np.full(n, 50), "objective": np.full(n, 200)},
        seconds=4.0,
        class_names=NAMES,
        guide_logits=8.0 * np.eye(3)[targets],
        features=rng.normal(size=(n, 4)),
        reference_features=rng.normal(size=(50, 4)),
        reference_images=rng.uniform(-1, 1, (50, 8, 8, 1)),
        objective=np.where(np.arange(n)[:, None] == 1, np.nan, -np.linspace(3, 0.1, 20)),
        config={"steps": 50, "strength": 1.5},
        notes=["The guide is <i>not</i> robust."],
    )
    return dataclasses.replace(run, **changes)


def test_metrics_count_failures_and_report_every_cost():
    found = label_metrics(make_run())
    expected = wilson(10, 12)
    assert found["samples"] == 12 and found["failed_samples"] == 1
    assert found["evaluator_accuracy"] == expected.value
    assert (found["evaluator_accuracy_low"], found["evaluator_accuracy_high"]) == (expected.low, expected.high)
    assert found["evaluator_accuracy_by_class"] == {"Bag": 0.75, "Coat": 0.75, "<b>Shirt</b>": 1.0}
    assert found["guide_accuracy"] == 11 / 12
    assert found["network_forwards_per_sample"] == 50 and found["objective_gradients_per_sample"] == 200
    assert found["images_per_second"] == 3.0
    assert found["unlike_real_low"] <= found["unlike_real"] <= found["unlike_real_high"]
    assert len(found["least_like_real"]) == 10 and 1 not in {each["sample"] for each in found["least_like_real"]}
    assert (found["frechet_samples_n"], found["frechet_reference_n"]) == (11, 50) and found["frechet_distance"] > 0


def test_report_files_are_complete(tmp_path):
    folder = tmp_path / "run"
    found = label_guidance_report(folder, make_run(), "A <title>")
    assert sorted(p.name for p in folder.iterdir()) == ["grid.png", "metrics.json", "report.html"]
    assert json.loads((folder / "metrics.json").read_text()) == found
    text = (folder / "report.html").read_text()
    for expected in (
        "A &lt;title&gt;",
        "&lt;b&gt;Shirt",
        "&lt;i&gt;not",
        "not finite at step 17",
        "evaluator sees Coat",
        "strength",
        "12 samples, 1 of them failed",
        "Least like real ones",
    ):
        assert expected in text
    assert "<b>Shirt" not in text and "<i>not" not in text and len(re.findall("<li[ >]", text)) == 12
    assert text.index("not finite at step 17") < text.index("evaluator sees Coat")


def test_the_sample_least_like_real_ones_comes_first():
    run = make_run()
    real = (
        np.broadcast_to(np.linspace(-1, 1, 8)[:, None], (20, 8, 8))[..., None]
        * np.linspace(0.5, 1, 20)[:, None, None, None]
    )
    x = 0.99 * np.resize(real[8:], run.x.shape)
    x[5] = run.x[5]  # noise, of which the evaluator is as sure as of all
    found = label_metrics(dataclasses.replace(run, x=x, reference_images=real))
    assert found["least_like_real"][0]["sample"] == 5 and found["least_like_real"][0]["beyond_real"] == 1.0
    assert found["unlike_real"] == 1 / 11 and found["evaluator_accuracy"] == label_metrics(run)["evaluator_accuracy"]


def test_counts_are_said_as_people_do():
    assert with_failed(5000, 0) == "5000 samples, none failed"
    assert with_failed(1, 1, "image") == "1 image, which failed" and with_failed(2, 1) == "2 samples, 1 of them failed"


def test_optional_parts_can_be_absent(tmp_path):
    bare = make_run(
        guide_logits=None,
        features=None,
        reference_features=None,
        reference_images=None,
        objective=None,
        config={},
        notes=(),
    )
    found = label_guidance_report(tmp_path, bare)
    assert not any(k.startswith(("guide", "frechet", "high_frequency", "unlike")) for k in found)
    text = (tmp_path / "report.html").read_text()
    assert "<h2>Objective" not in text and "<h2>Configuration" not in text


@pytest.mark.parametrize("broken", ["status", "pixels"])
def test_a_run_in_which_everything_failed_still_has_a_report(tmp_path, broken):
    run = make_run()
    changes = {"status_code": np.full(12, 2)} if broken == "status" else {"x": np.full_like(run.x, np.nan)}
    found = label_guidance_report(tmp_path, dataclasses.replace(run, **changes))
    assert found["failed_samples"] == 12 and found["evaluator_accuracy"] == 0.0 and "frechet_distance" not in found
    json.loads((tmp_path / "metrics.json").read_text(), parse_constant=lambda name: pytest.fail(name))


@pytest.mark.parametrize(
    "changes, names",
    [
        ({"status_code": np.zeros(3, int)}, "status_code"),
        ({"class_names": ["a"]}, "class_names"),
        ({"cost": {"forwards": np.zeros(12)}}, "cost"),
        ({"features": None}, "reference_features"),
    ],
)
def test_errors_name_the_argument(changes, names):
    with pytest.raises(ValueError, match=names):
        label_metrics(make_run(**changes))
