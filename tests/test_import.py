"""`import tfg_jax` is quick and touches no device, so that a program may still choose its devices afterwards."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tfg_jax

SLOW = ["diffrax", "equinox", "matplotlib", "orbax", "tensorstore", "tyro", "PIL"]
# No backend of this name exists, so whatever asks for a device fails.
NO_DEVICE = {"JAX_PLATFORMS": "no_such_platform"}
LIST_MODULES = "print(json.dumps(sorted(sys.modules)))"
IS_FUNCTION = "print(callable(tfg_jax.sample) and callable(tfg_jax.invert))"


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter in which no device can be had."""
    return subprocess.run([sys.executable, "-c", code], env={**os.environ, **NO_DEVICE}, capture_output=True, text=True)


def test_the_probe_notices_a_device():
    run = python("import jax; jax.numpy.zeros(3)")
    assert run.returncode != 0 and "no_such_platform" in run.stderr


def test_every_public_name_is_written_where_type_checkers_read_it():
    named = {*tfg_jax._MODULE_OF, *tfg_jax._MODULES}
    tree = ast.parse(Path(tfg_jax.__file__).read_text("utf-8"))
    typed = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {alias.name for each in typed.body if isinstance(each, ast.ImportFrom) for alias in each.names}
    assert set(tfg_jax.__all__) == named == imported


def test_import_touches_no_device_and_no_slow_package():
    """Neither the package nor any of its public names."""
    names = "[getattr(tfg_jax, name) for name in tfg_jax.__all__]"
    run = python(f"import json, sys, tfg_jax\n{LIST_MODULES}\n{names}\n{LIST_MODULES}")
    assert run.returncode == 0, run.stderr
    for listed in run.stdout.splitlines():
        assert not set(SLOW) & set(json.loads(listed))


IMPORT_EVERY_FILE = """
import importlib, pkgutil, tfg_jax
for module in pkgutil.walk_packages(tfg_jax.__path__, "tfg_jax."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


@pytest.mark.parametrize(
    "imports", [("import tfg_jax.sample, tfg_jax.invert", "tfg_jax.best_of_n"), (IMPORT_EVERY_FILE,)]
)
def test_a_function_is_not_hidden_by_the_file_of_its_name(imports):
    """Importing the file `tfg_jax.sample` must not replace the function of that name; no file touches a device."""
    run = python("\n".join(["import tfg_jax", IS_FUNCTION, *(f"{each}\n{IS_FUNCTION}" for each in imports)]))
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["True"] * (1 + len(imports)), run.stdout


def test_import_adds_at_most_a_second_to_jax():
    """The one promise about time; any of three runs may keep it, since a busy machine only ever adds."""
    code = "import jax, time; start = time.perf_counter(); import tfg_jax; print(time.perf_counter() - start)"
    assert any(float(python(code).stdout) < 1.0 for _ in range(3))


def test_rooms_are_attributes_that_load_on_first_use():
    """`tfg_jax.metrics`, and in rooms that import nothing themselves also their modules and what those give."""
    code = """
import sys, tfg_jax as tfg
assert not any(name.startswith("tfg_jax.") for name in sys.modules), sorted(sys.modules)
print(tfg.metrics.psnr.__name__, tfg.training.fit.__name__, tfg.weights.store.__name__, tfg.weights.load.__name__,
      tfg.data.load_sample.__name__, tfg.models.UNet2D.__name__, tfg.report.__name__, tfg.tasks.__name__,
      tfg.struct.dataclass.__name__, hasattr(tfg.models, "nothing"), "UNet2D" in dir(tfg.models))
"""
    run = python(code)
    assert run.returncode == 0, run.stderr
    found = "psnr fit tfg_jax.weights.store load load_sample UNet2D tfg_jax.report tfg_jax.tasks dataclass False True"
    assert run.stdout.split() == found.split()
