"""A denoiser: one network, its schedule and what it predicts, giving the denoised estimate and the noise of one sample.

    x_t = alpha x0 + sigma eps        every prediction type is a linear map of (x0, eps), so each gives both

| prediction | the network returns                                              | x0                        |
|------------|------------------------------------------------------------------|---------------------------|
| eps        | eps                                                              | (x - sigma eps) / alpha   |
| x0         | x0                                                               | itself                    |
| score      | grad log p_t(x) = -eps / sigma                                   | through eps               |
| v          | (alpha eps - sigma x0) / k, k = sqrt(alpha^2 + sigma^2)          | (alpha x/k - sigma v) / k |
| velocity   | dx/dt = alpha' x0 + sigma' eps                                   | solves the 2 x 2 system   |
| edm        | F of Karras et al. (arXiv 2206.00364), input c_in x, c_noise     | c_skip x/alpha + c_out F  |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, PyTree

from tfg_jax import struct
from tfg_jax.domains.base import Domain
from tfg_jax.kinds import check_kind, kind_of
from tfg_jax.networks import NoGradient, is_array
from tfg_jax.per_sample import check_model_number
from tfg_jax.schedules import Level, Schedule, table_position

Prediction = Literal["eps", "x0", "v", "score", "velocity", "edm"]


@struct.dataclass
class Denoised:
    """What a network says of one noisy sample: the denoised estimate and the noise, ``x = alpha x0 + sigma eps``.

    ``memory`` is what a model with memory would carry to the next sampler step, None for all others. ``v`` is where a
    learned variance lies between the two of Nichol & Dhariwal (arXiv 2102.09672): -1 the posterior's, 1 the forward
    one; None of a network that learned none.
    """

    x0: Float[Array, "*shape"]
    eps: Float[Array, "*shape"]
    memory: PyTree = None
    v: Float[Array, "*shape"] | None = None


@runtime_checkable
class Model(Protocol):
    """What the library asks of a model of one sample: a `Denoiser`, or a transform of one such as `CFG`.

    A model with memory (momentum, a step counter) gives the first memory in ``begin``, is told the present one by
    ``at``, and says in ``Denoised.memory`` what it would be after this evaluation; the loop moves it once a sampler
    step. A model that can be asked where alpha = 0 says so by ``needs_signal = False``; one whose samples are more than
    one array, or live in a subspace, has a ``domain``; one with a null condition that is no class has it as ``null``.
    """

    @property
    def schedule(self) -> Any:
        """The noise schedule."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample inside the core: of the raveled array, where a sample is several."""
        ...

    @property
    def num_classes(self) -> int | None:
        """Conditions are integers below this; None for a network without classes."""
        ...

    @property
    def null_cond(self) -> int | None:
        """The class that stands for "no condition"; None if there is none."""
        ...

    @property
    def cond_shape(self) -> tuple[int, ...]:
        """Shape of the condition of one sample, for networks with classes."""
        ...

    @property
    def paired(self) -> bool:
        """Whether ``x = alpha x0 + sigma eps`` holds of what the model returns; static."""
        ...

    def __call__(self, x: Array, t: ArrayLike, cond: PyTree = None) -> Denoised:
        """The denoised estimate and noise of one sample at time ``t``; None is no condition."""
        ...

    def calls(self, t: ArrayLike | None, conditional: bool) -> int | Array:
        """Network forwards of one evaluation at time ``t``; with t = None an upper bound, an int."""
        ...

    def begin(self, x: Array) -> PyTree:
        """The memory before the first step; None without memory."""
        ...

    def at(self, memory: PyTree) -> Model:
        """The same model, remembering ``memory``."""
        ...

    def check(self, conditional: bool, num_samples: int) -> None:
        """Raise ValueError for arguments that cannot be meant."""
        ...


