"""Suites: those that are shipped name what there is, damaged ones are refused in a sentence, the paper's runs on tiny
networks."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tiny_paper

import tfg_jax as tfg
from scripts.fuzz import TOML as MINE
from tfg_jax.benchmark import read_suite, suite_names
from tfg_jax.benchmark.methods import methods_of, names_of
from tfg_jax.benchmark.rows import cells_of
from tfg_jax.benchmark.run import Benchmark, resized
from tfg_jax.benchmark.sources import Sources
from tfg_jax.benchmark.tasks import scores_of
from tfg_jax.tasks.find import find_task, task_names
from tfg_jax.tasks.inverse import PROBLEMS


@pytest.mark.parametrize("name", suite_names())
def test_shipped_suites_name_tasks_and_methods_that_there_are(name):
    suite = read_suite(name)
    for entry in suite.tasks:
        for target in entry.targets:
            assert list(methods_of(entry, target)) == names_of(entry)
        assert not entry.data or entry.rate > 0
    if name in ("smoke", "full", "headline"):  # every task of the library
        assert {entry.data for entry in suite.tasks} == set(task_names())
        tasks = {cell.task for cell in cells_of(suite)}
        assert tasks == {"labels", *PROBLEMS, "alpha", "mu", "cv", "homo", "lumo", "gap"}
    if name == "full":
        presets = find_task("fashion-mnist").INVERSE_PRESETS
        assert {cell.name for cell in cells_of(suite) if cell.task == "sr4"} == {"none", *presets}


def test_the_paper_is_there_whole_with_its_numbers():
    suite = read_suite("tfg-paper")
    assert sum(need.gives == "model" for need in suite.needs) == 7
    assert sum(len(entry.targets) for entry in suite.tasks) == 40
    assert len({entry.task(target) for entry in suite.tasks for target in entry.targets}) == 16
    settings = {(cell.task, cell.target.name): cell.method for cell in cells_of(suite) if cell.name == "tfg"}
    for key, rho, mu, smoothing in (
        (("cifar10", "3"), 4.0, 0.25, 0.01),
        (("imagenet", "333"), 1.0, 4.0, 1.0),
        (("gender-age", "0-1"), 0.5, 8.0, 1.0),
        (("super-resolution", "sr4"), 4.0, 2.0, 0.01),
        (("style", "2"), 0.25, 2.0, 0.1),
        (("gap", "gap"), 0.032, 0.001, 0.001),
    ):
        structure = "decrease" if key[0] == "gap" else "increase"
        assert settings[key] == tfg.TFG(
            rho=rho, mu=mu, smoothing=smoothing, n_iter=4, n_mc=1, rho_structure="increase", mu_structure=structure,
            smoothing_structure="decrease",
        ), key  # fmt: skip
    trusts = {target.trust for entry in suite.tasks for target in entry.targets}
    assert trusts == {"code", "second-hand", "code and second-hand"}
    assert all(number.trust and number.source for entry in suite.tasks for number in entry.published)


def mended(tmp_path: Path, old: str = "", new: str = "") -> str:
    assert old in MINE
    (tmp_path / "mine.toml").write_text(MINE.replace(old, new) if old else MINE + new)
    return str(tmp_path / "mine.toml")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('data = "fashion-mnist"', 'data = "mnist"', "data='mnist' is unknown; choose of fashion-mnist, qm9"),
        ('"none", "tfg"', '"none", "tgf"', "task 'labels': methods='tgf' is unknown; choose of none, conditional"),
        ("samples = 4", "sample = 4", "task 'labels': sample is no key; there are name, kind"),
        ("samples = 4", "", "task 'labels': samples is missing"),
        ("samples = 4", 'samples = "4"', "samples='4' must be a whole number"),
        ("samples = 4", "samples = true", "samples=True must be a whole number"),
        ("samples = 4", "samples = 0", "samples=0 must be 1 or more"),
        ("samples = 4", "samples = 4\neta = 2", "eta=2.0 must be in [0, 1]"),
        ('"all", {', '"all", "all", {', "target 'all' appears twice"),
        ('"all", {', '"../all", {', "target='../all' cannot name a folder"),
        ('name = "labels"', 'name = "../labels"', "name or method='../labels' cannot name a folder"),
        ("samples = 4", 'samples = 4\nalso = ["speed"]', "also='speed' is no number of metrics.json"),
        ('"all", {', "3.5, {", "targets.request=3.5 must be a whole number or a text"),
        ('targets = ["all", {request = "bag", tfg = {rho = 2.0}}]', "targets = []", "targets=0 must be 1 or more"),
        ("rho = 2.0", "strength = 2.0", "TFG has no setting 'strength'"),
        ("rho = 2.0", "rho = -2.0", "rho=-2. must be a finite number"),
        ("tfg = {", "dps = {", "settings of='dps' is unknown; choose of none, tfg"),
        ('metric = "evaluator_accuracy"', 'metric = "psnr"', "metric='psnr' is unknown"),
        ('kind = "labels"', 'kind = "properties"', "kind='properties' is unknown; choose of labels, restoration"),
        ("", 'model = "mine"', "model='mine' is unknown"),
        ("tfg = {", "none = {", "settings.none has no effect"),
        ('about = "mine"', 'about = "mine"\nseeds = [0, 0]', "seed 0 appears twice"),
        ('about = "mine"', 'about = "mine"\nheadline = "dps"', "headline, baselines or beyond='dps' is unknown"),
        ('about = "mine"', 'about = "mine"\nheadline = "tfg"', "baselines=[] must name methods other than"),
        ('about = "mine"', 'about = "mine"\nbaselines = ["none"]', "baselines has no effect without headline"),
        ("samples = 4", "samples = 4\nnoise_std = 0.1", "noise_std has no effect on a task of kind 'labels'"),
        ('about = "mine"', "about = [", "is not TOML"),
        ("[[task]]", "[task]", "task={"),
    ],
)  # fmt: skip
def test_a_damaged_suite_is_refused_in_a_sentence(old, new, said, tmp_path):
    with pytest.raises(ValueError) as error:
        read_suite(mended(tmp_path, old, new))
    text = str(error.value)
    assert said in text and text.startswith("suite=") and "\n" not in text and len(text) < 700, text


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('kind = "restoration"\ndata = "fashion-mnist"\ntargets = ["sr2"]\nmetric = "lpips"', "score is missing"),
        (
            'kind = "properties"\ndata = "qm9"\ntargets = ["mu"]\nmetric = "error"',
            "clip=true has no effect",
        ),
        (
            'kind = "properties"\ndata = "qm9"\ntargets = ["mu", "gap"]\nmetric = "error"\nclip = false',
            "no common unit; set apart = true",
        ),
    ],
)
def test_what_would_fail_after_sampling_is_refused_before(keys, said, tmp_path):
    head = 'about = "mine"\nseeds = [0]\n[[task]]\nname = "a"\nsamples = 4\nmethods = ["none", "tfg"]\n'
    (tmp_path / "mine.toml").write_text(f"{head}{keys}\n")
    with pytest.raises(ValueError, match=said):
        read_suite(str(tmp_path / "mine.toml"))


OWN = """
about = "mine"
[[need]]
name = "net"
gives = "model"
source = "here"
[[need]]
name = "truth"
gives = "images"
source = "here"
[[need]]
name = "judge"
gives = "classifier"
source = "here"
[[need]]
name = "maybe"
gives = "classifier"
source = "here"
optional = true
[[need]]
name = "rated"
gives = "score"
source = "here"
optional = true
[[task]]
name = "restored"
kind = "restoration"
model = "net"
images = "truth"
evaluators = ["maybe"]
score = "rated"
operator = {type = "hidden", of = 28, rows = [[8, 20]]}
targets = ["box"]
methods = ["none"]
samples = 4
metric = "psnr"
[[task]]
name = "classes"
kind = "labels"
model = "net"
guides = ["judge"]
evaluators = ["judge"]
targets = ["0"]
methods = ["none"]
samples = 4
metric = "evaluator_accuracy"
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('evaluators = ["judge"]', 'evaluators = ["maybe"]', "evaluators 'maybe' is optional"),
        ('guides = ["judge"]', 'guides = ["maybe"]', "guides 'maybe' is optional, though"),
        ('metric = "psnr"', 'metric = "lpips"', "score 'rated' is optional, though there is no lpips without it"),
        ('metric = "psnr"', 'metric = "feature_distance"', "evaluators 'maybe' is optional"),
        ('guides = ["judge"]', 'guides = ["judge"]\nimages = "truth"', "images has no effect on a task of kind"),
        ('images = "truth"', 'images = "truth"\nguides = ["judge"]', "guides has no effect on a task of kind 'restora"),
        ('evaluators = ["maybe"]', 'evaluators = ["maybe", "judge"]', "evaluators=['maybe', 'judge'] must be one"),
    ],
)  # fmt: skip
def test_roles_of_own_tasks_are_read_and_there_when_they_run(old, new, said, tmp_path):
    (tmp_path / "own.toml").write_text(OWN)
    assert {need.name for need in read_suite(tmp_path / "own.toml").needs if need.optional} == {"maybe", "rated"}
    assert OWN.count(old) == 1
    (tmp_path / "own.toml").write_text(OWN.replace(old, new))
    with pytest.raises(ValueError) as error:
        read_suite(tmp_path / "own.toml")
    assert said in str(error.value)


