"""`tfg-jax merge`: one sample folder of several that hold parts of the same run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import tyro

from tfg_jax.cli.main import INCOMPLETE, OK

CONFIG = "config.json"


@dataclasses.dataclass(frozen=True)
class Options:
    """Join sample folders of one configuration, as processes without a common file system leave them.

    Every shard is taken from the first folder that holds it whole; exit code 1 if none holds some of them.
    """

    sources: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Sample folders or their URLs, of any format."""
    out: Annotated[Path, tyro.conf.arg(aliases=["--output"])] = Path("outputs/merge")
    """Folder of all samples, or a URL: a new one, or one of the same configuration, whose shards stay."""
    dry_run: bool = False
    """Read and check everything, write nothing."""


def run(options: Options) -> int:
    """Check that they are of one run, then copy shard by shard."""
    from tfg_jax.report import counted
    from tfg_jax.runs.claim import check_same
    from tfg_jax.runs.record import COMPARED
    from tfg_jax.runs.run import SECONDS, full_disk, read_seconds
    from tfg_jax.runs.store import open_folder, read_folder

    if not options.sources:
        raise ValueError("sources is empty; give sample folders of one configuration")
    folders = [read_folder(source) for source in options.sources]
    first = folders[0].manifest
    for folder in folders[1:]:
        check_same(folder.name, folder.manifest, first, set(first) - COMPARED | {"hash"})
    if options.dry_run:
        whole = sum(any(f.shards.state(part) == "ok" for f in folders) for part in folders[0].ranges())
        print(f"{whole} of {counted(len(folders[0].ranges()), 'shard')} into {options.out}; nothing was written.")
        return OK
    with open_folder(options.out, first["config"], first["num_samples"], first["shard_size"]) as merged:
        try:
            for part in merged.missing():
                source = next((each for each in folders if each.shards.state(part) == "ok"), None)
                if source is not None:
                    arrays = source.read(part)
                    merged.write(part, {name: array for name, array in arrays.items() if name != "index"})
            config = next((data for each in folders if (data := each.values.read(CONFIG)) is not None), None)
            if config is not None and merged.values.read(CONFIG) is None:
                merged.values.write(CONFIG, config)
            seconds = {k: v for each in (*reversed(folders), merged) for k, v in read_seconds(each.path).items()}
            if seconds != read_seconds(merged.path):
                merged.values.write(f"{SECONDS}.json", json.dumps(seconds).encode())
        except OSError as error:
            raise full_disk(merged.name, error) from error
        left = sum(map(len, merged.missing()))
    lost = f"; {counted(left, 'sample')} in no folder, which the command that made them computes" if left else ""
    print(f"{merged.name}: {first['num_samples'] - left} of {counted(first['num_samples'], 'sample')}{lost}")
    return INCOMPLETE if left else OK