@struct.dataclass
class Denoiser:
    """A network as ``denoiser(x, t, cond) -> Denoised(x0, eps)`` for one sample; build it with the ``from_*``
    functions.

    Attributes:
        params: the network's weights, any pytree.
        schedule: the noise schedule the network was trained on.
        sigma_data: standard deviation of the data, for ``prediction="edm"`` only.
        apply: ``(params, x, t_network, cond) -> raw output`` for one sample.
        prediction: what the network returns (table above).
        network_time: ``(schedule, t) -> t_network``, the number the network expects for time t in [0, 1].
        shape: shape of one sample inside the core: of the raveled array, where a sample is several.
        num_classes: conditions are integers below this; None for a network without classes.
        null_cond: the class that stands for "no condition", None if the network has none.
        dtype: precision of the network alone (``jnp.bfloat16`` casts weights and input); None keeps what is given.
        domain: what a sample is, None for one array of any values.
        null: what stands for "no condition" where conditions are no classes; None inside it keeps a sample's own.
        learned_variance: the network's last axis is twice the sample's, its second half ``Denoised.v``; None finds out.

    @inproceedings{salimans2022distillation,
      title = {Progressive Distillation for Fast Sampling of Diffusion Models},
      author = {Salimans, Tim and Ho, Jonathan},
      booktitle = {International Conference on Learning Representations},
      year = {2022},
      eprint = {2202.00512}, archiveprefix = {arXiv},
    }
    """

    params: PyTree
    schedule: Schedule
    sigma_data: Any
    apply: Callable[[PyTree, Array, Array, Any], Array] = struct.field(pytree_node=False)
    prediction: Prediction = struct.field(pytree_node=False)
    network_time: Callable[[Schedule, Array], Array] = struct.field(pytree_node=False)
    shape: tuple[int, ...] = struct.field(pytree_node=False)
    num_classes: int | None = struct.field(pytree_node=False, default=None)
    null_cond: int | None = struct.field(pytree_node=False, default=None)
    dtype: DTypeLike | None = struct.field(pytree_node=False, default=None)
    domain: Domain | None = None
    null: PyTree = None
    learned_variance: bool | None = struct.field(pytree_node=False, default=False)

    cond_shape = ()
    paired = True

    @property
    def needs_signal(self) -> bool:
        """Whether x0 is found by dividing by alpha; the time of an edm network, log(sigma / alpha), needs it too."""
        return self.prediction in ("eps", "score", "edm")

    def calls(self, t: ArrayLike | None, conditional: bool) -> int:
        """One network forward."""
        return 1

    def begin(self, x: Array) -> None:
        """No memory."""
        return None

    def at(self, memory: None) -> Denoiser:
        """Itself, having no memory."""
        return self

    def check(self, conditional: bool, num_samples: int) -> None:
        """Raise ValueError unless the sigma_data of an edm network is one number > 0, or one a sample."""
        if self.prediction == "edm":
            check_model_number("sigma_data", self.sigma_data, num_samples, low=0.0, strict=True)

    def __call__(self, x: Float[Array, "*shape"], t: ArrayLike, cond: PyTree = None) -> Denoised:
        """The denoised estimate and noise of one sample ``x`` at time ``t`` in (0, 1], in the precision of ``x``.

        A network with a null condition takes it when ``cond`` is None.
        """
        level = self.schedule.level(t)
        cond = self._null() if cond is None else cond
        scale_in = 1.0
        if self.prediction == "edm":
            scale_in = 1.0 / jnp.sqrt(level.alpha**2 * self.sigma_data**2 + level.sigma**2)
        raw = self._network(x * scale_in, self.network_time(self.schedule, level.t), cond)
        if jnp.iscomplexobj(raw):
            raise ValueError(f"the network returns {raw.dtype}; give real and imaginary parts as two channels")
        raw, v = self._split(raw.astype(x.dtype), x.shape)
        if raw.shape != x.shape:
            hint = "they must agree"
            if x.shape and raw.shape == (*x.shape[:-1], 2 * x.shape[-1]):
                hint = "pass learned_variance=True if its second half is a variance"
            raise ValueError(f"the network returns shape {raw.shape} for a sample of shape {x.shape}; {hint}")
        denoised = self._read(raw, x, level)
        return denoised if v is None else denoised.replace(v=v)  # type: ignore[attr-defined]

    def _null(self) -> PyTree:
        """What stands for "no condition", None if nothing does."""
        if self.null is None:
            return None if self.null_cond is None else jnp.asarray(self.null_cond, jnp.int32)
        if any(leaf is None for leaf in jax.tree.leaves(self.null, is_leaf=lambda leaf: leaf is None)):
            raise ValueError("cond=None, but null_cond keeps a part of each sample's own; pass cond=")
        return jax.tree.map(jnp.asarray, self.null)

    def _split(self, raw: Array, shape: tuple[int, ...]) -> tuple[Array, Array | None]:
        """What the network predicts, and its variance if it learned one."""
        twice = bool(shape) and raw.shape == (*shape[:-1], 2 * shape[-1])
        if self.learned_variance is False or not (self.learned_variance or twice):
            return raw, None
        if not twice:
            raise ValueError(
                f"the network returns shape {raw.shape}; with learned_variance=True a sample of shape {shape} needs "
                f"{(*shape[:-1], 2 * shape[-1])}"
            )
        return raw[..., : shape[-1]], raw[..., shape[-1] :]

    def _network(self, x: Array, t_network: Array, cond: PyTree) -> Array:
        params = self.params
        if self.dtype is not None:
            x, params = x.astype(self.dtype), jax.tree.map(self._cast, params)
        sample = x if self.domain is None else self.domain.unpack(x)
        try:
            raw = self.apply(params, sample, t_network, cond)
        except NoGradient:
            raise
        except Exception as error:  # whatever a network of the user's own may raise
            why = (str(error).strip() or type(error).__name__).splitlines()[0][:110]
            if _reads(self.apply, params, sample, t_network, cond):
                raise NoGradient(f"the network cannot be differentiated ({why[:90]})") from error
            shapes = ", ".join(str(leaf.shape) for leaf in jax.tree.leaves(sample))
            given = f"one sample of shape {shapes}, a time of shape () and {'no cond' if cond is None else 'a cond'}"
            advice = _advice(error, self.apply)
            if cond is None and "'NoneType'" in why:
                advice = (
                    "pass cond=, and null_cond=, which stands for none, where a model made of it also asks for none"
                )
            raise ValueError(f"the network cannot read {given}: {why}; {advice}") from error
        if self.domain is not None and not self.domain.spec.is_array:
            return self._packed(raw)
        if not is_array(raw):
            raise ValueError(
                f"the network returns a {type(raw).__name__}, not an array; wrap it to return its prediction"
            )
        return raw

    def _packed(self, raw: PyTree) -> Array:
        """The network's several arrays as one."""
        spec = self.domain.spec  # type: ignore[union-attr]
        shapes = [getattr(leaf, "shape", None) for leaf in jax.tree.leaves(raw)]
        if jax.tree.structure(raw) != spec.structure or shapes != list(spec.shapes):
            raise ValueError(
                f"the network returns {jax.tree.structure(raw)} of shapes {shapes} for samples of {spec.structure} "
                f"of shapes {list(spec.shapes)}; they must agree"[:300]
            )
        return self.domain.pack(raw)  # type: ignore[union-attr]

    def _cast(self, leaf: Array) -> Array:
        return leaf.astype(self.dtype) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else leaf

    def _read(self, raw: Array, x: Array, level: Level) -> Denoised:
        alpha, sigma = level.alpha.astype(x.dtype), level.sigma.astype(x.dtype)
        match self.prediction:
            case "eps":
                return Denoised((x - sigma * raw) / alpha, raw)
            case "score":
                return Denoised((x + sigma**2 * raw) / alpha, -sigma * raw)
            case "x0":
                return Denoised(raw, (x - alpha * raw) / sigma)
            case "v":
                scale2 = alpha**2 + sigma**2
                scale = jnp.sqrt(scale2)
                return Denoised(alpha / scale2 * x - sigma / scale * raw, sigma / scale2 * x + alpha / scale * raw)
            case "velocity":
                d_alpha, d_sigma = (d.astype(x.dtype) for d in path_velocity(self.schedule, level.t))
                det = alpha * d_sigma - sigma * d_alpha
                return Denoised((d_sigma * x - sigma * raw) / det, (alpha * raw - d_alpha * x) / det)
            case "edm":
                sigma_data = jnp.asarray(self.sigma_data, x.dtype)
                var = alpha**2 * sigma_data**2 + sigma**2
                # Karras et al. in x / alpha, sigma / alpha, multiplied out so that alpha -> 0 stays finite.
                x0 = sigma_data**2 * alpha / var * x + sigma * sigma_data / jnp.sqrt(var) * raw
                return Denoised(x0, (x - alpha * x0) / sigma)

    def astype(self, dtype: DTypeLike | None) -> Denoiser:
        """The same denoiser with its network alone in ``dtype``; schedule and guidance maths keep their precision.

        Raises ValueError for a dtype that is not floating; None gives the weights' own back.
        """
        check_floating(dtype)
        return self.replace(dtype=dtype)  # type: ignore[attr-defined]