def test_a_suite_that_is_nowhere(tmp_path):
    with pytest.raises(ValueError, match="suite='smokes' is unknown; choose one of full, headline, smoke, tfg-paper"):
        read_suite("smokes")
    with pytest.raises(FileNotFoundError, match="suite=.* does not exist"):
        read_suite(tmp_path / "none.toml")
    (tmp_path / "deep.toml").write_text(f"a = {'[' * 100_000}")
    with pytest.raises(ValueError, match="is not TOML"):
        read_suite(tmp_path / "deep.toml")
    suite = read_suite(mended(tmp_path))
    assert suite.tasks[0].targets[1].request == ("bag",) and suite.name == "mine"
    assert methods_of(suite.tasks[0], suite.tasks[0].targets[1])["tfg"].rho == 2.0


@pytest.fixture(scope="module")
def paper():
    """The suite at two steps, two samples and one target a task."""
    suite = read_suite("tfg-paper")
    few = [
        dataclasses.replace(entry, steps=2, targets=entry.targets[: None if entry.apart else 1])
        for entry in suite.tasks
    ]
    return resized(dataclasses.replace(suite, tasks=tuple(few)), 2)


def test_every_task_of_the_paper_runs_on_tiny_networks(paper, tmp_path):
    benchmark = Benchmark(paper, tmp_path, tiny_paper.everything(), ("tfg",))
    needs = {need["name"]: need["given"] for need in benchmark.needs()}
    assert needs.pop("clip-b32") is False and all(needs.values())
    benchmark.compute()
    lines = {line.task: line for line in benchmark.outcome().lines}
    assert len(lines) == 16
    for line in lines.values():
        assert (line.rows, line.samples, line.failed) == (1, 2, 0) and np.isfinite(line.score.value), line.task
    assert lines["gender-age"].also["all_attributes"].value <= lines["gender-age"].score.value
    assert lines["cifar10"].evaluations == 4 and lines["deblur"].metric == "lpips"


