"""Handlers and the contracts they have to fit."""
# ruff: noqa: ARG001, ARG005 - a handler has the arguments of its contract

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING

import attrs
import pytest

from awe_core.binding import Binding, bind, fitted, interpreting, structure
from awe_core.capability import CapabilitySpec, Risk
from awe_core.errors import DocumentError, PackError, WiringError

if TYPE_CHECKING:
    import decimal


def spec(schema=None):
    given = {
        "type": "object",
        "required": ["path"],
        "properties": {
            "path": {"type": "string"},
            "mode": {"type": "string", "default": "upsert"},
            "note": {"type": "string"},
        },
        "additionalProperties": False,
    }
    return CapabilitySpec(
        id="files.put",
        version="1.0.0",
        summary="Put.",
        risk=Risk.LOW,
        input=schema or given,
        output={"type": "object"},
        handler="files:put",
    )


def fit(function, **schema):
    return fitted(function, spec(schema or None), distribution="awe-pack-files")


def flaws(function, **schema):
    with pytest.raises(PackError) as caught:
        fit(function, **schema)
    assert caught.value.code == "pack.handler"
    return " | ".join(caught.value.details)


def test_a_function_that_takes_each_property_is_called_as_it_is():
    def put(ctx, *, path, mode, note=None):
        return (ctx, path, mode, note)

    assert fit(put) is put


def test_positional_or_keyword_parameters_and_a_catch_all_fit_too():
    def by_both(ctx, path, mode, note=None): ...

    def catching(ctx, **arguments): ...

    def some(ctx, path, **more): ...

    for function in (by_both, catching, some):
        assert fit(function) is function


def test_a_method_fits_without_its_self():
    class Files:
        def put(self, ctx, *, path, mode, note=None): ...

    assert fit(Files().put)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda: None, "does not take the context first"),
        (lambda *, path, mode, note=None: None, "does not take the context first"),
        (lambda ctx, *, path, mode: None, "does not take note"),
        (lambda ctx, *, path, mode, note: None, "note needs a default"),
        (lambda ctx, *, path, mode, note=None, mood: None, "takes mood"),
        (lambda ctx, *, path, mode, note=None, mood=1: None, "takes mood"),
        (lambda ctx, path, /, *, mode, note=None: None, "takes path by its position"),
        (lambda path, *, mode, note=None: None, "has the name of the property path"),
    ],
    ids=[
        "nothing",
        "no context",
        "missing",
        "no default",
        "unknown",
        "unknown with default",
        "positional",
        "named as the context",
    ],
)
def test_a_function_that_does_not_fit_is_refused_with_the_difference(function, why):
    assert why in flaws(function)


def test_all_differences_are_told_at_once():
    def put(ctx, *, paht, mode): ...

    told = flaws(put)
    for each in ("takes paht", "does not take path", "does not take note"):
        assert each in told


def test_what_has_no_signature_is_refused():
    assert "no signature" in flaws(int)


def test_a_property_with_the_contexts_name_needs_a_positional_only_context():
    schema = {
        "type": "object",
        "properties": {"ctx": {"default": 1}},
        "additionalProperties": False,
    }

    def fine(context, /, *, ctx): ...

    assert fit(fine, **schema) is fine
    assert "name of the property ctx" in flaws(lambda ctx: None, **schema)


def test_an_open_input_needs_a_catch_all():
    schema = {"type": "object", "properties": {"path": {}}, "required": ["path"]}
    assert "further arguments" in flaws(lambda ctx, *, path: None, **schema)

    def fine(ctx, *, path, mood=None, **more): ...

    assert fit(fine, **schema) is fine


@attrs.frozen
class Request:
    path: str
    mode: str
    note: str = ""


def test_an_attrs_class_is_structured_from_the_arguments():
    def put(ctx, request: Request):
        return (ctx, request)

    handler = fit(put)
    assert handler("context", path="a", mode="b") == ("context", Request("a", "b"))
    assert not inspect.iscoroutinefunction(handler)


def test_a_coroutine_function_stays_one():
    async def put(ctx, request: Request):
        return request

    async def plain(ctx, *, path, mode, note=None):
        return path

    handler = fit(put)
    assert inspect.iscoroutinefunction(handler)
    assert inspect.iscoroutinefunction(fit(plain))
    coroutine = handler("context", path="a", mode="b")
    with pytest.raises(StopIteration) as caught:
        coroutine.send(None)
    assert caught.value.value == Request("a", "b")


@attrs.frozen
class Misspelt:
    paht: str
    mode: str
    note: str


def test_an_attrs_class_has_the_properties_of_the_contract():
    def put(ctx, request: Misspelt): ...

    told = flaws(put)
    for each in ("Misspelt has paht", "Misspelt has no path", "note needs a default"):
        assert each in told


def test_annotations_that_cannot_be_resolved_name_no_class():
    def put(ctx, path: decimal.Decimal, mode, note=None): ...

    def one(ctx, request: decimal.Decimal): ...

    assert fit(put) is put
    assert "takes request" in flaws(one)


def test_an_interpreter_gets_its_binding_and_the_arguments():
    def operation(ctx, binding, arguments):
        return (ctx, binding, arguments)

    async def waiting(ctx, binding, arguments):
        return arguments

    handler = interpreting(operation, {"method": "GET"})
    assert handler("context", path="a") == ("context", {"method": "GET"}, {"path": "a"})
    assert inspect.iscoroutinefunction(interpreting(waiting, {}))


def test_attrs_instances_become_json_and_all_else_stays():
    assert structure(Request("a", "b")) == {"path": "a", "mode": "b", "note": ""}
    value = {"any": ["json"]}
    assert structure(value) is value


# ------------------------------------------------------------------------------------------- bind

CONTRACT = """\
awe: capability/v1
id: {id}
version: 1.0.0
summary: Something.
risk: low
input: {{type: object}}
output: {{type: object}}
handler: {handler}
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "bound_for_a_test"
    (folder / "contracts" / "more").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "work.py").write_text("def put(ctx): return 7\n")
    (folder / "pack.yaml").write_text(
        "awe: pack/v1\nname: bound\ncontracts: [contracts/*.yaml, contracts/more/*.yaml]\n"
    )
    handler = "bound_for_a_test.work:put"
    for name, id_ in (("b.yaml", "b.put"), ("more/a.yaml", "a.put")):
        text = CONTRACT.format(id=id_, handler=handler)
        (folder / "contracts" / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("bound_for_a_test")]:
        del sys.modules[name]


def test_bind_reads_the_contracts_and_imports_a_handler_when_it_is_loaded(package):
    bindings = bind(package.name)
    assert ["b.put@1.0.0", "a.put@1.0.0"] == [one.capability for one in bindings]
    assert all(isinstance(one, Binding) for one in bindings)
    assert "bound_for_a_test.work" not in sys.modules
    assert bindings[0].load()(None) == 7
    assert "bound_for_a_test.work" in sys.modules


@pytest.mark.parametrize("package", [None, "", "json"])
def test_bind_wants_the_package_that_holds_pack_yaml(package):
    with pytest.raises(WiringError) as caught:
        bind(package)
    assert caught.value.code == "wiring.bind"


def test_a_broken_contract_is_named_with_its_place(package):
    (package / "contracts" / "b.yaml").write_text("awe: capability/v1\nid: 7\n")
    with pytest.raises(DocumentError) as caught:
        bind(package.name)
    assert caught.value.place.startswith("bound_for_a_test/contracts/b.yaml:")
