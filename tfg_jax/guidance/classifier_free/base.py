"""What the transforms share: the members of a model handed on, weights, and the branches of one evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from tfg_jax.checks import is_concrete
from tfg_jax.declare import Declared, describe
from tfg_jax.denoiser import Denoised, Denoiser, Model, needs_signal, null_beside
from tfg_jax.kinds import public
from tfg_jax.per_sample import Own, PerSample
from tfg_jax.schedules import Level

Weight = ArrayLike | PerSample | Callable[[Array], Array] | None
"""A number, one a sample, a function of the log-SNR (a pytree, e.g. ``jax.tree_util.Partial(fn)``), or None for off."""


MODEL = "a conditional model with a null condition"
BATCHED = "all branches in one call of the network; False calls it for each, which agrees to round-off"
W = "weight of (1 + w) cond - w uncond, any finite number, PerSample, or a function of the log-SNR; None is off"
MEMORY = "what the sampling loop carries from step to step; not a setting"


def _of_model(name: str, *default: Any) -> Any:
    return property(lambda self: getattr(self.model, name, *default), doc="That of the model inside.")


class Transform(Declared):
    """Base of transforms: the members of a `Model`, taken from the model inside; one overrides what it changes.

    One that combines evaluations under several conditions writes `combine`, and `conditions` where they are others than
    with and without; one of another kind overrides ``__call__``.
    """

    table = "classifier-free"
    model: Any
    w: Any = None
    space: Any = None

    schedule, shape, num_classes, null_cond, cond_shape, paired = map(
        _of_model, ("schedule", "shape", "num_classes", "null_cond", "cond_shape", "paired")
    )
    null, domain = _of_model("null", None), _of_model("domain", None)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of ``w`` for one sample: a number, unless a transform has several."""
        return ()

    @property
    def needs_signal(self) -> bool:
        """That of the model inside; True for a transform that acts on eps."""
        return self.space == "eps" or needs_signal(self.model)

    @property
    def unguided(self) -> Model:
        """What is left without this transform."""
        return self.model

    def __call__(self, x: Float[Array, "*shape"], t: ArrayLike, cond: PyTree = None) -> Denoised:
        """The guided estimate; without a condition the model's own."""
        return self.model(x, t, cond) if self.w is None or cond is None else self.guided(x, t, cond)

    def guided(self, x: Array, t: ArrayLike, cond: PyTree) -> Denoised:
        """`combine` of all branches at a time."""
        level = level_of(self.model, x, t)
        branches = branches_of(self.model, x, t, self.conditions(cond), getattr(self, "batched", True))
        return self.combine(x, level, weight_at(self.w, level, self.weight_shape), *branches)

    def conditions(self, cond: PyTree) -> tuple[PyTree, ...]:
        """Of the branches of a guided evaluation; None is unconditional."""
        return (cond, None)

    def combine(self, x: Array, level: Level, w: Any, *branches: Denoised) -> Denoised:
        """The guided estimate of ``x`` at a level, from the branches of `conditions` and the weight there."""
        raise ValueError(f"{type(self).__name__} combines no branches; write its combine or its __call__")

    def _given(self) -> tuple[bool, ...]:
        """Of each branch of a guided evaluation, whether it has a condition."""
        return (True, False)

    def calls(self, t: ArrayLike | None, conditional: bool) -> int | Array:
        """Those of all branches; of the model inside where the transform is off or has no condition."""
        if not conditional or self.w is None:
            return self.model.calls(t, conditional)
        return branch_calls(self.model, t, self._given())

    def begin(self, x: Array) -> PyTree:
        """That of the model inside."""
        return self.model.begin(x)

    def at(self, memory: PyTree) -> Any:
        """The transform around the model that remembers ``memory``."""
        return self if memory is None else self.replace(model=self.model.at(memory))  # type: ignore[attr-defined]

    def _shape_of(self, name: str) -> tuple[int, ...]:
        return self.weight_shape if name == "w" else ()

    def check_settings(self) -> None:
        """Raise ValueError for fields that do not fit each other; asked where the transform is written."""

    def _check_together(self) -> None:
        self.check_settings()

    def check_per_sample(self, num_samples: int) -> None:
        """Raise ValueError unless every number that is one a sample has as many."""
        for field in describe(type(self)):
            if isinstance(getattr(self, field.name), PerSample):
                self._check_field(field, num_samples)

    def check(self, conditional: bool, num_samples: int) -> None:
        """Raise ValueError for what does not fit the run: numbers of samples, a missing condition or null condition."""
        self.model.check(conditional, num_samples)
        self.check_per_sample(num_samples)
        if self.w is None:
            return
        name = type(self).__name__
        if not conditional:
            raise ValueError(f"cond=None, but {name} guides towards a condition; pass cond=, or w=None for none")
        if not all(self._given()) and self.model.num_classes is not None and self.model.null_cond is None:
            raise ValueError(
                f"{name} needs the unconditional prediction, and the model has no null condition; marginalize its "
                "classes: Marginalized(model, log_posterior)"
            )


