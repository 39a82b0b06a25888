"""Where the command line keeps compiled programs: named by the environment, never in the way."""

import os
import subprocess
import sys

import pytest

from tfg_jax import host


@pytest.fixture
def env(monkeypatch, tmp_path):
    """A home of its own, and no word of JAX's caches."""
    for name in [name for name in os.environ if "CACHE" in name and name.startswith(("JAX_", "TFG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    return monkeypatch


def test_the_folder_is_the_environments(env, tmp_path):
    assert host.program_cache().folder == tmp_path / "home/.cache/tfg_jax/xla"
    env.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert host.program_cache().folder == tmp_path / "caches/tfg_jax/xla"
    env.setenv("TFG_JAX_CACHE", str(tmp_path / "own"))
    assert host.program_cache() == (tmp_path / "own/xla", "$TFG_JAX_CACHE")
    env.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "jax"))
    assert host.program_cache() == (tmp_path / "jax", "$JAX_COMPILATION_CACHE_DIR")
    assert not (tmp_path / "jax").exists()  # JAX's own affair


@pytest.mark.parametrize("off", host.OFF)
def test_it_is_turned_off(env, off):
    env.setenv("TFG_JAX_CACHE", off)
    assert host.program_cache().folder is None and "$TFG_JAX_CACHE" in host.program_cache().why


def test_a_home_that_cannot_be_written_turns_it_off(env, tmp_path):
    (tmp_path / "file").touch()
    env.setenv("HOME", str(tmp_path / "file"))
    assert host.program_cache().folder is None and "no folder can be made" in host.program_cache().why
    env.setenv("HOME", str(tmp_path))
    env.setattr(os, "access", lambda *_: False)
    assert host.program_cache().folder is None and "cannot be written" in host.program_cache().why


@pytest.mark.parametrize("jax_first", [True, False])
def test_programs_are_kept_whether_jax_is_loaded_or_not(env, tmp_path, jax_first):
    """Also beside an entry whose writer was killed, in the library's folder, or without a time of use, in others'."""
    folder = tmp_path / "xla"
    folder.mkdir()
    (folder / "killed-cache").write_bytes(b"half")
    env.setenv(*(("TFG_JAX_CACHE", str(tmp_path)) if jax_first else ("JAX_COMPILATION_CACHE_DIR", str(folder))))
    env.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    first, last = ("import jax", "") if jax_first else ("", "import jax")
    code = f"{first}\nfrom tfg_jax.host import keep_programs\nkeep_programs()\n{last}\njax.jit(lambda x: x + 1)(1.0)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0 and "Error writing" not in run.stderr, run.stderr
    assert set(folder.glob("*-cache")) - {folder / "killed-cache"}
    assert (folder / "killed-cache").exists() != jax_first and bool(list(folder.glob("*-atime"))) == jax_first
