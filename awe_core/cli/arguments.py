"""``K=V``, ``K:=JSON``, ``K=@FILE`` and ``--input``: words of a command line as JSON.

A value is read as the schema's type; where the schema admits text it is text, as written.  Secrets
do not belong on a command line, for every process can see it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from awe_core.analysis.types import kinds, kinds_of_value, member, of_schema
from awe_core.contract import Mark, Schema
from awe_core.documents import parse
from awe_core.errors import UsageError
from awe_core.runtime.control import strict_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from awe_core.values import Json, JsonObject


def arguments(
    words: Iterable[str], source: str | None, *, schema: JsonObject, workspace: Path
) -> JsonObject:
    """Read the arguments of a call.

    :param source: ``--input``: a file, or ``-`` for stdin; then there are no *words*
    :param schema: of the input; says which type a word is read as
    :raises UsageError: ``cli.argument…``, ``cli.sensitive``, ``cli.input``
    :raises DocumentError: a ``.yaml`` file of ``--input`` is no YAML
    """
    words = tuple(words)
    if source is not None:
        if words:
            raise UsageError("cli.input", file=source, why="arguments are given beside it")
        return read_object(source)
    found: JsonObject = {}
    shown: JsonObject = {}  #: what itself stands on the command line
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or key in {"", ":"}:
            raise UsageError("cli.argument", word=word, why="it is not K=V, K:=JSON or K=@FILE")
        is_file = text.startswith("@") and not key.endswith(":")
        name, value = _read(key, _file(key, text[1:], workspace) if is_file else text, schema)
        if name in found:
            raise UsageError("cli.argument", word=name, why="it is given twice")
        found[name] = value
        if not is_file:
            shown[name] = value
    _refuse_secrets(shown, schema)
    return found


def _read(key: str, text: str, schema: JsonObject) -> tuple[str, Json]:
    if key.endswith(":"):
        return key[:-1], _json(key[:-1], text)
    wanted = kinds(member(of_schema(schema), key)[0]) - {"null"} or {"string"}
    if "string" in wanted:
        return key, text
    value = _json(key, text)
    if not kinds_of_value(value) & wanted:
        raise UsageError("cli.argument_type", key=key, expected=" or ".join(sorted(wanted)))
    return key, value


def _file(key: str, name: str, workspace: Path) -> str:
    path = (workspace / name).resolve()
    if not path.is_relative_to(workspace.resolve()):
        raise UsageError("cli.argument", word=key, why=f"{name} lies outside of the workspace")
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        why = f"{name}: {getattr(error, 'strerror', None) or 'it is no text'}"
        raise UsageError("cli.argument", word=key, why=why) from None


def _refuse_secrets(shown: JsonObject, schema: JsonObject) -> None:
    for pointer, mark in Schema.compile(schema, where="the input").marks(shown):
        if mark in {Mark.SENSITIVE, Mark.HIDDEN}:
            raise UsageError("cli.sensitive", key=pointer.split("/")[1] if pointer else "input")


def read_object(source: str) -> JsonObject:
    """Read a JSON object from a file or from stdin (``-``); a ``.yaml`` file may hold YAML."""
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        is_yaml = source.endswith((".yaml", ".yml"))
        found = parse(data, file=source).value if is_yaml else strict_json(data)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UsageError("cli.input", file=source, why=why) from None
    except ValueError as error:
        raise UsageError("cli.input", file=source, why=str(error)) from None
    if not isinstance(found, dict):
        raise UsageError("cli.input", file=source, why="it holds no object")
    return found


def _json(key: str, text: str) -> Json:
    try:
        return strict_json(text)
    except ValueError as error:
        raise UsageError("cli.argument", word=key, why=f"it is no JSON: {error}") from None
