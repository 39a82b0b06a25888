"""Training runs from data to released weights: a `Recipe` says what is particular to one, `train` does the rest.

`tfg-jax train NAME` runs the recipes of `tfg_jax.tasks`; one of your own is a subclass that you hand to `train`.
"""

import dataclasses
import shlex
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx
from jaxtyping import Array, PyTree

from tfg_jax.kinds import public
from tfg_jax.training.loop import LossFn, fit
from tfg_jax.weights import manifest, released


@dataclasses.dataclass(frozen=True)
class Hyper:
    """What the trained state depends on: a folder accepts only one value of it."""

    batch: int = 64
    """Samples of an update."""
    lr: Annotated[float, tyro.conf.arg(aliases=["--learning-rate"])] = 1e-3
    """Learning rate after the warm-up."""
    warmup: int = 500
    """Updates from learning rate 0 to lr."""
    clip: float = 1.0
    """Global norm of the gradient."""
    ema: float = 0.9995
    """Decay of the averaged weights, which are what is released."""
    seed: int = 0
    """Of the initial weights, the order of the data and the noise."""
    init: str = ""
    """Released name or folder whose weights to go on from, of the same architecture."""


@dataclasses.dataclass(frozen=True)
class Lessons:
    """What a recipe trains on: the loss of `apply(params, *inputs)` on `batches(step)`, and what is measured.

    Attributes:
        measure: the averaged weights -> JSON numbers of its card.
        preview: `(step, averaged weights, folder)`, of `OpenEnded` recipes, every so often and at the end.
    """

    loss: LossFn
    batches: Callable[[int], PyTree]
    measure: Callable[[PyTree], dict[str, Any]]
    preview: Callable[[int, PyTree, Path], None] | None = None


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One network: what is trained (`model`), how long and where, which may change from one call to the next."""

    model: Any = Hyper()
    folder: Annotated[Path | None, tyro.conf.arg(aliases=["--out", "--output"])] = None
    """Training state; default a folder of the recipe's in runs."""
    data: Path | None = None
    """Of the data set; default as its loader finds it."""
    minutes: float | None = None
    """Time budget of this call; the same command goes on."""
    log_every: int = 50
    """Updates between lines of the log."""
    save_seconds: float = 120.0
    """Between saved states."""
    export: Path | None = None
    """Release the averaged weights at the end: this folder, with their card and an entry in its parent's manifest."""
    overwrite: bool = False
    """Forget the training state found there."""
    dry_run: bool = False
    """Show what would be trained; read no data and write nothing."""

    name: ClassVar[str]
    architecture: ClassVar[str]
    licence: ClassVar[str]
    source: ClassVar[str]
    counted: ClassVar[tuple[str, float]] = ("samples_seen", 1.0)  # what of the data was seen, and its size in samples
    releases_previews: ClassVar[bool] = False

    @abstractmethod
    def module(self) -> nnx.Module:
        """The network, with fresh weights."""

    @abstractmethod
    def lessons(self, graphdef: Any) -> Lessons:
        """Loss, batches and measurements; reads the data."""

    @abstractmethod
    def config(self, name: str) -> dict[str, Any]:
        """The weights' configuration, for `store.save_weights`."""

    @abstractmethod
    def card(self, name: str, numbers: dict[str, Any]) -> tuple[str, dict[str, str], str]:
        """Of the model card: what the network is for, facts beside the common ones, and what else there is to say."""

    def more_arrays(self, graphdef: Any, params: PyTree) -> dict[str, dict[str, np.ndarray]]:
        """Arrays that are released beside the weights, by the name of their file."""
        return {}

    def settings(self) -> dict[str, Any]:
        """What the training folder is claimed for, as JSON values."""
        return dataclasses.asdict(self.model)

    @abstractmethod
    def updates(self) -> int:
        """Updates in all."""

    @abstractmethod
    def learning_rate(self) -> optax.Schedule:
        """The learning rate of an update."""

    def optimizer(self) -> optax.GradientTransformation:
        """Adam on clipped gradients."""
        adam = optax.adam(self.learning_rate(), b2=0.99)
        return optax.chain(optax.clip_by_global_norm(self.model.clip), adam)

    def command(self, step: int) -> str:
        """What gives the state of `step` in a single uninterrupted run."""
        flags: list[Any] = []
        for field in dataclasses.fields(self.model):
            value, default = getattr(self.model, field.name), getattr(type(self)().model, field.name)
            if value != default and not dataclasses.is_dataclass(value):
                flags += [f"--{field.name.replace('_', '-')}", *(value if isinstance(value, tuple) else (value,))]
        return shlex.join(map(str, ["tfg-jax", "train", self.name, *flags]))


@dataclasses.dataclass(frozen=True)
class OpenEnded(Recipe):
    """A recipe whose learning rate stays constant until a cool-down is asked for, and that shows how it goes."""

    steps: int = 12_000
    """Updates in all, since the first start."""
    decay_from: int | None = None
    """The learning rate falls linearly to 0 from this update to the last one."""
    sample_every: int = 1000
    """Updates between previews."""

    def updates(self) -> int:
        return self.steps

    def learning_rate(self) -> optax.Schedule:
        """Warm-up, then constant, then (only if asked) linearly to 0: a function of the update alone."""
        start, end, model = self.decay_from, self.updates(), self.model
        if start is not None and not 0 <= start < end:
            raise ValueError(f"decay_from={start} must lie in [0, steps={end}): give the final --steps too")

        def rate(step: Any) -> Array:
            value = model.lr * jnp.minimum(1.0, (jnp.asarray(step) + 1) / model.warmup)
            return value if start is None else value * jnp.clip((end - jnp.asarray(step)) / (end - start), 0.0, 1.0)

        return rate

    def command(self, step: int) -> str:
        if self.decay_from is None:
            return f"{super().command(step)} --steps {step}"
        return f"{super().command(step)} --decay-from {self.decay_from} --steps {self.steps}"  # where the decay ends


