"""The documentation as a site: it builds without a warning, has every public name, and its notebook runs."""

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
sys.path.insert(0, str(REPO / "scripts"))

from site_pages import notebook, reference  # noqa: E402  # pyright: ignore[reportMissingImports]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    paths = [str(REPO), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(paths)}
    built = subprocess.run(command, cwd=REPO, capture_output=True, text=True, env=environment)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_the_reference_has_every_public_name(site):
    inventory = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    known = {line.split(" ")[0] for line in inventory.splitlines()}
    symbols = reference.symbols()
    assert len(symbols) > 200
    assert not [symbol.path for symbol in symbols if symbol.path not in known]


def test_pages_load_nothing_from_elsewhere(site):
    """No font, script or picture of another host: the site can be read offline."""
    page = (site / "index.html").read_text("utf-8")
    tags = [line for line in page.splitlines() if "<link" in line or "<script" in line or "<img" in line]
    assert tags and not [tag for tag in tags if 'src="http' in tag or 'href="http' in tag]
    assert "--8&lt;--" not in page and "trouser, sandal" in page  # the README's example is there


def test_the_tutorial_runs(tmp_path, monkeypatch):
    """Its own assertions say how well the flow fits and how near guided samples are to exact ones."""
    monkeypatch.chdir(tmp_path)
    stored = json.loads((REPO / "docs" / "tutorial.ipynb").read_text("utf-8"))
    counts = [len(cell["outputs"]) for cell in stored["cells"] if cell["cell_type"] == "code"]
    notebook.execute(stored)
    assert [len(cell["outputs"]) for cell in stored["cells"] if cell["cell_type"] == "code"] == counts
    page, pictures = notebook.to_markdown(stored, "tutorial")
    assert all(f"]({name})" in page for name in pictures) and len(pictures) >= 4
