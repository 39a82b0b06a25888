"""The studies under scripts: their rows are listed and reckoned without a network, and no two share a name."""

import importlib
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.mark.parametrize(
    ("name", "rows", "reckoned"), [("cfg", 68, 31), ("label_guidance", 34, 31), ("gradient_guidance", 47, 0)]
)
def test_rows_of_a_script_are_planned_without_a_network(name, rows, reckoned, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    module = importlib.import_module(f"{name}.study")
    study = module.study_of(module.Options(folder=tmp_path / "none"))
    plan = study.plan()
    assert len(plan) == len({row.name for row in study.rows}) == rows and not list(tmp_path.iterdir())
    costly = [row for row in study.rows if row.evaluations]
    assert all(row.seconds > 0 and row.samples > 0 for row in costly) and len(costly) >= reckoned
