"""Measure the library's overheads on the shipped UNet and print the table of ratios, with intervals.

    python scripts/bench.py                 # all, some minutes
    python scripts/bench.py --runs 30 --steps 5 --page docs/results/details/speed.md
    python scripts/bench.py horizon --page docs/results/details/speed.md  # the lookahead tables alone, also on the page
    python scripts/bench.py peers --page docs/results/details/speed.md  # against PyTorch code,
                                     # which an environment of its own (.venv-peers, or --python) holds
    python scripts/bench.py molecules --page docs/results/details/speed.md  # guided molecules, batches and padding
    python scripts/bench.py search --runs 3 --page docs/results/details/speed.md  # a sweep, and strategies compared
    python scripts/bench.py scale --page docs/results/details/speed.md  # forced devices, chunks, writing, start-up
    python scripts/bench.py device --runs 10 --page docs/results/details/speed.md  # on an accelerator, below 10 minutes

Every ratio is of two programs timed in turn (a, b, a, b, ...) in one process, by its processor time: the ratio of the
medians with its 95 % bootstrap interval. Absolute times depend on the machine and are not the point.
"""

import dataclasses
import statistics
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array
from speed import device, molecules, peers, scale, strategies, sweep
from speed.floors import floor
from speed.lookaheads import full_gradient
from timing import interleaved, ratio_of

import tfg_jax as tfg
from tfg_jax.host import keep_freed_memory
from tfg_jax.report import markdown_table, text_table
from tfg_jax.runs.page import write_details


@dataclasses.dataclass(frozen=True)
class Run:
    """What is measured."""

    runs: int = 30  # timed runs of each program, interleaved
    steps: int = 5  # sampling steps of a timed program
    batch: int = 32
    page: Path | None = None  # also write the tables here; sections that are not measured stay as they are
    what: tyro.conf.Positional[Literal["all", "device", "horizon", "molecules", "peers", "scale", "search"]] = "all"
    python: Path | None = None  # of the environment that has the peers; None makes one
    folder: Path = Path("runs/searches")  # keeps the trials of searches: stopped, the same command goes on


def ratio(run: Run, ours: Callable[[], Any], theirs: Callable[[], Any]) -> dict[str, Any]:
    """Medians of interleaved runs and the bootstrap interval of their ratio."""
    a, b = (np.asarray(each) for each in interleaved({"ours": ours, "theirs": theirs}, run.runs).values())
    return {
        "ratio": ratio_of(a, b),
        "ours (ms)": round(1e3 * float(np.median(a)), 1), "floor (ms)": round(1e3 * float(np.median(b)), 1),
    }  # fmt: skip


COMPILATIONS = 5


def compiled_size(model: Any, objective: Any, target: Array, steps: int) -> dict[str, Any]:
    """Seconds to compile, lines of the program and peak temporary bytes of a TFG run of so many steps."""

    def run(key: Array, model: Any, objective: Any, target: Array) -> Array:
        options: Any = {"guidance": tfg.TFG(rho=1.0, mu=0.25), "sampler": tfg.DDIM(steps=steps)}
        return tfg.sample(key, model, objective=objective, target=target, **options).x

    lowered = jax.jit(run).lower(jax.random.key(0), model, objective, target)
    start = time.process_time()
    memory = lowered.compile().memory_analysis()
    return {
        "seconds": time.process_time() - start, "lines": len(lowered.as_text().splitlines()),
        "bytes": getattr(memory, "temp_size_in_bytes", None),
    }  # fmt: skip


SOLVED = 8  # batch of the timed lookaheads
CALLS: Counter = Counter()


def _count(name: str, x: Array) -> Array:
    jax.debug.callback(lambda _: CALLS.update([name]), jnp.sum(x))
    return x


_counted = jax.custom_vjp(lambda x: _count("forwards", x))
_counted.defvjp(lambda x: (_count("forwards", x), None), lambda _, cotangent: (_count("pullbacks", cotangent),))


@dataclasses.dataclass(frozen=True)
class Counted:
    """A network whose calls and pullbacks are counted."""

    apply: Callable[..., Array]

    def __call__(self, params: Any, x: Array, t: Array, cond: Any) -> Array:
        return _counted(self.apply(params, x, t, cond))


