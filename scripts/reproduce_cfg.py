"""Classifier-free guidance: the trade-off on Fashion-MNIST, its rivals, and Gaussians in closed form.

    python scripts/reproduce_cfg.py                      # all; stopped, the same command goes on
    python scripts/reproduce_cfg.py --parts toy          # the Gaussians alone: two minutes
    python scripts/reproduce_cfg.py --samples 20 --steps 4 --train-steps 2 --folder runs/quick --page runs/quick.md

Samples are kept in folders and rows in rows.json; the page docs/results/classifier_free.md is rewritten with every row.
"""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax.typing import ArrayLike

import tfg_jax as tfg
from tfg_jax import metrics, report
from tfg_jax.cli import runs, scoring, setup
from tfg_jax.cli.methods import Method
from tfg_jax.config import to_plain
from tfg_jax.data import fashion_mnist
from tfg_jax.files import write_atomically
from tfg_jax.host import keep_freed_memory
from tfg_jax.report.label_report import label_metrics
from tfg_jax.shards import config_hash, open_folder, read_folder
from tfg_jax.tasks import guided_laws, tilted
from tfg_jax.tasks.label import LabelTask, balanced_targets, load_label_task
from tfg_jax.tasks.presets import preset

Part = Literal["toy", "trade-off", "matched", "temperature", "p_uncond", "rivals"]
PARTS: tuple[Part, ...] = ("toy", "trade-off", "matched", "temperature", "p_uncond", "rivals")
WEIGHTS = (0.0, 0.1, 0.3, 0.5, 1.0, 2.0, 4.0)
SOME = (0.0, 0.3, 1.0)
V = 0.3  # of the paper's 64x64 models
TITLES = {
    "trade-off": "The weight: quality against variety",
    "matched": "Two passes at half the steps against one pass",
    "temperature": "Low temperature, the baseline that should fail",
    "p_uncond": "How many labels to drop in training",
    "rivals": "Classifier-free, classifier and training-free guidance",
}


@dataclasses.dataclass(frozen=True)
class Run:
    """What is run and where it goes."""

    samples: int = 1000  # a row
    steps: int = 64  # T; also 4 T for three weights, and T / 2 for the matched rows
    chunk: int = 125
    p_uncond: tuple[float, ...] = (0.1, 0.2, 0.5)
    train_steps: int = 4000  # updates of each model of the p_uncond rows
    toy_samples: int = 20_000
    parts: tuple[Part, ...] = PARTS  # none writes the page again from what is known
    only: str = ""  # of the image rows, those whose name holds this text
    folder: Path = Path("runs/cfg")
    page: Path = Path("docs/results/classifier_free.md")


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table: a transform of a model, further guidance, and the number of steps."""

    part: str
    name: str
    steps: int
    w: ArrayLike | None = None  # of CFG; None samples the model itself
    temperature: float | None = None
    guidance: Any = None
    conditional: bool = True
    p_uncond: float | None = None  # a model trained here; None is the shipped one

    def model(self, base: Any) -> Any:
        """The transformed model."""
        if self.temperature is not None:
            base = tfg.LowTemperature(base, self.temperature)
        return base if self.w is None else tfg.CFG(base, self.w)

    def sampler(self) -> tfg.DDPM:
        """Algorithm 2 of the paper on the model's own range of log-SNR, up to 20."""
        return tfg.DDPM(steps=self.steps, v=V, grid=tfg.CosineLogSNR(log_snr_min=None))


@dataclasses.dataclass(frozen=True)
class GuidedTask(LabelTask):
    """The label task with a transformed model, recording nothing on the way."""

    def sample(self, key: Any, targets: Any, guidance: Any, *, conditional: bool = False, index_offset: Any = 0) -> Any:
        """One batch of samples; the record that sample folders keep is empty."""
        asked = {} if guidance is None else {"objective": self.objective(guidance), "target": targets}
        out = tfg.sample(
            key, self.model, num_samples=len(targets), cond=targets if conditional else None, guidance=guidance,
            sampler=self.sampler, clip=self.clip, index_offset=index_offset, **asked,
        )  # fmt: skip
        return dataclasses.replace(out, info={"summary": jnp.zeros((len(targets), 1))})


