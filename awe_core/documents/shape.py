"""A parsed document against its published schema; the first misfit, told as people need it.

`jsonschema` finds the misfits.  Here the one that explains most is chosen (an unknown key before
the missing one it was meant to be) and put in words: what was expected, by the title of its part
of the schema, and what was found, at file, line and column, with the nearest known key.
"""

from __future__ import annotations

import functools
import json
import operator
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

from jsonschema import Draft202012Validator

from awe_core.contract import schema_flaw
from awe_core.documents.quantities import FORMATS
from awe_core.schemas import KINDS, schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jsonschema.exceptions import ValidationError

    from awe_core.documents.reading import Parsed, Pointer
    from awe_core.errors import DocumentError
    from awe_core.values import Json, JsonObject

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def check(kind: str, parsed: Parsed) -> None:
    """Refuse what does not fit the schema of *kind*.

    :raises DocumentError: ``document.kind``, ``.unknown_key``, ``.missing_key``, ``.value``
    """
    if (found := kind_of(parsed)) != kind:
        raise parsed.error("document.kind", ("awe",), found=f"{found}/v1", expected=f"{kind}/v1")
    try:
        misfits = [_innermost(error) for error in _validator(kind).iter_errors(parsed.value)]
    except RecursionError:
        raise parsed.error("document.too_deep", (), limit="what can be checked") from None
    if misfits:
        raise _told(min(misfits, key=lambda error: _rank(error, parsed)), parsed)


def check_schema(parsed: Parsed, at: Pointer) -> None:
    """Refuse the JSON Schema that stands at *at* if it is none, or points elsewhere.

    :raises DocumentError: ``document.schema``
    """
    if parsed.is_checked:
        return
    found = functools.reduce(operator.getitem, at, parsed.value)
    try:
        error = schema_flaw(found)
    except RecursionError:
        raise parsed.error("document.too_deep", at, limit="what can be checked") from None
    if error is not None:
        where = (*at, *error.absolute_path)
        raise parsed.error("document.schema", where, of=_name(where), why=misfit(error))
    for pointer, key, value in _members(found):
        if key in {"$ref", "$dynamicRef"} and not str(value).startswith("#"):
            why = f"{key} may only point into the same schema, with #"
        elif key in {"$id", "$schema", "$vocabulary"} and value != _DIALECT:
            why = f"{key} has no meaning here; schemas are of draft 2020-12 and stand alone"
        else:
            continue
        raise parsed.error("document.schema", (*at, *pointer), at_key=True, of=_name(at), why=why)