@public
def train(recipe: Recipe) -> None:
    """Run a recipe: train or go on training, preview on the way, and release if asked.

    Raises as `loop.fit`; ValueError also for options out of range and for weights to start from that do not fit.
    """
    if recipe.minutes is not None and not 0 <= recipe.minutes < float("inf"):
        raise ValueError(f"minutes={recipe.minutes} must be a number >= 0")
    folder = recipe.folder or Path("runs") / recipe.name
    optimizer = recipe.optimizer()
    if recipe.dry_run:
        _announce(recipe, folder)
        return
    graphdef, state = nnx.split(recipe.module())
    params = nnx.to_pure_dict(state)
    if recipe.model.init:
        params = released_params(params, recipe.model.init)
    lessons = recipe.lessons(graphdef)
    print(f"{parameter_count(params):,} parameters on {jax.devices()[0]}", flush=True)
    released_at = -1

    def preview(step: int, ema: PyTree, folder: Path) -> None:
        nonlocal released_at
        if lessons.preview is not None:
            lessons.preview(step, ema, folder)
        if recipe.releases_previews and recipe.export is not None:
            release(recipe, graphdef, ema, step, lessons.measure(ema))
            released_at = step

    end = fit(
        lessons.loss, params, optimizer, lessons.batches, steps=recipe.updates(), folder=folder,
        key=jax.random.key(recipe.model.seed), config=recipe.settings(), ema_decay=recipe.model.ema,
        save_seconds=recipe.save_seconds, max_seconds=None if recipe.minutes is None else 60.0 * recipe.minutes,
        log_every=recipe.log_every, sample_every=recipe.sample_every if isinstance(recipe, OpenEnded) else None,
        on_sample=preview if isinstance(recipe, OpenEnded) else None, overwrite=recipe.overwrite,
    )  # fmt: skip
    if recipe.export is not None and released_at != int(end.step):
        release(recipe, graphdef, end.ema, int(end.step), lessons.measure(end.ema))


def release(recipe: Recipe, graphdef: Any, params: PyTree, step: int, measured: Mapping[str, Any]) -> None:
    """Write configuration, weights, model card and manifest entry; counts go on from the model that it began with."""
    folder = recipe.export
    if folder is None:
        raise ValueError("export=None: give the folder of the released weights")
    before = _entry(recipe.model.init)
    arrays = {name: np.asarray(leaf) for name, leaf in named(params).items()}
    what, size = recipe.counted
    seen = before.get("metrics", {}).get(what, 0) + step * recipe.model.batch / size
    numbers = {
        "parameters": sum(array.size for array in arrays.values()),
        "updates": before.get("metrics", {}).get("updates", 0) + step,
        what: round(seen, 2) if size > 1 else int(seen),
        **measured,
    }
    command = recipe.command(step)
    if before:
        first = shlex.join(["--folder", f"{recipe.model.init}-state", "--export", recipe.model.init])
        command = f"{before['command']} {first} && {command}"
    use, facts, more = recipe.card(folder.name, numbers)
    common = {"Data": recipe.source, "Licence": recipe.licence, "Command": f"`{command}`"}
    manifest.release(
        folder, recipe.config(folder.name), arrays, more=recipe.more_arrays(graphdef, params),
        card=card(folder.name, use, {**facts, **common}, more), licence=recipe.licence, data=recipe.source,
        command=command, metrics=numbers,
    )  # fmt: skip
    print("\n".join(f"{key}: {value}" for key, value in numbers.items()), flush=True)


def card(name: str, use: str, facts: Mapping[str, str], more: str = "") -> str:
    """Markdown of a model card."""
    lines = [f"- {title}: {text}" for title, text in facts.items()]
    return "\n".join([f"# {name}", "", use, "", *lines, *(["", more] if more else []), ""])


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """Markdown of a table."""
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (head, ("---",) * len(head), *rows))


def named(params: PyTree) -> dict[str, Array]:
    """Parameters by name, as a release holds them."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def parameter_count(params: PyTree) -> int:
    """How many numbers are trained."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def released_params(params: PyTree, name_or_path: str, option: str = "init") -> PyTree:
    """The weights of a released model in place of fresh ones of the same shapes."""
    arrays, ours = released.read(name_or_path)[2], named(params)
    if {name: leaf.shape for name, leaf in ours.items()} != {name: array.shape for name, array in arrays.items()}:
        raise ValueError(f"{option}={name_or_path!r} holds another architecture; give the options it was trained with")
    return jax.tree.unflatten(jax.tree.structure(params), [jnp.asarray(arrays[name]) for name in ours])


def _entry(name_or_path: str) -> dict[str, Any]:
    """The manifest's entry of a released model, or nothing."""
    if not name_or_path:
        return {}
    path = Path(name_or_path)
    root = path.parent if path.is_dir() else manifest.checkpoints_dir()
    return manifest.load_manifest(root).get(path.name, {}) if (root / manifest.MANIFEST_FILE).is_file() else {}


def _announce(recipe: Recipe, folder: Path) -> None:
    count = parameter_count(nnx.split(nnx.eval_shape(recipe.module))[1])
    where = "is not released" if recipe.export is None else f"is released into {recipe.export}"
    settings = ", ".join(f"{key}={value!r}" for key, value in recipe.settings().items())
    print(f"{recipe.name}: {recipe.architecture}, {count:,} parameters, {recipe.updates():,} updates\n{settings}")
    print(f"state in {folder}; the network {where}. Nothing was trained or written.")
