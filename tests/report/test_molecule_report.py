"""The report of molecules: files that rdkit reads back, a page that stands alone, and failures in front."""

import base64
import hashlib
import json
import re
import sys
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from rdkit import Chem

from tfg_jax.metrics.molecule_run import MoleculeRun, molecule_metrics
from tfg_jax.report.molecule_files import formula
from tfg_jax.report.molecules import molecule_report
from tfg_jax.report.viewer import find_viewer, inline

H, C, N, O, F = range(5)
METHANE = 1.09 / 3**0.5 * np.array([[0, 0, 0], [1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]])
# Elements, positions, and the SMILES that is read back; the last are failed, empty, far off, and no molecule at all.
ROWS = [
    ([C, H, H, H, H], METHANE, "C"),
    ([C, H, H, H], METHANE[:4], "[CH3]"),
    ([O], [[0, 0, 0]], "[O]"),
    ([H, C, N], [[0, 0, -1.06], [0, 0, 0], [0, 0, 1.156]], "C#N"),
    ([C, O, H, H], [[0, 0, 0], [0, 0, 1.2], [0.93, 0, -0.58], [-0.93, 0, -0.58]], "C=O"),
    ([C, H], [[np.nan] * 3, [0, 0, 1]], None),
    ([], np.zeros((0, 3)), None),
    ([C, H], [[0, 0, 0], [20_000.0, 0, 0]], None),
    ([H, H, H], [[0, 0, 0], [0.7, 0, 0], [-0.7, 0, 0]], ""),
]
LIBRARY = "/* 3Dmol */ var a = '</script><script>', b = '<!-- 1';\r\nvar c = 1 < 2;"


def make_run(rows=ROWS, **changes):
    n, most = len(rows), 5
    types, positions = np.full((n, most), -1), np.zeros((n, most, 3), np.float32)
    for i, (elements, where, _) in enumerate(rows):
        types[i, : len(elements)], positions[i, : len(elements)] = elements, where
    code = np.where(np.isfinite(positions).all((1, 2)), 0, 1)
    targets = np.stack([np.linspace(10, 20, n), np.linspace(5, 6, n)], 1)
    values: dict[str, Any] = dict(
        x=positions, types=types, targets=targets, predicted=targets + 0.5, properties=("alpha", "cv"),
        units=("bohr^3", "cal/(mol K)"), status_code=code, status_step=np.where(code, 17, -1), seconds=1.0,
        cost={name: np.full(n, 10) for name in ("forwards", "pullbacks", "objective")},
        quantum=np.stack([targets[:, 0] + 1.0, np.full(n, np.nan)], 1), quantum_failed=2,
        objective=-np.ones((n, 3)), config={"method": "<b>tfg</b>"}, notes=["Outside <i>the</i> data."],
    )  # fmt: skip
    return MoleculeRun(**(values | changes))


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TFG_JAX_DATA", raising=False)
    return tmp_path


def written(folder, run, **options):
    molecule_report(run, molecule_metrics(run), "A <title>", **options).write(folder)
    return (folder / "report.html").read_text()