def null_beside(null: PyTree, cond: PyTree) -> PyTree:
    """The null condition beside a sample's own, leaf by leaf in its shape and precision; None in it keeps the own part.

    Raises:
        ValueError: a condition of another structure.
    """
    check_null(null, cond)

    def fill(null: Any, own: PyTree) -> PyTree:
        if null is None:
            return own
        try:
            return jnp.broadcast_to(jnp.asarray(null, own.dtype), own.shape)
        except ValueError:
            raise ValueError(
                f"null_cond holds an array of shape {jnp.shape(null)} where cond has one of {own.shape} a sample; "
                "give it the shape of one sample's"
            ) from None

    return jax.tree.map(fill, null, jax.tree.map(jnp.asarray, cond), is_leaf=lambda leaf: leaf is None)


def check_null(null: PyTree, cond: PyTree) -> None:
    """Raise ValueError unless a null condition has the structure of a condition, but for what it keeps of that."""
    leaf = lambda own: jax.tree_util.treedef_is_leaf(jax.tree.structure(own))  # noqa: E731
    kept = lambda null, own: own if null is None or leaf(own) else None  # noqa: E731
    try:
        parts = jax.tree.map(kept, null, cond, is_leaf=lambda leaf: leaf is None)
        fits = jax.tree.structure(parts) == jax.tree.structure(cond)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"cond={jax.tree.structure(cond)} does not fit null_cond={jax.tree.structure(null)}; give both the same "
            "structure"[:300]
        )


