"""Fit the lines from values of GFN2-xTB to those of QM9, and score them on molecules that they were not fitted on.

    python scripts/fit_xtb.py --data qm9.safetensors

Writes tfg_jax/metrics/xtb_lines.json and prints its table.
"""

import argparse
import json
import re
import subprocess
import time
from pathlib import Path

import numpy as np

from tfg_jax.data import qm9
from tfg_jax.files import write_bytes
from tfg_jax.metrics.xtb import FILE, KNOWN, XTB, find

TARGET = Path(__file__).parents[1] / "tfg_jax" / "metrics" / FILE


def fit_line(x: np.ndarray, y: np.ndarray, rounds: int = 200) -> tuple[float, float]:
    """Slope and intercept of least absolute deviations, by reweighted least squares: outliers pull on it little."""
    center, scale, floor = x.mean(), x.std(), 1e-6 * y.std()
    basis = np.stack([(x - center) / scale, np.ones_like(x)], 1)
    weights = np.ones_like(x)
    for _ in range(rounds):
        slope, height = np.linalg.lstsq(basis * weights[:, None], y * weights, rcond=None)[0]
        weights = 1.0 / np.sqrt(np.maximum(np.abs(y - basis @ [slope, height]), floor))
    return slope / scale, height - slope * center / scale


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="file that tfg_jax.data.qm9.convert wrote")
    parser.add_argument("--num", type=int, default=400, help="molecules to fit on, and as many others to score on")
    parser.add_argument("--program", default="xtb", help="name or path of xtb")
    args = parser.parse_args()
    data, program = qm9.load(args.data), find(args.program)
    told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    version = re.findall(r"version (\S+)", told)
    chosen = np.random.default_rng(0).choice(qm9.split()["valid"], 2 * args.num, replace=False)
    start = time.perf_counter()
    raw = XTB(program).raw(*qm9.padded(data, chosen, qm9.MAX_ATOMS))
    seconds, done = time.perf_counter() - start, np.isfinite(raw).all(1)
    fitted, scored = done & (np.arange(len(raw)) < args.num), done & (np.arange(len(raw)) >= args.num)
    rows = {}
    print(f"| property | unit | slope | intercept | error | spread | correlation |\n{'|---' * 7}|")
    for i, name in enumerate(KNOWN):
        x, y = raw[:, i], data.properties[name][chosen].astype(np.float64)
        slope, intercept = fit_line(x[fitted], y[fitted])
        truth = y[scored]
        numbers = {
            "slope": slope,
            "intercept": intercept,
            "error": np.abs(slope * x[scored] + intercept - truth).mean(),
            "spread": np.abs(truth - np.median(truth)).mean(),
            "correlation": np.corrcoef(x[scored], truth)[0, 1],
        }
        rows[name] = {key: float(f"{value:.6g}") for key, value in numbers.items()}
        shown = " | ".join(f"{value:.4g}" for value in rows[name].values())
        print(f"| {name} | {qm9.PROPERTIES[name][2]} | {shown} |")
    about = {
        "program": f"xtb {version[0] if version else 'of unknown version'}",
        "method": "GFN2-xTB",
        "data": "QM9, validation part; error and spread are mean absolute, of the molecules not fitted on",
        "fitted_on": int(fitted.sum()),
        "scored_on": int(scored.sum()),
        "failed": int((~done).sum()),
    }
    write_bytes(TARGET, (json.dumps({**about, "properties": rows}, indent=2) + "\n").encode())
    print(about, f"{seconds:.0f} s")


if __name__ == "__main__":
    main()
