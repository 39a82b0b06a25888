"""Molecules of wanted properties: requests, guidance and folders, on networks that compile in no time."""

import dataclasses
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny_molecules import evaluator, guide, model, of_alpha, predictor, small

import tfg_jax as tfg
from tfg_jax import rows
from tfg_jax.data.qm9 import PROPERTIES
from tfg_jax.denoiser import log_sigma_time
from tfg_jax.metrics.xtb import XTB
from tfg_jax.models.egnn.config import EGNNConfig
from tfg_jax.models.egnn.convert import OneMolecule, PropertyPredictor
from tfg_jax.models.egnn.network import EGNN
from tfg_jax.models.egnn.properties import PropertyNet
from tfg_jax.runs.run import Run
from tfg_jax.tasks.base import Task
from tfg_jax.tasks.qm9 import MOLECULE_PRESETS, MoleculeTask, load_molecule_task, requests
from tfg_jax.tasks.qm9.targets import joint
from tfg_jax.tasks.qm9.task import predict

KEY = jax.random.key(0)
NETWORKS: dict[str, Any] = {"model": model(), "guide": guide(), "evaluator": evaluator()}
NAMES = list(PROPERTIES)


def task_of(*properties, target=(), **options):
    task = load_molecule_task(properties or ("alpha",), target, **{**NETWORKS, **options})
    return dataclasses.replace(task, sampler=tfg.DDIM(steps=3))


@pytest.fixture(scope="module")
def task():
    return task_of()


def test_requests_are_molecules_of_the_data_in_a_fixed_order(task):
    """Atom counts and properties as they occur together, or those of molecules of about the wanted value."""
    table = joint()
    assert table.shape == (4096, 7) and 7 <= table[:, 0].min() and table[:, 0].max() == 29
    np.testing.assert_array_equal(task.targets(5), table[:5, [0, 1 + NAMES.index("alpha")]])
    both = [0, 1 + NAMES.index("gap"), 1 + NAMES.index("mu")]
    rows = table[(np.arange(4097) + 4) % 4096]
    np.testing.assert_array_equal(task_of("gap", "mu", start=4).targets(4097), rows[:, both])
    alpha = table[:, 1 + NAMES.index("alpha")]
    near = requests(("alpha",), (85.0,))
    closest = np.argsort(np.abs(alpha - 85.0), kind="stable")[:64]
    assert (near[:, 1] == 85.0).all() and near.dtype == np.float32
    np.testing.assert_array_equal(near[:, 0], table[np.sort(closest), 0])
    assert near[:, 0].mean() > requests(("alpha",), (60.0,))[:, 0].mean() + 3  # larger molecules
    assert (requests(("alpha", "gap"), (70.0, 7000.0), atoms=11) == [11, 70.0, 7000.0]).all()
    sorted_rows = task_of(by_size=True).targets(9)
    assert (np.diff(sorted_rows[:, 0]) >= 0).all()
    np.testing.assert_array_equal(np.sort(sorted_rows[:, 1]), np.sort(task.targets(9)[:, 1]))


def test_the_objective_is_of_the_properties_asked_for_and_knows_the_atom_count():
    task, x = task_of("cv", "mu"), jnp.asarray(np.random.default_rng(0).normal(size=(29, 9)), jnp.float32)
    objective = task.objective(None)
    targets = jnp.array([[9.0, 72.0, 69.0], [12.0, 72.0, 69.0]])
    wanted, counts = task.asked(objective, targets, False)
    assert counts.dtype == jnp.int32 and counts.tolist() == [9, 12]
    columns = np.array([NAMES.index("cv"), NAMES.index("mu")])
    values = []
    for row, count in zip(wanted, counts, strict=True):
        said = np.asarray(task.guide(x, count))[columns]
        error = (np.array([72.0, 69.0]) - said) / np.asarray(task.guide.scale)[columns]
        values.append(objective(x, row, cond=count))
        np.testing.assert_allclose(values[-1], -0.5 * np.square(error).sum(), rtol=1e-5)
    assert abs(values[0] - values[1]) > 1e-3
    with pytest.raises(ValueError, match="conditional=True has no effect on a model of molecules"):
        task.sample(KEY, task.targets(2), None, conditional=True)


class Watched(MoleculeTask):
    """Records how far every step is from the molecules' subspace."""

    def value(self, method):
        return _outside


def _outside(ctx):
    kept = ctx.x.reshape(-1, 9)
    return jnp.abs(jnp.sum(kept[:, :3], 0)).max() + jnp.abs(kept[12:]).max()


TARGETS = np.array([[12, 76.0], [9, 60.0]], np.float32)