def test_a_function_that_scores_is_known_by_its_text_and_fails_in_a_sentence(paper):
    """And what it says of a sample that failed does not count."""

    def broken(x, truth):
        raise KeyError("lost")

    def constant(x, truth):
        return {"lpips": np.ones(len(x))}

    (entry,) = (entry for entry in paper.tasks if entry.name == "deblur")
    one, other = (Sources(paper, {entry.score: each}) for each in (broken, constant))
    assert one.inputs(entry) != other.inputs(entry) and one.inputs(entry).keys() == {entry.score}
    arrays = {"x": np.zeros((3, 1)), "target": np.zeros(3), "status_code": np.array([0, 1, 4])}
    with pytest.raises(ValueError, match=r"use=lpips-squeeze fails when it is called \(KeyError: 'lost'\); mend it"):
        scores_of(entry, None, one, arrays)
    np.testing.assert_array_equal(scores_of(entry, None, other, arrays)["lpips"], [1, np.nan, 1])


def test_what_is_not_handed_in_is_named(paper, tmp_path):
    benchmark = Benchmark(paper, tmp_path, {"cat": tiny_paper.unet(3, 3)}, ("deblur",))
    with pytest.raises(
        ValueError, match="suite 'tfg-paper' lacks cat-images, lpips-squeeze; --dry-run says what these"
    ):
        benchmark.compute()
    with pytest.raises(ValueError, match="use='dog' is nothing that suite 'tfg-paper' asks for; it asks for cifar10"):
        Benchmark(paper, tmp_path, {"dog": 1}).plan()
    use = tiny_paper.everything() | {"cat-images": tiny_paper.pictures(1)}
    with pytest.raises(ValueError, match="use=cat-images gives arrays of shape"):
        Benchmark(paper, tmp_path, use, ("deblur", "none")).compute()
    use["cat-images"] = tiny_paper.pictures(3)
    with pytest.raises(ValueError, match="samples=3 is more than the 2 images of 'cat-images'"):
        Benchmark(resized(paper, 3), tmp_path, use, ("deblur", "none")).compute()
