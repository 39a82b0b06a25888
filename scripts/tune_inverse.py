"""Strengths for `tfg-jax solve`: every method on a few shipped test images, the same few trials each.

    python scripts/tune_inverse.py --problems sr2 box --methods dps pigdm --steps 20 --images 6

The images are numbers 8 and 9 of classes 0, 3, 5 and 8 of the shipped hundred, which the default run of `solve` does
not show; noise of standard deviation 0.05, one draw an image. Columns: problem, method, its numbers, mean PSNR, mean
SSIM, residual over noise, failed samples. `tfg_jax/tasks/fashion_mnist/presets.py` says where they come from.
"""

from dataclasses import dataclass

import jax
import numpy as np
import tyro

from tfg_jax import DDIM, DPS, LGD, MPGD, TFG, UGD, Controls, DFlow, FreeDoM, PiGDM, TruncatedSolve, load, metrics
from tfg_jax.data.sample import load_sample
from tfg_jax.tasks import InverseTask, measure_images, problem_operator

LOOK = TruncatedSolve(1.0, 12, "euler", remat="step")
TRIALS = {
    "dps": [DPS(s, normalize="residual") for s in (1.0, 2.0, 4.0, 8.0, 16.0)],
    "pigdm": [PiGDM(s) for s in (0.5, 1.0, 1.5, 2.0)],
    "mpgd": [MPGD(s) for s in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)],
    "tfg": [TFG(rho=rho, mu=mu, n_iter=4) for rho in (2.0, 4.0) for mu in (0.25, 1.0)],
    "lgd": [LGD(s, n_mc=4) for s in (2.0, 4.0, 8.0, 16.0, 32.0)],
    "freedom": [FreeDoM(s) for s in (1.0, 2.0, 4.0, 8.0, 16.0)],
    "ugd": [UGD(s, n_iter=4) for s in (1.0, 2.0, 4.0, 8.0, 16.0)],
    "dflow": [DFlow(LOOK, 60, w, rate=r) for w in (1.0, 10.0) for r in (0.03, 0.1, 0.2, 0.4)],
    "controls": [Controls(12, weight=w, iterations=30, rate=r) for w in (1.0, 10.0, 30.0) for r in (0.03, 0.1, 0.2)],
}
IMAGES = [10 * c + k for c in (0, 3, 5, 8) for k in (8, 9)]


@dataclass(frozen=True)
class Options:
    """What is tried."""

    problems: tuple[str, ...] = ("sr2", "box")
    methods: tuple[str, ...] = tuple(TRIALS)
    steps: int = 50
    images: int = len(IMAGES)  # how many of the images


def main(options: Options) -> None:
    """Print a line a trial."""
    model, truth, key = load("fashion-mnist"), load_sample()[0][IMAGES[: options.images]], jax.random.key(0)
    for problem in options.problems:
        operator = problem_operator(problem, (28, 28, 1), key)
        y, noise_std = measure_images(operator, truth, key, noise_std=0.05)
        task = InverseTask(model, operator, noise_std, DDIM(options.steps))
        for method in options.methods:
            for guidance in TRIALS[method]:
                out = task.sample(key, y, guidance)
                x, failed = np.asarray(out.x), int((~np.asarray(out.status.ok)).sum())
                numbers = ", ".join(f"{float(leaf):g}" for leaf in jax.tree.leaves(guidance))
                psnr, ssim = metrics.psnr(x, truth).mean(), metrics.ssim(x, truth).mean()
                residual = metrics.measurement_residual(operator, x, y).mean() / noise_std
                scores = f"{psnr:6.2f} {ssim:6.3f} {residual:6.2f} {failed:3}"
                print(f"{problem:12} {method:8} {numbers:12} {scores}", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
