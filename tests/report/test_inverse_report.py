"""The restoration report from plain arrays: numbers, failures, picture and page."""

import json

import numpy as np
import pytest

from tfg_jax.metrics import InverseRun, inverse_metrics
from tfg_jax.report import inverse_report
from tfg_jax.tasks.inverse import as_picture

RNG = np.random.default_rng(0)
N, M = 3, 4
TRUTH = RNG.uniform(-1, 1, size=(N, 8, 8, 1))


def a_run(**changes):
    x = np.repeat(TRUTH, M, axis=0) + 0.2 * RNG.normal(size=(N * M, 8, 8, 1))
    fields = {
        "truth": TRUTH, "pictures": TRUTH, "x": x, "residual": np.full(N * M, 0.1), "noise_std": 0.05,
        "status_code": np.zeros(N * M, int), "status_step": np.full(N * M, -1),
        "cost": {name: np.full(N * M, 7) for name in ("forwards", "pullbacks", "objective")},
        "seconds": 2.0, "names": ["a", "b<i>", "c"], "path": RNG.uniform(size=(N * M, 5)),
    }  # fmt: skip
    return InverseRun(**{**fields, **changes})


def test_numbers_are_means_over_images():
    found = inverse_metrics(a_run())
    assert found["images"] == 3 and found["samples"] == 12 and found["draws_per_image"] == 4
    assert found["psnr"] == pytest.approx(10 * np.log10(4 / 0.04), abs=0.5)
    assert found["psnr_of_mean"] == pytest.approx(10 * np.log10(4 / 0.01), abs=0.7)
    assert found["posterior_spread"] == pytest.approx(0.2, rel=0.1)
    assert found["residual_per_noise_std"] == pytest.approx(2.0) and found["network_forwards_per_sample"] == 7
    assert found["psnr_low"] < found["psnr"] < found["psnr_high"] and "feature_distance" not in found
    perfect = inverse_metrics(a_run(x=np.repeat(TRUTH, M, axis=0)))
    assert perfect["psnr"] == 100.0 and perfect["ssim"] == pytest.approx(1.0) and perfect["posterior_spread"] == 0.0


def test_without_a_truth_there_is_the_residual(tmp_path):
    found = inverse_report(tmp_path, a_run(truth=None, features=np.ones((12, 2))), "Title")
    assert found["images"] == 3 and found["residual_per_noise_std"] == pytest.approx(2.0)
    assert found["posterior_spread"] > 0 and not {"psnr", "ssim_of_mean", "feature_distance"} & set(found)
    page = (tmp_path / "report.html").read_text()
    assert "measurement, draws with their residual / noise" in page and "PSNR" not in page and "truth, m" not in page


def test_failed_draws_are_counted_and_left_out():
    run = a_run()
    x, code = np.array(run.x), np.array(run.status_code)
    x[0] = np.nan
    code[4:8] = 1  # all draws of the second image
    x[4:8] = 30.0
    found = inverse_metrics(a_run(x=x, status_code=code, features=np.ones((12, 2)), truth_features=np.zeros((3, 2))))
    assert found["failed_samples"] == 5 and found["images_without_samples"] == 1
    assert found["psnr"] == pytest.approx(20.0, abs=0.7) and found["feature_distance"] == pytest.approx(np.sqrt(2.0))
    nothing = inverse_metrics(a_run(status_code=np.ones(12, int)))
    assert nothing["failed_samples"] == 12 and "psnr" not in nothing


def test_the_report_is_complete_escaped_and_shows_failures_first(tmp_path):
    code, step = np.zeros(12, int), np.full(12, -1)
    code[5], step[5] = 1, 3
    found = inverse_report(tmp_path, a_run(status_code=code, status_step=step, notes=["mind this"]), "Title")
    assert json.loads((tmp_path / "metrics.json").read_text())["failed_samples"] == found["failed_samples"] == 1
    page = (tmp_path / "report.html").read_text()
    assert "not finite at step 3" in page and page.index("#5 b") < page.index("#0 a")
    assert "b&lt;i&gt;" in page and "b<i>" not in page and "mind this" in page
    assert (tmp_path / "grid.png").stat().st_size > 100


def test_one_draw_and_no_finished_draw_make_pages_too(tmp_path):
    one = {name: np.full(N, 1) for name in ("forwards", "pullbacks", "objective")}
    single = a_run(
        x=TRUTH, residual=np.ones(N), status_code=np.zeros(N, int), status_step=np.full(N, -1), cost=one, path=None
    )
    assert "posterior_spread" not in inverse_report(tmp_path / "one", single)
    inverse_report(tmp_path / "none", a_run(status_code=np.ones(12, int)))
    assert "failed" in (tmp_path / "none" / "report.html").read_text()


def test_measurements_become_pictures():
    small = RNG.uniform(-1, 1, size=(2, 4, 4, 1))
    large = as_picture(small, (8, 8, 1))
    assert large.shape == (2, 8, 8, 1) and (large[:, 2:4, 6:8, 0] == small[:, 1:2, 3:4, 0]).all()
    magnitudes = as_picture(np.abs(np.fft.fft2(TRUTH, (16, 16), axes=(1, 2))), (8, 8, 1))
    assert magnitudes.shape == TRUTH.shape and magnitudes.min() >= -1 and magnitudes.max() <= 1
    np.testing.assert_array_equal(as_picture(TRUTH, (8, 8, 1)), TRUTH)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.zeros((5, 8, 8, 1))}, "x must hold the same number of draws for each of 3 images, got 5"),
        ({"names": ["a"]}, "truth and names must have one entry for each of 3 pictures, got 3 and 1"),
        ({"residual": np.zeros(3)}, "residual must have one entry for each of 12 draws, got 3"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        inverse_metrics(a_run(**changes))
