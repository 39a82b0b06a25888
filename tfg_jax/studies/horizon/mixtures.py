"""The horizon study on mixtures with exact answers: estimates and adjoints on the line, samples in the plane."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from tfg_jax.files import slug
from tfg_jax.runs.study import Row, Study
from tfg_jax.studies.horizon.gradients import adjoint_errors, gradient_errors
from tfg_jax.studies.horizon.posterior import Setup, methods, posterior_row

SECONDS = {False: 25.0, True: 2.0}  # of a row on one core, whether quick
ERRORS = ("value", "gradient", "gradient_90", "sliced_w2", "mmd")
QUICK = Setup(samples=16, steps=4, exact=64, measurements=2)


def plan_mixtures(quick: bool = False) -> dict[str, Callable[[], Any]]:
    """What is computed, by the name it is kept under."""
    setup = QUICK if quick else Setup()
    plan: dict[str, Callable[[], Any]] = {
        "gradients": lambda: gradient_errors(20, ("midpoint",), (2,), False) if quick else gradient_errors(),
        "adjoints": lambda: adjoint_errors(20, 1, 4, remat_alone=True) if quick else adjoint_errors(),
    }
    names = ["exact samples", *methods()]
    for name in ("exact samples", "DPS (horizon 0)") if quick else names:
        plan[f"posterior-{slug(name)}"] = lambda name=name: posterior_row(name, setup)
    return plan


def mixtures_study(out: Path, quick: bool = False) -> Study:
    """Its rows; ValueError for a folder with results of other sizes (quick or not)."""
    study = Study(out, [
        Row(name, "mixtures", {"quick": quick}, partial(_measure, compute), seconds=SECONDS[quick])
        for name, compute in plan_mixtures(quick).items()
    ])  # fmt: skip
    if any(each.get("config") != {"quick": quick} for each in study.stored().values()):
        raise ValueError(f"out={out} holds mixtures of other sizes (quick={not quick}); choose another")
    return study


def _measure(compute: Callable[[], Any], choice: None, trial: bool) -> dict[str, Any]:
    start = time.monotonic()
    numbers = compute()
    return {"found": numbers, "seconds": time.monotonic() - start}


def read_mixtures(out: Path) -> dict[str, Any]:
    """Stored results by name, in the order of the plan."""
    stored = Study(out, ()).stored()
    return {name: _finite_or_not(stored[name]["report"]) for name in plan_mixtures() if name in stored}


def _finite_or_not(value: Any, name: str = "") -> Any:
    """Numbers as they were computed: JSON has null for what is infinitely wrong."""
    if isinstance(value, dict):
        return {key: _finite_or_not(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite_or_not(each, name) for each in value]
    return inf if value is None and name in ERRORS else value
