"""A network of QM9's six properties: the guide, the evaluator or the chooser of molecules.

    tfg-jax train molecules-guide --data qm9.safetensors
    tfg-jax train molecules-evaluator --data qm9.safetensors --export checkpoints/qm9-evaluator

Guide and evaluator share no molecule and no seed: the evaluator learns on the first half of the training set, the guide
on the second, as the generator does. The guide also sees noisy molecules, as it meets rough estimates of clean ones. A
search chooses by the third, which has the evaluator's training but neither its molecules nor a seed of the others.
"""

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx
from jaxtyping import Array, PyTree

from tfg_jax.data import qm9
from tfg_jax.models.egnn.config import EGNNConfig
from tfg_jax.models.egnn.properties import PropertyNet
from tfg_jax.training.molecules import bucketed, features_of, property_loss
from tfg_jax.training.recipe import Hyper, Lessons, Recipe, table

HALVES = {"guide": "generator", "evaluator": "evaluator", "chooser": "generator"}
USES = {
    "guide": "Guides samplers of molecules to properties, through denoised estimates.",
    "evaluator": "Scores molecules that another network guided.",
    "chooser": "Chooses among settings in a search whose best the evaluator reports.",
}


class Data(NamedTuple):
    """Molecules, those trained on, those measured on, and mean and scale of the first ones' properties."""

    molecules: qm9.Molecules
    trained: np.ndarray
    measured: np.ndarray
    moments: np.ndarray


@dataclasses.dataclass(frozen=True)
class Model(Hyper):
    """What the trained state depends on."""

    net: EGNNConfig = EGNNConfig(width=96, pair_width=24, pair_hidden=48, layers=4)
    warmup: int = 300
    """Updates from learning rate 0 to lr."""
    ema: float = 0.999


@dataclasses.dataclass(frozen=True)
class Properties(Recipe):
    """A network of QM9's properties: the guide, the evaluator or the chooser of molecules."""

    which: tyro.conf.Suppress[str] = "guide"
    model: Model = Model()
    steps: int = 12_000
    """Updates in all; the learning rate falls as a cosine to 0 at the last."""
    log_every: int = 100
    parts: int = 8
    """Parts of a batch whose gradients are averaged, one after the other: each fits a CPU's cache."""

    architecture: ClassVar[str] = "egnn.PropertyNet"
    licence: ClassVar[str] = "Apache-2.0 (weights), MIT (data package)"
    counted: ClassVar[tuple[str, float]] = ("molecules_seen", 1)

    @property
    def name(self) -> str:
        return f"molecules-{self.which}"

    @property
    def source(self) -> str:
        return (
            f"QM9, 50,000 molecules: the {'first' if self.which == 'evaluator' else 'second'} half of the training set"  # noqa
        )

    def module(self) -> nnx.Module:
        return PropertyNet(self.model.net, len(qm9.PROPERTIES), rngs=nnx.Rngs(self.model.seed))

    def settings(self) -> dict[str, Any]:
        model = dataclasses.asdict(self.model)
        seed, init = model.pop("seed"), model.pop("init")
        changed = {"seed": seed} if seed != list(HALVES).index(self.which) else {}
        return {"which": self.which, "steps": self.steps, **model, **changed, **({"init": init} if init else {})}

    def updates(self) -> int:
        return self.steps

    def learning_rate(self) -> optax.Schedule:
        return optax.warmup_cosine_decay_schedule(0.0, self.model.lr, self.model.warmup, self.steps)

    def command(self, step: int) -> str:
        return f"{super().command(step)} --steps {self.steps}"

    @cached_property
    def _data(self) -> Data:
        molecules, parts = qm9.load(self.data), qm9.split()
        chosen = parts[HALVES[self.which]]
        values = qm9.property_table(molecules)[chosen]
        moments = np.stack([values.mean(0), np.abs(values - values.mean(0)).mean(0)])
        return Data(molecules, chosen, parts["valid"], moments)

    def lessons(self, graphdef: Any) -> Lessons:
        molecules, chosen, valid, moments = self._data

        def apply(params: PyTree, *inputs: Array) -> Array:
            network: Any = nnx.merge(graphdef, params)
            return network(*inputs)

        return Lessons(
            property_loss(apply, moments, noisy=0.25 if self.which == "guide" else 0.0),
            bucketed(molecules, chosen, self.model.batch, self.model.seed)[0],
            lambda params: {"mean_absolute_error": errors(apply, params, molecules, valid, moments)},
            parts=self.parts,
        )

    def config(self, name: str) -> dict[str, Any]:
        mean, scale = self._data.moments.tolist()
        head = {"architecture": self.architecture, "name": name, "network": self.model.net.to_dict()}
        return {**head, "properties": list(qm9.PROPERTIES), "mean": mean, "scale": scale}

    def card(self, name: str, numbers: dict[str, Any]) -> tuple[str, dict[str, str], str]:
        net, error = self.model.net, numbers["mean_absolute_error"]
        use = f"""{USES[self.which]} Never score samples with the network that guided them. Trained on QM9 alone: it
means nothing on other molecules."""
        facts = {
            "Architecture": f"`tfg_jax.models.egnn.properties.PropertyNet`, invariant, {net.layers} layers of "
            f"{net.width} channels an atom and {net.pair_width} a pair, {numbers['parameters']:,} parameters, all "
            "properties at once",
            "Training": f"{numbers['updates']:,} updates, {numbers['molecules_seen']:,} molecules seen, Adam",
        }
        rows = [(key, error[key], unit) for key, (_, _, unit) in qm9.PROPERTIES.items()]
        return use, facts, table(("property", "mean absolute error, 17,728 validation molecules", "unit"), rows)


def errors(
    apply: Any, params: PyTree, molecules: qm9.Molecules, chosen: np.ndarray, moments: np.ndarray
) -> dict[str, float]:
    """Mean absolute error of each property, in its unit, over clean molecules."""
    predict = jax.jit(lambda x, types: apply(params, x, features_of(types), types >= 0, jnp.full(len(x), jnp.inf)))
    order = chosen[np.argsort(molecules.counts[chosen], kind="stable")]
    order = order[: len(order) // 64 * 64].reshape(-1, 64)
    sizes = np.minimum(-(-molecules.counts[order].max(1) // 4) * 4, qm9.MAX_ATOMS)  # few shapes to compile
    raw = [predict(*qm9.padded(molecules, row, size)) for row, size in zip(order, sizes, strict=True)]
    values = qm9.property_table(molecules)[order.ravel()]
    error = np.abs(np.concatenate(raw) * moments[1] + moments[0] - values).mean(0)
    return {name: round(float(each), 4) for name, each in zip(qm9.PROPERTIES, error, strict=True)}


RECIPES = {
    f"molecules-{which}": Properties(which=which, model=Model(seed=seed), folder=Path("runs") / f"qm9-{which}")
    for seed, which in enumerate(HALVES)
}
