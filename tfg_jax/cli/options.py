"""Options of commands, read by tyro: groups whose defaults the task and the method bring, and JSON files of options.

A command is parsed in two steps: first which task, method and sampler it names, then the options that these have.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro

from tfg_jax.old_names import OLD_KEYS
from tfg_jax.readers import load_json
from tfg_jax.references import is_reference

CODE = {"task": ["--task"], "model": ["--model"], "objective": ["--objective"], "sampler": ["--sampler"],
        "guide": ["--guide"], "evaluator": ["--evaluator"], "guidance": ["--guidance", "--method"],
        "search_evaluator": ["--search-evaluator"]}  # fmt: skip
"""Options that may name code of the user's, and their flags."""
NAME, FLAG = re.compile(r"[A-Za-z][\w-]*"), re.compile(r"--?[A-Za-z]")
"""What a file of options may call one, and what it may not give as a value, since words that follow are read by it."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A group of options.

    Attributes:
        cls: a dataclass whose fields are the flags.
        defaults: in place of its own.
        tuned: whether config.json names only what differs from the defaults, since these are the method's.
    """

    cls: type
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tuned: bool = False

    @property
    def name(self) -> str:
        """Of its group in the help."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.cls.__name__.removesuffix("Options")).lower()

    def names(self) -> list[str]:
        """Its options."""
        return [field.name for field in dataclasses.fields(self.cls)]


class Typed:
    """What was typed, those of a `--config` file before it, with the values of single flags."""

    def __init__(self, arguments: Sequence[str]):
        self.typed = [_as_today(word) for word in arguments]
        file = self.last("--config")
        self.made_by, self.from_file = ("", {}) if file is None else _read(Path(file), self)

    def last(self, *flags: str) -> str | None:
        """The value of the last of these flags, in the file or typed."""
        last = None
        for flag in flags:
            name = flag.removeprefix("--").replace("-", "_")
            value = getattr(self, "from_file", {}).get(name)
            last = last if value is None else str(value)
        for word, following in zip(self.typed, [*self.typed[1:], None], strict=False):
            name, equals, value = word.partition("=")
            if name.replace("_", "-") in flags:
                last = value if equals else following
        return last

    def check_once(self, values: Mapping[str, Any]) -> None:
        """ValueError for an option of several values whose flag was typed twice, where the last alone would count."""
        for name in (name for name, value in values.items() if isinstance(value, tuple)):
            flag = "--" + name.replace("_", "-")
            if sum(word.partition("=")[0].replace("_", "-") == flag for word in self.typed) > 1:
                raise ValueError(f"{flag} is given twice; give it once, with all its values: {flag} FIRST SECOND")

    def given(self, names: Sequence[str]) -> str | None:
        """The first of these options that was typed, as its flag."""
        flags = {word.partition("=")[0].replace("_", "-") for word in self.typed}
        for name in names:
            flag = "--" + name.replace("_", "-")
            if flag in flags or f"--no-{flag[2:]}" in flags:
                return f"--no-{flag[2:]}" if f"--no-{flag[2:]}" in flags else flag
        return None


def check_sizes(options: Any, *counts: str) -> None:
    """Raise ValueError for counts, a chunk or a seed out of range."""
    from tfg_jax.checks import check_count, check_seed

    for name in (*counts, "chunk"):
        check_count(name, getattr(options, name))
    check_seed("seed", options.seed)


def data_set(typed: Typed) -> Any:
    """The data set that ``--task`` names, for a command that needs one. ValueError for a task of another kind."""
    from tfg_jax.tasks.dataset import DataSet
    from tfg_jax.tasks.find import DEFAULT, find_task

    subject = find_task(typed.last("--task") or DEFAULT)
    if type(subject) is not DataSet:
        raise ValueError(
            f"task={typed.last('--task')} is no data set of labelled images; `tfg-jax sample` takes any task"
        )
    return subject


def parse(command: Any, program: str, arguments: Sequence[str]) -> Any:
    """Options of a command from the command line. Exits with code 2 on a mistake.

    Raises ValueError if a `--config` file is not a JSON object of options, or a flag of several values is given twice.
    """
    typed = Typed(arguments)
    parts = command.parts(typed) if hasattr(command, "parts") else [Part(command.Options)]
    known = {name for part in parts for name in part.names()}
    renamed = {"method": "guidance"} if "guidance" in known else {}
    kept = {renamed.get(key, key): value for key, value in typed.from_file.items()}
    kept = {key: value for key, value in kept.items() if key in known or key not in getattr(command, "FORMER", ())}
    if typed.made_by and (foreign := [key for key in kept if key not in known]):
        raise ValueError(f"config={typed.last('--config')} is of `tfg-jax {typed.made_by}`, and `{program}` has no "
                         f"--{foreign[0].replace('_', '-')}; give it to that command")  # fmt: skip
    # The last of repeated flags wins, so the file's go first and are checked like typed ones.
    words = [*_flags(kept), *typed.typed]
    described = inspect.getdoc(command.run) if hasattr(command, "parts") else None
    if len(parts) == 1:
        default = parts[0].cls(**parts[0].defaults)
        options = tyro.cli(parts[0].cls, prog=program, args=words, default=default, description=described)
        typed.check_once(vars(options))
        return options
    fields = [
        (part.name, tyro.conf.OmitArgPrefixes[part.cls],
         dataclasses.field(default_factory=lambda part=part: part.cls(**part.defaults)))
        for part in parts
    ]  # fmt: skip
    grouped = dataclasses.make_dataclass("Grouped", fields)
    groups = tyro.cli(grouped, prog=program, args=words, description=described)
    values = {name: getattr(getattr(groups, part.name), name) for part in parts for name in part.names()}
    typed.check_once(values)
    tuned = [name for part in parts if part.tuned for name in part.names()]
    return Options(values, {name for name in tuned if name not in kept and typed.given([name]) is None})


class Options:
    """Parsed options as attributes; those of the method that nobody gave keep its tuned values."""

    def __init__(self, values: Mapping[str, Any], tuned: Collection[str]):
        self.__dict__.update(values)
        self._values, self._tuned = values, tuned

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def given(self, names: Collection[str]) -> dict[str, Any]:
        """Those of the method's settings of these names that were given."""
        return {name: getattr(self, name) for name in names if name not in self._tuned}


