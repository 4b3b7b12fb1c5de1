"""From a contract to the function that performs it: `bind`, and the check that the two fit.

In a pack, ``return bind(__package__)`` reads ``pack.yaml`` and the contracts through
`importlib.resources` (under AWE: the approved bytes) and imports a handler only when it is first
called.  `fitted` compares a function with its contract before that call:

- the context is the first positional parameter;
- then either one keyword a property of the input schema, each with a default that may be missing,
  or one positional parameter annotated with an attrs class, which cattrs structures;
- the result is JSON, or an attrs instance that becomes JSON (`structure`).
"""

from __future__ import annotations

import functools
import importlib
import importlib.resources
import inspect
import typing
from contextlib import contextmanager
from contextvars import ContextVar
from fnmatch import fnmatchcase
from inspect import Parameter
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import cattrs
import cattrs.errors

from awe_core import documents
from awe_core.errors import PackError, WiringError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from importlib.resources.abc import Traversable

    from awe_core.capability import CapabilitySpec
    from awe_core.values import Json, JsonObject

#: What performs a capability: ``handler(context, **arguments)``, a coroutine function or not.
Handler: TypeAlias = "Callable[..., Any]"


@attrs.frozen
class Binding:
    """The handler of one contract; nothing is imported until `load`."""

    capability: str  #: ``id@1.2.0``
    load: Callable[[], Handler] = attrs.field(repr=False)  #: imports and gives the function


@contextmanager
def verified(package: str, specs: Iterable[CapabilitySpec]) -> Iterator[None]:
    """Let `bind` give what was read when *package* was verified, instead of reading it again."""
    token = _VERIFIED.set((package, tuple(map(_binding, specs))))
    try:
        yield
    finally:
        _VERIFIED.reset(token)


_VERIFIED: ContextVar[tuple[str, tuple[Binding, ...]] | None] = ContextVar("verified", default=None)


def bind(package: str | None) -> tuple[Binding, ...]:
    """Give the handlers of every contract in *package*, which is ``__package__``.

    :raises WiringError: ``wiring.bind`` if that is no package with a ``pack.yaml``
    :raises DocumentError: if one of its documents cannot be taken
    """
    known = _VERIFIED.get()
    if known is not None and known[0] == package:
        return known[1]
    root = importlib.resources.files(package) if package else None
    if package is None or root is None or not (root / "pack.yaml").is_file():
        raise WiringError("wiring.bind", package=package)
    pack = documents.load_pack((root / "pack.yaml").read_bytes(), file=f"{package}/pack.yaml")
    found = (_matching(root, pattern.split("/")) for pattern in pack.contracts)
    files = {name: file for one in found for name, file in one}
    return tuple(
        _binding(documents.load_capability(file.read_bytes(), file=f"{package}/{name}"))
        for name, file in sorted(files.items())
    )


def _binding(spec: CapabilitySpec) -> Binding:
    return Binding(spec.full_reference, functools.partial(_imported, spec.handler))


