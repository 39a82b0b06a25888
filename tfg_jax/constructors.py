"""Denoisers from networks of the user's own: functions of one sample, Flax NNX and Linen modules, batched functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

import jax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, PyTree

from tfg_jax.checks import check_choice, check_count, check_number
from tfg_jax.class_table import check_class_table
from tfg_jax.denoiser import Denoiser, Prediction, check_floating, index_time, log_sigma_time, unit_time
from tfg_jax.domains.base import Domain, domain_from
from tfg_jax.kinds import check_fields, check_leaves, public
from tfg_jax.modules import OneCall, OneSample, linen_function, nnx_function, of_pair, partition
from tfg_jax.networks import check_function
from tfg_jax.per_sample import PerSample
from tfg_jax.schedules import Schedule


@public
def from_fn(
    fn: Callable[..., Any] | tuple,
    params: Any,
    schedule: Schedule,
    *,
    prediction: Prediction,
    shape: Any = None,
    domain: Domain | None = None,
    network_time: Callable[[Schedule, Array], Array] | None = None,
    num_classes: int | None = None,
    null_cond: PyTree = None,
    learned_variance: bool | None = False,
    sigma_data: ArrayLike | PerSample = 0.5,
    dtype: DTypeLike | None = None,
) -> Denoiser:
    """A denoiser from any callable of one sample.

    Args:
        fn: ``(params, x, t_network, cond) -> raw``, all of one sample; cond is None for an unconditional call. A pair
            (init, apply), as Haiku transforms a network to, stands for its apply.
        params: its weights, any pytree (``None`` if it has none), an Equinox module too; what is neither number nor
            array is held static.
        schedule: the schedule it was trained on.
        prediction: "eps", "x0", "v", "score", "velocity" or "edm".
        shape: shape of one sample, e.g. (32, 32, 3); or a pytree of shapes, e.g. {"pos": (29, 3), "types": (29, 5)},
            of which the network gets and returns arrays, and so do objectives and results. Inside, their entries are
            one array: in the run's precision, and with one noise level for all.
        domain: what a sample is beyond its shape, which it then says: a subspace, a range, a picture.
        network_time: how the network counts time; default: table index for a discrete schedule, ``log(sigma)/4`` for
            "edm", else t itself.
        num_classes: number of classes, for networks conditioned on an integer.
        null_cond: what means "no condition". For classes: one of 0..num_classes - 1, or num_classes itself where the
            network has one row more. For other conditions: one like those of a sample, in which a None keeps the
            sample's own part.
        learned_variance: the network has twice the channels, the second half a variance (Nichol & Dhariwal, arXiv
            2102.09672), which `DDPM` uses; None reads it off the shape of what the network returns.
        sigma_data: data standard deviation, > 0, one number or `PerSample`, read by "edm" only.
        dtype: precision of the network alone, a floating one.

    Raises:
        ValueError: an argument of another kind or out of range, a function of other arguments, a network in training
            mode, a null condition without classes or beyond them, classes beyond the table that the network looks them
            up in, or a sigma_data that is not one number > 0.
    """
    function: Any = of_pair(fn)
    check_choice("prediction", prediction, get_args(Prediction))
    check_function("fn", function, "(params, x, t_network, cond)")
    if network_time is not None:
        check_function("network_time", network_time, "(schedule, t)")
    if num_classes is not None:
        check_count("num_classes", num_classes)
    if not isinstance(sigma_data, PerSample):
        check_number("sigma_data", sigma_data, low=0.0, strict=True)
    check_floating(dtype)
    shape, domain = domain_from(shape, domain)
    check_fields(schedule)
    check_leaves(schedule=schedule, null_cond=null_cond, domain=domain)
    function, params = partition("params", function, params)
    null = null_cond if num_classes is None else None
    if isinstance(null, int):
        raise ValueError(
            f"null_cond={null_cond} needs num_classes; pass the number of classes of the network, or an array if it "
            "has none"
        )
    null_class = None if num_classes is None else null_cond
    sample = jax.ShapeDtypeStruct(shape, "float32") if domain is None else domain.arrays()
    check_class_table(function, params, sample, num_classes, null_class)
    if learned_variance is not False and domain is not None and not domain.spec.is_array:
        raise ValueError(f"learned_variance={learned_variance} needs samples of one array; give shape=(..., channels)")
    if network_time is None:
        discrete = hasattr(schedule, "num_nodes")
        network_time = log_sigma_time if prediction == "edm" else index_time if discrete else unit_time
    return Denoiser(
        params=params, schedule=schedule, sigma_data=sigma_data, apply=function, prediction=prediction,
        network_time=network_time, shape=shape, num_classes=num_classes, null_cond=null_class, dtype=dtype,
        domain=domain, null=null, learned_variance=learned_variance,
    )  # fmt: skip


@public
def from_nnx(module: Any, schedule: Schedule, *, call: Mapping[str, Any] | None = None, **options: Any) -> Denoiser:
    """A denoiser from an ordinary batched Flax NNX network ``module(x, t[, cond])``, x of shape (batch, *shape).

    Args:
        module: the network; put it in evaluation mode first (``module.eval()``).
        schedule: the schedule it was trained on.
        call: further keyword arguments of every call, static, e.g. ``{"train": False}``.
        **options: as `from_fn`; prediction and shape are required.

    Raises:
        ValueError: no NNX module, or one with a layer in training mode; as `from_fn`.
    """
    fn, params = nnx_function(module, call)
    return from_fn(fn, params, schedule, **options)


@public
def from_linen(
    module: Any, variables: Any, schedule: Schedule, *, call: Mapping[str, Any] | None = None, **options: Any
) -> Denoiser:
    """A denoiser from an ordinary batched Flax Linen network ``module.apply(variables, x, t[, cond])``.

    Args:
        module: the network.
        variables: its variable collections, ``{"params": ...}``.
        schedule: the schedule it was trained on.
        call: further keyword arguments of every call, static, e.g. ``{"train": False}``.
        **options: as `from_fn`; prediction and shape are required.

    Raises:
        ValueError: no Linen module, or variables without collections; as `from_fn`.
    """
    return from_fn(linen_function(module, variables, call), variables, schedule, **options)


@public
def from_batched(fn: Callable[..., Any], params: Any, schedule: Schedule, **options: Any) -> Denoiser:
    """A denoiser from a function that takes whole batches alone: a program of `jax.export`, a callback of the host.

    However samples, conditions and branches are mapped, the function is called once with all of them; a single sample
    is a batch of one. It must treat the samples of a batch alike and apart. Methods without a network gradient (`MPGD`,
    ``TFG(rho=None)``, ...) never differentiate it. Where one does, the pullback repeats the call, which ``cost`` does
    not count, and the gradient is that in x.

    Args:
        fn: ``(params, x, t_network, cond) -> raw`` of a batch: x (n, *shape), t_network (n,), leaves of cond (n, ...);
            cond is None for an unconditional call.
        params: its weights, any pytree (``None`` if it has none).
        schedule: the schedule it was trained on.
        **options: as `from_fn`; prediction and shape are required.

    Raises:
        ValueError: as `from_fn`.
    """
    check_function("fn", fn, "(params, x, t_network, cond)")
    return from_fn(OneSample(OneCall(fn)), params, schedule, **options)
