"""The horizon study on mixtures with exact answers: estimates and adjoints on the line, samples in the plane."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from tfg_jax.files import slug
from tfg_jax.runs.study import Result, Row, Study
from tfg_jax.studies.horizon.gradients import adjoint_errors, gradient_errors
from tfg_jax.studies.horizon.posterior import FLOOR, Setup, methods, posterior_numbers

SECONDS = {False: 25.0, True: 2.0}  # of a row on one core, whether quick
ERRORS = ("value", "gradient", "gradient_90", "sliced_w2", "mmd")
QUICK = Setup(samples=16, steps=4, exact=64, measurements=2)


def mixtures_study(out: Path, quick: bool = False) -> Study:
    """Its rows; ValueError for a folder with results of other sizes (quick or not)."""
    setup, rows = QUICK if quick else Setup(), []
    for name, compute in line_rows(quick).items():
        rows.append(_row(name, {}, quick, partial(_timed, lambda *_, compute=compute: {"found": compute()})))
    for name in (FLOOR, "DPS (horizon 0)") if quick else (FLOOR, *methods()):
        method = methods().get(name)
        config = {"row": name, "horizon": None if method is None else method.horizon}
        measure = partial(_timed, partial(posterior_numbers, name, setup))
        rows.append(_row(f"posterior-{slug(name)}", config, quick, measure, method.strengths if method else (1.0,)))
    study = Study(out, rows)
    if any(each["config"]["quick"] != quick for each in study.stored().values()):
        raise ValueError(f"out={out} holds mixtures of other sizes (quick={not quick}); choose another")
    return study


def line_rows(quick: bool) -> dict[str, Callable[[], Any]]:
    """What is computed on the line."""
    return {
        "gradients": lambda: gradient_errors(20, ("midpoint",), (2,), False) if quick else gradient_errors(),
        "adjoints": lambda: adjoint_errors(20, 1, 4, remat_alone=True) if quick else adjoint_errors(),
    }


def _row(name: str, config: dict[str, Any], quick: bool, measure: Callable, choices: Sequence[Any] = (None,)) -> Row:
    return Row(name, "mixtures", {"quick": quick, **config}, measure, choices, seconds=SECONDS[quick])


def _timed(measure: Callable[[Any, bool], dict[str, Any]], choice: Any, trial: bool) -> dict[str, Any]:
    start = time.monotonic()
    numbers = measure(choice, trial)
    return numbers | {"seconds": time.monotonic() - start}


def read_mixtures(out: Path) -> dict[str, Result]:
    """Stored results by name, in the order of the rows, whatever their sizes."""
    stored = Study(out, ()).stored()
    names = [*line_rows(False), *(f"posterior-{slug(name)}" for name in (FLOOR, *methods()))]
    return {name: _finite_or_not(stored[name]) for name in names if name in stored}


def _finite_or_not(value: Any, name: str = "") -> Any:
    """Numbers as they were computed: JSON has null for what is infinitely wrong."""
    if isinstance(value, dict):
        return {key: _finite_or_not(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite_or_not(each, name) for each in value]
    return inf if value is None and name in ERRORS else value
