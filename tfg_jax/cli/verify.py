"""`tfg-jax verify`: whether the samples of a folder are all there, as they were written."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from tfg_jax.cli.main import INCOMPLETE, OK


@dataclasses.dataclass(frozen=True)
class Options:
    """Read a sample folder and check every shard against its recorded hash; exit code 1 unless all are there.

    The command that made the folder computes what is missing or damaged, and mends what other readers go by.
    """

    source: Annotated[Path, tyro.conf.Positional] = Path("outputs/sample")
    """Sample folder or its URL."""
    repair_list: bool = False
    """Print the shards to be computed again alone: number, first index, last index + 1."""
    dry_run: bool = False
    """Show how much would be read, and read the manifest alone."""


def run(options: Options) -> int:
    """Check and print."""
    from tfg_jax.report import counted
    from tfg_jax.runs.store import read_folder

    folder = read_folder(options.source)
    if options.dry_run:
        n = folder.manifest["num_samples"]
        print(f"{folder.name}: {counted(n, 'sample')} in {counted(len(folder.ranges()), 'shard')}; none was read.")
        return OK
    states, ranges = folder.verify(), folder.ranges()
    size = folder.manifest["shard_size"]
    wrong = [part for part in ranges if states[folder.shards.name(part)] != "ok"]
    if options.repair_list:
        for part in wrong:
            print(part.start // size, part.start, part.stop)
    else:
        for name, state in states.items():
            if state != "ok":
                print(f"{state:<8} {name}")
        whole, n = len(ranges) - len(wrong), folder.manifest["num_samples"]
        lost = f"; {counted(sum(map(len, wrong)), 'sample')} of {n} to be computed" if wrong else ""
        print(f"{folder.name}: {whole} of {counted(len(ranges), 'shard')} ok{lost}")
    return OK if set(states.values()) == {"ok"} else INCOMPLETE
