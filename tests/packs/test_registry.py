"""What can be called: resolving, importing at the first call, and what breaks a pack."""
# ruff: noqa: ARG001, ARG005 - a handler has the arguments of its contract

from __future__ import annotations

import asyncio
import inspect

import attrs
import pytest

from awe_core.capability import CapabilitySpec, Risk
from awe_core.errors import AccessError, AweError, ContractError, PackError, TrustError
from awe_core.packs import VerifiedPack
from awe_core.plugins import Plugins
from awe_core.registry import CapabilityRegistry

BIND = """\
from awe_core.binding import bind
from awe_core.hookspecs import hookimpl

@hookimpl
def awe_capabilities():
    return bind(__package__)
"""


@pytest.fixture
def plugins():
    return Plugins()


@pytest.fixture
def registry(finder, plugins):
    return CapabilityRegistry(finder, plugins)


def code_of(caught):
    return caught.value.code


def handler_error(capability):
    with pytest.raises(AweError) as caught:
        capability.handler()
    return caught.value


def test_a_pack_is_listed_and_resolved_without_an_import(pack, registry):
    verified = pack.verified()
    registry.add(verified)
    name = f"{pack.name}.put"
    for reference in (f"{name}@1", name):
        found = registry.resolve(reference)
        assert found.spec.full_reference == f"{name}@1.2.0"
        assert (found.pack.dist, found.pack.version) == (pack.distribution, "1.0.0")
        assert found.pack.record == verified.digest
        assert found.contract == verified.record.capabilities[0].contract
        assert found.executor == "worker"
        assert found.pinned is verified.pinned
    assert [f"{name}@1"] == list(registry.capabilities)
    assert [f"{pack.name}_twice@1"] == list(registry.workflows)
    assert registry.pack_of_workflow(f"{pack.name}_twice@1") == found.pack
    assert registry.packs() == (verified,)
    assert not pack.ran


def test_the_schemas_are_compiled(pack, registry):
    registry.add(pack.verified())
    found = registry.resolve(f"{pack.name}.put")
    assert found.input.apply({"text": "a"}, side="input") == {"text": "a", "times": 1}
    with pytest.raises(ContractError):
        found.output.apply({"text": 7}, side="output")


def test_the_first_call_imports_and_the_handler_fits(pack, registry):
    registry.add(pack.verified())
    found = registry.resolve(f"{pack.name}.put")
    handler = found.handler()
    assert pack.ran
    assert handler is found.handler()
    assert found.structure(handler(None, text="a", times=2)) == {"text": "aa"}


def test_a_pack_that_binds_itself_gives_its_handlers(pack, registry, plugins):
    pack.files[f"{pack.package}/__init__.py"] = BIND
    registry.add(pack.verified())
    assert registry.resolve(f"{pack.name}.put").handler()(None, text="a", times=3) == {
        "text": "aaa"
    }
    assert plugins.implements(pack.distribution, "awe_capabilities")


def test_a_handler_of_its_own_making_counts_if_the_contract_is_there(pack, registry):
    pack.files[f"{pack.package}/__init__.py"] = (
        "from awe_core.binding import Binding\nfrom awe_core.hookspecs import hookimpl\n"
        "@hookimpl\ndef awe_capabilities():\n"
        f"    return [Binding('{pack.name}.put@1.2.0', lambda: made)]\n"
        "def made(ctx, *, text, times): return 'made'\n"
    )
    registry.add(pack.verified())
    assert registry.resolve(f"{pack.name}.put").handler()(None, text="", times=1) == "made"


@pytest.mark.parametrize("offered", ["'nonsense'", "Binding('other.put@1.0.0', print)"])
def test_an_offer_without_a_contract_breaks_the_pack(pack, registry, offered):
    pack.files[f"{pack.package}/__init__.py"] = (
        "from awe_core.binding import Binding\nfrom awe_core.hookspecs import hookimpl\n"
        f"@hookimpl\ndef awe_capabilities():\n    return [{offered}]\n"
    )
    registry.add(pack.verified())
    found = registry.resolve(f"{pack.name}.put")
    assert handler_error(found).code == "pack.capability_undeclared"
    assert handler_error(found).code == "pack.capability_undeclared"


