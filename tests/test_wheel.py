"""What a user installs: the wheel alone, weights and command included, samples in a clean environment."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]

SAMPLE = """
import sys
from pathlib import Path
import jax, numpy as np
import tfg_jax as tfg

package = Path(tfg.__file__).resolve()
assert package.is_relative_to(Path(sys.prefix).resolve()), package
model = tfg.load("fashion-mnist")
out = tfg.sample(jax.random.key(0), model, num_samples=2, sampler=tfg.DDIM(steps=2))
x = np.asarray(out.x)
assert x.shape == (2, 28, 28, 1) and np.isfinite(x).all() and x.std() > 0.1, (x.shape, x.std())
assert (np.asarray(out.status.code) == 0).all()
print("sampled")
"""


# The smallest run: a dry run compiles the program it describes.
DRY_RUN = "sample --method none --classes bag --per-class 1 --steps 2 --chunk 1 --dry-run".split()


def run(*command: object, cwd: Path) -> str:
    # Neither PYTHONPATH nor settings of pip may offer the repository or a network.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", target, cwd=REPO)
    (built,) = target.glob("*.whl")
    return built


def test_the_wheel_carries_the_package_and_the_weights(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = {name: archive.getinfo(name).file_size for name in archive.namelist()}
    expected = {f"tfg_jax/{p.relative_to(REPO / 'tfg_jax').as_posix()}" for p in (REPO / "tfg_jax").rglob("*.py")}
    expected |= {f"tfg_jax/{name}" for name in ("py.typed", "checkpoints/manifest.json", "report/page.html.jinja")}
    expected |= {"tfg_jax/report/viewer.js", "tfg_jax/metrics/xtb_lines.json", "tfg_jax/benchmark/suites/smoke.toml"}
    assert expected <= set(inside)
    weights = {name: size for name, size in inside.items() if name.endswith("model.safetensors")}
    assert "tfg_jax/checkpoints/fashion-mnist/model.safetensors" in weights
    for name, size in weights.items():
        assert size == (REPO / name.removeprefix("tfg_jax/")).stat().st_size
    assert not [name for name in inside if not name.startswith(("tfg_jax/", "tfg_jax-"))]


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """Programs of a clean environment with the wheel installed.

    Dependencies are borrowed from this environment by a path file, so that nothing is downloaded.
    """
    home = tmp_path_factory.mktemp("clean")
    venv.create(home / "env", with_pip=False, symlinks=True)
    bin = home / "env" / "bin"
    # Another environment's pip spares the seconds that installing one takes.
    pip = (sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "--python", bin / "python")
    run(*pip, "install", "--no-deps", "--no-index", "--no-compile", wheel, cwd=home)
    site = Path(run(bin / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip())
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return bin


def test_the_wheel_samples_away_from_the_repository(installed, tmp_path):
    # -I: nor may the working directory offer the repository.
    assert run(installed / "python", "-I", "-c", SAMPLE, cwd=tmp_path).strip().endswith("sampled")


def test_the_wheel_brings_the_command(installed, tmp_path):
    said = run(installed / "tfg-jax", *DRY_RUN, cwd=tmp_path)
    assert "28 x 28 x 1" in said and "Nothing was sampled or written" in said
    said = run(installed / "tfg-jax", "train", "molecules", "--init", "qm9", "--dry-run", cwd=tmp_path)
    assert "899,714 parameters" in said and "Nothing was trained or written" in said
    assert not list(tmp_path.iterdir())