def rows_of(run: Run) -> Iterator[Row]:
    """All rows of the image study, in the order in which they are computed."""
    T = run.steps
    yield Row("trade-off", f"conditional, T {T}", T)
    yield from (Row("trade-off", f"w {w:g}, T {T}", T, w) for w in WEIGHTS)
    yield from (Row("trade-off", f"w {w:g}, T {4 * T}", 4 * T, w) for w in SOME)
    yield from (Row("matched", f"w {w:g}, T {T // 2}", T // 2, w) for w in (0.1, 0.3, 1.0, 2.0))
    yield from (Row("temperature", f"temperature {t:g}, T {T}", T, temperature=t) for t in (0.99, 0.97, 0.95, 0.9))
    for s in (0.5, 1.0, 2.0):
        yield Row("rivals", f"classifier {s:g}, conditional", T, guidance=tfg.ClassifierGuidance(s))
    for s in (1.0, 2.0, 5.0, 10.0):
        yield Row(
            "rivals", f"classifier {s:g}, unconditional", T, guidance=tfg.ClassifierGuidance(s), conditional=False
        )
    yield Row("rivals", "TFG, unconditional", T, guidance=preset("tfg"), conditional=False)
    yield Row("rivals", "TFG, conditional", T, guidance=preset("tfg"))
    yield Row("rivals", "TFG on w 0.3", T, 0.3, guidance=preset("tfg"))
    for p in run.p_uncond:
        yield from (Row("p_uncond", f"p_uncond {p:g}, w {w:g}", T, w, p_uncond=p) for w in (*SOME, 2.0))


@dataclasses.dataclass
class Study:
    """The task and what is known of it so far, kept in rows.json."""

    run: Run
    task: LabelTask
    real: np.ndarray

    def __post_init__(self) -> None:
        self.known = Store(self.run.folder / "rows.json")

    def compute(self, row: Row) -> dict[str, Any]:
        """The numbers of a row; only what is missing on disk is computed."""
        base = self.task.model if row.p_uncond is None else tfg.load(trained(self.run, row.p_uncond))
        sampler, targets = row.sampler(), balanced_targets(self.run.samples)
        task = GuidedTask(**{f.name: getattr(self.task, f.name) for f in dataclasses.fields(self.task)})
        task = dataclasses.replace(task, model=row.model(base), sampler=sampler)
        method = Method(row.guidance, row.conditional)
        options: Any = dataclasses.make_dataclass("Options", [("seed", int)])(0)
        plain = dataclasses.replace(self.task, model=base, sampler=sampler)
        config = setup.sample_config(options, plain, method, targets) | {"w": row.w, "temperature": row.temperature}
        home = self.run.folder / "samples" / row.name.replace(", ", "-").replace(" ", "-")
        key = config_hash({"config": config, "samples": self.run.samples})
        if (found := self.known.get(row.name, key)) is not None:
            return found
        with open_folder(home, config, len(targets), min(self.run.chunk, len(targets))) as folder:
            runs.fill(folder, task, method, targets, row.name)
            arrays, seconds = folder.read_all(), sum(runs.read_seconds(home).values())
        scored = scoring.label_run(task.judge, task.class_names, arrays, seconds, config)
        found = label_metrics(scored)
        ok = scored.ok()
        features: Any = scored.features
        for name, value in zip(("precision", "recall"), self.spread(features[ok]), strict=True):
            found |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        return self.known.put(row.name, key, found | {"part": row.part, "folder": str(home)})

    def spread(self, features: np.ndarray) -> tuple[metrics.Estimate, metrics.Estimate]:
        """Precision and recall against as many real images."""
        made, real = metrics.equal_size(features, self.real)
        return metrics.precision_recall(made, real)

    def real_row(self) -> dict[str, Any]:
        """Real test images on the same scale, half of them new to the manifold of the other half."""
        n = min(self.run.samples, len(self.real) // 2)
        images, labels = test_images(2 * n)
        other, real = self.real[n : 2 * n], self.real[:n]
        logits = metrics.classify(self.task.judge.evaluator, images[:n])
        precision, recall = metrics.precision_recall(other, real)
        assert self.task.judge.moments is not None
        return {
            "row": "real test images",
            "Fréchet distance": metrics.frechet_with_ci(real, self.task.judge.moments),
            "inception score": metrics.inception_score(logits),
            "precision": precision, "recall": recall,
            "evaluator accuracy": metrics.accuracy(logits, labels[:n]), "forwards": 0, "pullbacks": 0,
        }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Store:
    """Results by name with the hash of what they belong to, in one JSON file, written atomically."""

    path: Path

    def read(self) -> dict[str, Any]:
        """All of them."""
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def get(self, name: str, key: str) -> Any:
        """A result, or None if there is none of this hash."""
        entry = self.read().get(name, {})
        return entry.get("value") if entry.get("key") == key else None

    def put(self, name: str, key: str, value: Any) -> Any:
        """Remember and return a result."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        report.write_json(self.path, {**self.read(), name: {"key": key, "value": value}})
        return value


def trained(run: Run, p: float) -> Path:
    """A model trained with this share of labels dropped; the same number of updates for all. Resumable."""
    home = run.folder / f"model-p{p:g}-{run.train_steps}"
    export = run.folder / "models" / f"p-uncond-{p:g}-{run.train_steps}"
    if not (export / "README.md").exists():  # written after the weights
        script = Path(__file__).with_name("train_diffusion.py")
        words = ["--model.p-uncond", p, "--steps", run.train_steps, "--decay-from", run.train_steps * 3 // 4]
        subprocess.run([sys.executable, script, *map(str, [*words, "--folder", home, "--export", export])], check=True)
    return export


def test_images(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The first n test images that hold all classes equally often, in the order of the samples' classes."""
    images, labels = fashion_mnist.load("test")
    order = np.stack([np.flatnonzero(labels == c)[: -(-n // 10)] for c in range(10)], axis=1).ravel()[:n]
    return images[order], labels[order]


def line_of(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """One line of a table."""
    return {
        "row": name,
        "Fréchet distance": scoring.estimate(found, "frechet_distance"),
        "inception score": scoring.estimate(found, "inception_score"),
        "precision": scoring.estimate(found, "precision"),
        "recall": scoring.estimate(found, "recall"),
        "evaluator accuracy": scoring.estimate(found, "evaluator_accuracy"),
        "forwards": found["network_forwards_per_sample"],
        "pullbacks": found["network_pullbacks_per_sample"],
    }


TOY = {
    "ancestral, v 0, T 1024": tfg.DDPM(steps=1024, grid=tfg.CosineLogSNR()),
    "ancestral, v 0.3, T 256": tfg.DDPM(steps=256, v=V, grid=tfg.CosineLogSNR()),
    "ODE, T 256": tfg.DDIM(steps=256, eta=None, grid=tfg.CosineLogSNR()),
}
FIGURE, SIDE = (0.0, 1.0, 2.0, 4.0, 8.0), 5.0  # weights and half width of the picture


def toy(run: Run) -> dict[str, Any]:
    """Tilted laws by quadrature beside what samplers produce, and the two Gaussians on a line."""
    store, plane, n = Store(run.folder / "toy.json"), [], run.toy_samples
    path = run.page.with_name(f"{run.page.stem}_gaussians.png")
    fresh = not path.exists()
    for radius in (1.0, 2.0):
        for w in FIGURE[1:]:
            aim = dataclasses.asdict(tilted.tilted(tilted.triangle(radius), 0, w))
            plane.append({"r": radius, "w": w, "law": "tilted, by quadrature", **aim})
            for name, sampler in TOY.items():
                if sampler.steps > 256 and not (radius == 2.0 and w <= 2.0):
                    continue
                key = config_hash({"radius": radius, "w": w, "sampler": to_plain(sampler), "samples": n})
                label = f"r {radius:g}, w {w:g}, {name}"
                if (found := store.get(label, key)) is None:
                    fresh = True
                    x = toy_samples(radius, w, sampler, n)
                    found = store.put(label, key, dataclasses.asdict(tilted.moments(tilted.triangle(radius), 0, x)))
                    print(f"{label}: mean_y {found['mean_y']:.3f}", flush=True)
                plane.append({"r": radius, "w": w, "law": name, **found})
    line, grid = [], tfg.Karras(0.002)
    for gamma in (2.0, 3.0):
        ode, sde = tfg.Heun(steps=300, grid=grid), tfg.DDPM(steps=1000, grid=grid)
        line.append(
            {
                "gamma = 1 + w": gamma,
                "ODE": round(guided_laws.ode_variance(gamma), 5),
                "Heun, T 300": round(guided_laws.sampled_variance(gamma, ode), 5),
                "SDE": round(guided_laws.sde_variance(gamma), 5),
                "ancestral, T 1000": round(guided_laws.sampled_variance(gamma, sde), 5),
                "tilted": round(guided_laws.tilted_variance(gamma), 5),
            }
        )
    if fresh:
        save_figure(path, 1.0, n)
    return {"plane": plane, "line": line}


def toy_samples(radius: float, w: float, sampler: Any, n: int) -> np.ndarray:
    """Samples of class 0 with exact scores, (n, 2)."""
    model = tfg.CFG(tilted.triangle(radius).class_denoiser(tfg.VPTruncatedCosine()), w)
    out: Any = tfg.sample(
        jax.random.key(0), model, cond=jnp.zeros(n, jnp.int32), sampler=sampler, chunk=min(n, 5000)
    ).x  # fmt: skip
    return np.asarray(out)


def save_figure(path: Path, radius: float, n: int) -> None:
    """Figure 2 of the paper, the tilted densities, above densities of what the ancestral sampler produces."""
    from matplotlib.figure import Figure

    data, axis = tilted.triangle(radius), np.linspace(-SIDE, SIDE, 121)
    points = np.stack(np.meshgrid(axis, axis, indexing="xy"), axis=-1).reshape(-1, 2)
    cell = (axis[1] - axis[0]) ** 2
    figure = Figure(figsize=(2.2 * len(FIGURE), 4.8), dpi=120, layout="constrained")
    panels: Any = figure.subplots(2, len(FIGURE), sharex=True, sharey=True)
    for column, w in enumerate(FIGURE):
        each = [tilted.tilted_density(data, label, w, points, cell)[0] for label in range(3)]
        panels[0, column].imshow(
            np.mean(each, axis=0).reshape(121, 121), origin="lower", extent=(-SIDE, SIDE, -SIDE, SIDE)
        )
        x = toy_samples(radius, w, TOY["ancestral, v 0.3, T 256"], n)
        # The other two classes are the first one turned by a third.
        turns = [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in 2 * np.pi / 3 * np.arange(3)]
        cloud = np.concatenate([x @ turn.T for turn in turns])
        panels[1, column].hist2d(*cloud.T, bins=60, range=[[-SIDE, SIDE]] * 2)
        panels[1, column].set_aspect("equal")
        panels[0, column].set_title(f"w = {w:g}")
    panels[0, 0].set_ylabel("tilted, by quadrature")
    panels[1, 0].set_ylabel("ancestral sampler")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def write_page(run: Run, laws: dict[str, Any] | None, rows: list[Row], real: dict[str, Any] | None) -> None:
    """The generated part of the page; findings beside it are written by hand and kept."""
    run.page.parent.mkdir(parents=True, exist_ok=True)
    stem, known = run.page.stem, {n: e["value"] for n, e in Store(run.folder / "rows.json").read().items()}
    findings = run.page.with_name(f"{stem}_findings.md")
    text = ["# Classifier-free guidance\n", "Generated by `python scripts/reproduce_cfg.py`.\n"]
    text += [findings.read_text()] if findings.exists() else []
    if laws is not None:
        text += gaussians_text(run, laws)
    done = [row for row in rows if row.name in known]
    if done:
        text.append(
            f"## Fashion-MNIST\n\n{run.samples} samples a row, all classes alike, on seed 0; ancestral sampler with "
            f"v = {V} on the paper's grid of log-SNR, clean estimates clipped to [-1, 1]. Fréchet distance, inception "
            "score, precision and recall (3 neighbours, as many real test images) are in the features or classes of "
            "the evaluator, which never guides; brackets are 95 % intervals. Forwards and pullbacks are of the "
            "network, per sample. The paper's own numbers are of ImageNet and are not comparable in size.\n"
        )
    for part, title in TITLES.items():
        here = [row for row in done if row.part == part]
        compare = [row for row in done if row.part == "trade-off" and part != "trade-off"]
        lines = [line_of(row.name, known[row.name]) for row in [*here, *(compare if here else [])]]
        if lines:
            text.append(f"### {title}\n\n{note(run, part)}\n")
            text.append(report.markdown_table(([real] if real else []) + lines) + "\n")
    if done:
        chart = run.page.with_name(f"{stem}_scatter.png")
        points = {row.name: line_of(row.name, known[row.name]) for row in done if row.part in ("trade-off", "rivals")}
        xy: Any = {name: (line["Fréchet distance"], line["inception score"]) for name, line in points.items()}
        report.save_scatter(chart, xy, "Fréchet distance (lower is better)", "inception score")
        shown = {row.name: read_folder(known[row.name]["folder"]) for row in done if row.p_uncond is None}
        pictures = {name: folder.read(folder.ranges()[0])["x"][:10] for name, folder in shown.items()}
        picture = run.page.with_name(f"{stem}.png")
        report.save_png(picture, report.grid(list(pictures.values()), row_labels=list(pictures), scale=2, gap=2))
        text.append(f"![inception score against distance]({chart.name})\n")
        text.append(f"One sample of each class, same seeds in every row:\n\n![samples]({picture.name})\n")
    write_atomically(run.page, lambda out: out.write("\n".join(text).encode()))


def note(run: Run, part: str) -> str:
    """One sentence on what to look for."""
    return {
        "trade-off": "w = 0 costs the unconditional pass and must agree with the conditional row.",
        "matched": f"Guidance calls the network twice: T = {run.steps // 2} costs what T = {run.steps} does without.",
        "temperature": "The score divided by a temperature instead of guided.",
        "p_uncond": f"Models of the shipped architecture trained here for {run.train_steps} updates of 64 images each.",
        "rivals": "`classifier` is the noisy-image classifier at a strength; `TFG` the shipped preset with the guide, "
        "a training-free method. Unconditional rows never give the class to the network.",
    }[part]


def gaussians_text(run: Run, laws: dict[str, Any]) -> list[str]:
    """The section on laws in closed form."""
    columns = {
        "r": "r", "w": "w", "law": "law", "mean y": "mean_y", "var x": "var_x", "var y": "var_y", "skew y": "skew_y",
        "p(class)": "class_probability", "entropy": "entropy",
    }  # fmt: skip
    digits = lambda value: round(value, 3) if isinstance(value, float) else value  # noqa: E731
    plane = [{title: digits(row[key]) for title, key in columns.items()} for row in laws["plane"]]
    order = ("gamma = 1 + w", "ODE", "Heun, T 300", "SDE", "ancestral, T 1000", "tilted")
    line = [{title: row[title] for title in order} for row in laws["line"]]
    return [
        "## Three Gaussians\n\nClasses N(mean, 1) at distance r from the origin (our choice: the paper's figure 2 "
        "gives no numbers), exact scores. Guidance is meant to sample p(x|c) p(c|x)^w / Z, which is integrated on a "
        f"grid; samplers produce another law ({run.toy_samples} samples a row, standard error of a mean below "
        f"{1.0 / run.toy_samples**0.5:.3f}). y points away from the other classes; by symmetry the mean of x is 0, and "
        f"all sampled ones lie within {max(abs(row['mean_x']) for row in laws['plane']):.3f} of it.\n",
        report.markdown_table(plane),
        f"\n![tilted and sampled densities]({run.page.stem}_gaussians.png)\n",
        "## Two Gaussians on a line\n\nVariances for p(x|c) = N(0, 1), p(x) = N(0, 2): the limits of the deterministic "
        "and the stochastic sampler, what the samplers give at finite T (exactly: they are linear), and the tilted "
        "law.\n",
        report.markdown_table(line) + "\n",
    ]


def main(run: Run) -> None:
    """Compute what is missing, row by row."""
    laws = Store(run.folder / "laws.json")
    if "toy" in run.parts:
        laws.put("laws", "", toy(run))
    every = list(rows_of(run))
    write_page(run, laws.get("laws", ""), every, None)
    rows = [row for row in every if row.part in run.parts and run.only in row.name]
    if not rows:
        return
    task = load_label_task(noisy_guide="fashion-mnist-noisy")
    real = metrics.features(task.judge.evaluator, test_images(2 * run.samples)[0])
    study = Study(run, task, np.asarray(real))
    first = study.real_row()
    for row in rows:
        found = study.compute(row)
        print(report.text_table([line_of(row.name, found)]), flush=True)
        write_page(run, laws.get("laws", ""), every, first)


if __name__ == "__main__":
    keep_freed_memory()
    main(tyro.cli(Run))