def weight_at(w: Any, level: Level, shape: tuple[int, ...] = ()) -> Any:
    """The weight at a level, a number, or several of a shape; ValueError for a function that gives another."""
    value: Any = w(level.log_snr) if callable(w) else w
    if np.shape(value) != shape:
        raise ValueError(f"the weight is of shape {np.shape(value)} at one log-SNR, {shape or 'one number'} is needed")
    return value


@public
def w_from_scale(scale: Weight) -> Weight:
    """The weight ``w = scale - 1`` of a "guidance scale" as diffusers, Imagen and most codes have it: 1 is conditional.

    Args:
        scale: anything that a weight can be.
    """
    if scale is None:
        return None
    if isinstance(scale, PerSample):
        return PerSample(scale.values - 1.0)
    return jax.tree_util.Partial(_one_less, scale) if callable(scale) else scale - 1.0


def _one_less(scale: Callable[[Array], Array], log_snr: Array) -> Array:
    return scale(log_snr) - 1.0


def check_class(name: str, value: Any, model: Model) -> None:
    """Raise ValueError for a class that the model does not have."""
    value = value.values if isinstance(value, PerSample) else value
    if value is None or isinstance(value, Own) or model.num_classes is None or not is_concrete(value):
        return
    numbers = np.asarray(value)
    if not np.issubdtype(numbers.dtype, np.integer) or np.any((numbers < 0) | (numbers >= model.num_classes)):
        raise ValueError(f"{name}={value!r:.60} must be classes in 0..{model.num_classes - 1}")


def mix(weights: Sequence[Any], branches: Sequence[Denoised]) -> Denoised:
    """``sum_k weight_k branch_k``, weights summing to 1: the same in every space. All else is the first branch's."""

    def total(parts: list[Array]) -> Array:
        scaled = [jnp.asarray(weight).astype(part.dtype) * part for weight, part in zip(weights, parts, strict=True)]
        return sum(scaled[1:], scaled[0])

    first: Any = branches[0]
    return first.replace(x0=total([b.x0 for b in branches]), eps=total([b.eps for b in branches]))


def extrapolate(w: Any, cond: Denoised, other: Denoised) -> Denoised:
    """``(1 + w) cond - w other``: bitwise ``cond`` at w = 0 and ``other`` at w = -1."""
    return mix((1.0 + jnp.asarray(w), -jnp.asarray(w)), (cond, other))


def branches_of(model: Model, x: Array, t: ArrayLike, conds: Sequence[PyTree], batched: bool) -> list[Denoised]:
    """The model under each condition (None is unconditional): in one batched call of a network, or one by one.

    Of conditions that are no classes the null is filled in leaf by leaf, beside the first condition there is.
    """
    like = next((cond for cond in conds if cond is not None), None)
    if (null := getattr(model, "null", None)) is not None and like is not None:
        conds = [null_beside(null, like) if cond is None else cond for cond in conds]
    if hasattr(model, "branches"):
        return model.branches(x, t, conds)  # type: ignore[attr-defined]
    if not (batched and isinstance(model, Denoiser)):
        return [model(x, t, cond) for cond in conds]
    filled = [_null_class(model, like) if cond is None else cond for cond in conds]
    if any(cond is None for cond in filled):  # a network without classes has no null that could be stacked
        return [model(x, t, cond) for cond in conds]
    try:
        stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *filled)
    except ValueError as error:
        raise ValueError(f"conditions of the branches differ: {str(error).splitlines()[0][:200]}") from error
    out = jax.vmap(lambda cond: model(x, t, cond))(stacked)
    return [jax.tree.map(lambda leaf, k=k: leaf[k], out) for k in range(len(filled))]


def _null_class(model: Denoiser, like: PyTree) -> PyTree:
    return None if model.null_cond is None else jnp.asarray(model.null_cond, jnp.asarray(like).dtype)


def branch_calls(model: Model, t: ArrayLike | None, given: Sequence[bool]) -> int | Array:
    """Network forwards of `branches_of`, given of each branch whether it has a condition."""
    if hasattr(model, "branch_calls"):
        return model.branch_calls(t, given)  # type: ignore[attr-defined]
    return sum(model.calls(t, each) for each in given)


def level_of(model: Model, x: Array, t: ArrayLike) -> Level:
    """The level at ``t`` in the sample's precision."""
    level = model.schedule.level(t)
    return Level(level.t, level.alpha.astype(x.dtype), level.sigma.astype(x.dtype))
