"""The API reference: one page a room, with every public name of the package and of its rooms."""

import dataclasses
import importlib
import inspect
import pkgutil
from collections import defaultdict
from types import ModuleType

import tfg_jax
from tfg_jax.declare import Declared, describe
from tfg_jax.tables import settings_table


@dataclasses.dataclass(frozen=True)
class Symbol:
    """A public name: how it is written by users, and where it is defined."""

    shown: str
    path: str

    @property
    def room(self) -> str:
        """The room of its definition."""
        return self.path.split(".")[1]


def public_modules() -> list[ModuleType]:
    """The package and its modules that say what they offer."""
    names = [module.name for module in pkgutil.walk_packages(tfg_jax.__path__, "tfg_jax.")]
    modules = [importlib.import_module(name) for name in ["tfg_jax", *names]]
    return [module for module in modules if hasattr(module, "__all__")]


def symbols() -> list[Symbol]:
    """Every public name once, by its shortest spelling; modules are pages, not names."""
    known: dict[str, Symbol] = {}
    for module in public_modules():
        short = module.__name__.replace("tfg_jax", "tfg", 1)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.ismodule(value):
                continue
            path = f"{module.__name__}.{name}"
            if inspect.isclass(value) or inspect.isfunction(value):
                path = f"{value.__module__}.{value.__qualname__}"
            known.setdefault(path, Symbol(f"{short}.{name}", path))
    return sorted(known.values(), key=lambda symbol: symbol.shown.lower())


def pages() -> dict[str, str]:
    """The pages of the reference by room."""
    rooms: dict[str, list[Symbol]] = defaultdict(list)
    for symbol in symbols():
        rooms[symbol.room].append(symbol)
    return {room: _page(room, of) for room, of in sorted(rooms.items())}


def _page(room: str, of: list[Symbol]) -> str:
    doc = inspect.getdoc(importlib.import_module(f"tfg_jax.{room}")) or ""
    return "\n\n".join([f"# {room}", doc, *map(_entry, of)])


def _entry(symbol: Symbol) -> str:
    """The directive of a name; a class comes with the call that makes it, whose fields' defaults are read from it."""
    options = {"heading": symbol.shown, "toc_label": symbol.shown}
    value = pkgutil.resolve_name(f"{symbol.path.rsplit('.', 1)[0]}:{symbol.path.rsplit('.', 1)[1]}")
    call = ""
    configuration = isinstance(value, type) and dataclasses.is_dataclass(value)
    if configuration:
        fields = [f"{field.name}{_default(field)}" for field in dataclasses.fields(value) if field.init]
        call = f"```python\n{_wrapped(symbol.shown, fields)}\n```\n"
        options["show_root_heading"] = "false"
        call = f"## {symbol.shown}\n\n{call}\n"
    lines = "".join(f"      {name}: {text}\n" for name, text in options.items())
    entry = f"{call}::: {symbol.path}\n    options:\n{lines}"
    settings = configuration and issubclass(value, Declared) and describe(value)
    return f"{entry}\n{settings_table(value)}\n" if settings else entry


def _default(field: dataclasses.Field) -> str:
    if field.default is not dataclasses.MISSING:
        text = getattr(field.default, "__qualname__", None) or repr(field.default)
        return f"={text}"
    return "=..." if field.default_factory is not dataclasses.MISSING else ""


def _wrapped(name: str, fields: list[str]) -> str:
    """The call on one line, or one argument a line."""
    line = f"{name}({', '.join(fields)})"
    return line if len(line) <= 88 else f"{name}(\n" + "".join(f"    {field},\n" for field in fields) + ")"
