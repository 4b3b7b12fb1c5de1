"""One schema, compiled: what it refuses to be, and what it says about a value."""

from __future__ import annotations

import copy
import json
from functools import cache
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import best_match
from referencing.jsonschema import DRAFT202012

from awe_core import canonical
from awe_core.contract.filling import Filling
from awe_core.contract.formats import FORMATS
from awe_core.contract.graph import PUBLISHED, Graph, Located, Place, located, too_intricate
from awe_core.contract.marks import Mark, Matcher
from awe_core.contract.patterns import python_pattern
from awe_core.contract.refused import AS_WRITTEN, Side, broken, pointer_of, too_large, unusable
from awe_core.contract.verdict import Check, compile_check
from awe_core.errors import CanonicalError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from referencing import Registry

    from awe_core.values import Json, JsonObject

MAX_BYTES = 256 * 1024  #: of one schema
MAX_DEPTH = 100  #: of one schema
MAX_DEFAULTS = 20_000  #: filled in while all defaults of a schema are tried
_NOTHING: Mapping[str, JsonObject] = MappingProxyType({})
_FINDINGS = 50  #: errors looked at; more change no verdict


@attrs.frozen
class Schema:
    """A schema that can be used: valid itself, its references in hand, its defaults fitting."""

    where: str  #: for messages: which capability or file, which side
    source: JsonObject = attrs.field(repr=False)  #: a copy of what was compiled; read-only
    _check: Check = attrs.field(repr=False, eq=False)
    _filling: Filling = attrs.field(repr=False, eq=False)
    _matcher: Matcher = attrs.field(repr=False, eq=False)
    _validator: Any = attrs.field(repr=False, eq=False)

    @classmethod
    def compile(
        cls, schema: Json, *, where: str, resources: Mapping[str, JsonObject] = _NOTHING
    ) -> Schema:
        """Compile *schema*.

        :param where: names the schema in messages
        :param resources: further schemas that ``$ref`` may name, by their URIs
        :raises ContractError: ``contract.schema``, with the place in the schema
        """
        source = _copied(schema, where=where)
        documents = {source.get("$id", ""): copy.deepcopy(source)}
        for uri, resource in resources.items():
            documents.setdefault(uri, _copied(resource, where=where))
        registry, known = _in_hand(documents)
        for found in known:
            _prepare(found, where=where)
        graph = Graph.of(known, where=where)
        root = graph.place(known[0].schema, known[0].resolver)
        if (why := too_intricate(graph.places.values())) is not None:
            raise unusable(where, pointer="", why=why)
        validator = Draft202012Validator(
            known[0].schema, registry=registry, format_checker=_FORMATS
        )
        filling = Filling.of(graph, root)
        _try_defaults(graph, filling, validator, where=where)
        return cls(
            where=where,
            source=source,
            check=compile_check(root),
            filling=filling,
            matcher=Matcher.of(graph, root),
            validator=validator,
        )

    def apply(self, instance: Json, *, side: Side) -> Json:
        """Give *instance* with defaults applied and paths normalised, if it fits.

        The argument is not changed; the result may share with it what did not have to change.

        :raises ContractError: ``contract.input`` or ``contract.output``
        :raises EffectRefusedError: ``workspace.escape`` for a path of an input that leads out
        """
        try:
            filled = self._filling.apply(instance)
            if self._check(filled):
                return filled
            findings = list(islice(self._validator.iter_errors(filled), _FINDINGS))
        except (RecursionError, ArithmeticError, ValueError, TypeError):
            raise too_large(self.where, side=side) from None
        if not findings:
            return filled
        marked = frozenset(pointer for pointer, _ in self.marks(filled))
        raise broken(findings, where=self.where, side=side, marked=marked)

    @property
    def has_marks(self) -> bool:
        """Whether `marks` can find anything at all."""
        return bool(self._matcher.marked)

    def marks(self, instance: Json) -> list[tuple[str, Mark]]:
        """Give the pointers of *instance* that are marked, valid or not; parents come first."""
        return self._matcher.find(instance) if self._matcher.marked else []


def _checker() -> FormatChecker:
    checker = FormatChecker(formats=())
    for name, holds in FORMATS.items():
        checker.checks(name)(lambda value, holds=holds: not isinstance(value, str) or holds(value))
    return checker


_FORMATS = _checker()

_META = Draft202012Validator(
    Draft202012Validator.META_SCHEMA, registry=PUBLISHED, format_checker=_FORMATS
)
_DIALECT_URI = "https://json-schema.org/draft/2020-12/schema"