def _reads(apply: Any, *inputs: Any) -> bool:
    """Whether a network that failed reads the same inputs where nothing is differentiated."""
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)), inputs)
    try:
        jax.eval_shape(apply, *like)
    except Exception:  # the same error, or another
        return False
    return True


def _advice(error: Exception, apply: Any) -> str:
    """What to do about an error of the user's network."""
    text = str(error)
    if "requires a key" in text:
        return "pass equinox.nn.inference_mode(network)"
    if "No `decode`" in text:
        return "build its attention with decode=False"
    if "No `deterministic`" in text:
        return "call its .eval() first"
    if "Could not find parameter" in text or type(error).__name__ == "ScopeCollectionNotFound":
        return "pass all variables that init gave, {'params': ...}"
    if isinstance(error, jax.errors.JAXTypeError):
        return "write it in jax.numpy, without NumPy and Python's if on traced values"
    if hasattr(getattr(apply, "batched", None), "call"):
        return "flags such as train are given by call={'train': False}"
    return "from_fn takes a function of one sample; give a batched one x[None] and take its [0]"


def needs_signal(model: Any) -> bool:
    """Whether a model cannot be asked where alpha = 0; one of the user's own that does not say so cannot."""
    return getattr(model, "needs_signal", True)


def path_velocity(schedule: Schedule, t: Array) -> tuple[Array, Array]:
    """``(alpha'(t), sigma'(t))`` for t in (0, 1]."""
    one = jnp.ones_like(t)
    return jax.jvp(schedule.alpha, (t,), (one,))[1], jax.jvp(schedule.sigma, (t,), (one,))[1]


def unit_time(schedule: Schedule, t: Array) -> Array:
    """Networks trained on t in [0, 1]."""
    return t


def thousand_time(schedule: Schedule, t: Array) -> Array:
    """Networks trained on continuous time with the embedding scale of discrete ones: ``1000 t``."""
    nodes = getattr(schedule, "num_nodes", None)
    return 1000.0 * t if nodes is None else 1000.0 / nodes * table_position(nodes, t)


def index_time(schedule: Schedule, t: Array) -> Array:
    """Networks of discrete checkpoints: the table index k of ``t = (k + 1) / T``, exactly an integer there."""
    return table_position(schedule.num_nodes, t) - 1.0  # type: ignore[attr-defined]


def log_sigma_time(schedule: Schedule, t: Array) -> Array:
    """EDM networks: ``c_noise = log(sigma / alpha) / 4``."""
    return -0.125 * schedule.level(t).log_snr


def check_floating(dtype: DTypeLike | None) -> None:
    """Raise ValueError unless ``dtype`` is a floating one, or None."""
    check_kind("dtype", dtype, kind_of(DTypeLike | None))
    if dtype is not None and not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"dtype={jnp.dtype(dtype).name} is no floating precision; use float32, bfloat16 or float16")