@pytest.mark.parametrize("name", [None, *MOLECULE_PRESETS])
def test_every_method_is_guided_and_keeps_the_mean_at_every_step(task, name):
    """Positions of zero mean and nothing below the atoms, in batches of few rows; presets move what they guide."""
    method = MOLECULE_PRESETS[name] if name else None
    fields = {field.name: getattr(task, field.name) for field in dataclasses.fields(task)}
    out = Watched(**fields).sample(KEY, TARGETS, method)
    x = np.asarray(out.x)
    assert x.shape == (2, 29, 9) and np.asarray(out.status.ok).all()
    assert np.abs(x[..., :3].sum(1)).max() < 1e-4 and not x[0, 12:].any() and not x[1, 9:].any()
    if name in ("dflow", "controls"):
        assert out.info["summary"].shape == (2, 1)
    else:
        assert out.info["summary"].shape == (2, 3) and np.max(out.info["summary"]) < 1e-4
    if method is not None:
        plain = np.asarray(task.sample(KEY, TARGETS, None).x)
        assert np.abs(x - plain).max() > 1e-3


@pytest.mark.parametrize(
    "method",
    [
        None,
        tfg.TFG(rho=0.1, mu=0.05, n_iter=2, smoothing=0.2, n_recur=2),
        tfg.LGD(0.1, n_mc=2),
    ],
    ids=["unguided", "TFG", "LGD"],
)
def test_a_batch_of_few_rows_gives_the_samples_of_full_ones(task, method):
    """Draws of fewer rows are the first of more, so a sample does not depend on those it is computed with."""
    few, full = task.sample(KEY, TARGETS, method), Task.sample(task, KEY, TARGETS, method)
    np.testing.assert_allclose(few.x, full.x, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(few.info["summary"], full.info["summary"], rtol=1e-3, atol=1e-5)
    assert np.array_equal(few.cost.forwards, full.cost.forwards)


CONFIG = EGNNConfig(width=8, pair_width=4, pair_hidden=4, heads=1, vectors=2, layers=1, radial=4)


def _filled(module: nnx.Module) -> tuple[Any, Any]:
    graphdef, params = nnx.split(module)
    leaves, tree = jax.tree.flatten(nnx.to_pure_dict(params))
    rng = np.random.default_rng(0)
    return graphdef, jax.tree.unflatten(tree, [jnp.asarray(rng.normal(size=a.shape) / 3, jnp.float32) for a in leaves])


def test_guided_molecules_turn_mirror_and_permute_with_their_draws():
    """Networks of the real structure: the objective is invariant, so the whole guided way is equivariant."""
    graphdef, params = _filled(EGNN(CONFIG, rngs=nnx.Rngs(0)))
    generator = tfg.from_fn(
        OneMolecule(graphdef, CONFIG), params, tfg.VPPolynomial(), prediction="x0", network_time=log_sigma_time,
        domain=tfg.domains.molecules(29, 6), num_classes=30,
    )  # fmt: skip
    graphdef, params = _filled(PropertyNet(CONFIG, 6, rngs=nnx.Rngs(0)))
    real = PropertyPredictor(params, jnp.zeros(6), jnp.ones(6), graphdef, tuple(NAMES), "real")
    task = task_of("alpha", "gap", model=generator, guide=real, evaluator=real)
    rng, objective = np.random.default_rng(1), task.objective(None)
    wanted, counts = task.asked(objective, jnp.array([[5.0, 1.0, -1.0]]), False)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0].astype(np.float32)
    order = np.array([2, 0, 3, 1, 4, *range(5, 29)])
    draws = [rng.normal(size=(1, *lead, 29, 9)).astype(np.float32) for lead in ((), (2, 1))]

    def run(matrix, rows):
        moved = [jnp.concatenate([x[..., rows, :3] @ matrix, x[..., rows, 3:]], -1) for x in draws]
        return tfg.sample(
            KEY, task.model, noise=tfg.NoiseTape(moved[0], step=moved[1]), cond=counts, objective=objective,
            target=wanted, guidance=tfg.DPS(0.5), sampler=tfg.DDIM(steps=2),
        ).x  # fmt: skip

    still = np.asarray(run(np.eye(3, dtype=np.float32), np.arange(29)))
    assert np.abs(still[0, :5]).max() > 0.1 and not still[0, 5:].any()
    for matrix in (turn, -turn):
        expected = np.concatenate([still[:, order, :3] @ matrix, still[:, order, 3:]], -1)
        np.testing.assert_allclose(run(matrix, order), expected, rtol=1e-3, atol=1e-4)


