"""One schema, compiled: what it refuses to be, and what it says about a value."""

from __future__ import annotations

import json
from functools import cache
from itertools import islice, repeat
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import best_match

from awe_core import canonical
from awe_core.contract.formats import FORMATS, python_pattern
from awe_core.contract.places import PUBLISHED, Graph, Located, in_hand
from awe_core.contract.reading import Filling, Mark, Matcher
from awe_core.contract.refused import AS_WRITTEN, Side, broken, pointer_of, too_large, unusable
from awe_core.contract.verdict import Check, compile_check
from awe_core.errors import CanonicalError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonschema.exceptions import ValidationError

    from awe_core.values import Json, JsonObject

MAX_BYTES = 256 * 1024  #: of one schema
MAX_DEPTH = 100  #: of one schema
MAX_DEFAULTS = 20_000  #: filled in while all defaults of a schema are tried
_FINDINGS = 50  #: errors looked at; more change no verdict


@attrs.frozen
class Schema:
    """A schema that can be used: valid itself, its references in hand, its defaults fitting."""

    where: str  #: for messages: which capability or file, which side
    _check: Check = attrs.field(repr=False, eq=False)
    _filling: Filling = attrs.field(repr=False, eq=False)
    _matcher: Matcher = attrs.field(repr=False, eq=False)
    _validator: Any = attrs.field(repr=False, eq=False)

    @classmethod
    def compile(
        cls,
        schema: Json,
        *,
        where: str,
        resources: Mapping[str, JsonObject] = MappingProxyType({}),
    ) -> Schema:
        """Compile *schema*, of which a copy is taken.

        :param where: names the schema in messages
        :param resources: further schemas that ``$ref`` may name, by their URIs
        :raises ContractError: ``contract.schema``, with the place in the schema
        """
        try:
            source = _checked(schema, where=where)
            documents = {source.get("$id", ""): source}
            for uri, resource in resources.items():
                documents.setdefault(uri, _checked(resource, where=where))
            registry, known = in_hand(documents)
            for found in known:
                _prepare(found, where=where)
            graph = Graph(known, where=where)
            graph.check_intricacy()
        except RecursionError:
            raise unusable(where, pointer="", why="it nests too deeply to be checked") from None
        validator = Draft202012Validator(source, registry=registry, format_checker=_FORMATS)
        filling = Filling(graph)
        _try_defaults(graph, filling, validator, where=where)
        return cls(where, compile_check(graph.root), filling, Matcher(graph), validator)

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


def schema_flaw(schema: Json) -> ValidationError | None:
    """Give what the metaschema finds in *schema*, if it is none.

    :raises RecursionError: it nests too deeply for the stack that is left
    """
    return None if _is_plainly_valid()(schema) else best_match(_META.iter_errors(schema))


_FORMATS = FormatChecker(formats=())
for _name, _holds in FORMATS.items():
    _FORMATS.checks(_name)(lambda x, holds=_holds: not isinstance(x, str) or holds(x))
_META = Draft202012Validator(
    Draft202012Validator.META_SCHEMA, registry=PUBLISHED, format_checker=_FORMATS
)
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


@cache
def _is_plainly_valid() -> Check:
    """Compile the metaschema itself for a fast "yes"; jsonschema needs 3 ms for a small schema.

    Seen from the metaschema its ``$dynamicRef: "#meta"`` can only mean the metaschema.
    """
    documents: dict[str, JsonObject] = {
        uri: json.loads(
            json.dumps(PUBLISHED.contents(uri)).replace(
                '"$dynamicRef": "#meta"', f'"$ref": "{_DIALECT}"'
            )
        )
        for uri in sorted(PUBLISHED, key=lambda uri: uri != _DIALECT)
    }
    return compile_check(Graph(in_hand(documents)[1], where="the metaschema").root)


def _checked(schema: Json, *, where: str) -> JsonObject:
    """Check what is common to all JSON and to all schemas, and take a copy."""
    try:
        data = canonical.value(schema)
    except CanonicalError as error:
        pointer = str(error.attributes["pointer"])
        why = f"it has no canonical form: {error.attributes['why']}"
        raise unusable(where, pointer=pointer, why=why) from None
    if type(schema) is not dict:
        raise unusable(where, pointer="", why="it is not an object")
    if len(data) > MAX_BYTES:
        raise unusable(where, pointer="", why=f"it is larger than {MAX_BYTES} bytes")
    if canonical.nesting(data) > MAX_DEPTH:
        raise unusable(where, pointer="", why=f"it nests deeper than {MAX_DEPTH}")
    copied: JsonObject = json.loads(data)
    if (flaw := schema_flaw(copied)) is not None:
        wanted = f"{flaw.validator} {json.dumps(flaw.validator_value)}"[:160]
        pointer = pointer_of(flaw.absolute_path)
        raise unusable(where, pointer=pointer, why=f"the metaschema expects {wanted}")
    return copied


def _prepare(found: Located, *, where: str) -> None:
    """Check what the metaschema leaves open; put Python's patterns in the place of ECMA's."""
    schema, pointer = found.schema, pointer_of(found.path)
    if schema.get("$schema", _DIALECT).rstrip("#") != _DIALECT:
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
    filling.left = iter(range(MAX_DEFAULTS))
    for place in graph.places:
        if isinstance(place.schema, dict) and "default" in place.schema:
            default = place.schema["default"]
            try:
                filled = filling.at(place, default)
                own = validator.evolve(schema=place.schema, _resolver=place.resolver)
                fits = own.is_valid(filled)
            except RecursionError:
                why = "its defaults go on without end"
                raise unusable(where, pointer=graph.pointer(place), why=why) from None
            if not fits:
                why = f"the default {json.dumps(default)[:80]} does not fit its own schema"
                raise unusable(where, pointer=graph.pointer(place), why=why)
    filling.left = repeat(0)