def memory_of_gradients(model: Any, batch: int, steps: int) -> list[dict[str, Any]]:
    """Peak temporary bytes and counted calls of a full-horizon gradient under each memory policy."""
    x = jax.random.normal(jax.random.key(0), (batch, *model.shape))
    rows: list[dict[str, Any]] = []
    for remat in ("none", "step"):
        lookahead = tfg.TruncatedSolve(1.0, steps, "euler", remat=remat)
        memory = full_gradient(model, lookahead).lower(x).compile().memory_analysis()
        CALLS.clear()
        jax.block_until_ready(full_gradient(model.replace(apply=Counted(model.apply)), lookahead)(x[:1]))
        jax.effects_barrier()
        size, calls = _mb(getattr(memory, "temp_size_in_bytes", None)), CALLS["forwards"] + CALLS["pullbacks"]
        row = {"remat": remat, "temporary memory (MB)": size, "forwards": CALLS["forwards"],
               "pullbacks": CALLS["pullbacks"]}  # fmt: skip
        first = (rows or [row])[0]
        row["memory / none"] = round(row["temporary memory (MB)"] / first["temporary memory (MB)"], 3)
        rows.append(row | {"calls / none": round(calls / (first["forwards"] + first["pullbacks"]), 2)})
        print(text_table(rows[-1:]), flush=True)
    return rows