def test_all_that_decides_the_samples_decides_the_folder(task):
    """Also which property equal numbers are of; what only scores does not."""
    run = Run(task, tfg.DPS(0.1), 3)

    def key_of(**options):
        return dataclasses.replace(run, task=task_of(**options)).key

    fixed = {"target": (75.0,), "atoms": 12}
    others = [
        dataclasses.replace(run, task=task_of("gap", **fixed)), dataclasses.replace(run, task=task_of("mu", **fixed)),
        dataclasses.replace(run, method=None), dataclasses.replace(run, seed=1),
    ]  # fmt: skip
    keys = [run.key, *(other.key for other in others), key_of(start=1), key_of(by_size=True), key_of(**fixed)]
    keys += [key_of(guide=predictor("tiny-guide", 5)), key_of(target=(76.0,), atoms=12)]
    assert len(set(keys)) == len(keys)
    assert key_of(evaluator=of_alpha()) == run.key


def test_the_bare_task_is_traced_at_the_full_size(task):
    assert (Run(task, tfg.DPS(0.1), 3, chunk=2).memory() or 0) > 0
    wide = dataclasses.replace(task.bare(), requested=None)
    out = jax.eval_shape(lambda t, task: task.sample(KEY, t, None).x, jax.ShapeDtypeStruct((2, 2), np.float32), wide)
    assert out.shape == (2, 29, 9)


def test_folders_resume_and_go_on_unless_sorted_by_size(task, tmp_path, capsys):
    run = Run(task, tfg.DPS(0.1, normalize="residual"), 3, chunk=2)
    first = run.samples(tmp_path / "run")
    kept = {file.name: file.read_bytes() for file in (tmp_path / "run").glob("shard-*")}
    (tmp_path / "run" / "shard-00001.sha256").unlink()
    again = run.samples(tmp_path / "run")
    assert "2 of 3 samples are on disk already" in capsys.readouterr().err
    assert kept == {file.name: file.read_bytes() for file in (tmp_path / "run").glob("shard-*")}
    for name in first:
        np.testing.assert_array_equal(again[name], first[name])
    longer = dataclasses.replace(run, n=5).samples(tmp_path / "run")
    np.testing.assert_allclose(longer["x"][:3], first["x"], rtol=1e-5, atol=1e-6)
    by_size = dataclasses.replace(run, task=task_of(by_size=True))
    by_size.samples(tmp_path / "sorted")
    with pytest.raises(ValueError, match="num_samples: 3 -> 5|targets_sha256"):
        dataclasses.replace(by_size, n=5).samples(tmp_path / "sorted")


def test_an_evaluation_counts_all_attempts_and_asks_every_judge(task, monkeypatch):
    asked = []

    def quantum(positions, types, properties):
        asked.append((positions.shape, types.shape, properties))
        return np.full((len(positions), len(properties)), 80.0), 1

    run = Run(dataclasses.replace(task, quantum=quantum), None, 3, chunk=3)
    samples = task.sample(KEY, run.targets, None)
    x = np.array(samples.x)
    stored = {
        "x": x, "target": run.targets, "status_code": np.array([0, 1, 0], np.int32),
        "status_step": np.array([-1, 2, -1], np.int32), "objective": np.asarray(samples.info["summary"]),
        **{f"cost_{name}": np.asarray(getattr(samples.cost, name)) for name in ("forwards", "pullbacks", "objective")},
    }  # fmt: skip
    result = run.task.evaluate(stored)
    assert asked == [((3, 29, 3), (3, 29), ("alpha",))]
    counts = run.targets[:, 0].astype(int)
    said = predict(task.evaluator, x, counts, ("alpha",))
    np.testing.assert_allclose(result.values["error_alpha"][[0, 2]], np.abs(said[:, 0] - run.targets[:, 1])[[0, 2]])
    assert np.isnan(result.values["error_alpha"][1])
    numbers = result.numbers
    assert (numbers["samples"], numbers["failed_samples"], numbers["quantum_failed"]) == (3, 1, 1)
    assert "quantum_error_alpha" in numbers and "guide_error_alpha" in numbers and result.run.units == ("bohr^3",)
    monkeypatch.setattr(rows, "MOST_BYTES", 1)  # the same in two parts
    parts = run.task.evaluate(
        {name: rows.Rows(a.shape, a.dtype, 2, lambda r, a=a: a[r.start : r.stop]) for name, a in stored.items()}
    )
    assert {**parts.numbers, "quantum_failed": 1} == pytest.approx(numbers, nan_ok=True) and parts.numbers[
        "quantum_failed"
    ] == 2
    # Elements are judged as they are read off, whole.
    whole = np.array(x)
    whole[..., 3:] = 0.0
    for i, count in enumerate(counts):
        kinds = x[i, :count, 3:8].argmax(-1)
        whole[i, np.arange(count), 3 + kinds] = 0.25
        whole[i, :count, 8] = np.array([1, 6, 7, 8, 9])[kinds] / 10
    direct = [
        task.evaluator(jnp.asarray(one), int(count))[NAMES.index("alpha")]
        for one, count in zip(whole, counts, strict=True)
    ]
    np.testing.assert_allclose(said[:, 0], direct, rtol=1e-5)
    assert not task.notes()
    for alone in (dataclasses.replace(task, evaluator=None), dataclasses.replace(task, evaluator=task.guide)):
        assert "scored by what guided them" in " ".join(alone.notes())


