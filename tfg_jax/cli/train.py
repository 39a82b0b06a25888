"""`tfg-jax train`: the Fashion-MNIST networks, by the training scripts of a source checkout."""

from __future__ import annotations

import dataclasses
import runpy
import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tfg_jax.cli.main import OK

SCRIPTS = Path(__file__).parents[2] / "scripts"


@dataclasses.dataclass(frozen=True)
class Options:
    """Train a network; stopped at any moment, the same command goes on (exit code 75).

    A classifier is released into checkpoints/ at its end; the diffusion model where --export says.
    """

    network: Annotated[
        Literal["diffusion", "guide", "guide-robust", "guide-estimates", "evaluator", "noisy"], tyro.conf.Positional
    ] = "diffusion"
    """Which network."""
    minutes: float | None = None
    """diffusion: time budget of this call; default 60."""
    export: Path | None = None
    """diffusion: write the averaged weights as a released model into this folder at the end."""
    epochs: float | None = None
    """Classifiers: passes over their half of the training images; default 6."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["--output"])] = None
    """Folder of the training state; default runs/diffusion, or runs for classifiers."""
    data: Path | None = None
    """Folder of the original Fashion-MNIST files."""
    overwrite: bool = False
    """Forget the training state found there."""
    dry_run: bool = False
    """Show the command, train and write nothing."""


def run(options: Options) -> int:
    """Run the training script in this process, which answers signals from its first line on."""
    command = _command(options)
    if options.dry_run:
        print(shlex.join(command))
        return OK
    from tfg_jax.data.fashion_mnist import find_folder

    find_folder(options.data)  # without data there is nothing to hand over
    sys.argv = command[1:]
    runpy.run_path(command[1], run_name="__main__")
    return OK


def _command(options: Options) -> list[str]:
    diffusion = options.network == "diffusion"
    for name in ("epochs",) if diffusion else ("minutes", "export"):
        if (value := getattr(options, name)) is not None:
            raise ValueError(f"--{name} {value} has no effect on the {options.network} network; drop it")
    for name in ("minutes", "epochs"):
        value = getattr(options, name)
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"{name}={value} must be a positive number")
    script = SCRIPTS / ("train_diffusion.py" if diffusion else "train_classifiers.py")
    if not script.is_file():
        raise FileNotFoundError(f"{script.name} is not part of the installed package; train from a source checkout")
    if diffusion:
        arguments = ["--minutes", str(options.minutes or 60.0), "--folder", str(options.out or "runs/diffusion")]
        arguments += ["--export", str(options.export)] if options.export is not None else []
    else:
        arguments = [options.network, "--epochs", str(options.epochs or 6.0), "--output", str(options.out or "runs")]
    arguments += ["--data", str(options.data)] if options.data is not None else []
    return [sys.executable, str(script), *arguments, *(["--overwrite"] if options.overwrite else [])]
