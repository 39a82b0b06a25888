"""Keys and bytes: what a sample folder needs of a file system or of an object store, by the same few calls.

A value appears under its key whole or not at all. Local folders are files; URLs (``gs://``, ``s3://``, ``file://``) are
key-value stores of TensorStore, which is imported when one is opened.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tfg_jax.files import write_atomically
from tfg_jax.locks import lock
from tfg_jax.readers import read_bytes
from tfg_jax.runs.lease import Lease, done

URL = re.compile(r"(gs|s3|file):/+(.*)", re.DOTALL)
FIRST_RETRIES = 3
"""Of the first request to a URL, some seconds."""
UNFINISHED = re.compile(r".+(\.[0-9a-f]{8}\.tmp|\.__lock.*)")
"""Names that a killed writer leaves behind: ours and TensorStore's."""


@runtime_checkable
class Right(Protocol):
    """To write, until it is given back."""

    def check(self) -> None:
        """Raise ValueError if it was lost."""

    def release(self) -> None:
        """Give it back; a second time does nothing."""


@runtime_checkable
class Values(Protocol):
    """Bytes by key; keys are relative paths with slashes."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    def read(self, key: str, limit: int | None = None) -> bytes | None:
        """The bytes of a key; None if there is no such key, or more than ``limit`` bytes."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Put the bytes of a key in the place of those that are there, in one step; raises OSError."""

    def keys(self, prefix: str = "") -> list[str]:
        """The keys that begin with a prefix, sorted."""
        ...

    def delete(self, key: str) -> None:
        """Remove a key, if it is there."""

    def lock(self, name: str = "") -> Right:
        """Take a lock of this name. ValueError if a living process has it."""
        ...

    def spec(self, prefix: str) -> dict[str, Any]:
        """The part of it below a prefix, as TensorStore calls it."""
        ...


def values_at(path: str | os.PathLike[str]) -> Values:
    """The keys below a local folder or a URL."""
    url = url_of(path)
    return LocalValues(Path(path)) if url is None else RemoteValues(url)


def url_of(path: str | os.PathLike[str]) -> str | None:
    """The URL that a path is, whose slashes `pathlib` makes one; None if it is a local path."""
    match = URL.fullmatch(os.fspath(path))
    if match is None:
        return None
    scheme, rest = match.groups()
    return f"{scheme}://{'/' if scheme == 'file' else ''}{rest.rstrip('/')}"


def refuse_url(name: str, path: str | os.PathLike[str]) -> None:
    """Raise ValueError if a path is a URL where files are needed."""
    if (url := url_of(path)) is not None:
        raise ValueError(f"{name}={url} is a URL, which only sample and solve write to; choose a local folder")


@dataclass(frozen=True)
class LocalValues:
    """Files below a folder."""

    root: Path

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.root)

    def read(self, key: str, limit: int | None = None) -> bytes | None:
        """As `Values`."""
        file = self.root / key
        with suppress(FileNotFoundError, NotADirectoryError):
            if file.is_file():
                return file.read_bytes() if limit is None else read_bytes(file, limit)
        return None

    def write(self, key: str, data: bytes) -> None:
        """As `Values`."""
        file = self.root / key
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, lambda out: out.write(data), shared=True)

    def keys(self, prefix: str = "") -> list[str]:
        """As `Values`."""
        parent, _, stem = prefix.rpartition("/")
        folder = self.root / parent
        firsts = [entry for entry in folder.iterdir() if entry.name.startswith(stem)] if folder.is_dir() else []
        files = [file for first in firsts for file in ([first] if first.is_file() else first.rglob("*"))]
        return sorted(file.relative_to(self.root).as_posix() for file in files if file.is_file())

    def delete(self, key: str) -> None:
        """As `Values`; a folder that is empty then goes, too."""
        file = self.root / key
        file.unlink(missing_ok=True)
        with suppress(OSError):
            if file.parent != self.root:
                file.parent.rmdir()

    def lock(self, name: str = "") -> Right:
        """As `Values`."""
        return lock(self.root / name)

    def spec(self, prefix: str) -> dict[str, Any]:
        """As `Values`."""
        return {"driver": "file", "path": f"{self.root.absolute()}/{prefix}"}


@dataclass(frozen=True)
class RemoteValues:
    """Objects below a URL."""

    url: str

    @property
    def name(self) -> str:
        """The URL."""
        return self.url

    @cached_property
    def store(self) -> Any:
        """The open store; ValueError for a URL that is none."""
        import tensorstore

        spec = self.spec("")
        few = {} if spec["driver"] == "file" else {f"{spec['driver']}_request_retries": {"max_retries": FIRST_RETRIES}}
        try:  # what answers now is worth the many retries of a later failure, which take a quarter of an hour
            tensorstore.KvStore.open({**spec, **few}).result().read("manifest.json").result()
            return tensorstore.KvStore.open(spec).result()
        except Exception as error:
            raise ValueError(
                f"path={self.url} cannot be opened ({error}); check the URL, the network and the credentials"
            ) from None

    def read(self, key: str, limit: int | None = None) -> bytes | None:
        """As `Values`."""
        result = done(self.store.read(key))
        return None if result.state != "value" or (limit is not None and len(result.value) > limit) else result.value

    def write(self, key: str, data: bytes) -> None:
        """As `Values`."""
        done(self.store.write(key, data))

    def keys(self, prefix: str = "") -> list[str]:
        """As `Values`."""
        import tensorstore

        after = tensorstore.KvStore.KeyRange(prefix, f"{prefix}\U0010ffff") if prefix else None
        return sorted(key.decode() for key in done(self.store.list(after)))

    def delete(self, key: str) -> None:
        """As `Values`."""
        done(self.store.write(key, None))

    def lock(self, name: str = "") -> Right:
        """As `Values`."""
        return Lease(self.store, f"{name}/lock".lstrip("/"), self.url)

    def spec(self, prefix: str) -> dict[str, Any]:
        """As `Values`; S3 is asked where ``AWS_ENDPOINT_URL`` says, as by its own tools."""
        scheme, _, rest = self.url.partition("://")
        bucket, _, path = rest.partition("/")
        if scheme == "file":
            return {"driver": "file", "path": f"{rest}/{prefix}"}
        spec = {"driver": "gcs" if scheme == "gs" else scheme, "bucket": bucket,
                "path": f"{path}/{prefix}" if path else prefix}  # fmt: skip
        if scheme == "s3" and (endpoint := os.environ.get("AWS_ENDPOINT_URL")):
            region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
            spec |= {"endpoint": endpoint, "aws_region": region}
        return spec
