"""The one table of titles: all metrics of runs stand in it, and numbers are read back with their intervals."""

import pytest

from tfg_jax.metrics import COSTS, METRICS, Estimate, estimate, flat_estimate, titled
from tfg_jax.metrics.titles import INVERSE, LABEL


def test_every_metric_that_is_shown_has_one_title():
    assert {*LABEL, *INVERSE, *COSTS.values()} <= set(METRICS)
    headers = [metric.header(short=short) for metric in METRICS.values() for short in (False, True)]
    assert len(set(headers[::2])) == len(METRICS) == len(set(headers[1::2]))
    assert METRICS["psnr"].axis == "PSNR (dB)" and METRICS["frechet_distance"].axis.endswith("(lower is better)")


def test_numbers_are_shown_by_title_with_their_intervals_where_they_have_one():
    numbers = flat_estimate("psnr", Estimate(20.0, 19.0, 21.0, 3)) | {"seconds": 1.5, "samples": 12}
    over_images = numbers | {"images": 4, "images_without_samples": 1}
    assert titled(numbers, ["seconds", "psnr", "ssim"]) == {"seconds": 1.5, "PSNR (dB)": Estimate(20.0, 19.0, 21.0, 12)}
    assert estimate(over_images, "psnr") == Estimate(20.0, 19.0, 21.0, 3)
    stored = over_images | {"psnr_low": None, "psnr_high": None}  # what is infinite is null in metrics.json
    assert str(estimate(stored, "psnr")) == "20 (no interval)" and estimate(stored, "psnr").high == float("inf")
    assert [*titled({"network_pullbacks_per_sample": 2.0}, COSTS.values(), short=True)] == ["pullbacks"]
    with pytest.raises(KeyError):
        estimate(numbers, "ssim")
