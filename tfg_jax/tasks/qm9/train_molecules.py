"""The diffusion model of QM9's molecules.

    python -c "from tfg_jax.data import qm9; qm9.convert('qm9.safetensors')"    # once, from the package qm9pack
    tfg-jax train molecules --data qm9.safetensors --minutes 60       # train, or go on, for an hour
    tfg-jax train molecules --data qm9.safetensors --minutes 60 --export checkpoints/qm9
    tfg-jax train molecules --data qm9.safetensors --init checkpoints/qm9 --folder runs/next

With --export the averaged weights are released whenever samples are measured.
"""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, PyTree

from tfg_jax import constructors, denoiser, schedules
from tfg_jax.data import qm9
from tfg_jax.metrics import molecules as metrics
from tfg_jax.models.egnn.config import EGNNConfig
from tfg_jax.models.egnn.convert import OneMolecule
from tfg_jax.models.egnn.network import EGNN
from tfg_jax.sample import sample
from tfg_jax.samplers.ddpm import DDPM
from tfg_jax.training.molecules import bucketed, molecule_loss, types_of
from tfg_jax.training.recipe import Hyper, Lessons, OpenEnded
from tfg_jax.weights.released import diffusion_config

SCHEDULE = schedules.VPPolynomial()
SHAPE = (qm9.MAX_ATOMS, 9)
OPTIONS: dict[str, Any] = {"prediction": "x0", "shape": SHAPE, "num_classes": qm9.MAX_ATOMS + 1}


@dataclasses.dataclass(frozen=True)
class Model(Hyper):
    """What the trained state depends on."""

    net: EGNNConfig = EGNNConfig()
    centre: float = 0.35
    """Median of sigma / alpha."""
    spread: float = 1.3
    """Standard deviation of its logarithm."""
    feature_weight: float = 0.5
    """Of the error of features, beside that of positions."""
    bond_weight: float = 0.2
    """Of the cross-entropy of bond orders."""


@dataclasses.dataclass(frozen=True)
class Molecules(OpenEnded):
    """A diffusion model of QM9's molecules, whose condition is the atom count."""

    model: Model = Model()
    steps: int = 1_000_000
    log_every: int = 200
    sample_every: int = 4000
    """Updates between measurements."""
    samples: int = 128
    """Molecules of a measurement."""
    save_seconds: float = 180.0
    parts: int = 8
    """Parts of a batch whose gradients are averaged, one after the other: each fits a CPU's cache."""

    name: ClassVar[str] = "molecules"
    architecture: ClassVar[str] = "egnn.EGNN"
    licence: ClassVar[str] = "Apache-2.0 (weights), MIT (data package)"
    source: ClassVar[str] = "QM9, 50,000 molecules: the second half of the training set"
    counted: ClassVar[tuple[str, float]] = ("molecules_seen", 1)
    releases_previews: ClassVar[bool] = True

    def module(self) -> nnx.Module:
        return EGNN(self.model.net, rngs=nnx.Rngs(self.model.seed))

    def lessons(self, graphdef: Any) -> Lessons:
        model, molecules = self.model, qm9.load(self.data)
        last: list[Any] = [None, {}]  # what a preview measured need not be measured again to be released
        chosen = qm9.split()["generator"]
        batches, per_epoch = bucketed(molecules, chosen, model.batch, model.seed)
        print(f"{per_epoch} updates an epoch", flush=True)

        def apply(params: PyTree, *inputs: Array) -> Any:
            return nnx.merge(graphdef, params).with_bonds(*inputs)

        weights = {"feature_weight": model.feature_weight, "bond_weight": model.bond_weight}
        loss = molecule_loss(apply, model.net, centre=model.centre, spread=model.spread, **weights)

        def measure(params: PyTree) -> dict[str, float]:
            if last[0] is not params:
                network = OneMolecule(graphdef, model.net)
                last[:] = params, stability(network, params, molecules.counts[chosen], self.samples)
            return last[1]

        def preview(step: int, params: PyTree, folder: Path) -> None:
            line = {"step": step, "time": time.time(), **measure(params)}
            with open(folder / "stability.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(line, flush=True)

        return Lessons(loss, batches, measure, preview, self.parts)

    def config(self, name: str) -> dict[str, Any]:
        options = {**OPTIONS, "network_time": "log_sigma", "architecture": self.architecture}
        return diffusion_config(name, self.model.net, SCHEDULE, **options)

    def card(self, name: str, numbers: dict[str, Any]) -> tuple[str, dict[str, str], str]:
        net = self.model.net
        use = f"""Diffusion model of small organic molecules in three dimensions (H, C, N, O, F; at most {SHAPE[0]}
atoms), for experiments with guidance, not for chemistry. A sample is an array {SHAPE}: positions in Angstrom, the
one-hot element times 0.25, the atomic number times 0.1; the condition is the atom count."""
        facts = {
            "Architecture": f"`tfg_jax.models.egnn.network.EGNN`, E(3)-equivariant, {net.layers} layers of {net.width} "
            f"channels an atom and {net.pair_width} a pair, {numbers['parameters']:,} parameters",
            "Path and prediction": "`VPPolynomial` (EDM's), clean sample with preconditioning",
            "Training": f"{numbers['updates']:,} updates, {numbers['molecules_seen']:,} molecules seen, Adam; bond "
            f"orders as an auxiliary target; released are the averaged weights (decay {self.model.ema})",
            f"Of {numbers['samples']} samples (DDPM, 100 steps), by EDM's bond table": "stable atoms "
            f"{numbers['atom_stability']:.2%}, stable molecules {numbers['molecule_stability']:.2%}",
        }
        return (
            use,
            facts,
            f"""```python
counts = jnp.array([18, 19, 21])
out = tfg.sample(jax.random.key(0), tfg.load("{name}"), cond=counts, sampler=tfg.DDPM(steps=100))
positions, elements = out.x[..., :3], out.x[..., 3:8].argmax(-1)  # the first counts[i] rows of sample i are atoms
```""",
        )


def stability(network: OneMolecule, params: PyTree, counts: np.ndarray, number: int, seed: int = 7) -> dict[str, Any]:
    """Shares of stable atoms and molecules of `number` samples by DDPM, whose atom counts follow the data's."""
    counts = np.random.default_rng(seed).choice(counts, number)
    model = constructors.from_fn(network, params, SCHEDULE, network_time=denoiser.log_sigma_time, **OPTIONS)
    x = sample(
        jax.random.key(seed), model, num_samples=number, cond=jnp.asarray(counts), sampler=DDPM(steps=100), chunk=64
    ).x
    mask = np.arange(qm9.MAX_ATOMS) < counts[:, None]
    stable = metrics.stability(np.asarray(x[..., :3]), np.asarray(types_of(x[..., 3:], mask)))
    shares = {"atom_stability": stable.atom_stability.value, "molecule_stability": stable.molecule_stability.value}
    return {"samples": number, **{name: round(value, 4) for name, value in shares.items()}}


RECIPES = {"molecules": Molecules()}
