"""`import tfg_jax` is quick and touches no device, so that a program may still choose its devices afterwards."""

import json
import os
import subprocess
import sys

import pytest

SLOW = ["diffrax", "equinox", "matplotlib", "orbax", "tyro", "PIL"]
# No backend of this name exists, so whatever asks for a device fails.
NO_DEVICE = {"JAX_PLATFORMS": "no_such_platform"}


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter in which no device can be had."""
    return subprocess.run([sys.executable, "-c", code], env={**os.environ, **NO_DEVICE}, capture_output=True, text=True)


def test_the_probe_notices_a_device():
    run = python("import jax; jax.numpy.zeros(3)")
    assert run.returncode != 0 and "no_such_platform" in run.stderr


@pytest.mark.parametrize(
    "then",
    ["", "[getattr(tfg_jax, name) for name in tfg_jax.__all__]"],
    ids=["the package", "every public name"],
)
def test_import_touches_no_device_and_no_slow_package(then):
    run = python(f"import json, sys, tfg_jax\n{then}\nprint(json.dumps(sorted(sys.modules)))")
    assert run.returncode == 0, run.stderr
    assert not set(SLOW) & set(json.loads(run.stdout))


IMPORT_EVERY_FILE = """
import importlib, pkgutil, tfg_jax
for module in pkgutil.walk_packages(tfg_jax.__path__, "tfg_jax."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


def test_no_file_touches_a_device():
    run = python(IMPORT_EVERY_FILE)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    "before", ["", "import tfg_jax.sample, tfg_jax.invert", "tfg_jax.best_of_n", IMPORT_EVERY_FILE]
)
def test_a_function_is_not_hidden_by_the_file_of_its_name(before):
    """Importing `tfg_jax.sample`, the file, must not replace `tfg_jax.sample`, the function."""
    run = python(f"import tfg_jax\n{before}\nprint(callable(tfg_jax.sample), callable(tfg_jax.invert))")
    assert run.stdout.split() == ["True", "True"], run.stdout + run.stderr


def test_import_adds_at_most_a_second_to_jax():
    """The one promise about time; the best of three runs, since a busy machine only ever adds."""
    code = "import jax, time; start = time.perf_counter(); import tfg_jax; print(time.perf_counter() - start)"
    assert min(float(python(code).stdout) for _ in range(3)) < 1.0
