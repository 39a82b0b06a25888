"""Every command twice: run to its end and run again, then killed at a random moment and resumed, in fresh processes.

    python scripts/stress/commands.py                    # all commands, with the shipped weights
    python scripts/stress/commands.py --only optimize

Prints a table; exit code 1 if a run failed, or if what was resumed has other bytes than what was left alone.
"""

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tfg_jax.data.fashion_mnist import find_folder
from tfg_jax.report.table import text_table

PROGRAM = [sys.executable, "-c", "import sys; from tfg_jax.cli.main import main; sys.exit(main())"]
SMALL = ["--per-class", "1", "--chunk", "5", "--steps", "2"]
STUDY = [
    "--problems", "sr4", "label", "--budgets", "25", "--images", "2", "--trial-images", "2", "--label-samples", "2",
    "--trial-samples", "2", "--chunk", "2", "--label-chunk", "2",
]  # fmt: skip
COMMANDS = {
    "sample": ["sample", *SMALL],
    "molecules": ["sample", "--task", "qm9", "--num-samples", "4", "--chunk", "2", "--steps", "2"],
    "solve": ["solve", "--num-images", "4", "--draws", "2", "--chunk", "4", "--steps", "2"],
    "compare": ["compare", *SMALL, "--methods", "none", "mpgd"],
    "optimize": ["optimize", "--reward", "brightness", "--rounds", "3", "--batch", "2", "--steps", "2"],
    "fine-tuning": ["optimize", "--rounds", "2", "--batch", "2", "--steps", "2", "--learning-rate", "1e-4"],
    "mixtures": ["study", "horizon", "--part", "mixtures", "--quick"],
    "images": ["study", "horizon", "--part", "images", "--only", "sr4", "DPS", *STUDY],
    "evaluate": ["evaluate"],
    "train": ["train", "diffusion", "--minutes", "0.05"],
}
BYTES = ("shard-*.npz", "manifest.json", "*.safetensors", "metrics.json")
# Of metrics.json; all else must not depend on interruptions.
TIMED = re.compile(rb'"(seconds|images_per_second|molecules_per_second)": (\[[^]]*]|[^],}\s]*)')


def run(command: list[str], out: Path, kill_after: float | None = None) -> tuple[int, float, str]:
    """Exit code, seconds and what a fresh process said; killed so many seconds after it wrote its first result."""
    since, begun = time.monotonic(), None
    with tempfile.TemporaryFile() as said:
        job = subprocess.Popen([*PROGRAM, *command, "--output", str(out)], stdout=subprocess.DEVNULL, stderr=said)
        while job.poll() is None:
            if begun is None and has_results(out):
                begun = time.monotonic()
            if kill_after is not None and begun is not None and time.monotonic() - begun > kill_after:
                job.kill()
            time.sleep(0.01)
        said.seek(0)
        return job.returncode, time.monotonic() - since, said.read().decode(errors="replace")


def contents(out: Path) -> dict[str, bytes]:
    """The files that must be the same, by name."""
    files = [file for kind in BYTES for file in sorted(out.rglob(kind))]
    return {str(file.relative_to(out)): TIMED.sub(b"", file.read_bytes()) for file in files}


def has_results(out: Path) -> bool:
    """Whether there is a first shard, or a first result of what has no shards."""
    return any(out.rglob("shard-*.npz")) or (any(out.rglob("*.json")) and not any(out.rglob("manifest.json")))


def row(name: str, home: Path, options: list[str], rng: random.Random) -> tuple[dict[str, Any], list[str]]:
    """One line of the table, and what failing runs said."""
    command = [*COMMANDS[name], *([] if name in ("mixtures", "train", "molecules") else options)]
    if name == "evaluate":
        source = home / "samples"
        run([*COMMANDS["sample"], *options], source)
        command = [*command, str(source)] + (options[-2:] if options else [])
    here, there = home / f"{name}-whole", home / f"{name}-killed"
    first = run(command, here)
    before = contents(here)
    again = run(command, here)
    killed = run(command, there, rng.uniform(0.0, 1.5))
    resumed = run(command, there)
    same = contents(here) == before and contents(there) == before
    found = {
        "command": name, "first": first[0], "again": again[0], "killed": killed[0],
        "resumed": resumed[0], "same bytes": same, "first (s)": round(first[1], 1), "again (s)": round(again[1], 1),
    }  # fmt: skip
    return found, [said for code, _, said in (first, again, resumed) if code]


def has_data() -> bool:
    """Whether the images are there that training needs."""
    try:
        return find_folder().is_dir()
    except FileNotFoundError:
        return False


def main() -> int:
    """Run them all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(COMMANDS), default=list(COMMANDS))
    parser.add_argument("--weights", type=Path, help="folder with model, guide and evaluator; default the shipped ones")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names = ("model", "guide", "evaluator") if options.weights else ()
    networks = [word for name in names for word in (f"--{name}", str(options.weights / name))]
    rng, rows, failures = random.Random(options.seed), [], []
    with tempfile.TemporaryDirectory() as home:
        for name in options.only:
            if name == "train" and not has_data():
                print("train left out: it needs Fashion-MNIST, see tfg_jax.data.fashion_mnist.find_folder")
                continue
            found, said = row(name, Path(home), networks[:4] if name in ("optimize", "fine-tuning") else networks, rng)
            rows.append(found)
            failures += said
            print(" ".join(map(str, found.values())), file=sys.stderr, flush=True)
    print(text_table(rows))
    print("\n".join(failures))
    return int(any(row["first"] or row["again"] or row["resumed"] or not row["same bytes"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
