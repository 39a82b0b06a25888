"""`tfg-jax evaluate`: metrics, picture and page of samples that are on disk already."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from tfg_jax.cli.main import FAILED_SAMPLES, OK
from tfg_jax.cli.options import as_json

if TYPE_CHECKING:
    import numpy as np

    from tfg_jax.objectives.classifier import Classifier


@dataclasses.dataclass(frozen=True)
class Options:
    """Score a sample folder, or images of your own, with an evaluator."""

    source: Annotated[Path, tyro.conf.Positional] = Path("outputs/sample")
    """Sample folder; or .npz file with `x`, images (n, H, W, C) as floats in [-1, 1] or bytes 0..255, and `target`, the
    requested classes (n,)."""
    out: Annotated[Path, tyro.conf.arg(aliases=["--output"])] = Path("outputs/evaluate")
    """Folder of the results."""
    evaluator: str = "fashion-mnist-evaluator"
    """Classifier that scores: released name or folder of weights."""
    guide: str | None = None
    """Classifier that guided, to show its view too."""
    data: Path | None = None
    """Folder of the original Fashion-MNIST files: more real images to compare with than the hundred shipped ones."""
    overwrite: bool = False
    """Replace the results of another evaluation."""
    dry_run: bool = False
    """Read and check everything; score and write nothing."""


def run(options: Options) -> int:
    """Read, score and report."""
    from tfg_jax.cli import scoring, setup
    from tfg_jax.data.fashion_mnist import CLASS_NAMES
    from tfg_jax.objectives.classifier import Classifier, check_classes
    from tfg_jax.report import counted
    from tfg_jax.tasks.scoring import load_as, load_judge

    of_folder = options.source.is_dir() or not options.source.exists()
    arrays, seconds, config = (_read_folder if of_folder else _read_npz)(options.source)
    guide = None if options.guide is None else load_as(options.guide, Classifier)
    judge = load_judge(options.evaluator, guide=guide, data=options.data)
    count = judge.evaluator.num_classes
    check_classes(f"target of source={options.source}", arrays["target"], len(arrays["x"]), count)
    _check_shape(options, "evaluator", judge.evaluator, arrays["x"])
    if guide is not None:
        _check_shape(options, "guide", guide, arrays["x"])
    if options.dry_run:
        print(f"{counted(len(arrays['x']), 'sample')} of shape {arrays['x'].shape[1:]}; nothing was scored or written.")
        return OK
    names = CLASS_NAMES if count == len(CLASS_NAMES) else [f"class {c}" for c in range(count)]
    notes = setup.dependence_notes(guide, judge.evaluator) if guide is not None else []
    with scoring.claimed_output(options.out, as_json(options), options.overwrite):
        scoring.write_config(options.out, "evaluate", as_json(options), config)
        found = scoring.label_run(judge, names, arrays, seconds, config, notes)
        said = scoring.write_label_report(options.out, found, f"Evaluation of {options.source}")
    print(said)
    return OK if found.ok().all() else FAILED_SAMPLES


def _read_folder(path: Path) -> tuple[dict[str, np.ndarray], float, dict[str, Any]]:
    from tfg_jax.cli.runs import read_seconds
    from tfg_jax.runs.store import MANIFEST, read_folder

    if not path.exists():
        raise FileNotFoundError(f"source={path} does not exist; give a folder of `tfg-jax sample` or an .npz file")
    if not (path / MANIFEST).is_file():
        raise FileNotFoundError(f"source={path} holds no {MANIFEST}; give a folder of `tfg-jax sample` or an .npz file")
    try:
        folder = read_folder(path)
    except ValueError:  # its advice, to overwrite, is meant for the command that writes the folder
        raise ValueError(f"source={path} has a damaged {MANIFEST}; run the command that made it again") from None
    arrays = folder.read_all()
    if not {"x", "target"} <= set(arrays):
        raise ValueError(f"source={path} holds samples without targets; give a folder of `tfg-jax sample`")
    return arrays, sum(read_seconds(path).values()), folder.manifest["config"]


def _read_npz(file: Path) -> tuple[dict[str, np.ndarray], float, dict[str, Any]]:
    import numpy as np

    from tfg_jax.cli.inputs import as_images, read_npz

    arrays = read_npz("source", file, ("x", "target"))
    x = as_images(f"source={file}", arrays["x"])
    if not np.isfinite(x).all():  # in a sample folder it marks failed samples, which are counted as such
        raise ValueError(f"source={file} holds NaN or infinity in x; clean it first")
    return {"x": x, "target": arrays["target"]}, 0.0, {"source": str(file)}


def _check_shape(options: Options, role: str, network: Classifier, x: np.ndarray) -> None:
    """ValueError unless the network in that role reads samples of the shape of ``x``."""
    from tfg_jax.weights.released import input_shape

    if (needed := input_shape(network)) not in (None, x.shape[1:]):
        size, wanted = (" x ".join(map(str, each)) for each in (x.shape[1:], needed))
        raise ValueError(f"source={options.source} holds images of {size}, {role}={getattr(options, role)} needs "
                         f"{wanted}; resize or crop them, or give another {role}")  # fmt: skip
