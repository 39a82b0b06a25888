"""`tfg-jax search` from options to the samples of the best."""

import json
import shlex
from types import SimpleNamespace

import pytest

import tfg_jax as tfg
from tfg_jax.cli import methods, sample, search, searching
from tfg_jax.cli import options as options_module
from tfg_jax.cli.main import main
from tfg_jax.cli.options import parse
from tfg_jax.runs.store import read_folder
from tfg_jax.search import Candidate
from tfg_jax.search.axis import strengths
from tfg_jax.tasks.fashion_mnist import presets
from tfg_jax.tasks.fashion_mnist.presets import INVERSE_PRESETS, LABEL_PRESETS
from tfg_jax.tasks.qm9.presets import MOLECULE_PRESETS, SEARCH


@pytest.fixture(scope="module")
def asked(own) -> list[str]:
    axes = ["--axes", "rho", "window=none,-5:2", "--aim", "distance=lower", "cost"]
    return ["search", "--task", str(own), "--num-samples", "4", "--chunk", "8", "--trial-samples", "8", *axes]


def test_the_best_is_what_sample_makes(asked, own, tmp_path, capsys):
    """What best.json says is reported of it are the numbers of the samples that it makes."""
    out = tmp_path / "search"
    assert main([*asked, "--dry-run", "--output", str(out)]) == 0 and not out.exists()
    told = capsys.readouterr().out
    assert "At most 89 candidates, 712 samples and 4,272 network evaluations at the start's 6 a sample" in told
    assert main([*asked, "--output", str(out)]) == 0
    told = capsys.readouterr()
    assert "round 0, 4 on 8 samples" in told.err and "distance, reported" in told.out and "best.json" in told.out
    page = (out / "report.html").read_text()
    assert all(f"<h2>{title}</h2>" in page for title in ("Best", "Front", "Path", "Importance", "Trials"))
    best = json.loads((out / "best.json").read_text())
    assert best["options"]["num_samples"] == 4 and best["found"]["seeds"] == [0] and best["found"]["samples"] == 4
    assert main(["sample", "--config", str(out / "best.json"), "--dry-run"]) == 2  # a file never names code to run
    assert main(["sample", "--task", str(own), "--config", str(out / "best.json")]) == 0
    numbers = json.loads((out / "best" / "metrics.json").read_text())
    assert numbers["distance"] == pytest.approx(best["found"]["scores"]["distance"][0], rel=1e-5)
    made, values = read_folder(out / "best").manifest["config"], best["found"]["candidate"]
    assert (made["guidance"]["rho"], made["window"]) == (values["rho"], values["window"])
    capsys.readouterr()
    trials = (out / "trials.jsonl").read_bytes()
    assert main([*asked, "--output", str(out)]) == 0 and (out / "trials.jsonl").read_bytes() == trials
    assert main([*asked, "--search-seed", "5", "--output", str(out)]) == 2
    assert "holds another search (seeds: [1000, 1001] -> [5, 6])" in capsys.readouterr().err


def test_a_term_that_the_best_leaves_out_is_left_out(asked):
    """Of a preset that has it, and with it what only it needs; so is what belongs to a horizon."""
    options = parse(search, "search", [*asked[1:], "--n-iter", "2"])
    best = Candidate.of({"mu": None, "rho": 0.7, "horizon": None, "window": [-5.0, 2.0]})
    given = searching.best_options(options, SimpleNamespace(best=SimpleNamespace(candidate=best)))
    words = options_module._flags({name: value for name, value in given.items() if name != "task"})
    read = parse(sample, "sample", ["--task", given["task"], *words])
    assert methods.build(methods.named("tfg", {"tfg": tfg.TFG(0.5, 0.1)}, ()), read) == tfg.TFG(rho=0.7, mu=None)
    assert read.window == (-5.0, 2.0) and read.horizon is None


