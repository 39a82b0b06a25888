"""Every method gives one guided sample, whatever its network predicts and whatever the schedule.

On grids of equal log-SNR the schedules are one sampler seen through a scaling, so all 36 combinations of prediction and
schedule must agree to round-off. Strength 0 must be the unguided sample.
"""

import numpy as np
import pytest
from any_model import run
from problems import METHODS, PREDICTIONS, SCHEDULES


@pytest.mark.parametrize("method", [1, 2, *METHODS])
def test_all_networks_and_schedules(method, x64):
    every = run(method, "ddim", 0.5, SCHEDULES, PREDICTIONS)
    off = np.abs(every - every[0, 0]).max(axis=(2, 3))
    assert off.max() < 1e-12, "\n".join(
        f"{SCHEDULES[s]} {PREDICTIONS[p]}: {off[s, p]:.1e}" for s in range(6) for p in range(6) if not off[s, p] < 1e-12
    )


@pytest.mark.parametrize("method", METHODS)
def test_strength_zero_is_unguided(method, x64):
    """The same compiled program as above: a traced 0, to round-off; and 0.5 is not 0."""
    every = run(method, "ddim", 0.0, SCHEDULES, PREDICTIONS)
    n_recur = METHODS[method][0](1.0).n_recur
    plain = run(n_recur, "ddim", 0.0, SCHEDULES, PREDICTIONS)
    assert np.abs(every - plain).max() < 1e-12
    assert np.abs(run(method, "ddim", 0.5, SCHEDULES, PREDICTIONS) - plain).min(axis=(0, 1)).max() > 1e-2
