"""Autoguidance: away from a weaker model."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from tfg_jax import struct
from tfg_jax.declare import child, number
from tfg_jax.denoiser import Denoised, Model, needs_signal
from tfg_jax.guidance.classifier_free.base import Transform, W, Weight, extrapolate, level_of, weight_at


@struct.dataclass
class Autoguidance(Transform):
    """Autoguidance (Karras et al., NeurIPS 2024, arXiv 2406.02507): away from a weaker model under the same condition.

        D = (1 + w) D_model(x_t, c) - w D_weak(x_t, c)

    weak: a smaller or less trained network of the same kind, on the same schedule and data; works without conditions
    too. Acts alike in every space.
    Cost an evaluation: 1 forward of each network, which are counted alike.
    Reduces to: the model itself at w = 0 or None.

    @inproceedings{karras2024autoguidance,
      title = {Guiding a Diffusion Model with a Bad Version of Itself},
      author = {Karras, Tero and Aittala, Miika and Kynk{\\"a}{\\"a}nniemi, Tuomas and Lehtinen, Jaakko and
                Aila, Timo and Laine, Samuli},
      booktitle = {Advances in Neural Information Processing Systems},
      year = {2024},
      eprint = {2406.02507}, archiveprefix = {arXiv},
    }
    """

    model: Model = child(help="the good model")
    weak: Model = child(help="the worse one; on the same schedule, with the same conditions")
    w: Weight = number(default=1.0, per_sample=True, help=W)

    def check_settings(self) -> None:
        """Raise ValueError for a weak model of another kind."""
        for name in ("shape", "num_classes", "cond_shape", "paired"):
            good, bad = getattr(self.model, name), getattr(self.weak, name)
            if good != bad:
                raise ValueError(f"weak has {name} {bad}, the model {good}; give a weaker model of the same kind")
        if type(self.weak.schedule) is not type(self.model.schedule):
            raise ValueError(
                f"weak is on {type(self.weak.schedule).__name__}, the model on {type(self.model.schedule).__name__}; "
                "give a weaker model of the same schedule"
            )
        if jax.eval_shape(self.weak.begin, jax.ShapeDtypeStruct(self.shape, "float32")) is not None:
            raise ValueError("weak has memory, which nothing would move; give it to the model alone")

    def check(self, conditional: bool, num_samples: int) -> None:
        """Raise ValueError for what does not fit the run; a condition is not needed."""
        self.model.check(conditional, num_samples)
        self.weak.check(conditional, num_samples)
        self.check_per_sample(num_samples)

    @property
    def needs_signal(self) -> bool:
        """Whether either does."""
        return needs_signal(self.model) or needs_signal(self.weak)

    def calls(self, t: ArrayLike | None, conditional: bool) -> int | Array:
        """Those of both networks."""
        own = self.model.calls(t, conditional)
        return own if self.w is None else own + self.weak.calls(t, conditional)

    def __call__(self, x: Float[Array, "*shape"], t: ArrayLike, cond: PyTree = None) -> Denoised:
        """The guided estimate, with or without a condition."""
        good = self.model(x, t, cond)
        if self.w is None:
            return good
        return extrapolate(weight_at(self.w, level_of(self.model, x, t)), good, self.weak(x, t, cond))
