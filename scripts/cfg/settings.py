"""What the rows on images sample, part by part."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from jax.typing import ArrayLike

import tfg_jax as tfg
from cfg.common import Options, V
from tfg_jax.config import to_dict

WEIGHTS = (0.0, 0.1, 0.3, 0.5, 1.0, 2.0, 4.0)
SOME = (0.0, 0.3, 1.0)
TRAINING_FREE = tfg.TFG(rho=1.0, mu=0.05, smoothing=1.0)  # tuned for this guide


@dataclasses.dataclass(frozen=True)
class Setting:
    """A transform of a model, further guidance, and the number of steps."""

    part: str
    name: str
    steps: int
    w: ArrayLike | None = None  # of CFG; None samples the model itself
    temperature: float | None = None
    guidance: Any = None
    conditional: bool = True
    p_uncond: float | None = None  # a model trained for the study; None is the shipped one

    def model(self, base: Any) -> Any:
        """The transformed model."""
        if self.temperature is not None:
            base = tfg.LowTemperature(base, self.temperature)
        return base if self.w is None else tfg.CFG(base, self.w)

    @property
    def sampler(self) -> tfg.DDPM:
        """Algorithm 2 of the paper on the model's own range of log-SNR, up to 20."""
        return tfg.DDPM(steps=self.steps, v=V, grid=tfg.CosineLogSNR(log_snr_min=None))

    @property
    def config(self) -> dict[str, Any]:
        """As JSON."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return fields | {"guidance": None if self.guidance is None else to_dict(self.guidance)}

    @property
    def cost(self) -> Any:
        """Calls of a sample, at most: `CFG` calls the network twice."""
        return tfg.upper_cost(self.guidance, None, self.sampler) * (1 if self.w is None else 2)


def settings(options: Options) -> Iterator[Setting]:
    """All of them, those first that say most for their cost."""
    T = options.steps
    # At w = 0 CFG returns the conditional estimate bit by bit, so that row does without the second pass.
    weighted = lambda part, w, steps: Setting(part, f"w {w:g}, T {steps}", steps, w or None)  # noqa: E731
    rival = lambda name, guidance, **more: Setting("rivals", name, T, guidance=guidance, **more)  # noqa: E731
    yield from (weighted("trade-off", w, T) for w in WEIGHTS)
    yield rival("TFG, unconditional", TRAINING_FREE, conditional=False)
    for s in (1.0, 2.0, 5.0, 10.0):
        yield rival(f"classifier {s:g}, unconditional", tfg.ClassifierGuidance(s), conditional=False)
    for s in (0.5, 1.0, 2.0):
        yield rival(f"classifier {s:g}, conditional", tfg.ClassifierGuidance(s))
    yield rival("TFG, conditional", TRAINING_FREE)
    yield rival("TFG on w 0.3", TRAINING_FREE, w=0.3)
    yield from (weighted("matched", w, T // 2) for w in (0.1, 0.3, 1.0, 2.0))
    yield from (Setting("temperature", f"temperature {t:g}, T {T}", T, temperature=t) for t in (0.99, 0.97, 0.95, 0.9))
    for p in options.p_uncond:
        yield from (Setting("p_uncond", f"p_uncond {p:g}, w {w:g}", T, w or None, p_uncond=p) for w in SOME)
    yield from (weighted("steps", w, 4 * T) for w in SOME)
