"""A method, a transform, a sampler and a schedule of one's own, each one small file, are as good as the library's."""

import importlib
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest
import test_every_method
from test_cost import CLEAN
from test_cost import MODEL as COUNTED

import tfg_jax as tfg
from tfg_jax import struct
from tfg_jax.cli.main import main
from tfg_jax.declare import bibtex_of_text, describe, flags_of, told, with_flags
from tfg_jax.references import resolve
from tfg_jax.runs.run import Run

OWN = Path(__file__).parents[1] / "own"
MODULES = ("own_method", "own_transform", "own_sampler", "own_schedule")
sys.path.insert(0, str(OWN))  # as a user's working directory is

BoundedSteps, Shrunk, Damped, Bent = (
    getattr(importlib.import_module(module), name)
    for module, name in zip(MODULES, ("BoundedSteps", "Shrunk", "Damped", "Bent"), strict=True)
)

SCHEDULE = Bent(power=1.2)
MODEL = problems.denoiser(SCHEDULE)
SAMPLER = Damped(4, damping=0.98, grid=tfg.UniformLogSNR(6.0, -6.0))


def test_they_sample_together():
    draw = lambda guidance, model=Shrunk(MODEL, 0.95): tfg.sample(  # noqa: E731
        jax.random.key(0), model, objective=problems.class_objective(), target=jnp.asarray(problems.LABELS),
        guidance=guidance, sampler=SAMPLER,
    )  # fmt: skip
    guided, off = draw(BoundedSteps(0.5)), draw(BoundedSteps(0.0))
    assert guided.status.ok.all() and jnp.abs(guided.x - off.x).max() > 1e-2
    each = draw(BoundedSteps(0.5), Shrunk(MODEL, tfg.PerSample(jnp.array([0.95, 0.5]))))
    np.testing.assert_allclose(each.x[0], guided.x[0], rtol=1e-5)
    assert jnp.abs(each.x[1] - guided.x[1]).max() > 1e-2


@pytest.mark.parametrize("test", ["test_all_networks_and_schedules", "test_strength_zero_is_unguided"])
def test_the_contract_holds_for_the_method(test, monkeypatch, x64):
    monkeypatch.setitem(problems.METHODS, "own", (BoundedSteps, problems.class_objective, problems.LABELS))
    getattr(test_every_method, test)("own", None)


def test_costs_are_read_off_what_it_needs():
    bound = tfg.upper_cost(BoundedSteps(n_recur=2), None, SAMPLER)
    assert (bound.forwards, bound.pullbacks, bound.objective) == (8, 8, 8)
    out = tfg.sample(jax.random.key(0), COUNTED, num_samples=1, guidance=BoundedSteps(n_recur=2), objective=CLEAN,
                     sampler=Damped(4))  # fmt: skip
    assert [int(np.sum(calls)) for calls in jax.tree.leaves(out.cost)] == [8, 8, 8]


@struct.dataclass
class Baseless:
    """A method without any base, as they were written before there was one."""

    strength: float = 1.0
    n_recur = 1

    def check(self):
        if self.strength < 0:
            raise ValueError(f"strength={self.strength} is below 0")

    def cost(self, look):
        return tfg.Cost(forwards=look.forwards, objective=1)

    def prepare(self, levels):
        return levels.alpha[1:], jnp.zeros(())

    def step(self, ctx, per_step, state):
        x0, _ = ctx.lookahead()
        shift = self.strength * per_step * jax.grad(ctx.objective)(x0)
        return ctx.advance(ctx.denoised).shifted(shift), state + 1.0


def test_a_class_without_the_base_is_as_good():
    draw = lambda strength: tfg.sample(  # noqa: E731
        jax.random.key(0), COUNTED, num_samples=1, guidance=Baseless(strength), objective=CLEAN, sampler=Damped(4)
    )
    out = draw(0.5)
    assert out.status.ok.all() and np.sum(out.cost.pullbacks) == 0
    with pytest.raises(ValueError, match="strength=-1.0 is below 0"):
        draw(-1.0)
    assert tfg.from_json(tfg.to_json(Baseless(0.3)), allow=(__name__,)) == Baseless(0.3)


def test_json_there_and_back():
    for config in (BoundedSteps(0.3, 2), SAMPLER, SCHEDULE, tfg.CFG(Shrunk(MODEL, 0.5), None)):
        text = tfg.to_json(config)
        given = {"model": MODEL} if '"given"' in text else {}
        assert tfg.from_json(text, allow=MODULES, **given) == config
    assert json.loads(tfg.to_json(SCHEDULE))["type"] == "own_schedule:Bent"
    with pytest.raises(ValueError, match="is a class of your own; pass allow=.'own_schedule'"):
        tfg.from_json(tfg.to_json(SCHEDULE))
    with pytest.raises(ValueError, match="is a class of your own"):
        tfg.from_json(tfg.to_json(SCHEDULE), allow="own_schedule_and_more")  # a text is one module, not its parts
    for name in ("own_schedule:Nothing", "own_schedule:jax", "own_nothing:Bent"):
        with pytest.raises(ValueError, match=f"type='{name}' (cannot be imported|is no configuration)"):
            tfg.from_json(json.dumps({"type": name}), allow=(*MODULES, "own_nothing"))