def value_misfit(kind: str, at: tuple[str, ...], value: Json) -> str | None:
    """Say how *value* does not fit the place *at* of a document of *kind*; None: it fits.

    :raises KeyError: the schema has no such place
    """
    part = whole = schema(kind)
    for step in at:
        part = next(one for one in (part, *part.get("oneOf", ())) if "properties" in one)
        part = part["properties"][step]
    placed = {**part, "$defs": whole["$defs"]}
    validator = Draft202012Validator(placed, format_checker=FORMATS)
    error = next(validator.iter_errors(value), None)
    return None if error is None else misfit(_innermost(error))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Give the known word that *word* was probably meant to be."""
    close = get_close_matches(word[:100], [str(k) for k in known], n=1, cutoff=0.6)
    return close[0] if close else None


def kind_of(parsed: Parsed) -> str:
    """Give the kind a document says it is.

    :raises DocumentError: ``document.kind``
    """
    value = parsed.value if isinstance(parsed.value, dict) else {}
    said = value.get("awe")
    kind = said.removesuffix("/v1") if isinstance(said, str) and said.endswith("/v1") else ""
    if kind in KINDS:
        return kind
    close = nearest(str(said), [f"{k}/v1" for k in KINDS]) if said is not None else None
    raise parsed.error(
        "document.kind",
        ("awe",) if "awe" in value else (),
        found="no kind" if said is None else json.dumps(said, ensure_ascii=True, default=str)[:60],
        expected=close or "KIND/v1",
        details=("kinds: " + ", ".join(KINDS),),
    )


@functools.cache
def _validator(kind: str) -> Draft202012Validator:
    return Draft202012Validator(schema(kind), format_checker=FORMATS)


def _innermost(error: ValidationError) -> ValidationError:
    """Descend into the alternative that was probably meant."""
    while error.context:
        branches: dict[int, list[ValidationError]] = {}
        for inner in error.context:
            branches.setdefault(int(inner.schema_path[0]), []).append(inner)
        meant = [b for b in branches.values() if not any(_is_other(inner) for inner in b)]
        meant = meant or _most_alike(error, branches)
        if not meant:
            return error
        error = max((min(b, key=_depth_and_kind) for b in meant), key=_depth_and_kind)
    return error


def _most_alike(
    error: ValidationError, branches: dict[int, list[ValidationError]]
) -> list[list[ValidationError]]:
    """Of the alternatives that are mappings, give the one whose keys the found ones resemble."""
    if not isinstance(error.instance, dict):
        return []
    alike = {
        index: sum(
            nearest(key, _rule(error)[index].get("properties", ())) is not None
            for key in error.instance
        )
        for index, branch in branches.items()
        if any(_is_about_key(inner) for inner in branch)
    }
    best = max(alike, key=lambda index: alike[index], default=None)
    return [[e for e in branches[best] if _is_about_key(e)]] if best is not None else []


def _depth_and_kind(error: ValidationError) -> tuple[int, bool]:
    return len(error.path), not _is_about_key(error)


def _is_other(error: ValidationError) -> bool:
    """Whether this alternative was not meant at all: another type, or its mark is missing."""
    return not error.path and error.validator in {"type", "required", "const", "enum"}


def _rank(error: ValidationError, parsed: Parsed) -> tuple[bool, tuple[int, int]]:
    return not _is_about_key(error), parsed.position_of(tuple(error.absolute_path))


def _is_about_key(error: ValidationError) -> bool:
    return error.validator == "additionalProperties" or "propertyNames" in error.schema_path


def _told(error: ValidationError, parsed: Parsed) -> DocumentError:
    at: Pointer = tuple(error.absolute_path)
    if _is_about_key(error):
        return _told_of_key(error, parsed, at)
    if error.validator == "required":
        missing = next(key for key in _rule(error) if key not in _instance(error))
        return parsed.error("document.missing_key", at, key=missing, of=_name(at))
    wanted = _expected(error)
    found = _found(error.instance)
    if isinstance(error.instance, (bool, int, float)) and "string" in _types(_part(error)):
        found += " (put it in quotes to make it text)"
    words = map(str, _part(error).get("enum", ()))
    close = nearest(error.instance, words) if isinstance(error.instance, str) else None
    details = (f"expected {wanted}", f"found {found}")
    fix = f"write {close}" if close else "write what is expected"
    return parsed.error("document.value", at, of=_name(at), fix=fix, details=details)


def _told_of_key(error: ValidationError, parsed: Parsed, at: Pointer) -> DocumentError:
    known: list[str] = []
    details: tuple[str, ...] = ()
    if "propertyNames" in error.schema_path:
        key = str(error.instance)
        details = (f"expected {_expected(error)}",)
    else:
        known = sorted(_part(error).get("properties", ()))
        patterns = _part(error).get("patternProperties", ())
        unknown = (k for k in _instance(error) if k not in known)
        key = next(k for k in unknown if not any(re.search(p, k) for p in patterns))
        details = (f"known keys: {', '.join(known)}",) if known else ()
    close = nearest(key, known)
    fix = f"write {close}" if close else "leave it out, or see: awe config schema"
    return parsed.error(
        "document.unknown_key",
        (*at, key),
        at_key=True,
        key=_cut(key),
        of=_name(at),
        fix=fix,
        details=details,
    )


def misfit(error: ValidationError) -> str:
    """Say in one line what a schema expected and what it found."""
    return f"expected {_expected(error)}, found {_found(error.instance)}"


def _expected(error: ValidationError) -> str:
    part, rule = _part(error), _rule(error)
    match error.validator:
        case "minItems" | "minProperties":
            return f"at least {rule} of {part.get('title', 'it')}"
        case "maxProperties":
            return f"exactly one key in {part.get('title', 'it')}"
        case "uniqueItems":
            return "each entry once"
        case "const":
            return _cut(json.dumps(rule))
        case "oneOf" | "anyOf":
            return " or ".join(_alternative(one) for one in rule)
    return _described(part) or f"what {error.validator} asks for"


def _described(part: JsonObject) -> str:
    """Put a part of a schema in words: its title, its words, or its types."""
    words = ", ".join(map(str, part.get("enum", ())))
    if title := part.get("title"):
        return f"{title}: {words}" if words else str(title)
    return words or " or ".join(_types(part))


def _alternative(part: JsonObject) -> str:
    if "$ref" in part:
        return str(part["$ref"]).rsplit("/", 1)[-1].replace("_", " ")
    if set(part) == {"required"}:
        return " and ".join(part["required"])
    return _described(part)


def _part(error: ValidationError) -> JsonObject:
    found: Json = error.schema
    return found if isinstance(found, dict) else {}


def _instance(error: ValidationError) -> Json:
    return error.instance


def _rule(error: ValidationError) -> Json:
    return error.validator_value


def _types(part: JsonObject) -> list[str]:
    found = part.get("type", [])
    return [found] if isinstance(found, str) else list(found)


_KINDS_OF_VALUES = {dict: "a mapping", list: "a list", type(None): "nothing"}


def _found(value: Json) -> str:
    kind = _KINDS_OF_VALUES.get(type(value))
    return kind or _cut(json.dumps(value, ensure_ascii=True))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


_SHOWN = 60


def _name(at: Pointer) -> str:
    """Name a place as people would: ``steps[3].retry``."""
    named = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in at)
    return _cut(named.lstrip(".")) or "the document"


def _members(found: Json) -> Iterator[tuple[Pointer, str, Json]]:
    """Walk every key of *found*, without recursion."""
    waiting: list[tuple[Pointer, Json]] = [((), found)]
    while waiting:
        at, value = waiting.pop()
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            if isinstance(key, str):
                yield (*at, key), key, inner
            if isinstance(inner, (dict, list)):
                waiting.append(((*at, key), inner))
