"""The horizon study on mixtures with exact answers: what is computed, and where it is kept.

gradients.json, adjoints.json       estimates and adjoints on the line, `horizon_gradients`
posterior-*.json                    one method of sampling in the plane each, `horizon_posterior`
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tfg_jax.files import read_json, slug, write_atomically
from tfg_jax.tasks.horizon_gradients import HORIZONS, SOLVERS, STEPS, adjoint_errors, gradient_errors
from tfg_jax.tasks.horizon_posterior import Setup, methods, posterior_row

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


def run_mixtures(out: Path, quick: bool = False) -> Iterator[str]:
    """Compute what is missing, and say what is done.

    Raises:
        ValueError: a folder with results of other sizes (quick or not).
    """
    out.mkdir(parents=True, exist_ok=True)
    for name, compute in plan_mixtures(quick).items():
        file = out / f"{name}.json"
        known = read_json(file)
        if known is not None:
            if known["quick"] != quick:
                raise ValueError(f"out={out} holds mixtures of other sizes (quick={known['quick']}); choose another")
            continue
        start = time.monotonic()
        found = compute()
        text = json.dumps({"quick": quick, "seconds": time.monotonic() - start, "found": found}, indent=1)
        write_atomically(file, lambda stream, text=text: stream.write(text.encode()))
        yield f"{name}: {time.monotonic() - start:.1f} s"


def missing_mixtures(out: Path, quick: bool = False) -> list[str]:
    """What of the plan has no stored result."""
    return [name for name in plan_mixtures(quick) if read_json(out / f"{name}.json") is None]


def read_mixtures(out: Path) -> dict[str, Any]:
    """Stored results by name, in the order of the plan."""
    found = {name: read_json(out / f"{name}.json") for name in plan_mixtures()}
    return {name: each for name, each in found.items() if each is not None}


def describe_mixtures(quick: bool = False) -> list[dict[str, Any]]:
    """The table of a dry run."""
    setup, rows = QUICK if quick else Setup(), plan_mixtures(quick)
    sampled = sum(name.startswith("posterior") for name in rows)
    return [
        {"mixtures": "gradients", "what": f"{len(SOLVERS)} solvers, steps {STEPS}, horizons {HORIZONS}"},
        {"mixtures": "adjoints", "what": "3 memory policies of the scan, 3 of diffrax"},
        {"mixtures": "posterior", "what": f"{sampled} rows of {setup.measurements} x {setup.samples} samples, "
                                          f"{setup.steps} steps"},
    ]  # fmt: skip
