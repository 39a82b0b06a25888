"""`tfg-jax doctor`: what the library runs on, and whether a model is wired as it was trained."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from tfg_jax.cli.main import FAILED_SAMPLES, OK


@dataclasses.dataclass(frozen=True)
class Options:
    """Show devices, memory, versions and the cache of compiled programs; with --model the health of a model, and end
    with code 3 if something is wrong with it."""

    model: str | None = None
    """Diffusion model to examine: released name, folder of weights, or module:function that gives one."""
    num_samples: int = 128
    """Samples it is asked for, >= 8: its errors are compared with those of the best linear denoiser of these."""
    steps: int = 24
    """Steps of their sampler, whose times are the noise levels, >= 2."""
    cond: int | None = None
    """Class, or atom count, of all of them, for a model that needs one."""
    seed: int = 0
    """Root of all random numbers."""
    json: bool = False
    """Print JSON."""
    dry_run: bool = False
    """Look at the machine alone: no model is examined."""


def run(options: Options) -> int:
    """Look and print."""
    from tfg_jax.files import to_json
    from tfg_jax.machine import as_text, machine

    given = [n for n in ("num_samples", "steps", "cond", "seed") if getattr(options, n) != getattr(Options, n)]
    if options.model is None and given:
        raise ValueError(f"{given[0]}={getattr(options, given[0])} has no effect without --model; name one")
    health = _examined(options) if options.model is not None and not options.dry_run else None
    told = machine() | ({"model": {**dataclasses.asdict(health), "ratio": health.ratio}} if health else {})
    print(to_json(told) if options.json else "\n\n".join([as_text(told), *([_model(health)] if health else [])]))
    return FAILED_SAMPLES if health is not None and health.findings else OK


def _examined(options: Options) -> Any:
    import jax

    from tfg_jax.checks import check_seed
    from tfg_jax.cli.labels import network
    from tfg_jax.denoiser import Denoiser
    from tfg_jax.health import examine

    check_seed("seed", options.seed)
    model = network("model", str(options.model), Denoiser)
    cond = None if options.cond is None else jax.numpy.full(max(options.num_samples, 0), options.cond)
    size = {"num_samples": options.num_samples, "steps": options.steps}
    return examine(
        jax.random.key(options.seed), model, cond=cond, **size, tell=lambda line: print(line, file=sys.stderr)
    )


def _model(health: Any) -> str:
    from tfg_jax.report import text_table

    columns = {"t": (health.t, ".3f"), "log-SNR": (health.log_snr, ".1f"), "error": (health.error, ".3g"),
               "of the linear denoiser": (health.ratio, ".2f")}  # fmt: skip
    rows = [{name: f"{each[i]:{form}}" for name, (each, form) in columns.items()} for i in range(len(health.t))]
    span = f"samples in [{health.low:.3g}, {health.high:.3g}], mean {health.mean:.3g}, std {health.std:.3g}"
    findings = [f"{finding.name}: {finding.advice}" for finding in health.findings]
    return "\n".join([text_table(rows), "", span, *(findings or ["nothing is wrong"])])