def test_mistakes_are_told_where_they_are_written():
    for make, said in (
        (lambda: BoundedSteps(-1.0), "strength=-1.* must be a finite number >= 0"),
        (lambda: BoundedSteps(n_recur=0), "n_recur=0 must be an integer >= 1"),
        (lambda: Shrunk(MODEL, 1.5), "share=1.5 must be a finite number >= 0 and <= 1"),
        (lambda: Shrunk(MODEL, tfg.PerSample(jnp.array([2.0]))), "share=.* must be"),
        (lambda: Damped(grid="karras"), "grid='karras' is no grid of tfg_jax"),  # type: ignore[arg-type]
        (lambda: Bent(0.5), "power=0.5 must be a finite number >= 1"),
        (lambda: Bent().replace(power=jnp.ones(2)), "power has shape .2,., one number is needed"),
    ):
        with pytest.raises(ValueError, match=said):
            make()
    traced = jax.vmap(BoundedSteps)(jnp.array([-1.0, 1.0]))  # traced numbers pass, and so does what comes back
    assert traced.strength.shape == (2,) and jax.jit(lambda own: own.replace(strength=2.0).strength)(traced) == 2.0
    with pytest.raises(ValueError, match=r"strength has shape \(2,\)"):
        tfg.upper_cost(traced, None, SAMPLER)


def test_flags_have_the_defaults_of_an_object_and_help():
    flags = flags_of(Damped(7))
    assert flags() == flags(steps=7, damping=0.99) and with_flags(Damped(7), flags(damping=0.5)) == Damped(7, 0.5)
    with pytest.raises(ValueError, match="damping=2.* must be"):
        with_flags(Damped(7), {"damping": 2.0})
    with pytest.raises(ValueError, match="Damped has no setting 'eta'; it has steps, damping, grid"):
        with_flags(Damped(7), {"eta": 2.0})
    nested = flags_of(tfg.DFlow)()
    assert nested.solve.steps == 8 and nested.solve.solver == "midpoint"
    assert with_flags(tfg.DFlow(), nested) == tfg.DFlow()
    assert [(f.name, f.range, f.traced) for f in describe(Damped)][:2] == [("steps", ">= 1", False),
                                                                         ("damping", "in [0, 1]", True)]  # fmt: skip
    assert told(BoundedSteps).reduces_to == "no guidance at strength = 0"


def test_the_command_line_takes_the_method(monkeypatch, capsys):
    monkeypatch.setattr(Run, "memory", lambda run: None)  # compiles the program; tested where one is sampled
    given = ["sample", "--guidance", "own_method:BoundedSteps", "--per-class", "1", "--steps", "3", "--dry-run"]
    assert main([*given, "--n-recur", "2"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "BoundedSteps" in line).split()
    assert row[-4:-1] == ["60", "60", "60"]  # 10 samples, 3 steps, 2 recurrences
    assert main([*given, "--strength", "-1"]) == 2 and "strength=-1" in capsys.readouterr().err
    assert main([*given, "--mu", "1"]) == 2


def test_they_are_cited(tmp_path, capsys):
    file = tmp_path / "run.json"
    file.write_text(json.dumps({"guidance": json.loads(tfg.to_json(BoundedSteps())), "sampler": {"type": "Heun"}}))
    assert main(["cite", "own_method:BoundedSteps"]) == 0
    assert "@misc{nobody2026bounded," in capsys.readouterr().out
    assert main(["cite", str(file), "--allow", "own_method"]) == 0
    out = capsys.readouterr().out
    assert out.index("karras2022edm") < out.index("nobody2026bounded")
    assert main(["cite", str(file)]) == 0
    said = capsys.readouterr()
    assert "nobody" not in said.out and "own_method:BoundedSteps is left out; give --allow own_method" in said.err
    for name, key in (("own_transform:Shrunk", "ho2022cfg"), ("own_sampler:Damped", "karras2022edm")):
        assert main(["cite", name]) == 0 and key in capsys.readouterr().out


def test_a_class_of_a_file_is_cited_by_its_file(tmp_path, capsys):
    own = tmp_path / "mine.py"
    own.write_text((OWN / "own_method.py").read_text())
    typed = f"{own}:BoundedSteps"
    assert main(["cite", typed]) == 0 and "nobody2026bounded" in capsys.readouterr().out
    file = tmp_path / "run.json"
    file.write_text(tfg.to_json(resolve("guidance", typed)()))
    assert main(["cite", str(file), "--allow", str(own)]) == 0 and "nobody2026bounded" in capsys.readouterr().out
    assert main(["cite", str(file)]) == 0
    assert "mine.py:BoundedSteps is left out; give --allow mine.py" in capsys.readouterr().err
    assert main(["cite", "nowhere.py:Mine"]) == 2 and "nowhere.py:Mine does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["@misc{me, title = {A {B} c}}", "@misc{me,\n  title = {A},\n  note = {b}}"])
def test_entries_end_where_their_braces_do(text):
    assert bibtex_of_text(f"Words.\n\n{text}\n\nMore: {{x}}.") == {"me": text}
