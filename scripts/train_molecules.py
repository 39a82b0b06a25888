"""Train the diffusion model of QM9's molecules, resumable by the same command.

    python -c "from tfg_jax.data import qm9; qm9.convert('qm9.safetensors')"    # once, from the package qm9pack
    python scripts/train_molecules.py --data qm9.safetensors --minutes 60       # train, or go on, for an hour
    python scripts/train_molecules.py --data qm9.safetensors --minutes 60 --export checkpoints/qm9
    python scripts/train_molecules.py --data qm9.safetensors --model.init checkpoints/qm9 --folder runs/next

With --export the averaged weights are released whenever samples are measured; --model.init goes on from a release.
"""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx
from jaxtyping import Array, PyTree

from tfg_jax import denoiser, schedules
from tfg_jax.data import qm9
from tfg_jax.host import keep_freed_memory
from tfg_jax.metrics import molecules as metrics
from tfg_jax.models.egnn.config import EGNNConfig
from tfg_jax.models.egnn.network import EGNN
from tfg_jax.models.egnn.sample import OneMolecule
from tfg_jax.sample import sample
from tfg_jax.samplers.ddpm import DDPM
from tfg_jax.training.loop import fit
from tfg_jax.training.molecules import bucketed, molecule_loss, types_of
from tfg_jax.weights import manifest, released, store

SCHEDULE = schedules.VPPolynomial()
LICENCE = "Apache-2.0 (weights), MIT (data package)"
DATA = "QM9, 50,000 molecules: the second half of the training set"


@dataclasses.dataclass(frozen=True)
class Model:
    """What the trained state depends on: a folder accepts only one value of it."""

    net: EGNNConfig = EGNNConfig()
    batch: int = 64
    lr: float = 1e-3
    warmup: int = 500
    clip: float = 1.0  # global norm of the gradient
    ema: float = 0.9995
    centre: float = 0.35  # median of sigma / alpha
    spread: float = 1.3  # standard deviation of its logarithm
    feature_weight: float = 0.5
    bond_weight: float = 0.2
    seed: int = 0
    init: str = ""  # folder of a released model of this architecture to go on from, its averaged weights; "" is fresh


@dataclasses.dataclass(frozen=True)
class Run:
    """How long and where; may change from one call to the next."""

    model: Model = Model()
    folder: Path = Path("runs/molecules")
    data: Path | None = None  # file of tfg_jax.data.qm9.convert; default as there
    steps: int = 1_000_000  # total updates since the first start
    minutes: float | None = None  # budget of this call
    decay_from: int | None = None  # the learning rate falls linearly to 0 from this update to `steps`
    log_every: int = 200
    sample_every: int = 4000
    samples: int = 128  # molecules of a measurement
    save_seconds: float = 180.0
    export: Path | None = None  # release the averaged weights there at every measurement
    overwrite: bool = False


