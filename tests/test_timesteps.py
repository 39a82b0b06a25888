"""Time grids against numbers written by hand."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg
from tfg_jax.denoiser import index_time, thousand_time

VP = tfg.VPLinear()


def nodes(grid, steps, num_nodes=1000):
    """Table indices of a grid's times, with the last time apart."""
    times = np.asarray(grid(VP, steps))
    assert times.shape == (steps + 1,) and np.all(np.diff(times) <= 0)
    index = times[:-1] * num_nodes - 1
    np.testing.assert_allclose(index, np.round(index), atol=1e-3)
    return np.round(index).astype(int).tolist(), float(times[-1])


@pytest.mark.parametrize(
    ("grid", "steps", "expected", "last"),
    [
        (tfg.Leading(), 8, [875, 750, 625, 500, 375, 250, 125, 0], 0.0),
        (tfg.Leading(), 3, [666, 333, 0], 0.0),
        (tfg.Leading(offset=1, end_at_data=False), 4, [751, 501, 251, 1], 0.001),
        (tfg.Leading(), 1000, list(range(999, -1, -1)), 0.0),
        (tfg.Trailing(), 4, [999, 749, 499, 249], 0.0),
        (tfg.Trailing(), 3, [999, 666, 332], 0.0),
        (tfg.Trailing(), 1, [999], 0.0),
        (tfg.Linspace(), 4, [999, 666, 333, 0], 0.0),
        (tfg.Linspace(), 2, [999, 0], 0.0),
        # round(k 999 / 6), the even spacing of the ADM code.
        (tfg.Linspace(), 7, [999, 832, 666, 500, 333, 166, 0], 0.0),
    ],
)
def test_grids_of_discrete_checkpoints(grid, steps, expected, last, x64):
    assert nodes(grid, steps) == (expected, pytest.approx(last, abs=1e-12))


def test_the_recorded_grid(x64):
    with np.load(Path(__file__).parent / "golden" / "tfg_plain.npz", allow_pickle=False) as file:
        assert nodes(tfg.Leading(1000), 8)[0] == file["ts"].tolist()


def test_other_table_lengths(x64):
    assert nodes(tfg.Leading(num_nodes=50), 5, 50) == ([40, 30, 20, 10, 0], 0.0)
    assert nodes(tfg.Trailing(num_nodes=50), 5, 50) == ([49, 39, 29, 19, 9], 0.0)
    assert nodes(tfg.Linspace(num_nodes=11), 3, 11) == ([10, 5, 0], 0.0)


@pytest.mark.parametrize("grid", [tfg.Leading(num_nodes=10), tfg.Trailing(num_nodes=10), tfg.Linspace(num_nodes=10)])
def test_more_steps_than_nodes(grid):
    with pytest.raises(ValueError, match="steps=11 does not fit a table of num_nodes=10; use fewer"):
        grid(VP, 11)


def test_uniform_starts_where_the_schedule_does(x64):
    np.testing.assert_allclose(tfg.Uniform()(VP, 4), [1.0, 0.75, 0.5, 0.25, 0.0])
    np.testing.assert_allclose(tfg.Uniform()(tfg.RectifiedFlow(), 3), [0.999, 0.666, 0.333, 0.0])


def test_karras(x64):
    """sigma_i = (80^(1/7) + i/(n-1) (0.002^(1/7) - 80^(1/7)))^7, then 0; on EDM t = sigma / 80."""
    sigmas = 80.0 * np.asarray(tfg.Karras()(tfg.EDM(80.0), 5))
    root = np.array([80 ** (1 / 7) + i / 4 * (0.002 ** (1 / 7) - 80 ** (1 / 7)) for i in range(5)])
    np.testing.assert_allclose(sigmas, np.append(root**7, 0.0), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(sigmas[[0, 4]], [80.0, 0.002], rtol=1e-10)
    level = VP.level(tfg.Karras(sigma_min=0.01, sigma_max=20.0, exponent=3.0)(VP, 4))
    ratios = np.asarray(level.sigma / level.alpha)
    np.testing.assert_allclose(np.cbrt(ratios[:4]), np.linspace(np.cbrt(20), np.cbrt(0.01), 4), rtol=1e-9)


@pytest.mark.parametrize("schedule", [VP, tfg.VPCosine(), tfg.VE(), tfg.RectifiedFlow()])
def test_uniform_log_snr(schedule, x64):
    times = tfg.UniformLogSNR(log_snr_max=6.0, log_snr_min=-4.0)(schedule, 6)
    np.testing.assert_allclose(schedule.log_snr(times[:-1]), [-4, -2, 0, 2, 4, 6], atol=1e-9)
    assert float(times[-1]) == 0.0
    whole = tfg.UniformLogSNR(log_snr_max=6.0)(schedule, 3)
    np.testing.assert_allclose(whole[0], schedule.t_start, rtol=1e-9)


TABLES = {n: tfg.from_alphas_cumprod(np.cumprod(1.0 - np.linspace(1e-4, 0.02, n))) for n in (50, 100, 1000)}


@pytest.mark.parametrize(
    ("num_nodes", "grid", "steps"),
    [
        (1000, tfg.Linspace(), 25), (1000, tfg.Leading(), 1000), (1000, tfg.Leading(offset=1), 3),
        (100, tfg.Leading(100), 50), (100, tfg.Trailing(100), 100), (50, tfg.Linspace(50), 50),
    ],
)  # fmt: skip
def test_a_network_gets_the_integer_at_a_node(num_nodes, grid, steps):
    """And the row of the table itself, in single precision; also a round-off beside the node, as times come back."""
    schedule = TABLES[num_nodes]
    times = np.asarray(grid(schedule, steps))
    times = times[times > 0]
    node = np.round(np.float64(times) * num_nodes)
    for seen in (times, np.nextafter(times, np.float32(0)), np.nextafter(times, np.float32(2))):
        np.testing.assert_array_equal(index_time(schedule, jnp.asarray(seen)), node - 1)
        np.testing.assert_array_equal(thousand_time(schedule, jnp.asarray(seen)), 1000.0 / num_nodes * node)
        np.testing.assert_array_equal(schedule.alpha(seen), jnp.exp(schedule.log_alpha)[node.astype(int)])


def test_explicit_times():
    times = jnp.array([0.9, 0.5, 0.1])
    np.testing.assert_array_equal(tfg.Explicit(times)(VP, 2), times)
    with pytest.raises(ValueError, match=r"times has shape \(3,\), steps=3 needs \(4,\)"):
        tfg.Explicit(times)(VP, 3)


def test_sampling_times_of_a_run(x64):
    model = tfg.from_fn(lambda params, x, t, cond: x, None, VP, prediction="eps", shape=(2,))
    np.testing.assert_allclose(tfg.sampling_times(model, tfg.DDIM(steps=4)), [1.0, 0.75, 0.5, 0.25, 0.0])
    np.testing.assert_allclose(tfg.sampling_times(model, tfg.DDIM(steps=4), 0.5), [0.5, 0.375, 0.25, 0.125, 0.0])
