"""A sample folder by the readers of others. Needs, beside the library,

pip install zarr xarray          # 150 MB, which is why no test installs them
python scripts/stress/readers.py
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import xarray  # type: ignore
import zarr  # type: ignore

from tfg_jax.runs.store import open_folder, read_folder


def check(name: str, holds: bool) -> None:
    """Say whether a promise holds; leave with code 1 if not."""
    print(f"{'ok' if holds else 'FAILED':<7} {name}", flush=True)
    if not holds:
        sys.exit(1)


def main() -> None:
    """zarr-python and xarray see the numbers that were written."""
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory() as where:
        local = Path(where) / "run"
        with open_folder(local, {"seed": 3}, 10, 4) as folder:
            for indices in folder.missing():
                x = np.stack([np.random.default_rng([3, i]).normal(size=(2, 3)) for i in indices]).astype(np.float32)
                folder.write(indices, {"x": x, "status_code": np.zeros(len(indices), np.int32)})
        arrays, group, data = (
            read_folder(local).read_all(),
            zarr.open_group(str(local), mode="r"),
            xarray.open_zarr(local),
        )
        check("zarr-python lists the arrays", set(group.array_keys()) == set(arrays))
        for name, array in arrays.items():
            same = np.array_equal(np.asarray(group[name]), array) and np.array_equal(data[name].values, array)
            check(f"zarr-python and xarray read {name}", same and data[name].dims[0] == "sample")


if __name__ == "__main__":
    main()