def _in_hand(
    documents: Mapping[str, JsonObject],
) -> tuple[Registry[Json], tuple[Located, ...]]:
    """Give a registry of *documents* and every subschema in them, those of the first one first."""
    registry = PUBLISHED.with_resources(
        (uri, DRAFT202012.create_resource(each)) for uri, each in documents.items()
    ).crawl()
    return registry, tuple(
        found for uri, each in documents.items() for found in located(each, registry.resolver(uri))
    )


@cache
def _is_plainly_valid() -> Check:
    """Compile the metaschema itself for a fast "yes"; jsonschema needs 3 ms for a small schema.

    Seen from the metaschema its ``$dynamicRef: "#meta"`` can only mean the metaschema.
    """
    documents: dict[str, JsonObject] = {
        uri: json.loads(
            json.dumps(PUBLISHED.contents(uri)).replace(
                '"$dynamicRef": "#meta"', f'"$ref": "{_DIALECT_URI}"'
            )
        )
        for uri in sorted(PUBLISHED, key=lambda uri: uri != _DIALECT_URI)
    }
    _, known = _in_hand(documents)
    return compile_check(
        Graph.of(known, where="the metaschema").place(known[0].schema, known[0].resolver)
    )


def _copied(schema: Json, *, where: str) -> JsonObject:
    """Check what is common to all JSON, and take a copy."""
    try:
        data = canonical.value(schema)
    except CanonicalError as error:
        raise unusable(
            where,
            pointer=str(error.attributes["pointer"]),
            why=f"it has no canonical form: {error.attributes['why']}",
        ) from None
    if type(schema) is not dict:
        raise unusable(where, pointer="", why="it is not an object")
    if len(data) > MAX_BYTES:
        raise unusable(where, pointer="", why=f"it is larger than {MAX_BYTES} bytes")
    if canonical.nesting(data) > MAX_DEPTH:
        raise unusable(where, pointer="", why=f"it nests deeper than {MAX_DEPTH}")
    copied: JsonObject = json.loads(data)
    try:
        flaw = None if _is_plainly_valid()(copied) else best_match(_META.iter_errors(copied))
    except RecursionError:
        raise unusable(where, pointer="", why="it nests too deeply to be checked") from None
    if flaw is not None:
        wanted = f"{flaw.validator} {json.dumps(flaw.validator_value)}"[:160]
        pointer = pointer_of(flaw.absolute_path)
        raise unusable(where, pointer=pointer, why=f"the metaschema expects {wanted}")
    return copied


def _prepare(found: Located, *, where: str) -> None:
    """Check what the metaschema leaves open; put Python's patterns in the place of ECMA's."""
    schema, pointer = found.schema, pointer_of(found.path)
    if schema.get("$schema", _DIALECT_URI).rstrip("#") != _DIALECT_URI:
        raise unusable(where, pointer=pointer, why="its $schema is not JSON Schema 2020-12")
    if (name := schema.get("format", "password")) not in FORMATS:
        known = ", ".join(sorted(FORMATS))
        raise unusable(where, pointer=pointer, why=f"there is no format {name!r}; known: {known}")
    if "pattern" in schema:
        schema[AS_WRITTEN] = schema["pattern"]
        schema["pattern"] = python_pattern(schema["pattern"])
    if "patternProperties" in schema:
        schema["patternProperties"] = {
            python_pattern(key): below for key, below in schema["patternProperties"].items()
        }


def _try_defaults(
    graph: Graph, filling: Filling, validator: Draft202012Validator, *, where: str
) -> None:
    """Fill in every default once; each must end, and fit its own schema."""
    trial = filling.bounded(MAX_DEFAULTS)
    for place, default in _defaults(graph):
        try:
            filled = trial.at(place, default)
            fits = validator.evolve(schema=place.schema, _resolver=place.resolver).is_valid(filled)
        except RecursionError:
            why = "its defaults go on without end"
            raise unusable(where, pointer=graph.pointer(place), why=why) from None
        if not fits:
            why = f"the default {json.dumps(default)[:80]} does not fit its own schema"
            raise unusable(where, pointer=graph.pointer(place), why=why)


def _defaults(graph: Graph) -> Iterator[tuple[Place, Json]]:
    for place in graph.places.values():
        if isinstance(place.schema, dict) and "default" in place.schema:
            yield place, place.schema["default"]
