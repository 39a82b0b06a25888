"""The rows of the image study, and what they cost before they are run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
from jax.typing import ArrayLike

import tfg_jax as tfg
from cfg.common import PARTS, Run, Store, V
from tfg_jax import report

WEIGHTS = (0.0, 0.1, 0.3, 0.5, 1.0, 2.0, 4.0)
SOME = (0.0, 0.3, 1.0)
TRAINING_FREE = tfg.TFG(rho=1.0, mu=0.05, smoothing=1.0)  # tuned for this guide
TRAINING_BATCH = 64
PULLBACK = 2.0  # forwards' worth of time


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table: a transform of a model, further guidance, and the number of steps."""

    part: str
    name: str
    steps: int
    w: ArrayLike | None = None  # of CFG; None samples the model itself
    temperature: float | None = None
    guidance: Any = None
    conditional: bool = True
    p_uncond: float | None = None  # a model trained here; None is the shipped one

    def model(self, base: Any) -> Any:
        """The transformed model."""
        if self.temperature is not None:
            base = tfg.LowTemperature(base, self.temperature)
        return base if self.w is None else tfg.CFG(base, self.w)

    def sampler(self) -> tfg.DDPM:
        """Algorithm 2 of the paper on the model's own range of log-SNR, up to 20."""
        return tfg.DDPM(steps=self.steps, v=V, grid=tfg.CosineLogSNR(log_snr_min=None))

    def samples(self, run: Run) -> int:
        """How many of them."""
        return run.samples if self.p_uncond is None else run.p_samples

    def claim(self) -> str:
        """What a process takes on: a row, or all rows of a model that has to be trained."""
        return self.name if self.p_uncond is None else f"p_uncond {self.p_uncond:g}"


def rows_of(run: Run) -> Iterator[Row]:
    """All rows, those first that say most for their cost."""
    T = run.steps
    # At w = 0 CFG returns the conditional estimate bit by bit, so that row does without the second pass.
    weighted = lambda part, w, steps: Row(part, f"w {w:g}, T {steps}", steps, w or None)  # noqa: E731
    yield from (weighted("trade-off", w, T) for w in WEIGHTS)
    yield Row("rivals", "TFG, unconditional", T, guidance=TRAINING_FREE, conditional=False)
    for s in (1.0, 2.0, 5.0, 10.0):
        yield Row(
            "rivals", f"classifier {s:g}, unconditional", T, guidance=tfg.ClassifierGuidance(s), conditional=False
        )
    for s in (0.5, 1.0, 2.0):
        yield Row("rivals", f"classifier {s:g}, conditional", T, guidance=tfg.ClassifierGuidance(s))
    yield Row("rivals", "TFG, conditional", T, guidance=TRAINING_FREE)
    yield Row("rivals", "TFG on w 0.3", T, 0.3, guidance=TRAINING_FREE)
    yield from (weighted("matched", w, T // 2) for w in (0.1, 0.3, 1.0, 2.0))
    yield from (Row("temperature", f"temperature {t:g}, T {T}", T, temperature=t) for t in (0.99, 0.97, 0.95, 0.9))
    for p in run.p_uncond:
        yield from (Row("p_uncond", f"p_uncond {p:g}, w {w:g}", T, w or None, p_uncond=p) for w in SOME)
    yield from (weighted("steps", w, 4 * T) for w in SOME)


def known_rows(run: Run) -> dict[str, Any]:
    """Numbers of the rows that are known at this number of samples, by name."""
    entries = Store(run.folder / "rows.json").read()
    found = {row.name: entries[row.name]["value"] for row in rows_of(run) if row.name in entries}
    wanted = {row.name: row.samples(run) for row in rows_of(run)}
    return {name: value for name, value in found.items() if value["samples"] == wanted[name]}


def plan(run: Run) -> str:
    """What is left to run, by part: an upper bound."""
    known = known_rows(run)
    base = tfg.from_fn(
        _nothing, None, tfg.VPCosine(), prediction="v", shape=(28, 28, 1), num_classes=10, null_cond=10
    )  # fmt: skip
    table, total = [], 0.0
    for part in PARTS[1:]:
        rows = [row for row in rows_of(run) if row.part == part and row.part in run.parts and run.only in row.name]
        left = [row for row in rows if row.name not in known]
        forwards = pullbacks = 0
        for row in left:
            cost = tfg.upper_cost(
                row.guidance, None, row.sampler(), row.model(base), conditional=row.conditional
            )  # fmt: skip
            forwards += cost.forwards * row.samples(run)
            pullbacks += cost.pullbacks * row.samples(run)
        updates = run.train_steps * len({row.p_uncond for row in left} - {None})
        trained = updates * TRAINING_BATCH  # images, a forward and a pullback each
        hours = (forwards + trained + PULLBACK * (pullbacks + trained)) / run.rate / 3600
        total += hours
        table.append(
            {
                "part": part, "rows": len(rows), "of which known": len(rows) - len(left), "forwards": int(forwards),
                "pullbacks": int(pullbacks), "training updates": updates, "core hours": round(hours, 2),
            }
        )  # fmt: skip
    note = (
        f"{total:.1f} core hours at {run.rate:g} forwards a second, a pullback reckoned as {PULLBACK:g} forwards; "
        "classifiers and metrics come on top."
    )
    return f"{report.text_table(table)}\n{note} Nothing was run."


def _nothing(params: None, x: jax.Array, t: jax.Array, cond: Any) -> jax.Array:
    return x