def as_json(options: Any) -> dict[str, Any]:
    """Options as JSON values for a `--config` file; those that do not describe the run are left out."""
    if isinstance(options, Options):
        values = {name: value for name, value in options._values.items() if name not in options._tuned}
    else:
        values = dataclasses.asdict(options)
    apart = ("config", "overwrite", "dry_run", "save_program", "worker", "distributed", "split_weights")
    kept = {k: v for k, v in values.items() if k not in apart}
    return {k: str(v) if isinstance(v, Path) else list(v) if isinstance(v, tuple) else v for k, v in kept.items()}


def command_line(name: str) -> str:
    """The command of this process as it can be typed again; "" where `tfg_jax.cli.main` was called from Python."""
    return " ".join(["tfg-jax", name, *map(shlex.quote, sys.argv[2:])]) if sys.argv[1:2] == [name] else ""


def _read(file: Path, typed: Typed) -> tuple[str, dict[str, Any]]:
    """The command that a file of options is of, "" if it does not say, and the options."""
    values = load_json("config", file)
    made_by = values.get("command") if isinstance(values, dict) and "options" in values else ""
    values = values.get("options", values) if isinstance(values, dict) else values
    if not isinstance(values, dict):
        raise ValueError(f'config={file} holds no JSON object; give one such as {{"steps": 50}}')
    for key, value in values.items():
        texts = [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
        if not NAME.fullmatch(key) or (read := [text for text in texts if FLAG.match(text)]):
            raise ValueError(f"config={file} holds {key if not NAME.fullmatch(key) else read[0]!r:.60}, which reads as "
                             "a flag; give names of options and their values")  # fmt: skip
        flags = next((flags for flags in CODE.values() if f"--{key.replace('_', '-')}" in flags), None)
        code = next(filter(is_reference, texts), None)
        if flags is not None and code is not None and typed.last(*flags) is None:
            raise ValueError(
                f"config={file} names code to run ({key}={code:.60}); pass {flags[0]} {code:.60} to allow it"
            )
    options = {OLD_KEYS.get(str(key), str(key)): value for key, value in values.items()}
    return made_by if isinstance(made_by, str) and NAME.fullmatch(made_by) else "", options


def _as_today(word: str) -> str:
    """A flag by the name it has today; the old one is taken with a note until the next release."""
    name, equals, value = word.partition("=")
    today = OLD_KEYS.get(name.removeprefix("--")) if name.startswith("--") else None
    if today is None:
        return word
    print(f"note: {name} is called --{today}; the old name goes with the next release", file=sys.stderr)
    return f"--{today}{equals}{value}"


def _flags(values: Mapping[str, Any]) -> list[str]:
    flags: list[str] = []
    for key, value in values.items():
        name = key.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, list):
            flags += [f"--{name}", *map(str, value)] if value else []
        elif value is not None:
            flags += [f"--{name}", str(value)]
    return flags