def test_a_binding_that_raises_breaks_its_capability(pack, registry):
    pack.files[f"{pack.package}/__init__.py"] = BIND
    pack.files[f"{pack.package}/work.py"] = "def put(): ...\nraise SystemExit('no')\n"
    registry.add(pack.verified())
    assert handler_error(registry.resolve(f"{pack.name}.put")).code == "pack.broken"


def test_a_pack_that_implements_what_it_was_not_granted_is_broken_for_good(pack, registry, plugins):
    pack.files[f"{pack.package}/__init__.py"] = (
        "from awe_core.hookspecs import hookimpl\n"
        "@hookimpl\ndef awe_confirmation_policies(config):\n    return []\n"
    )
    registry.add(pack.verified())
    found = registry.resolve(f"{pack.name}.put")
    first, second = handler_error(found), handler_error(found)
    assert first.code == second.code == "pack.hook_not_granted"
    assert first is not second
    assert plugins.confirmation_policies({}).found == ()


def test_a_handler_that_does_not_fit_its_contract_is_refused(pack, registry):
    pack.files[f"{pack.package}/work.py"] = "def put(ctx, *, text): return {}\n"
    registry.add(pack.verified())
    error = handler_error(registry.resolve(f"{pack.name}.put"))
    assert error.code == "pack.handler"
    assert "it does not take times, which the contract has" in error.details


def test_an_attrs_class_on_either_side_is_structured(pack, registry):
    pack.files[f"{pack.package}/work.py"] = (
        "import attrs\n"
        "@attrs.frozen\nclass Wish:\n    text: str\n    times: int\n"
        "@attrs.frozen\nclass Done:\n    text: str\n"
        "async def put(ctx, wish: Wish) -> Done:\n    return Done(wish.text * wish.times)\n"
    )
    registry.add(pack.verified())
    found = registry.resolve(f"{pack.name}.put")
    assert inspect.iscoroutinefunction(found.handler())
    output = asyncio.run(found.handler()(None, text="a", times=2))
    assert found.structure(output) == {"text": "aa"}


def test_an_unknown_capability_names_the_nearest(pack, registry):
    registry.add(pack.verified())
    with pytest.raises(AccessError) as caught:
        registry.resolve(f"{pack.name}.putt")
    assert code_of(caught) == "capability.unknown"
    assert caught.value.details == (f"did you mean {pack.name}.put?",)
    with pytest.raises(AccessError) as caught:
        registry.resolve(f"{pack.name}.put@2")
    assert caught.value.details == (f"did you mean {pack.name}.put@1?",)
    with pytest.raises(AccessError) as caught:
        registry.resolve("zzz")
    assert caught.value.details == ()


def test_without_a_major_the_highest_version_is_meant_and_aliases_are_answered(pack, registry):
    contract = pack.files[f"{pack.package}/contracts/put.yaml"]
    pack.files[f"{pack.package}/contracts/put2.yaml"] = (
        contract.replace("1.2.0", "10.0.0") + f"aliases: [{pack.name}.place]\n"
    )
    pack.files[f"{pack.package}/contracts/put3.yaml"] = contract.replace("1.2.0", "9.0.0")
    registry.add(pack.verified())
    assert registry.resolve(f"{pack.name}.put").spec.version == "10.0.0"
    assert registry.resolve(f"{pack.name}.put@9").spec.version == "9.0.0"
    assert registry.resolve(f"{pack.name}.put@1").spec.version == "1.2.0"
    assert registry.resolve(f"{pack.name}.place@10").spec.id == f"{pack.name}.put"


def test_a_pack_whose_documents_are_not_those_of_its_record_is_not_taken(pack, registry):
    verified = pack.verified()
    record = attrs.evolve(verified.record, capabilities=())
    wrong = VerifiedPack.of(record, verified.pinned.files)
    with pytest.raises(PackError) as caught:
        registry.add(wrong)
    assert code_of(caught) == "pack.capability_undeclared"
    assert dict(registry.capabilities) == {}


