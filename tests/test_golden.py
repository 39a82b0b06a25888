"""Recorded trajectories of the TFG authors' code, reproduced free-running through the public API in double precision.

Toy problem: eps(x, t) = sqrt(1 - abar_t) x + 0.3 cos(t / 1000) tanh(A x), f(x) = log_softmax(W x + b)[3].
"""

import ast
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tfg_jax as tfg

FOLDER = Path(__file__).parent / "golden"
SHAPE = (3, 4, 4)
# max |error| over the whole trajectory; dps divides by |f|, which comes as close to 0 as 2e-5.
TOLERANCE = {
    "tfg_plain": 1e-13, "mpgd": 1e-13, "freedom": 1e-13, "lgd3": 1e-13, "ugd": 2e-13, "dps": 2e-11,
    "tfg_recur_mc": 3e-8, "tfg_noclip_schedules": 3e-8,
}  # fmt: skip
# The recorded code formed the smoothing displacement in float32; with that rounding the files are met to round-off.
TOLERANCE_FLOAT32_DELTA = {"tfg_recur_mc": 1e-13, "tfg_noclip_schedules": 2e-13}


def eps(params, x, t, cond):
    abar, A = params
    return jnp.sqrt(1.0 - abar[jnp.round(t).astype(int)]) * x + 0.3 * jnp.cos(t / 1000.0) * jnp.tanh(
        A @ x.ravel()
    ).reshape(x.shape)


def logits(params, x):
    W, b = params
    return W @ x.ravel() + b


def read(name):
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        data = {key: file[key] for key in file.files}
    return data, ast.literal_eval(str(data.pop("config")))


def method_of(name, c):
    """The library's method for one file, its smoothing draws a step, and whether re-noise draws were recorded."""
    match c["method"]:
        case "tfg":
            smooth = c["sigma"] > 0
            options = (
                {"smoothing": c["sigma"], "n_mc": c["mc"], "smoothing_structure": c["sigma_schedule"]} if smooth else {}
            )
            method = tfg.TFG(
                rho=c["rho"], mu=c["mu"], n_iter=c["iter"], n_recur=c["recur"],
                rho_structure=c["rho_schedule"], mu_structure=c["mu_schedule"], **options,
            )  # fmt: skip
            return method, c["mc"] if smooth else 0, True
        case "freedom":
            return tfg.FreeDoM(strength=c["strength"], n_recur=c["recur"], structure=c["rho_schedule"]), 0, True
        case "ugd":
            return tfg.UGD(strength=c["strength"], n_iter=c["iter"], n_recur=c["recur"]), 0, True
        case "dps":
            return tfg.DPS(strength=c["strength"]), 0, False
        case "mpgd":
            return tfg.MPGD(strength=c["strength"]), 0, False
    return tfg.LGD(strength=c["strength"], n_mc=3), 3, False


def lay_out(data, c, n_mc, renoised, n_recur):
    """The file's running list of draws as padded arrays (steps, n_recur, ...), checked against its own record."""
    steps, batch = len(data["ts"]), data["traj"].shape[1]
    tape: dict[str, Any] = {name: np.zeros((steps, n_recur, batch, *SHAPE)) for name in ("step", "renoise")}
    tape["mc"] = np.zeros((steps, n_recur, n_mc, batch, *SHAPE))
    sigma_mc = np.zeros(steps)
    draws = iter(zip(data["tape"], data["tape_sigma"], strict=True))
    for i in range(steps):
        a, p = data["alpha_prod_ts"][i], data["alpha_prod_t_prevs"][i]
        for r in range(n_recur):

            def mc(i=i, r=r):
                for j in range(n_mc):
                    tape["mc"][i, r, j], sigma_mc[i] = next(draws)

            if c["method"] == "tfg":
                mc()
            if c["eta"] > 0 and data["ts"][i] > 0:
                tape["step"][i, r], std = next(draws)
                np.testing.assert_allclose(std, c["eta"] * np.sqrt((1 - p) / (1 - a) * (1 - a / p)), rtol=1e-13)
            if c["method"] != "tfg":
                mc()
            if renoised:
                tape["renoise"][i, r], std = next(draws)
                np.testing.assert_allclose(std, np.sqrt(1 - a / p), rtol=1e-13)
    assert next(draws, None) is None, "the tape must be consumed exactly"
    return tape, sigma_mc


def replay(name, float32_delta=False):
    data, c = read(name)
    method, n_mc, renoised = method_of(name, c)
    tape, sigma_mc = lay_out(data, c, n_mc, renoised, method.n_recur)
    if float32_delta:
        width = sigma_mc.reshape(-1, *[1] * (tape["mc"].ndim - 1))
        tape["mc"] = (np.float32(width) * np.float32(tape["mc"])).astype(np.float64) / width
    samples_first = {key: jnp.asarray(np.moveaxis(draw, 3 if key == "mc" else 2, 0)) for key, draw in tape.items()}
    noise = tfg.NoiseTape(
        initial=jnp.asarray(data["traj"][0]), step=samples_first["step"],
        renoise=samples_first["renoise"] if renoised else None, mc=samples_first["mc"] if n_mc else None,
    )  # fmt: skip
    table = np.cumprod(1.0 - np.linspace(1e-4, 0.02, 1000))
    np.testing.assert_array_equal(table[data["ts"]], data["alpha_prod_ts"])
    schedule = tfg.from_alphas_cumprod(table)
    model = tfg.from_fn(eps, (jnp.asarray(table), jnp.asarray(data["A"])), schedule, prediction="eps", shape=SHAPE)
    classifier = tfg.objectives.Classifier((jnp.asarray(data["W"]), jnp.asarray(data["b"])), logits, num_classes=10)
    steps = len(data["ts"])
    sampler = tfg.DDIM(steps=steps, eta=c["eta"], grid=tfg.Leading(1000))
    # The start is given as it was recorded: on this grid alpha_0^2 + sigma_0^2 = 1, so noise and state agree.
    out = tfg.sample(
        jax.random.key(0), model, objective=tfg.objectives.class_log_prob(classifier),
        target=jnp.full(len(data["traj"][0]), 3), guidance=method, sampler=sampler,
        clip=None if c["no_clip"] else tfg.Clip(), noise=noise, record=tfg.Record(steps=tuple(range(steps))),
    )  # fmt: skip
    assert bool(out.status.ok.all())
    states = np.moveaxis(np.asarray(out.info["x"]), 1, 0)
    assert states.dtype == np.float64
    np.testing.assert_array_equal(states[-1], out.x)
    return np.abs(states - data["traj"][1:]).max()


@pytest.mark.parametrize("name", TOLERANCE)
def test_reference_trajectory(name, x64):
    assert replay(name) < TOLERANCE[name]


@pytest.mark.parametrize("name", TOLERANCE_FLOAT32_DELTA)
def test_reference_trajectory_to_round_off(name, x64):
    assert replay(name, float32_delta=True) < TOLERANCE_FLOAT32_DELTA[name]
