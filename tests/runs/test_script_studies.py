"""The studies under scripts: their rows are listed and reckoned without a network, and no two share a name."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from tfg_jax.data.qm9 import PROPERTIES
from tfg_jax.readers import load_json

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.mark.parametrize(
    ("name", "rows", "reckoned"),
    [("cfg", 68, 31), ("label_guidance", 34, 31), ("gradient_guidance", 47, 0), ("qm9", 252, 250)],
)
def test_rows_of_a_script_are_planned_without_a_network(name, rows, reckoned, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    module = importlib.import_module(f"{name}.study")
    study = module.study_of(module.Options(folder=tmp_path / "none"))
    plan = study.plan()
    assert len(plan) == len({row.name for row in study.rows}) == rows and not list(tmp_path.iterdir())
    costly = [row for row in study.rows if row.evaluations]
    assert all(row.seconds > 0 and row.samples > 0 for row in costly) and len(costly) >= reckoned


def molecule_report(error: float, n: int = 4) -> dict:
    """What a row of molecules stores, made up."""
    shares = {"atom_stability": 0.9, "molecule_stability": 0.5, "validity": 0.6, "uniqueness": 1.0, "hits": 0.25}
    ends = {f"{key}_{end}": value for key, value in shares.items() for end in ("low", "high")}
    numbers = {"samples": n, "failed_samples": 1, "network_forwards_per_sample": 40, "network_pullbacks_per_sample": 40}
    errors = {"error_alpha": error, "error_alpha_low": None, "error_alpha_high": None, "guide_error_alpha": 0.1}
    quantum = {"quantum_error_alpha": [3.0, None, None], "quantum_failed": 1, "quantum_samples": 2}
    each = {"error_alpha": [error, error + 0.5, None, error + 1.0]}
    return {"setting": "S(1)", "numbers": shares | ends | numbers | errors | quantum, "each": each, "seconds": 60.0}


def test_the_page_of_molecules_tells_what_is_known_and_names_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    page, study = (importlib.import_module(f"qm9.{name}") for name in ("page", "study"))
    options = study.Options(page=tmp_path / "molecules.md", properties=("alpha",))
    page.write_page(options, {})
    empty = load_json("tables", tmp_path / "molecules.json")
    assert "Error against stability" not in empty and 'Not run yet: `--only whole "alpha"`' in read(options.page)

    def result(report: dict, trials: int = 0) -> dict:
        tried = [report | {"score": float(-i)} for i in range(trials)]
        return {"config": {"solve_steps": 8}, "kept": 0, "trials": tried, "report": report, "seconds": 60.0}

    levels = [{"s": 0.3, "cosine": [[0.5] * 5 + [1.0]], "norm": [[2.0] * 6], "value": [[0.0] * 6], "half": [[0.9]]}]
    known = {
        "generator": result(molecule_report(1.0)),
        "ladder alpha": result(molecule_report(9.0) | {"random": 9.5, "atoms": 2.0}),
        "evaluations/alpha/greedy": result(molecule_report(4.0), 4),
        "evaluations/alpha/horizon 0.5": result(molecule_report(3.0), 4),
        "rare/high mu, high gap/QM9": result({"setting": "-", "numbers": {
            "samples": 1000, "hits": 0.001, "hits_low": 0.0, "hits_high": 0.01, "of_same_sizes": 0.002}}),
        "diagnosis/alpha": result({"levels": levels}),
    }  # fmt: skip
    assert known.keys() <= {row.name for row in study.study_of(options).rows}
    page.write_page(options, known)
    tables = load_json("tables", tmp_path / "molecules.json")
    greedy, further = tables["alpha, equal evaluations"]
    assert further["gain in alpha"].startswith("1 ") and greedy["gain in alpha"] == "–"
    assert further["setting"] == "S(1), edge" and further["evaluations"] == "80" and further["failed"] == "1"
    assert tables["All properties, equal evaluations"][1]["mean of error / #Atoms"] == "1.5"
    assert [line["model"] for line in tables["Generator"]] == ["ours", "EDM", "G-SchNet", "E-NF"]
    assert tables["What errors mean"][0]["evaluator"] == "0.2576" and tables["What errors mean"][0]["#Atoms"] == "2"
    assert [line["row"] for line in tables["Rare: high mu, high gap"]] == ["QM9", "QM9, of the sizes asked for"]
    assert tables["Why: gradients against the horizon"][0]["h = 1 in half the steps"] == "0.90"
    assert "TFG" in read(options.page).split("## All properties, equal evaluations")[1].split("Not run yet")[1][:200]
    assert {file.name for file in tmp_path.glob("*.png")} == {"molecules_trade_off.png", "molecules_gradients.png"}


def test_properties_and_rows_have_one_name_everywhere(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    published, pictures, rare, rows = (
        importlib.import_module(f"qm9.{name}") for name in ("published", "pictures", "rare", "rows")
    )
    settings = rows.equal_evaluations(80)
    assert set(published.ORDER) == set(PROPERTIES) >= {name for region in rare.REGIONS.values() for name in region}
    assert {*pictures.SHOWN, *rare.SETTINGS} <= set(settings) and all(
        key == each.name for key, each in settings.items()
    )
    assert all(
        len(row) == len(published.ORDER) for row in (*published.GREED_IS_GOOD.values(), *published.PEERS.values())
    )
    assert all(0 < each.evaluations <= 80 for each in settings.values())
    for region in rare.REGIONS.values():  # what is asked for is a hit, and the edge itself is
        assert rare.in_region(np.array([rare.edges(region, inside=True), rare.edges(region)]), region).all()
    assert not rare.in_region(np.array([[np.nan, 1e9]]), rare.REGIONS["high mu, high gap"]).any()


def read(file: Path) -> str:
    return file.read_text("utf-8")