def main(run: Run) -> None:
    """Train, and measure samples on the way."""
    model = run.model
    molecules = qm9.load(run.data)
    chosen = qm9.split()["generator"]
    batches, per_epoch = bucketed(molecules, chosen, model.batch, model.seed)
    graphdef, params = nnx.split(EGNN(model.net, rngs=nnx.Rngs(model.seed)))
    params = nnx.to_pure_dict(params)
    print(f"{sum(a.size for a in jax.tree.leaves(params)):,} parameters, {per_epoch} updates an epoch", flush=True)

    def apply(params: PyTree, *inputs: Array) -> Any:
        return nnx.merge(graphdef, params).with_bonds(*inputs)

    loss = molecule_loss(
        apply, model.net, centre=model.centre, spread=model.spread,
        feature_weight=model.feature_weight, bond_weight=model.bond_weight,
    )  # fmt: skip
    rate = learning_rate(model, run)
    optimizer = optax.chain(optax.clip_by_global_norm(model.clip), optax.adam(rate, b2=0.99))
    if model.init:
        params = released_params(params, Path(model.init))

    def measure(step: int, ema: PyTree, folder: Path) -> None:
        found = stability(model.net, ema, molecules.counts[chosen], run.samples)
        line = {"step": step, "time": time.time(), **found}
        with open(folder / "stability.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(line, flush=True)
        if run.export is not None:
            export(run, ema, step, found, run.export)

    fit(
        loss, params, optimizer, batches, steps=run.steps, folder=run.folder, key=jax.random.key(model.seed),
        config=dataclasses.asdict(model), ema_decay=model.ema, save_seconds=run.save_seconds,
        max_seconds=None if run.minutes is None else 60.0 * run.minutes, log_every=run.log_every,
        sample_every=run.sample_every, on_sample=measure, overwrite=run.overwrite,
    )  # fmt: skip


def learning_rate(model: Model, run: Run) -> optax.Schedule:
    """Warm-up, then constant, then (only if asked) linearly to 0: a function of the update alone."""

    def rate(step: Any) -> Array:
        value = model.lr * jnp.minimum(1.0, (jnp.asarray(step) + 1) / model.warmup)
        if run.decay_from is not None:
            value *= jnp.clip((run.steps - jnp.asarray(step)) / (run.steps - run.decay_from), 0.0, 1.0)
        return value

    return rate


def released_params(params: PyTree, folder: Path) -> PyTree:
    """The weights of a released model in place of fresh ones of the same shapes."""
    arrays = store.read_weights(folder)[1]
    named = flat(params)
    if {name: leaf.shape for name, leaf in named.items()} != {name: array.shape for name, array in arrays.items()}:
        raise ValueError(f"init={str(folder)!r} holds another architecture; give the --model.net it was trained with")
    return jax.tree.unflatten(jax.tree.structure(params), [jnp.asarray(arrays[name]) for name in named])


def flat(params: PyTree) -> dict[str, Array]:
    """Parameters by name, as a release holds them."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def stability(net: EGNNConfig, params: PyTree, counts: np.ndarray, number: int, seed: int = 7) -> dict[str, float]:
    """Shares of stable atoms and molecules of `number` samples by DDPM, whose atom counts follow the data's."""
    counts = np.random.default_rng(seed).choice(counts, number)
    model = denoiser.from_fn(
        OneMolecule(nnx.split(EGNN(net, rngs=nnx.Rngs(0)))[0], net), params, SCHEDULE, prediction="x0",
        shape=(qm9.MAX_ATOMS, 9), network_time=denoiser.log_sigma_time, num_classes=qm9.MAX_ATOMS + 1,
    )  # fmt: skip
    drawn = sample(
        jax.random.key(seed), model, num_samples=number, cond=jnp.asarray(counts), sampler=DDPM(steps=100), chunk=64
    )
    mask = np.arange(qm9.MAX_ATOMS) < counts[:, None]
    found = metrics.stability(np.asarray(drawn.x[..., :3]), np.asarray(types_of(drawn.x[..., 3:], mask)))
    return {"atom_stability": found.atom_stability.value, "molecule_stability": found.molecule_stability.value}


def export(run: Run, params: PyTree, step: int, found: dict[str, float], folder: Path) -> None:
    """Release the averaged weights: configuration, weights, model card and manifest entry."""
    model = run.model
    arrays = {name: np.asarray(leaf) for name, leaf in flat(params).items()}
    config = released.molecule_config(folder.name, model.net, SCHEDULE, max_atoms=qm9.MAX_ATOMS)
    store.save_weights(folder, config, arrays)
    before = manifest.load_manifest(Path(model.init).parent)[Path(model.init).name] if model.init else {"metrics": {}}
    numbers = {
        "parameters": sum(array.size for array in arrays.values()),
        "updates": before["metrics"].get("updates", 0) + step,
        "molecules_seen": before["metrics"].get("molecules_seen", 0) + step * model.batch,
        "samples": run.samples,
        **{name: round(value, 4) for name, value in found.items()},
    }
    decay = "" if run.decay_from is None else f" --decay-from {run.decay_from}"
    command = f"python scripts/train_molecules.py{decay} --steps {step if run.decay_from is None else run.steps}"
    if model.init:
        command = f"{before['command']} && {command} --model.init {model.init}"
    (folder / "README.md").write_text(card(folder.name, model, command, numbers), encoding="utf-8")
    manifest.add_to_manifest(
        folder.name, kind="molecules", licence=LICENCE, data=DATA, command=command, metrics=numbers,
        folder=folder.parent,
    )  # fmt: skip


def card(name: str, model: Model, command: str, numbers: dict[str, Any]) -> str:
    """Markdown of the model card; every number comes from the run."""
    return f"""# {name}

Diffusion model of small organic molecules in three dimensions (H, C, N, O, F; at most {qm9.MAX_ATOMS} atoms), for
experiments with guidance, not for chemistry. A sample is an array ({qm9.MAX_ATOMS}, 9): positions in Angstrom, the
one-hot element times 0.25, the atomic number times 0.1; the condition is the atom count.

- Architecture: `tfg_jax.models.egnn.network.EGNN`, E(3)-equivariant, {model.net.layers} layers of {model.net.width}
  channels an atom and {model.net.pair_width} a pair, {numbers["parameters"]:,} parameters
- Path and prediction: `VPPolynomial` (EDM's), clean sample with preconditioning
- Data: {DATA} (`tfg_jax.data.qm9.split`)
- Licence: {LICENCE}
- Training: {numbers["updates"]:,} updates, {numbers["molecules_seen"]:,} molecules seen, Adam; bond orders as an
  auxiliary target; released are the averaged weights (decay {model.ema})
- Command: `{command}`
- Of {numbers["samples"]} samples (DDPM, 100 steps), by EDM's bond table: stable atoms {numbers["atom_stability"]:.2%},
  stable molecules {numbers["molecule_stability"]:.2%}

```python
counts = jnp.array([18, 19, 21])
out = tfg.sample(jax.random.key(0), tfg.load("{name}"), cond=counts, sampler=tfg.DDPM(steps=100))
positions, elements = out.x[..., :3], out.x[..., 3:8].argmax(-1)  # the first counts[i] rows of sample i are atoms
```
"""


if __name__ == "__main__":
    keep_freed_memory()
    main(tyro.cli(Run))
