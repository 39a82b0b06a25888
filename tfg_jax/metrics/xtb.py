"""Properties of molecules by GFN2-xTB (Bannwarth, Ehlert and Grimme, J. Chem. Theory Comput. 15, 1652, 2019), which
nobody here trained, from the program `xtb`.

Its values are carried to those of QM9 (B3LYP) by a line for each property, fitted on molecules of QM9 by
`scripts/fit_xtb.py`: too coarse to replace a learned evaluator, good enough to show where one is fooled.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from tfg_jax.checks import check_count
from tfg_jax.data.qm9 import ELEMENTS

FILE = "xtb_lines.json"
KNOWN = ("mu", "alpha", "homo", "lumo", "gap")
"""Properties that the program gives, of `qm9.PROPERTIES`."""
CLOSEST = 0.4
"""Angstrom; of two nuclei that are nearer, half the shortest bond, the method says nothing."""
MOST_TEXT = 4_000_000
_NUMBER = r"(-?\d+\.\d+)"
_ALPHA = re.compile(rf"Mol\. \S{{1,3}}\(0\) /au\s*:\s*{_NUMBER}")
_DIPOLE = re.compile(rf"molecular dipole:.*?full:\s+\S+\s+\S+\s+\S+\s+{_NUMBER}", re.DOTALL)
_ORBITAL = {name: re.compile(rf"{_NUMBER}\s+\({name.upper()}\)") for name in ("homo", "lumo")}


class Line(NamedTuple):
    """``slope * x + intercept``, in the unit of the property."""

    slope: float
    intercept: float


@dataclass(frozen=True)
class XTB:
    """The program `xtb`, one process a molecule, a few at a time: ``quantum`` of a task of molecules.

    Attributes:
        program: name or path of it.
        seconds: that one molecule may take, > 0.
        workers: processes at a time; None is one a core.
        lines: file of lines, as `scripts/fit_xtb.py` writes it; None is the one that comes with the library.
    """

    program: str = "xtb"
    seconds: float = 60.0
    workers: int | None = None
    lines: str | None = None

    @property
    def known(self) -> tuple[str, ...]:
        """Properties that it gives. Raises ValueError for a damaged file of lines."""
        return tuple(read_lines(self.lines))

    def __call__(
        self, positions: Float[np.ndarray, "n atoms 3"], types: Int[np.ndarray, "n atoms"], properties: Sequence[str]
    ) -> tuple[Float[np.ndarray, "n p"], int]:
        """Properties after their lines, in the units of `qm9.PROPERTIES`, and how many molecules failed.

        A molecule that failed has NaN for all: without atoms, positions that are not finite or upon each other, out of
        time, an error of the program, a calculation that did not converge, or a value missing in what it prints. A
        property that the program does not know is NaN throughout, and no failure.

        Raises:
            ValueError: shapes that do not fit, unknown elements, a damaged file of lines.
            FileNotFoundError: no program.
        """
        lines = read_lines(self.lines)
        columns = [KNOWN.index(name) if name in lines else None for name in properties]
        known = [column for column in columns if column is not None]
        positions, types = _checked(positions, types)
        values, failures = np.full((len(positions), len(properties)), np.nan), 0
        if known and len(positions):
            raw = self.raw(positions, types)
            failed = ~np.isfinite(raw[:, known]).all(1)
            failures = int(failed.sum())
            for i, column in enumerate(columns):
                if column is not None:
                    line = lines[KNOWN[column]]
                    values[:, i] = np.where(failed, np.nan, line.slope * raw[:, column] + line.intercept)
        return values, failures

    def raw(
        self, positions: Float[np.ndarray, "n atoms 3"], types: Int[np.ndarray, "n atoms"]
    ) -> Float[np.ndarray, "n properties"]:
        """What the program itself says, in the order of `KNOWN` and the units of `qm9.PROPERTIES`, NaN where nothing.

        Raises as a call.
        """
        program = find(self.program)
        positions, types = _checked(positions, types)
        check_count("workers", workers := self.workers or os.cpu_count() or 1)
        if not self.seconds > 0:
            raise ValueError(f"seconds={self.seconds} must be above 0, the time that one molecule may take")

        def one(molecule: tuple[np.ndarray, np.ndarray]) -> list[float]:
            text = xyz_of(*molecule)
            said = values_of(_run(program, text, self.seconds)) if text else {}
            return [said.get(name, np.nan) for name in KNOWN]

        with ThreadPoolExecutor(min(workers, max(len(positions), 1))) as pool:
            rows = list(pool.map(one, zip(positions, types, strict=True)))
        return np.array(rows, np.float64).reshape(len(positions), len(KNOWN))


def find(program: str = "xtb") -> str:
    """The path of the program. Raises FileNotFoundError, with how to get it."""
    path = shutil.which(program)
    if path is None:
        raise FileNotFoundError(
            f"program={program!r} is not found; install it with `apt install xtb` or `conda install -c conda-forge xtb`"
            ", or name the path of another one with program="
        )
    return os.path.abspath(path)


def read_lines(path: str | os.PathLike[str] | None = None) -> dict[str, Line]:
    """Lines by property, of a file or of the library's own. Raises ValueError for a file that holds none."""
    file: Any = resources.files("tfg_jax.metrics").joinpath(FILE) if path is None else Path(path)
    try:
        table: Mapping[str, Any] = json.loads(file.read_text("utf-8"))["properties"]
        lines = {name: Line(float(row["slope"]), float(row["intercept"])) for name, row in table.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"lines={str(path)!r} holds no lines ({error!r:.80}); make it by scripts/fit_xtb.py") from None
    if unknown := [name for name in lines if name not in KNOWN]:
        raise ValueError(f"lines={str(path)!r} has property {unknown[0]!r}; xtb knows {', '.join(KNOWN)}")
    return lines