def test_two_packs_cannot_have_one_id(pack, registry):
    verified = pack.verified()
    registry.add(verified)
    other = attrs.evolve(verified.record, distribution="awe-pack-other", top_level=("other",))
    files = {
        path.replace(pack.package, "other"): content
        for path, content in verified.pinned.files.items()
    }
    with pytest.raises(TrustError) as caught:
        registry.add(VerifiedPack.of(other, files))
    assert code_of(caught) == "trust.duplicate"
    assert registry.resolve(f"{pack.name}.put").pack.dist == pack.distribution


def test_a_pack_imported_before_is_not_taken(pack, registry):
    import sys  # noqa: PLC0415 - this test plants a module

    verified = pack.verified()
    sys.modules[pack.package] = type(sys)(pack.package)
    with pytest.raises(PackError) as caught:
        registry.add(verified)
    assert code_of(caught) == "pack.already_imported"
    assert dict(registry.capabilities) == {}


def test_a_removed_pack_offers_nothing_and_the_same_pack_again_stays(pack, registry):
    verified = pack.verified()
    registry.add(verified)
    found = registry.resolve(f"{pack.name}.put")
    registry.add(verified)
    assert registry.resolve(f"{pack.name}.put") is found
    registry.remove(pack.distribution)
    assert dict(registry.capabilities) == {}
    assert dict(registry.workflows) == {}
    assert registry.packs() == ()
    with pytest.raises(AccessError):
        registry.resolve(f"{pack.name}.put")


def test_another_record_of_a_distribution_takes_its_place(pack, registry):
    verified = pack.verified()
    registry.add(verified)
    record = attrs.evolve(verified.record, revision=2)
    again = VerifiedPack.of(record, verified.pinned.files)
    registry.add(again)
    assert registry.packs() == (again,)
    assert registry.resolve(f"{pack.name}.put").pack.record == again.digest


def spec(**more):
    fields = {
        "id": "mine.own",
        "version": "1.0.0",
        "summary": "My own.",
        "risk": Risk.LOW,
        "input": {"type": "object", "additionalProperties": False},
        "output": {"type": "object"},
        "handler": "program:own",
    }
    return CapabilitySpec(**{**fields, **more})


def test_a_program_registers_its_own_under_a_dev_root_only(finder, plugins):
    def own(ctx):
        return {}

    with pytest.raises(PackError) as caught:
        CapabilityRegistry(finder, plugins).register(spec(), own)
    assert code_of(caught) == "pack.not_governed"
    registry = CapabilityRegistry(finder, plugins, dev=True)
    found = registry.register(spec(), own)
    assert registry.resolve("mine.own@1") is found
    assert found.handler() is own
    assert found.executor == "inproc"
    assert registry.local == (("mine.own", found.contract),)
    with pytest.raises(PackError) as caught:
        registry.register(spec(id="mine.other"), lambda: None)
    assert code_of(caught) == "pack.handler"


def test_the_contract_digest_of_a_program_changes_with_every_word(finder, plugins):
    registry = CapabilityRegistry(finder, plugins, dev=True)
    digests = {
        registry.register(one, lambda ctx: None).contract
        for one in (spec(), spec(risk=Risk.HIGH), spec(output={"type": "array"}))
    }
    assert len(digests) == 3


def test_a_schema_that_does_not_compile_is_refused(finder, plugins):
    registry = CapabilityRegistry(finder, plugins, dev=True)
    with pytest.raises(ContractError):
        registry.register(spec(input={"type": "object", "format": "no-such"}), lambda ctx: None)
    assert dict(registry.capabilities) == {}


# ---------------------------------------------------------------------------------------- plugins

POLICY = """\
from awe_core.hookspecs import hookimpl

class Calm:
    name, version, is_pure = "calm", "1", True
    def judge(self, request, facts): ...

@hookimpl
def awe_confirmation_policies(config):
    return [Calm()]
"""


def test_plugins_are_imported_when_asked_and_skills_are_not(pack, registry, plugins):
    path = f"{pack.package}/pack.yaml"
    pack.files[path] = pack.files[path].replace("awe_capabilities", "awe_confirmation_policies")
    pack.files[f"{pack.package}/__init__.py"] = POLICY
    registry.add(pack.verified())
    assert not pack.ran
    assert registry.load_plugins() == ()
    assert pack.ran
    ((owner, policy),) = plugins.confirmation_policies({}).found
    assert (owner, policy.name) == (pack.distribution, "calm")