def test_what_the_data_hardly_has_is_warned_of():
    notes = task_of("alpha", "gap", target=(200.0, 7000.0), atoms=2).notes()
    assert len(notes) == 2 and "alpha = 200 bohr^3 lies outside the data, whose 1, 25, 50, 75 and 99 %" in notes[0]
    assert "atom counts 2 are hardly among the data's 7 to 29" in notes[1]
    assert not task_of("alpha", target=(80.0,)).notes() and not task_of("mu").notes()
    judged = dataclasses.replace(task_of("cv", "mu"), quantum=XTB())
    assert judged.notes() == ["the quantum program gives no cv: no quantum_error_cv"]
    assert "scored by what guided them" in " ".join(task_of(evaluator=None).notes())
    with pytest.raises(ValueError, match="properties='gap'"):
        load_molecule_task("gap", **NETWORKS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"properties": ("charge",)}, "property='charge' is unknown; choose of mu, alpha"),
        ({"properties": ("mu", "mu")}, "must name one property or several, each once"),
        ({"properties": ()}, "must name one property or several"),
        ({"target": (1.0, 2.0)}, r"target=\[1.0, 2.0\] must hold one finite number for each of alpha"),
        ({"target": (float("nan"),)}, "must hold one finite number"),
        ({"target": (float("inf"),)}, "must hold one finite number"),
        ({"target": (1e300,)}, "must hold one finite number"),
        ({"atoms": 0}, "atoms=0 must be an integer >= 1"),
        ({"atoms": 30}, "atoms=30 is asked for, the model makes molecules of 1 to 29;"),
        ({"model": small()}, "the model makes molecules of 1 to 9;"),
        ({"start": -1}, "start=-1"),
        ({"steps": 0}, "steps=0"),
        ({"model": guide()}, "a Denoiser is needed"),
        ({"guide": model()}, "PropertyPredictor is needed"),
        ({"guide": "fashion-mnist-guide"}, "'fashion-mnist-guide' holds a Classifier, a PropertyPredictor is needed"),
        ({"evaluator": "fashion-mnist"}, "a PropertyPredictor is needed"),
        ({"model": "fashion-mnist"}, r"samples of shape \(28, 28, 1\), not molecules of shape \(atoms, 9\)"),
        ({"properties": ("gap",), "evaluator": of_alpha()}, "'gap' is unknown to 'alpha alone'; choose of alpha"),
        ({"properties": ("gap",), "guide": of_alpha()}, "'gap' is unknown to 'alpha alone'"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_at_once(change, message):
    with pytest.raises(ValueError, match=message):
        load_molecule_task(**{"properties": ("alpha",), **NETWORKS, **change})


@pytest.mark.parametrize(
    ("targets", "message"),
    [([[count, 70.0]], f"atoms={count:g} is asked for") for count in (31, 0, -1, 12.5, np.nan, np.inf)]
    + [
        (rows, r"targets has shape .*; give rows of an atom count and alpha, \(n, 2\)")
        for rows in ([[12.0, 70.0, 1.0]], [[12.0]], [12.0, 70.0], np.zeros((0, 2)))
    ],
)
def test_ones_own_targets_are_checked_too(targets, message, task):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(MoleculeTask.sample)(task, KEY, np.asarray(targets, np.float32), None)


def test_ones_own_targets_are_checked_under_jit(task):
    """Shapes where it is traced; counts by the status of their samples, which no other sees."""
    counts = np.array([12, 31, 0, -1, 12.5, np.nan, 29], np.float32)
    rows = np.stack([counts, np.full(len(counts), 70.0, np.float32)], 1)
    out = jax.jit(lambda rows: task.sample(KEY, rows, None))(rows)
    assert np.asarray(out.status.code).tolist() == [0, 2, 2, 2, 2, 2, 0]
    with pytest.raises(ValueError, match=r"targets has shape \(7, 1\)"):
        jax.eval_shape(lambda rows: task.sample(KEY, rows, None), rows[:, :1])


def test_weights_that_are_not_there_are_said():
    with pytest.raises(FileNotFoundError, match="neither a released name"):
        load_molecule_task(model="no-such-weights", guide=guide(), evaluator=evaluator())
