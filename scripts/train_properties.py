"""Train a network of QM9's six properties, resumable by the same command: the guide or the evaluator of molecules.

    python scripts/train_properties.py guide --data qm9.safetensors
    python scripts/train_properties.py evaluator --data qm9.safetensors --export checkpoints/qm9-evaluator

Guide and evaluator share no molecule and no seed: the evaluator learns on the first half of the training set, the guide
on the second, as the generator does. The guide also sees noisy molecules, as it meets rough estimates of clean ones.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx
from jaxtyping import Array, PyTree

from tfg_jax.data import qm9
from tfg_jax.host import keep_freed_memory
from tfg_jax.models.egnn.config import EGNNConfig
from tfg_jax.models.egnn.properties import PropertyNet
from tfg_jax.training.loop import fit
from tfg_jax.training.molecules import bucketed, features_of, property_loss
from tfg_jax.weights import manifest, released, store

LICENCE = "Apache-2.0 (weights), MIT (data package)"
HALVES = {"guide": "generator", "evaluator": "evaluator"}
NET = EGNNConfig(width=96, pair_width=24, pair_hidden=48, layers=4)


@dataclasses.dataclass(frozen=True)
class Model:
    """What the trained state depends on: a folder accepts only one value of it."""

    net: EGNNConfig = NET
    batch: int = 64
    lr: float = 1e-3
    warmup: int = 300  # updates from learning rate 0 to lr
    steps: int = 12_000  # updates in all; the learning rate falls as a cosine to 0 at the last
    clip: float = 1.0  # global norm of the gradient
    ema: float = 0.999


@dataclasses.dataclass(frozen=True)
class Run:
    """Which network, how long and where."""

    which: Annotated[Literal["guide", "evaluator"], tyro.conf.Positional]
    model: Model = Model()
    folder: Path | None = None  # default runs/qm9-<which>
    data: Path | None = None  # file of tfg_jax.data.qm9.convert; default as there
    minutes: float | None = None  # budget of this call
    export: Path | None = None  # release the averaged weights there at the end
    overwrite: bool = False


def main(run: Run) -> None:
    """Train, measure on the validation molecules, and release if asked."""
    model, seed = run.model, list(HALVES).index(run.which)
    molecules = qm9.load(run.data)
    parts, table = qm9.split(), qm9.property_table(molecules)
    chosen = parts[HALVES[run.which]]
    moments = np.stack([table[chosen].mean(0), np.abs(table[chosen] - table[chosen].mean(0)).mean(0)])
    batches = bucketed(molecules, chosen, model.batch, seed)[0]
    graphdef, params = nnx.split(PropertyNet(model.net, len(qm9.PROPERTIES), rngs=nnx.Rngs(seed)))

    def apply(params: PyTree, *inputs: Array) -> Array:
        network: Any = nnx.merge(graphdef, params)
        return network(*inputs)

    rate = optax.warmup_cosine_decay_schedule(0.0, model.lr, model.warmup, model.steps)
    state = fit(
        property_loss(apply, moments, noisy=0.25 if run.which == "guide" else 0.0),
        nnx.to_pure_dict(params),
        optax.chain(optax.clip_by_global_norm(model.clip), optax.adam(rate, b2=0.99)),
        batches,
        steps=model.steps,
        folder=run.folder or Path("runs") / f"qm9-{run.which}",
        key=jax.random.key(seed),
        config={"which": run.which, **dataclasses.asdict(model)},
        ema_decay=model.ema,
        max_seconds=None if run.minutes is None else 60.0 * run.minutes,
        overwrite=run.overwrite,
    )
    errors = measure(apply, state.ema, molecules, parts["valid"], moments)
    print(f"mean absolute errors: {errors}", flush=True)
    if run.export is not None:
        export(run, state.ema, int(state.step), moments, errors, run.export)


def measure(apply: Any, params: PyTree, molecules: qm9.Molecules, chosen: np.ndarray, moments: np.ndarray) -> dict:
    """Mean absolute error of each property, in its unit, over clean molecules."""
    predict = jax.jit(lambda x, types: apply(params, x, features_of(types), types >= 0, jnp.full(len(x), jnp.inf)))
    order = chosen[np.argsort(molecules.counts[chosen], kind="stable")]
    order = order[: len(order) // 64 * 64].reshape(-1, 64)
    sizes = np.minimum(-(-molecules.counts[order].max(1) // 4) * 4, qm9.MAX_ATOMS)  # few shapes to compile
    found = [predict(*qm9.padded(molecules, row, size)) for row, size in zip(order, sizes, strict=True)]
    table = qm9.property_table(molecules)[order.ravel()]
    errors = np.abs(np.concatenate(found) * moments[1] + moments[0] - table).mean(0)
    return {name: round(float(error), 4) for name, error in zip(qm9.PROPERTIES, errors, strict=True)}


def export(run: Run, params: PyTree, step: int, moments: np.ndarray, errors: dict, folder: Path) -> None:
    """Release the averaged weights: configuration, weights, model card and manifest entry."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    arrays = {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}
    config = released.property_config(
        folder.name, run.model.net, tuple(qm9.PROPERTIES), mean=moments[0].tolist(), scale=moments[1].tolist()
    )
    store.save_weights(folder, config, arrays)
    half = "second" if run.which == "guide" else "first"
    data = f"QM9, 50,000 molecules: the {half} half of the training set"
    numbers = {
        "parameters": sum(array.size for array in arrays.values()),
        "updates": step,
        "molecules_seen": step * run.model.batch,
        "mean_absolute_error": errors,
    }
    command = f"python scripts/train_properties.py {run.which}"
    text = card(folder.name, run, data, command, numbers)
    (folder / "README.md").write_text(text, encoding="utf-8")
    manifest.add_to_manifest(
        folder.name, kind="molecule-properties", licence=LICENCE, data=data, command=command, metrics=numbers,
        folder=folder.parent,
    )  # fmt: skip


def card(name: str, run: Run, data: str, command: str, numbers: dict[str, Any]) -> str:
    """Markdown of the model card; every number comes from the run."""
    net, errors = run.model.net, numbers["mean_absolute_error"]
    rows = "\n".join(f"| {key} | {errors[key]} | {unit} |" for key, (_, _, unit) in qm9.PROPERTIES.items())
    use = {
        "guide": "Guides samplers of molecules to properties, through denoised estimates.",
        "evaluator": "Scores molecules that another network guided.",
    }[run.which]
    return f"""# {name}

{use} Never score samples with the network that guided them. Trained on QM9 alone: it means nothing on other molecules.

- Architecture: `tfg_jax.models.egnn.properties.PropertyNet`, invariant, {net.layers} layers of {net.width} channels an
  atom and {net.pair_width} a pair, {numbers["parameters"]:,} parameters, all properties at once
- Data: {data} (`tfg_jax.data.qm9.split`)
- Licence: {LICENCE}
- Training: {numbers["updates"]:,} updates, {numbers["molecules_seen"]:,} molecules seen, Adam
- Command: `{command}`

| property | mean absolute error, 17,728 validation molecules | unit |
|---|---|---|
{rows}
"""


if __name__ == "__main__":
    keep_freed_memory()
    main(tyro.cli(Run))