def fitted(function: Handler, spec: CapabilitySpec, *, distribution: str) -> Handler:
    """Give what can be called as ``handler(context, **arguments)`` and fits the contract *spec*.

    :param distribution: for messages
    :raises PackError: ``pack.handler`` naming every difference
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
        hints = _hints(function)
    except (TypeError, ValueError):
        raise _unfit(spec, distribution, ["it has no signature"]) from None
    if not parameters or parameters[0].kind not in _POSITIONAL:
        raise _unfit(spec, distribution, ["it does not take the context first"])
    wanted = _input_class(parameters[1:], hints)
    if wanted is not None:
        flaws = _class_flaws(wanted, spec)
        return _refused_or(_structuring(function, wanted), flaws, spec, distribution)
    flaws = list(_keyword_flaws(parameters, _Shape.of(spec.input)))
    return _refused_or(function, flaws, spec, distribution)


def interpreting(function: Handler, binding: JsonObject) -> Handler:
    """Give the handler of a declarative contract: ``function(context, binding, arguments)``.

    :param binding: the document that tells the interpreter what to do
    """
    return _wrapped(function, lambda context, arguments: (context, binding, arguments))


def structure(output: object) -> Json:
    """Give the JSON of what a handler returned: attrs instances become objects."""
    return _CONVERTER.unstructure(output) if attrs.has(type(output)) else output


_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_CONVERTER = cattrs.Converter(forbid_extra_keys=True)


@attrs.frozen
class _Shape:
    """Which properties an input has, as far as its schema says so plainly."""

    properties: frozenset[str]
    always: frozenset[str]  #: required, or given by a default
    is_open: bool  #: others may come, or they are said in a way only a validator reads

    @classmethod
    def of(cls, schema: JsonObject) -> _Shape:
        properties = schema.get("properties", {})
        defaults = {
            name for name, one in properties.items() if isinstance(one, dict) and "default" in one
        }
        composed = {"$ref", "allOf", "anyOf", "oneOf", "if", "patternProperties", "$dynamicRef"}
        return cls(
            frozenset(properties),
            frozenset(defaults | set(schema.get("required", ()))),
            is_open=bool(composed & schema.keys())
            or schema.get("additionalProperties", True) is not False,
        )


def _keyword_flaws(parameters: list[Parameter], shape: _Shape) -> Iterator[str]:
    context, *rest = parameters
    taken = {one.name for one in rest if one.kind in _NAMED}
    takes_any = any(one.kind is Parameter.VAR_KEYWORD for one in rest)
    if context.kind is not Parameter.POSITIONAL_ONLY and context.name in shape.properties:
        yield f"its context has the name of the property {context.name}"
    for one in rest:
        if one.kind is Parameter.POSITIONAL_ONLY:
            yield f"it takes {one.name} by its position; arguments come by name"
        needs_default = one.name in shape.properties - shape.always
        if one.kind in _NAMED and one.default is Parameter.empty and needs_default:
            yield f"{one.name} needs a default, since the contract does not require it"
    for name in sorted(taken - shape.properties) if not shape.is_open else ():
        yield f"it takes {name}, which the contract does not have"
    for name in sorted(shape.properties - taken) if not takes_any else ():
        yield f"it does not take {name}, which the contract has"
    if shape.is_open and not takes_any:
        yield "it does not take further arguments, which the contract allows"


def _class_flaws(wanted: type[Any], spec: CapabilitySpec) -> list[str]:
    shape = _Shape.of(spec.input)
    fields = {field.name: field for field in attrs.fields(wanted) if field.init}
    flaws = [
        f"{wanted.__name__} has no {name}, which the contract has"
        for name in sorted(shape.properties - fields.keys())
    ]
    for name, field in fields.items():
        if name not in shape.properties and not shape.is_open:
            flaws.append(f"{wanted.__name__} has {name}, which the contract does not have")
        elif field.default is attrs.NOTHING and name in shape.properties - shape.always:
            flaws.append(f"{name} needs a default, since the contract does not require it")
    return flaws


def _input_class(rest: list[Parameter], hints: dict[str, Any]) -> type[Any] | None:
    if len(rest) != 1 or rest[0].kind not in _POSITIONAL:
        return None
    hint = hints.get(rest[0].name)
    return hint if isinstance(hint, type) and attrs.has(hint) else None


def _hints(function: Handler) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # noqa: BLE001 - foreign annotations; then they name no class of input
        return {}


def _structuring(function: Handler, wanted: type[Any]) -> Handler:
    return _wrapped(
        function,
        lambda context, arguments: (context, _CONVERTER.structure(arguments, wanted)),
    )


def _wrapped(function: Handler, given: Callable[[Any, JsonObject], tuple[Any, ...]]) -> Handler:
    """Keep what the function is: an executor asks whether it is a coroutine function."""
    if inspect.iscoroutinefunction(function):

        async def waiting(context: Any, /, **arguments: Any) -> Any:  # noqa: ANN401 - a handler's
            return await function(*given(context, arguments))

        return waiting

    def direct(context: Any, /, **arguments: Any) -> Any:  # noqa: ANN401 - a handler's
        return function(*given(context, arguments))

    return direct


def _refused_or(
    handler: Handler, flaws: list[str], spec: CapabilitySpec, distribution: str
) -> Handler:
    if flaws:
        raise _unfit(spec, distribution, flaws)
    return handler


def _unfit(spec: CapabilitySpec, distribution: str, flaws: list[str]) -> PackError:
    return PackError(
        "pack.handler",
        distribution=distribution,
        handler=spec.handler,
        why=f"does not fit the contract {spec.full_reference}",
        details=flaws,
    )


def _imported(reference: str) -> Handler:
    module, _, name = reference.partition(":")
    return typing.cast("Handler", getattr(importlib.import_module(module), name))


def _matching(folder: Traversable, pattern: list[str]) -> Iterator[tuple[str, Traversable]]:
    """Give (name, file) of what fits a glob; ``*`` does not cross a ``/``."""
    head, *rest = pattern
    for entry in folder.iterdir():
        if not fnmatchcase(entry.name, head):
            continue
        if rest and entry.is_dir():
            yield from ((f"{entry.name}/{name}", one) for name, one in _matching(entry, rest))
        elif not rest and entry.is_file():
            yield entry.name, entry