def xyz_of(positions: Float[np.ndarray, "atoms 3"], types: Int[np.ndarray, " atoms"]) -> str:
    """One molecule as an XYZ file; empty where there is nothing to compute: no atom, or none at a place of its own."""
    positions = np.asarray(positions, np.float64)[types >= 0]
    if len(positions) == 0 or not np.isfinite(positions).all():
        return ""
    distance = np.sqrt(np.square(positions[:, None] - positions).sum(-1)) + np.diag(np.full(len(positions), np.inf))
    if distance.min() < CLOSEST:
        return ""
    rows = [f"{ELEMENTS[t]} {x:.8f} {y:.8f} {z:.8f}" for t, (x, y, z) in zip(types[types >= 0], positions, strict=True)]
    return "\n".join([str(len(rows)), "", *rows, ""])


def values_of(text: str) -> dict[str, float]:
    """What the program printed of a molecule, dipole in Debye, polarizability in bohr^3, energies in meV; without what
    cannot be read, and empty if the calculation did not converge."""
    if "cannot be satisfied" in text or "did not converge" in text:
        return {}
    matches = {"alpha": _ALPHA.findall(text), "mu": _DIPOLE.findall(text)}
    matches |= {name: pattern.findall(text) for name, pattern in _ORBITAL.items()}
    values = {name: float(each[-1]) for name, each in matches.items() if each}
    values |= {name: 1000.0 * values[name] for name in ("homo", "lumo") if name in values}
    if "homo" in values and "lumo" in values:
        values["gap"] = values["lumo"] - values["homo"]
    return values


def _run(program: str, xyz: str, seconds: float) -> str:
    """What the program prints of one molecule, in a folder of its own; empty if it fails or takes too long."""
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    command = [program, "molecule.xyz", "--gfn", "2", "--sp", "--chrg", "0", "--norestart"]
    try:
        with tempfile.TemporaryDirectory(prefix="xtb-") as folder:
            output = Path(folder, "output")
            Path(folder, "molecule.xyz").write_text(xyz)
            # A file, not a pipe: a pipe would stay open for as long as any child of the program holds it.
            with output.open("wb") as stream:
                process = subprocess.Popen(
                    command, cwd=folder, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
                    env={**os.environ, **threads}, start_new_session=True,
                )  # fmt: skip
            try:
                code = _ended(process, output, time.monotonic() + seconds)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)  # its children too
                process.wait()
                raise
            with output.open("rb") as stream:
                return "" if code else stream.read(MOST_TEXT).decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError):
        return ""


def _ended(process: subprocess.Popen[bytes], output: Path, until: float) -> int:
    """The exit code. Raises TimeoutExpired for a process that runs on, or prints without an end, which fills a disk."""
    while True:
        try:
            return process.wait(min(0.2, max(until - time.monotonic(), 0.0)))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= until or output.stat().st_size > MOST_TEXT:
                raise


def _checked(positions: np.ndarray, types: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    positions, types = np.asarray(positions), np.asarray(types)
    if types.ndim != 2 or positions.shape != (*types.shape, 3):
        raise ValueError(
            f"positions of shape {positions.shape} and types of shape {types.shape} do not fit;"
            " give (molecules, atoms, 3) and (molecules, atoms)."
        )
    if types.size and types.max() >= len(ELEMENTS):
        raise ValueError(f"types holds {types.max()}; an element is 0 to {len(ELEMENTS) - 1} of {', '.join(ELEMENTS)}")
    return positions, types