class Page(HTMLParser):
    """Tags with attributes, and the texts of the scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.scripts += [""] * (tag == "script")

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script" and self.cdata_elem == "script":
            self.scripts[-1] += data


def test_rdkit_reads_back_what_is_written(nowhere):
    page = written(nowhere / "run", make_run())
    assert sorted(file.name for file in (nowhere / "run").iterdir()) == [
        "grid.png", "metrics.json", "molecules.sdf", "molecules.xyz", "report.html",
    ]  # fmt: skip
    kept = [(i, smiles) for i, (_, _, smiles) in enumerate(ROWS) if smiles is not None]
    supplier = Chem.SDMolSupplier(str(nowhere / "run" / "molecules.sdf"), removeHs=True)
    assert len(supplier) == len(kept) == 6
    frames = re.split(r"(?m)^(?=\d+\n)", (nowhere / "run" / "molecules.xyz").read_text())[1:]
    for (i, smiles), molecule, frame in zip(kept, supplier, frames, strict=True):
        elements, where, _ = ROWS[i]
        from_xyz = Chem.MolFromXYZBlock(frame)
        np.testing.assert_allclose(from_xyz.GetConformer().GetPositions(), where, atol=1e-5)
        assert [atom.GetSymbol() for atom in from_xyz.GetAtoms()] == ["HCNOF"[e] for e in elements]
        assert f" sample={i} requested_alpha={10 + 1.25 * i:.6g} " in frame
        assert f" stable={int(i in (0, 3, 4))} " in frame
        if not smiles:
            assert molecule is None  # hydrogen of two bonds
            continue
        assert Chem.MolToSmiles(molecule) == smiles
        facts = molecule.GetPropsAsDict()
        assert facts["sample"] == i and facts["reached_alpha"] == facts["requested_alpha"] + 0.5
        assert facts["stable"] == (i in (0, 3, 4)) and "quantum_alpha" in facts
    assert "hold 6 molecules; left out are 3 that failed" in page
    numbers = json.loads((nowhere / "run" / "metrics.json").read_text())
    assert numbers["failed_samples"] == 1 and numbers["error_alpha"] == 0.5


def test_failures_come_first_and_all_texts_are_escaped(nowhere):
    page = written(nowhere, make_run())
    for expected in (
        "A &lt;title&gt;", "Outside &lt;i&gt;the", "&lt;b&gt;tfg", "not finite at step 17", "not stable", "#0 CH4",
        "#3 CHN", "#6 no atoms", "9 molecules, 1 of them failed", "failed on 2 of 9", "molecules per second",
        "evaluator&#39;s error of alpha (bohr^3)", "Reached cv against requested cv", "3 of 4",
        "3 molecules shown here or below whose bonds make no molecule",
        "flat alone, since 3Dmol.js was not found. For molecules that turn under the mouse, run `npm install 3dmol`",
    ):  # fmt: skip
        assert expected in page, expected
    tags = [tag for tag, _ in Page(page).tags]
    assert "script" not in tags and "script-src" not in page and tags.count("li") == 9
    assert page.index("not finite at step 17") < page.index("#0 CH4")


def test_the_viewer_stands_in_the_page_and_nothing_breaks_out_of_it(nowhere, monkeypatch):
    run = make_run()
    default = nowhere / "node_modules" / "3dmol" / "build" / "3Dmol-min.js"
    default.parent.mkdir(parents=True)
    default.write_bytes(LIBRARY.encode())
    page = Page(written(nowhere, run))
    library, ours = page.scripts
    assert library == "/* 3Dmol */ var a = '\\x3c/script>\\x3cscript>', b = '\\x3c!-- 1';\nvar c = 1 < 2;"
    assert "createViewer" in ours
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    for script in page.scripts:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'; ") and "unsafe-eval" not in policy and policy.count("unsafe") == 1
    shown = [a["data-molecule"] for tag, a in page.tags if tag == "option"]
    assert "".join(shown) == (nowhere / "molecules.sdf").read_text() and len(shown) == 6
    # elsewhere, or broken
    other = nowhere / "3Dmol-min.js"
    other.write_text("other 3Dmol")
    monkeypatch.setenv("TFG_JAX_DATA", str(nowhere))
    assert find_viewer() == find_viewer(other) == "other 3Dmol" and inline("a\r\nb\r") == "a\nb\n"
    other.write_bytes(b"\xff\xfe 3Dmol")
    assert find_viewer() == LIBRARY.replace("\r\n", "\n")
    for wrong in (other, nowhere / "none.js", nowhere):
        with pytest.raises(ValueError, match=r"viewer=.* is no 3Dmol-min.js that can be read; `npm install 3dmol`"):
            molecule_report(run, molecule_metrics(run), "", viewer=wrong)


def test_a_run_without_rdkit_or_without_a_molecule_has_a_report(nowhere, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    page = written(nowhere / "a", make_run())
    assert "since rdkit could not be loaded" in page and "pip install &#39;tfg_jax[molecules]&#39;" in page
    assert "stable molecules" in page and "valid molecules" not in page
    lost = make_run(ROWS[5:7], predicted=np.full((2, 2), np.nan), quantum=None, objective=None, units=("", ""))
    page = written(nowhere / "b", lost)
    assert "No molecule finished that could be shown." in page and "2 molecules, 2 of them failed" in page
    assert (nowhere / "b" / "molecules.sdf").read_bytes() == (nowhere / "b" / "molecules.xyz").read_bytes() == b""


def test_formulas_follow_hill():
    assert [formula(np.array(row)) for row in ([O, H, H], [F, C, H, H, H, -1], [-1])] == ["H2O", "CH3F", "no atoms"]