def test_the_scores_that_choose_may_be_named(asked, own):
    what = searching.search_of(parse(search, "search", [*asked[1:], "--search-evaluator", f"{own}:near"]))
    assert what.space.task.score.__name__ == "near" and what.report_task.score.__name__ == "<lambda>"


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--guidance", "none"], "guidance=none has no settings to search"),
        (["--seed", "1001"], "seed_report=1001 (--seed) is among the seeds that choose, 1000, 1001"),
        (["--axes", "strength"], "axis='strength' names no setting"),
        (["--axes", "smoothing"], "starts at None"),
        (["--aim", "speed"], "write speed=higher or =lower"),
        (["--search-evaluator", "x"], "search_evaluator='x' names no code"),
        (["--max-cost", "3"], "max_cost=3 is below the 6 network evaluations"),
        (["--trial-samples", "1"], "trial_samples=1"),
        (["--search-seed", str(2**32 - 1)], "seed_search=4294967296 must be at most 4294967295"),
        (["--seed", str(2**32)], "seed=4294967296 must be at most"),
    ],
)
def test_options_that_cannot_be_meant_are_named(extra, said, asked, refused):
    words = asked[: asked.index(extra[0])] if extra[0] in ("--axes", "--aim") else asked
    refused([*words, *extra, "--dry-run"], said)


def test_classes_are_searched_by_another_evaluator(tiny, weights, tmp_path, capsys):
    """Of a data set's task; the evaluator that reports may not choose, and a guide that does is named."""
    asked = ["search", *tiny, "--axes", "rho=1,2", "--trial-samples", "4", "--output", str(tmp_path / "out")]
    for chooser in ([], ["--search-evaluator", str(weights / "evaluator")]):
        assert main([*asked, *chooser, "--dry-run"]) == 2
        assert "would both choose and report" in (said := capsys.readouterr().err) and "--search-evaluator" in said
    guide = ["--search-evaluator", str(weights / "guide")]
    (tmp_path / "options.json").write_text(json.dumps({"search_evaluator": "mine.py:guide"}))
    assert main([*asked, "--config", str(tmp_path / "options.json"), "--dry-run"]) == 2
    assert "names code to run (search_evaluator=mine.py:guide)" in capsys.readouterr().err
    assert main([*asked, *guide]) == 0
    assert "evaluator_accuracy is given by the network that guides" in capsys.readouterr().err
    best = json.loads((tmp_path / "out" / "best.json").read_text())
    assert best["options"]["per_class"] == 1 and best["found"]["samples"] == 5
    assert set(best["found"]["scores"]) == {"evaluator_accuracy"}


def test_restorations_are_searched_on_other_images(weights, tmp_path, capsys):
    """Than those that are reported and that `solve` then restores to the same numbers."""
    tiny = ["--model", str(weights / "model"), "--evaluator", str(weights / "evaluator"), "--steps", "2"]
    asked = ["search", "--problem", "box", *tiny, "--num-images", "2", "--draws", "1", "--chunk", "4"]
    asked += ["--axes", "strength=1,4", "--trial-samples", "4", "--output", str(tmp_path / "out")]
    assert main([*asked, "--aim", "feature_distance", "--dry-run"]) == 2
    assert "aim=feature_distance is given by" in capsys.readouterr().err
    what = searching.search_of(parse(search, "search", asked[1:]))
    assert what.report_samples == 2 and len(what.space.task.truth) == 4
    assert not any((image == what.report_task.truth).all((1, 2, 3)).any() for image in what.space.task.truth)
    assert main(asked) == 0
    best = json.loads((tmp_path / "out" / "best.json").read_text())
    assert best["command"] == "solve" and main(["solve", "--config", str(tmp_path / "out" / "best.json")]) == 0
    capsys.readouterr()
    assert main(["sample", "--config", str(tmp_path / "out" / "best.json")]) == 2
    said = capsys.readouterr().err
    assert "is of `tfg-jax solve`, and `tfg-jax sample` has no --draws; give it to that command" in said
    page = (tmp_path / "out" / "report.html").read_text()
    assert "is on a seed of its own" in page and "and an evaluator" not in page
    numbers = json.loads((tmp_path / "out" / "best" / "metrics.json").read_text())
    assert numbers["psnr"] == pytest.approx(best["found"]["scores"]["psnr"][0], rel=1e-5)


def test_every_preset_has_the_command_that_searches_for_a_better_one():
    """It can be given, and it starts at the preset and moves its strengths."""
    of_images = presets.SEARCHES["labels"], presets.SEARCHES["restorations"]
    for text, tuned in zip((*of_images, SEARCH), (LABEL_PRESETS, INVERSE_PRESETS, MOLECULE_PRESETS), strict=True):
        for name, preset in tuned.items():
            program, command, *words = shlex.split(text.format(name=name))
            options = parse(search, "search", words)
            assert (program, command, options.axes) == ("tfg-jax", "search", ()) and strengths(preset)
            assert methods.build(methods.named(options.guidance, tuned, ()), options) == preset
