"""Every method under every sampler rule: pairs of prediction and schedule against the plain eps network on VP."""

import numpy as np
import pytest
from any_model import run
from problems import METHODS, PREDICTIONS, SAMPLERS, SCHEDULES

OTHERS = [name for name in SAMPLERS if name != "ddim"]  # DDIM meets all 36 combinations in test_every_method


@pytest.mark.parametrize("sampler", OTHERS)
@pytest.mark.parametrize("number", range(len(METHODS)))
def test_pairs(number, sampler, x64):
    """Prediction and schedule walk through all pairs as method and sampler do; strength 0 is the unguided rule."""
    method = list(METHODS)[number]
    step = number + OTHERS.index(sampler)
    schedule, prediction = SCHEDULES[1 + step % 5], PREDICTIONS[1 + (step + number) % 5]
    combinations = (SCHEDULES[0], schedule), (PREDICTIONS[0], prediction)
    guided = run(method, sampler, 0.5, *combinations)
    assert np.abs(guided - guided[0, 0]).max() < 1e-10, (schedule, prediction)
    plain = run(METHODS[method][0](1.0).n_recur, sampler, 0.0, SCHEDULES[:1], PREDICTIONS[:1])
    assert np.abs(run(method, sampler, 0.0, *combinations) - plain).max() < 1e-10
    assert np.abs(guided - plain).max() > 1e-2
