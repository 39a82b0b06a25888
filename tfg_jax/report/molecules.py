"""The report of a run of property-guided molecules: metrics.json, grid.png, report.html, molecules.sdf and .xyz."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfg_jax.metrics.molecule_run import MoleculeRun
from tfg_jax.metrics.titles import MOLECULES
from tfg_jax.report.charts import match_chart
from tfg_jax.report.images import Pixels, grid, to_pixels
from tfg_jax.report.molecule_files import formula, sdf_texts, writable, xyz_texts
from tfg_jax.report.molecule_pictures import TILE, atoms_drawn, bonds_drawn, has_rdkit
from tfg_jax.report.page import Block, Figure, Report, Section, Text, Viewer
from tfg_jax.report.run import FAILURES, MOST_CARDS, run_report, step_section
from tfg_jax.report.table import counted, with_failed
from tfg_jax.report.viewer import HOW, find_viewer
from tfg_jax.rows import MOST_KEPT, as_rows

GRID_ROWS, GRID_COLUMNS = 5, 8
UNSTABLE = "not stable"


def molecule_report(
    run: MoleculeRun, numbers: Mapping[str, Any], title: str, *, viewer: str | os.PathLike[str] | None = None
) -> Report:
    """The report of a run with these `molecule_metrics`.

    viewer: path of 3Dmol-min.js, for molecules in 3-D; None looks for it as `find_viewer`, and does without where there
    is none. Raises ValueError for a path that holds no such library.
    """
    library, ok, kept = find_viewer(viewer), run.ok(), writable(run)
    types, stable = as_rows(run.types), run.stability
    drawn = {*_first(ok), *range(min(len(ok), GRID_ROWS * GRID_COLUMNS))}
    known = np.array([i for i in sorted({*drawn, *_first(~ok)}) if kept[i]], int)
    sdf = dict(zip(known.tolist(), sdf_texts(run, known), strict=True))
    tiles = {i: _tile(run, sdf.get(i, ""), i) for i in drawn}
    by_atoms = sum(bonds is False for _, bonds in tiles.values())
    picture = _grid(run, {i: tile for i, (tile, _) in tiles.items()})

    def card(i: int) -> tuple[str, dict[str, Any], str]:
        facts = {"stable atoms": f"{stable.stable_atoms[i]} of {stable.atoms[i]}"}
        for column, name in enumerate(run.properties):
            kinds = {"requested": run.targets, "reached": run.predicted, "quantum": run.quantum}
            facts |= {
                f"{name} {kind}": float(np.asarray(each)[i, column]) for kind, each in kinds.items() if each is not None
            }
        return f"#{i} {formula(types[i])}", facts, "" if stable.stable[i] else UNSTABLE

    caption = f"Under each molecule: {run.properties[0]} as the evaluator sees it / as requested. Red tiles failed."
    sections = [
        Section("Requested and reached", _matches(run)),
        Section("Samples", [Figure(picture, "Grid of molecules", caption), *_drawing_notes(by_atoms)]),
        Section("In three dimensions", _viewer(run, sdf, library)),
    ]
    if run.objective is not None:
        note = "Mean over the samples that stayed finite; the band holds the middle 80 % of them."
        sections.append(step_section("Objective", run.objective, "objective (log-weight)", note))
    text = (
        f"{with_failed(numbers['samples'], numbers['failed_samples'], 'molecule')}; errors are means over those that "
        "finished, stable or not; stability and validity are shares of all, and a molecule that failed is neither. "
        f"molecules.sdf and molecules.xyz hold {counted(int(kept.sum()), 'molecule')}; left out are {(~kept).sum()} "
        "that failed, have no atom, or lie beyond the files' columns."
    )
    note = "Values are in " + ", ".join(f"{u} ({p})" for p, u in zip(run.properties, run.units, strict=True) if u) + "."
    report = run_report(
        title, run, numbers, picture, text=text + _quantum_note(run), shown=MOLECULES, sections=sections, card=card,
        tile=lambda i: tiles[i][0], noun="molecule", note=note if any(run.units) else "",
    )  # fmt: skip
    texts = {"molecules.sdf": sdf_texts, "molecules.xyz": xyz_texts}
    files = {name: lambda each=each: map(str.encode, each(run, np.flatnonzero(kept))) for name, each in texts.items()}
    return Report(report.title, report.sections, report.question, report.numbers, report.picture, files)


def _first(ok: np.ndarray) -> list[int]:
    """The molecules of the cards, as `run_report` chooses them."""
    return np.argsort(ok, kind="stable")[:MOST_CARDS].tolist()


def _tile(run: MoleculeRun, sdf: str, i: int) -> tuple[Pixels, bool | None]:
    """The picture of a molecule, and whether it shows its bonds; None if it failed."""
    if not run.ok()[i]:
        return to_pixels(np.full((TILE, TILE, 1), np.nan)), None
    drawn = bonds_drawn(sdf) if sdf else None
    if drawn is not None:
        return drawn, True
    return atoms_drawn(as_rows(run.x)[i], as_rows(run.types)[i]), False


def _grid(run: MoleculeRun, tiles: Mapping[int, Pixels]) -> Pixels:
    """The first molecules, in their order."""
    ok, stable = run.ok(), run.stability.stable
    requested, reached = np.asarray(run.targets)[:, 0], np.asarray(run.predicted)[:, 0]
    shown = range(min(len(ok), GRID_ROWS * GRID_COLUMNS))
    rows = [list(shown)[start : start + GRID_COLUMNS] for start in shown[::GRID_COLUMNS]]

    def caption(i: int) -> str:
        if not ok[i]:
            return FAILURES.get(int(np.asarray(run.status_code)[i]), "failed")
        return f"{reached[i]:.4g} / {requested[i]:.4g}" + (f", {UNSTABLE}" if not stable[i] else "")

    images = [np.stack([tiles[i] for i in row]) / 127.5 - 1.0 for row in rows]
    return grid(images, captions=[[caption(i) for i in row] for row in rows], gap=4)


def _matches(run: MoleculeRun) -> list[Block]:
    """A chart for each property, by whoever judges it; molecules that failed are not finite there."""
    targets, ok, blocks = np.asarray(run.targets[:MOST_KEPT], np.float64), run.ok()[:MOST_KEPT], []
    kinds = {"evaluator": run.predicted, "guide": run.guide, "quantum program": run.quantum}
    for i, (name, unit) in enumerate(zip(run.properties, run.units, strict=True)):
        reached = {
            kind: np.where(ok, np.asarray(each[:MOST_KEPT], np.float64)[:, i], np.nan)
            for kind, each in kinds.items()
            if each is not None and np.isfinite(np.asarray(each[:MOST_KEPT])[:, i]).any()
        }
        of = f"{name} ({unit})" if unit else name
        chart = match_chart(targets[:, i].tolist(), {k: v.tolist() for k, v in reached.items()},
                            f"requested {of}", f"reached {of}")  # fmt: skip
        blocks.append(Figure(chart, f"Reached {name} against requested {name}"))
    return blocks


def _viewer(run: MoleculeRun, sdf: Mapping[int, str], library: str) -> list[Block]:
    """The first molecules that finished, or how to get what shows them."""
    stable, types = run.stability.stable, as_rows(run.types)
    shown = {
        f"#{i} {formula(types[i])}{'' if stable[i] else f', {UNSTABLE}'}": sdf[i] for i in _first(~run.ok()) if i in sdf
    }
    if not shown:
        return [Text("No molecule finished that could be shown.")]
    if not library:
        return [Text(f"Molecules are shown flat alone, since 3Dmol.js was not found. {HOW}")]
    return [Text("Drag to turn, scroll to come nearer; bonds are those of EDM's table."), Viewer(shown, library)]


def _drawing_notes(by_atoms: int) -> list[Block]:
    if not has_rdkit():
        return [Text("Molecules are drawn by their atoms alone, since rdkit could not be loaded; for their bonds "
                     "install it with `pip install 'tfg_jax[molecules]'`.", warning=True)]  # fmt: skip
    if not by_atoms:
        return []
    return [Text(f"{counted(by_atoms, 'molecule')} shown here or below whose bonds make no molecule by rdkit: drawn by "
                 "atoms alone.", warning=True)]  # fmt: skip


def _quantum_note(run: MoleculeRun) -> str:
    if run.quantum is None:
        return ""
    n = len(run.x)
    return f" The quantum program failed on {run.quantum_failed} of {n}, which its errors leave out."