def test_a_pack_of_skills_is_not_imported_at_the_start(pack, registry):
    registry.add(pack.verified())
    assert registry.load_plugins() == ()
    assert not pack.ran


def test_a_plugin_that_raises_is_set_aside_by_name(pack, registry):
    path = f"{pack.package}/pack.yaml"
    pack.files[path] = pack.files[path].replace("awe_capabilities", "awe_audit_sinks")
    pack.files[f"{pack.package}/__init__.py"] = "raise RuntimeError('out of order')\n"
    registry.add(pack.verified())
    (aside,) = registry.load_plugins()
    assert (aside.distribution, aside.error.code) == (pack.distribution, "pack.broken")
    assert "out of order" in str(aside.error)


def test_a_plugin_that_raises_takes_no_other_down(tmp_path, pack_in, registry, plugins):
    made = []
    for name, init in (("broken", "raise SystemExit('no')\n"), ("sound", POLICY)):
        (tmp_path / name).mkdir()
        made.append(pack_in(tmp_path / name))
        path = f"{made[-1].package}/pack.yaml"
        granted = made[-1].files[path].replace("awe_capabilities", "awe_confirmation_policies")
        made[-1].files |= {path: granted, f"{made[-1].package}/__init__.py": init}
        registry.add(made[-1].verified())
    broken, sound = made
    assert [broken.distribution] == [one.distribution for one in registry.load_plugins()]
    ((owner, _),) = plugins.confirmation_policies({}).found
    assert owner == sound.distribution


def test_a_declarative_pack_is_performed_by_its_interpreter(pack, registry):
    verified = pack.verified()
    (entry,) = verified.record.capabilities
    contract = pack.files[f"{pack.package}/contracts/put.yaml"].replace(
        f"{pack.name}.put", "far.put"
    )
    contract = contract.replace(f"{pack.package}.work:put", f"{pack.package}.work:operation")
    files = {
        "far_data/pack.yaml": (
            f"awe: pack/v1\nname: far\ncontracts: contracts/*.yaml\n"
            f"interpreter: {pack.package}.work:operation\n"
        ),
        "far_data/contracts/put.yaml": contract + "binding: bindings/put.yaml\n",
        "far_data/bindings/put.yaml": (
            "awe: binding/v1\nmethod: GET\nurl: https://files.example.com/\n"
        ),
    }
    record = attrs.evolve(
        verified.record,
        kind="declarative",
        name="far",
        distribution="awe-pack-far",
        top_level=("far_data",),
        entry_points={},
        workflows=(),
        interpreter=pack.distribution,
        source="0" * 64,
        capabilities=(attrs.evolve(entry, id="far.put"),),
    )
    data = VerifiedPack.of(record, as_bytes(files))
    digest = data.pinned and digest_of(files["far_data/contracts/put.yaml"])
    approved = attrs.evolve(record.capabilities[0], contract=digest)
    data = VerifiedPack.of(attrs.evolve(record, capabilities=(approved,)), as_bytes(files))
    registry.add(data)
    assert handler_error(registry.resolve("far.put")).code == "pack.interpreter"
    interpreter = dict(verified.pinned.files)
    interpreter[f"{pack.package}/work.py"] = (
        b"def operation(ctx, binding, arguments): return {'text': binding['method']}\n"
    )
    registry.add(VerifiedPack.of(verified.record, interpreter))
    found = registry.resolve("far.put")
    assert found.handler()(None, text="a", times=1) == {"text": "GET"}


def as_bytes(files):
    return {path: text.encode() for path, text in files.items()}


def digest_of(text):
    from awe_core import documents  # noqa: PLC0415 - this test approves what it wrote

    return documents.contract_digest(documents.read("capability", text, file="x").value)


def test_a_pack_that_binds_itself_has_no_document_read_a_second_time(pack, registry):
    pack.files[f"{pack.package}/__init__.py"] = BIND.replace(
        "return bind(__package__)",
        "found = bind(__package__)\n    assert found is bind(__package__)\n    return found",
    )
    registry.add(pack.verified())
    assert registry.resolve(f"{pack.name}.put").handler()(None, text="a", times=1)
