"""Strengths for `tfg-jax solve`: every method on a few shipped test images, the same few trials each.

    python scripts/tune_inverse.py --problems sr2 box --methods dps pigdm

Images 8 and 9 of classes 0, 3, 5 and 8 of the shipped hundred, which the default run of `solve` does not show; noise of
standard deviation 0.05, 50 DDIM steps, one draw. The score is the mean PSNR; SSIM and the residual over the noise are
shown beside it. `tfg_jax/tasks/presets.py` holds, for each method, the setting of the best mean PSNR over the problems
named there.
"""

import argparse
from collections.abc import Sequence

import jax
import numpy as np

from tfg_jax import DDIM, DPS, LGD, MPGD, TFG, UGD, FreeDoM, PiGDM, load, metrics, report
from tfg_jax.data.sample import load_sample
from tfg_jax.guidance.base import Guidance
from tfg_jax.tasks import PROBLEMS, InverseTask, measure_images, problem_operator

TRIALS: dict[str, Sequence[Guidance]] = {
    "dps": [DPS(s, normalise="residual") for s in (1.0, 2.0, 4.0, 8.0)],
    "pigdm": [PiGDM(s) for s in (0.5, 1.0, 1.5, 2.0)],
    "lgd": [LGD(s, n_mc=4) for s in (4.0, 8.0, 16.0, 32.0)],
    "freedom": [FreeDoM(s) for s in (1.0, 2.0, 4.0, 8.0)],
    "mpgd": [MPGD(s) for s in (2.0, 4.0, 8.0, 16.0)],
    "ugd": [UGD(s, n_iter=4) for s in (0.5, 1.0, 2.0, 4.0)],
    "tfg": [TFG(rho=rho, mu=mu, n_iter=4) for rho in (2.0, 4.0) for mu in (0.25, 1.0)],
}
IMAGES = [10 * c + k for c in (0, 3, 5, 8) for k in (8, 9)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--problems", nargs="+", choices=list(PROBLEMS), default=["sr2", "box", "blur", "hdr"])
    parser.add_argument("--methods", nargs="+", choices=list(TRIALS), default=list(TRIALS))
    parser.add_argument("--images", type=int, default=len(IMAGES), help="how many of the images")
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    model, truth, key = load("fashion-mnist"), load_sample()[0][IMAGES[: options.images]], jax.random.key(0)
    for problem in options.problems:
        operator = problem_operator(problem, (28, 28, 1), key)
        y, noise_std = measure_images(operator, truth, key, noise_std=0.05)
        task = InverseTask(model, operator, noise_std, DDIM(options.steps))
        rows = []
        for method in options.methods:
            for guidance in TRIALS[method]:
                out = task.sample(key, y, guidance)
                x = np.asarray(out.x)
                rows.append(
                    {
                        "problem": problem,
                        "method": method,
                        "setting": ", ".join(f"{leaf:g}" for leaf in jax.tree.leaves(guidance)),
                        "PSNR": float(metrics.psnr(x, truth).mean()),
                        "SSIM": float(metrics.ssim(x, truth).mean()),
                        "residual / noise": float(metrics.measurement_residual(operator, x, y).mean() / noise_std),
                        "failed": int((~np.asarray(out.status.ok)).sum()),
                    }
                )
                print(" ".join(map(report.table.show, rows[-1].values())), flush=True)


if __name__ == "__main__":
    main()