def horizon_tables(run: Run, model: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Scan against diffrax at 16 steps, and the memory policies at 64."""
    import diffrax

    x = jax.random.normal(jax.random.key(0), (SOLVED, *model.shape))
    ours = full_gradient(model, tfg.TruncatedSolve(1.0, 16, "heun"))
    theirs = full_gradient(model, tfg.TruncatedSolve(1.0, 16, diffrax.Heun()))
    speed = {
        "what": "scan over diffrax with recursive checkpoints, 16 Heun steps", "bar": "<= 1.00",
        **ratio(run, lambda: ours(x), lambda: theirs(x)),
    }  # fmt: skip
    print(text_table([speed]), flush=True)
    return [speed], memory_of_gradients(model, 2, 64)


def overheads(run: Run, model: Any, guide: Any, objective: Any) -> list[dict[str, Any]]:
    """Public calls over hand-written scans, of one sample and of a batch."""
    rows = []
    for batch, bar in ((1, "<= 1.03"), (run.batch, "<= 1.03")):
        target = jnp.arange(batch, dtype=jnp.int32) % 10
        for kind, guidance in (
            ("unguided", None), ("heun", None), ("dps", tfg.DPS(1.0)), ("tfg", tfg.TFG(rho=1.0, mu=0.25, n_iter=4))
        ):  # fmt: skip
            steps = run.steps if batch > 1 else 8 * run.steps
            sampler = tfg.Heun(steps=steps) if kind == "heun" else tfg.DDIM(steps=steps)
            options = {} if guidance is None else {"objective": objective, "target": target, "guidance": guidance}
            key, by_hand = jax.random.key(0), floor(model, guide, batch, sampler, kind)
            ours = partial(tfg.sample, key, model, num_samples=batch, sampler=sampler, **options)
            row = {"what": f"{kind}, batch {batch}, {steps} steps", "bar": bar}
            rows.append(row | ratio(run, lambda ours=ours: ours().x, partial(by_hand, key, target)))
            print(text_table(rows[-1:]), flush=True)
    return rows


def write_section(run: Run, title: str, text: str) -> None:
    """One section of the page, in place of the one of the same title."""
    if run.page is None:
        return
    parts = run.page.read_text().split("\n## ")[1:] if run.page.exists() else []
    sections = dict(part.split("\n", 1) for part in parts) | {title: text}
    page = "# Speed\n" + "".join(f"\n## {title}\n\n{body.strip()}\n" for title, body in sections.items())
    write_details(run.page, page)


def write_horizon(run: Run, model: Any) -> None:
    """Measure lookaheads, and write their section."""
    speed, memory = horizon_tables(run, model)
    note = (
        f"Generated by `python scripts/bench.py horizon --runs {run.runs} --page {run.page}`: gradients through "
        f"the whole solve on the shipped UNet, batch {SOLVED}, medians of {run.runs} interleaved runs with 95 % "
        f"intervals, jax {jax.__version__} on {jax.devices()[0]}."
    )
    below = (
        "64 Euler steps, batch 2: temporary memory of the compiled program, and the network's forwards and pullbacks "
        'counted by callback as they happen. "remat" is `TruncatedSolve(remat=...)`: '
        '"step" keeps the states alone.'
    )
    write_section(run, "Lookaheads", f"{note}\n\n{markdown_table(speed)}\n\n{below}\n\n{markdown_table(memory)}")


def write_peers(run: Run) -> None:
    """Measure against PyTorch code, and write the section."""
    rows = peers.measure(peers.interpreter(run.python), run.runs)
    note = (
        f"Generated by `python scripts/bench.py peers --runs {run.runs} --page {run.page}`: processor time of a step, "
        f"ours over theirs (below 1 is faster), medians of {run.runs} interleaved runs of {peers.STEPS} steps; the "
        "same UNet2DModel weights, one thread on one core, objective the squared residual of a half-masked image. jax "
        f"{jax.__version__} against {', '.join(peers.REQUIREMENTS)}. The benchmark is the TFG benchmark's update "
        "written again as a plain PyTorch loop, with the forwards that its code makes; small has (32, 64) channels, "
        "attention with heads of 8 channels at half the resolution and one layer a block."
    )
    write_section(run, "Peers", f"{note}\n\n{markdown_table(rows)}")


def write_molecules(run: Run) -> None:
    """Measure guided molecules, and write their section."""
    tables = molecules.measure(run.runs, run.steps)
    note = (
        f"Generated by `python scripts/bench.py molecules --runs {run.runs} --steps {run.steps} --page {run.page}`: "
        "processor time, DPS by the shipped guide unless said otherwise (one forward, one pullback, one objective "
        f"gradient a step), medians of {run.runs} interleaved runs with 95 % intervals, jax {jax.__version__} on "
        f"{jax.devices()[0]}. Ratios alone: absolute times depend on the machine."
    )
    texts = [f"{title}:\n\n{markdown_table(rows)}" for title, rows in tables.items()]
    write_section(run, "Molecules", "\n\n".join([note, *texts]))


def write_search(run: Run) -> None:
    """Measure searches, and write their section."""
    tables = sweep.measure(run.runs), strategies.compare(run.folder)
    note = (
        f"Generated by `python scripts/bench.py search --runs {run.runs} --page {run.page}`, jax {jax.__version__} on "
        f"{jax.devices()[0]}. {sweep.NOTE}"
    )
    texts = [note, markdown_table(tables[0]), strategies.NOTE, markdown_table(tables[1])]
    write_section(run, "Search", "\n\n".join(texts))


def write_scale(run: Run) -> None:
    """Measure sampling at scale, and write its section."""
    tables = scale.measure(run.runs)
    note = (
        f"Generated by `python scripts/bench.py scale --runs {run.runs} --page {run.page}`: labels by DPS on the "
        f"shipped model, {scale.STEPS} steps unless said otherwise, medians of {run.runs} interleaved runs with 95 % "
        f"intervals, jax {jax.__version__} on {jax.devices()[0]}. Columns of TPUs are predictions; none was tried."
    )
    texts = [f"{title}:\n\n{markdown_table(rows)}" for title, rows in tables.items()]
    write_section(run, "Scale", "\n\n".join([note, *texts]))


def write_device(run: Run) -> None:
    """Measure on the accelerator there is, and write its section."""
    tables = device.measure(run.runs)
    note = (
        f"Generated by `python scripts/bench.py device --runs {run.runs} --page {run.page}`: wall time, medians of "
        f"{run.runs} interleaved runs with 95 % intervals, jax {jax.__version__} on {jax.devices()[0].device_kind}. "
        "Operations are XLA's count of the compiled program."
    )
    texts = [f"{title}:\n\n{markdown_table(rows)}" for title, rows in tables.items()]
    write_section(run, "Device", "\n\n".join([note, *texts]))


def main(run: Run) -> None:
    """Measure and print."""
    if run.what == "search":
        return write_search(run)
    if run.what == "molecules":
        return write_molecules(run)
    if run.what == "device":
        return write_device(run)
    if run.what == "scale":
        return write_scale(run)
    if run.what == "peers":
        return write_peers(run)
    if run.what == "horizon":
        return write_horizon(run, tfg.load("fashion-mnist"))
    model, guide = tfg.load("fashion-mnist"), tfg.load("fashion-mnist-guide")
    objective = tfg.objectives.class_log_prob(guide)
    rows = overheads(run, model, guide, objective)
    target = jnp.arange(run.batch, dtype=jnp.int32) % 10

    # Compilations take turns, as one of them says little.
    compiled = [[compiled_size(model, objective, target, steps) for steps in (20, 200)] for _ in range(COMPILATIONS)]
    seconds = [round(statistics.median(pair[i]["seconds"] for pair in compiled), 2) for i in (0, 1)]
    lines, megabytes = ([each[key] for each in compiled[0]] for key in ("lines", "bytes"))
    sizes = [
        {"what": what, "20 steps": small, "200 steps": large}
        for what, (small, large) in {
            f"compile seconds (median of {COMPILATIONS})": seconds,
            "lines of the program": lines,
            "temporary memory (MB)": map(_mb, megabytes),
        }.items()
    ]
    print(text_table(sizes))
    note = (
        f"Generated by `python scripts/bench.py --page {run.page}`: processor time of the public call over a jitted "
        "scan written by hand (network, sampler arithmetic and noise of the whole batch), medians of "
        f"{run.runs} interleaved runs with 95 % intervals, jax {jax.__version__} on {jax.devices()[0]}."
    )
    write_section(run, "Overheads", f"{note}\n\n{markdown_table(rows)}\n\n{markdown_table(sizes)}")
    write_horizon(run, model)


def _mb(size: int | None) -> float | None:
    return None if size is None else round(size / 1e6, 2)


if __name__ == "__main__":
    keep_freed_memory()
    main(tyro.cli(Run))
