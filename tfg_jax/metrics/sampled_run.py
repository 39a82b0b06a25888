"""What all runs hold that are scored: samples with their status and cost, as plain arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Shaped

from tfg_jax.metrics.titles import COSTS
from tfg_jax.result import finished
from tfg_jax.rows import AnyArray, Arrays, by_blocks

R = TypeVar("R", bound="SampledRun")


def all_finite(rows: Any) -> Bool[np.ndarray, "n"]:
    """Whether all numbers of each row are."""
    return np.asarray(np.isfinite(np.asarray(rows)).reshape(len(rows), -1).all(axis=1))


@dataclass(frozen=True, kw_only=True)
class SampledRun:
    """What sampling produced, n samples.

    Attributes:
        x: the samples; here and elsewhere `Rows`, too, which are read when they are needed.
        status_code, status_step: of each, code (0 ok) and first bad step (-1 none).
        cost: counts of each: `forwards`, `pullbacks`, `objective`.
        seconds: of the wall clock.
        config: what made them.
        notes: warnings shown on top of the page.
    """

    x: Shaped[AnyArray, "n *shape"]
    status_code: Shaped[AnyArray, "n"]
    status_step: Shaped[AnyArray, "n"]
    cost: Mapping[str, AnyArray]
    seconds: float
    config: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    noun = "samples"

    @classmethod
    def of_stored(cls: type[R], samples: Arrays, **fields: Any) -> R:
        """The run of stored arrays; samples alone count as finished and free."""
        n = len(samples["x"])
        status = {"status_code": np.zeros(n, np.int32), "status_step": np.full(n, -1, np.int32)}
        return cls(
            x=samples["x"],
            cost={name: np.asarray(samples.get(f"cost_{name}", np.zeros(n, np.int32))) for name in COSTS},
            **{name: np.asarray(samples.get(name, default)) for name, default in status.items()}, **fields,
        )  # fmt: skip

    def ok(self) -> Bool[np.ndarray, "n"]:
        """Finished, with finite numbers: nothing else may enter an average as if it had worked."""
        return self._ok

    @cached_property
    def _ok(self) -> np.ndarray:
        finite = [by_blocks(all_finite, each) for each in self.scored()]
        return np.logical_and.reduce([finished(np.asarray(self.status_code)), *finite])

    def scored(self) -> list[AnyArray]:
        """What must be finite in a sample that counts."""
        return [self.x]

    def numbers(self) -> dict[str, Any]:
        """How many samples there are, and how many of them failed."""
        return {"samples": len(self.x), "failed_samples": int((~self.ok()).sum())}

    def price(self) -> dict[str, Any]:
        """What they cost."""
        return {name: float(np.mean(self.cost[key])) for key, name in COSTS.items()} | {"seconds": float(self.seconds)}

    def check(self, **per_sample: AnyArray | None) -> None:
        """Raise ValueError unless all that is said of every sample is, and every count is there."""
        for name in ("status_code", "status_step"):
            per_sample[name] = getattr(self, name)
        for name, value in {**per_sample, **{f"cost[{key!r}]": each for key, each in self.cost.items()}}.items():
            if value is not None and len(value) != len(self.x):
                raise ValueError(f"{name} must have one entry for each of {len(self.x)} {self.noun}, got {len(value)}")
        if missing := sorted(set(COSTS) - set(self.cost)):
            raise ValueError(f"cost must hold {sorted(COSTS)}, but {missing} is missing; pass counts for each")
