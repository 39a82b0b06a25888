"""Entry point of `tfg-jax`: picks the command, reads its options, turns errors into exit codes."""

from __future__ import annotations

import errno
import importlib
import os
import re
import sys
import warnings
from collections.abc import Sequence

from tfg_jax.signals import RESUMABLE, Interrupted, leave_on_signals, raise_on_signals

OK, SCORING_FAILED, USAGE, FAILED_SAMPLES = 0, 1, 2, 3
INCOMPLETE = 1  # of a sample folder that is checked or merged
READER_GONE = 141  # what a shell reports of a program that SIGPIPE ended

COMMANDS = {
    "sample": "classes of images or properties of molecules, as you ask for, by guidance without training",
    "solve": "images restored from degraded, noisy measurements",
    "compare": "guidance methods side by side on the same seeds",
    "search": "the settings of a method that suit a task best",
    "benchmark": "suites of tasks, methods and targets, as one table",
    "study": "how far guidance should look: mixtures and images at equal cost",
    "optimize": "rounds of gradient guidance that raise a reward",
    "evaluate": "metrics of a sample folder or of images in an .npz file",
    "export": "samples of a folder as PNG pictures or one .npz file",
    "verify": "whether the samples of a folder are all there, as they were written",
    "merge": "one folder of several that hold parts of the same run",
    "train": "the networks that tasks come with, or a recipe of your own, resumable",
    "doctor": "devices, versions and caches, and whether a model is wired as it was trained",
    "inspect": "what weights or a sample folder hold",
    "cite": "BibTeX of what a configuration uses",
}

READERS = ("evaluate", "export", "inspect", "merge", "verify")
"""Commands that are given a folder without a flag."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: arguments without the program's name; default those of the process, whose signals are then answered.
    """
    try:
        code = _main(argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # as `| head` leaves it: who reads has seen enough
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BrokenPipeError:  # or Python would complain when it flushes at the end
                os.dup2(nowhere, stream.fileno())
        return READER_GONE


def _main(argv: Sequence[str] | None) -> int:
    if argv is None:
        with leave_on_signals(" ".join(["tfg-jax", *sys.argv[1:2]])):
            return _main(sys.argv[1:])
    name, *rest = [*argv] or [""]
    if name == "optimise":
        print("tfg-jax: optimise is called optimize; the old name goes with the next release", file=sys.stderr)
        name = "optimize"
    if name in ("-h", "--help"):
        print(_usage())
        return OK
    if name == "--version":
        from tfg_jax import __version__

        print(f"tfg-jax {__version__}")
        return OK
    if name not in COMMANDS:
        problem = f"{name!r} is no command" if name else "which command?"
        print(f"tfg-jax: {problem}\n\n{_usage()}", file=sys.stderr)
        return USAGE
    return _run(name, rest)


def _run(name: str, arguments: list[str]) -> int:
    from tfg_jax.cli.options import parse
    from tfg_jax.host import keep_freed_memory, keep_programs

    keep_freed_memory()
    keep_programs()
    command = importlib.import_module(f"tfg_jax.cli.{name}")
    try:
        with raise_on_signals(), warnings.catch_warnings():
            if "--distributed" in arguments and not {"--dry-run", "--help", "-h"} & {*arguments}:
                from tfg_jax.distributed import join

                join()  # before anything is computed, which the file of a task may do
            warnings.showwarning = lambda message, *_: print(f"tfg-jax {name}: note: {message}", file=sys.stderr)
            program = f"tfg-jax {name}"
            own = getattr(command, "parse", None)  # of a command whose options depend on its first word
            return command.run(own(program, arguments) if own else parse(command, program, arguments))
    except SystemExit as stop:  # tyro has printed its help or its complaint; a training loop its last line
        return stop.code if isinstance(stop.code, int) else OK if stop.code is None else USAGE
    except Interrupted as stop:
        return _say(name, stop, RESUMABLE)
    except KeyboardInterrupt:
        return _say(name, "interrupted; the same command goes on from what it had stored", RESUMABLE)
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return _say(name, "the disk is full; make room, and the same command goes on", RESUMABLE)
        flags = {"path": "" if name in READERS else "--output ", "out": "--output "}
        said = re.sub(r"\b(path|out)=", lambda match: flags[match[1]], str(error))  # as they are called there
        return _say(name, said.replace("overwrite=True", "--overwrite").replace("shard_size: ", "chunk: "), USAGE)
    except MemoryError as error:
        return _say(name, f"the machine is out of memory ({error}); ask for fewer samples, or lower --chunk", USAGE)
    except RuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _say(name, "the device is out of memory; lower --chunk", USAGE)


def _say(name: str, message: object, code: int) -> int:
    print(f"tfg-jax {name}: {message}", file=sys.stderr)
    return code


def _usage() -> str:
    lines = [f"  {name:<10}{text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "usage: tfg-jax COMMAND [OPTIONS]      (tfg-jax COMMAND --help lists the options)",
            "",
            *lines,
            "",
            "exit codes: 0 ok, 1 scoring failed or samples missing, 2 usage, 3 some samples failed, "
            "75 interrupted (the same command resumes)",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
