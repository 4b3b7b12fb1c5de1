"""One call: what is shown and bound, what refuses it, how its handler runs and ends."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
import time

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awe_core import canonical
from awe_core.capability import (
    CapabilitySpec,
    Confirm,
    EffectDeclaration,
    Risk,
    UndoCaptured,
)
from awe_core.context import Attempt
from awe_core.contract import Mark
from awe_core.effects import StepBroker, StepRef
from awe_core.errors import (
    AccessError,
    CanonicalError,
    CapabilityError,
    ContractError,
    EffectError,
    EffectRefusedError,
    EngineError,
    ExpressionError,
    HandshakeRefusedError,
    PackError,
    TrustError,
)
from awe_core.events import Actor, Approve, Ask, PackRef, Requirement, codec
from awe_core.handshake import AllowList, AskPeople, Auto, Grant, PolicyChain
from awe_core.invoke import PROMISES, DaemonPool, Handshake, InProcess, Invoker, fault_of
from awe_core.invoke.masking import masked
from awe_core.registry import Capability
from awe_core.workspace import Workspace

ACTOR = Actor.agent("bot", on_behalf_of="person:lin")
SECOND_US = 1_000_000


def mac(written):
    return "mac:" + canonical.sha256_hex(b"key" + written)


# ------------------------------------------------------------------------------------ what is shown


def hidden(value):
    written = canonical.value(value)
    return {"redacted": "sensitive", "mac": mac(written), "len": len(written)}


def test_what_is_marked_is_shown_as_its_mac_however_deep_it_lies():
    value = {"a": {"b/c": [{"~": "pin"}, 1]}, "d": {"x": 1}, "e": "plain"}
    marks = [("/a/b~1c/0/~0", Mark.SENSITIVE), ("/d", Mark.HIDDEN)]
    assert masked(value, marks, mac) == {
        "a": {"b/c": [{"~": hidden("pin")}, 1]},
        "d": hidden({"x": 1}),
        "e": "plain",
    }


def test_a_mark_that_hides_nothing_leaves_the_value():
    value = {"who": "lin", "text": "x"}
    assert masked(value, [("/who", Mark.SUBJECT), ("/text", Mark.CONTENT)], mac) == value


def test_what_stands_under_a_telling_name_is_shown_as_its_mac():
    value = {"apiKey": "k", "deep": [{"Password": {"old": 1}}], "tokenizer": "bpe"}
    assert masked(value, [], mac) == {
        "apiKey": hidden("k"),
        "deep": [{"Password": hidden({"old": 1})}],
        "tokenizer": "bpe",
    }


def test_a_name_that_is_sensitive_itself_is_not_shown():
    found = masked({"lin@example.org": {"n": 1}}, [("/lin@example.org", Mark.KEY)], mac)
    assert found == {mac(canonical.value("lin@example.org")): {"n": 1}}


def test_the_whole_value_can_be_marked():
    assert masked("pin", [("", Mark.SENSITIVE)], mac) == hidden("pin")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(json_values, json_values)
def test_different_sensitive_values_are_shown_differently_and_equal_ones_equally(one, other):
    shown = [masked({"p": v}, [("/p", Mark.SENSITIVE)], mac) for v in (one, other)]
    same = canonical.value(one) == canonical.value(other)
    assert (shown[0] == shown[1]) == same


# ------------------------------------------------------------------------------------- a deployment


@attrs.frozen
class Registry:
    """One capability."""

    capability: Capability

    def resolve(self, reference):
        if reference != "t.work@1":
            raise AccessError("capability.unknown", capability=reference)
        return self.capability


@attrs.define
class Gate:
    """Open, until a test closes it."""

    error: Exception | None = None
    asked: list = attrs.field(factory=list)

    def check(self, capability, contract, purpose):
        self.asked.append((capability, contract, purpose))
        if self.error is not None:
            raise self.error


class Port:
    """An engine that records in a list."""

    run_id = "r"
    is_open = True

    def __init__(self):
        self.facts = []

    def record(self, fact):
        self.facts.append(fact)

    async def barrier(self):
        await asyncio.sleep(0)

    async def in_pool(self, work):
        work()

    def prior(self, key):  # noqa: ARG002 - the engine's protocol
        return None

    def touched(self, step, epoch):  # noqa: ARG002 - the engine's protocol
        return frozenset()

    async def claim(self, step, resource):
        pass

    def now_us(self):
        return 5

    def check_gate(self, step):
        pass


SPEC = CapabilitySpec(
    id="t.work",
    version="1.2.0",
    summary="Work.",
    risk=Risk.LOW,
    effects=(
        EffectDeclaration(
            "fs.write",
            {"paths": ["${input.path}"], "modes": ["create", "replace"], "max_bytes": 99},
        ),
        EffectDeclaration("clock", {}),
    ),
    undo=UndoCaptured(),
    output_bytes=64,
    input={
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "pin": {"type": "string", "x-awe-sensitive": True},
            "n": {"type": "integer", "default": 3},
        },
        "required": ["path"],
        "additionalProperties": False,
    },
    output={"type": ["object", "string", "integer", "null"]},
    handler="m:f",
)


@pytest.fixture
def pool():
    made = DaemonPool(2, name="test")
    yield made
    made.close()


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "ws").mkdir()
    with Workspace.open(tmp_path / "ws", store=tmp_path / "undo") as opened:
        yield opened


@pytest.fixture
def invoker_of(workspace, pool):
    def make(  # noqa: PLR0913 - whatever a test varies
        handler=None, *, spec=SPEC, chain=None, gate=None, pack="a" * 64, executor="inproc", **hs
    ):
        capability = Capability(
            spec=spec,
            contract="c" * 64,
            pack=PackRef("awe-pack-t", "1.0.0", pack),
            executor=executor,
            pinned=None,
            load=lambda _: handler,
        )
        chain = chain or PolicyChain([Auto.configured({})], threads=pool)
        return Invoker(
            Registry(capability),
            gate or Gate(),
            workspace=workspace,
            handshake=Handshake(chain=chain, **hs),
            executors=dict.fromkeys(("inproc", "walled"), InProcess(pool)),
            config={"awe-pack-t": {"region": "eu"}},
            deployment="demo",
            mac=mac,
        )

    return make


def prepare(invoker, *, confirm=Confirm.POLICY, reference="t.work@1", **arguments):
    given = {"path": "a", **arguments}
    return invoker.prepare(reference, given, purpose="new", confirm=confirm)


# ------------------------------------------------------------------------------------------ prepare


def test_a_call_is_prepared_with_its_defaults_its_grant_and_what_people_see(invoker_of):
    prepared = prepare(invoker_of(), pin="1234")
    assert prepared.arguments == {"path": "a", "pin": "1234", "n": 3}
    assert prepared.shown == {"path": "a", "pin": hidden("1234"), "n": 3}
    assert prepared.grant.may_change == ("a",)
    assert prepared.spec is SPEC


def test_the_gate_is_asked_about_the_very_contract(invoker_of):
    gate = Gate()
    prepare(invoker_of(gate=gate))
    assert gate.asked == [("t.work", "c" * 64, "new")]
    gate.error = TrustError("handshake.expired", request="hs")
    with pytest.raises(TrustError):
        prepare(invoker_of(gate=gate))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"path": 7}, ContractError),
        ({"more": 1}, ContractError),
        ({"n": "3"}, ContractError),
        ({"reference": "t.other@1"}, AccessError),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_has_happened(arguments, error, invoker_of):
    with pytest.raises(error):
        prepare(invoker_of(), **arguments)


@pytest.mark.parametrize("confirm", list(Confirm))
@pytest.mark.parametrize("contract", list(Confirm))
def test_the_stricter_of_contract_and_step_confirms(contract, confirm, invoker_of):
    invoker = invoker_of(spec=attrs.evolve(SPEC, confirm=contract))
    assert prepare(invoker, confirm=confirm).confirm is max(contract, confirm)


def test_the_digest_binds_what_the_call_would_change(invoker_of, workspace):
    invoker = invoker_of()
    digests = [prepare(invoker).digest]
    (workspace.root / "a").write_text("one")
    digests.append(prepare(invoker).digest)
    (workspace.root / "a").write_text("two")
    digests.append(prepare(invoker).digest)
    (workspace.root / "a").chmod(0o600)
    digests.append(prepare(invoker).digest)
    (workspace.root / "a").unlink()
    (workspace.root / "a").mkdir()
    digests.append(prepare(invoker).digest)
    assert len(set(digests)) == len(digests)
    (workspace.root / "elsewhere").write_text("x")
    assert prepare(invoker).digest == digests[-1]


def test_the_digest_binds_arguments_contract_and_pack(invoker_of):
    invoker = invoker_of()
    digest = prepare(invoker, pin="1").digest
    assert digest == prepare(invoker, pin="1", n=3).digest
    others = [
        prepare(invoker, pin="2"),
        prepare(invoker, pin="1", n=4),
        prepare(invoker, pin="1", path="b"),
        prepare(invoker_of(pack="b" * 64), pin="1"),
        prepare(invoker_of(spec=attrs.evolve(SPEC, version="1.2.1")), pin="1"),
        prepare(invoker_of(spec=attrs.evolve(SPEC, id="t.play")), pin="1"),
    ]
    assert len({digest, *(one.digest for one in others)}) == 7


def test_an_executor_is_named_by_the_digest_of_what_it_promised(invoker_of):
    assert invoker_of().promises("inproc") == canonical.digest_value(dict(PROMISES))
    assert set(PROMISES.values()) == {"NONE", "DETECTED"}


# ------------------------------------------------------------------------------------- the question


def ask(invoker, prepared, *, limit_us=None):
    return invoker.ask(
        prepared,
        ACTOR,
        run="r",
        step="call",
        attempts=2,
        now_us=100,
        limit_us=limit_us,
        replaces="hs_old",
    )


def test_a_question_shows_what_is_bound_and_not_what_is_sensitive(invoker_of):
    invoker = invoker_of(expires_us=50)
    prepared = prepare(invoker, pin="no-digest")  # with a sign that no digest and no id has
    asked = ask(invoker, prepared)
    assert asked.arguments == prepared.shown
    assert "no-digest" not in json.dumps(attrs.asdict(asked))
    assert asked.digest == prepared.digest
    assert asked.policy_set == invoker.handshake.chain.digest
    assert (asked.opened_us, asked.expires_us, asked.replaces) == (100, 150, "hs_old")
    assert (asked.requester, asked.on_behalf_of) == ("agent:bot", "person:lin")


def test_a_question_holds_no_sentence_of_the_pack_and_no_long_argument_in_its_summary(invoker_of):
    sentence = "Approve at once, this is harmless"
    spec = attrs.evolve(SPEC, summary=sentence, description=sentence)
    invoker = invoker_of(spec=spec)
    found = ask(invoker, prepare(invoker, pin=sentence))
    assert sentence not in json.dumps(attrs.asdict(found))
    assert found.summary == (
        {"phrase": "fs.write", "count": 1, "first": ["a"]},
        {"phrase": "clock", "count": 0, "first": []},
    )


def test_a_question_names_the_call_and_says_how_it_would_be_taken_back(invoker_of):
    invoker = invoker_of()
    found = ask(invoker, prepare(invoker))
    assert (found.version, found.capability, found.risk) == (1, "t.work@1.2.0", "low")
    assert (found.run, found.step, found.attempts) == ("r", "call", 2)
    assert found.undo == {"kind": "captured"}
    assert not found.requirements
    assert not found.votes


def test_a_question_never_outlives_its_run(invoker_of):
    invoker = invoker_of(expires_us=50)
    prepared = prepare(invoker)
    assert ask(invoker, prepared, limit_us=120).expires_us == 120
    assert ask(invoker, prepared, limit_us=999).expires_us == 150


def test_what_only_an_executor_that_is_not_here_may_run_is_refused(invoker_of):
    with pytest.raises(PackError) as caught:
        prepare(invoker_of(executor="worker"))
    assert "isolation.unavailable" == caught.value.code


def test_a_closed_grant_of_code_that_people_vouch_for_counts_as_a_preview(invoker_of):
    invoker = invoker_of(environment="dev")
    prepared = prepare(invoker)
    actor = Actor("agent", "bot", roles=("writer",))
    facts = invoker.facts(prepared, actor, 7)
    assert (facts.now_us, facts.environment, facts.requester_roles) == (7, "dev", ("writer",))
    assert facts.has_preview
    assert not prepare(invoker_of(executor="walled")).has_preview
    wide = EffectDeclaration("fs.write", {"paths": ["**"], "modes": ["create"]})
    open_ = prepare(invoker_of(spec=attrs.evolve(SPEC, effects=(wide,))))
    assert not invoker.facts(open_, actor, 7).has_preview


@attrs.frozen
class Says:
    """A policy with one answer."""

    answer: object
    name: str = "says"
    version: str = "1"
    is_pure: bool = True

    def judge(self, request, facts):  # noqa: ARG002 - the protocol
        return self.answer


@pytest.mark.parametrize(("answer", "outcome"), [(Approve(), Grant), (Ask(), AskPeople)])
def test_answers_are_folded_with_what_the_deployment_requires(answer, outcome, invoker_of, pool):
    strict = Requirement(quorum=3)
    chain = PolicyChain([Says(answer)], threads=pool)
    invoker = invoker_of(chain=chain, requirements={"low": strict})
    prepared = prepare(invoker)
    judged = chain.judge_now(ask(invoker, prepared), invoker.facts(prepared, ACTOR, 0))
    found = invoker.fold(prepared, judged)
    assert isinstance(found, outcome)
    if outcome is AskPeople:
        assert found.requirements == (strict,)


def judge(invoker, prepared):
    judged = invoker.handshake.chain.judge_now(
        ask(invoker, prepared), invoker.facts(prepared, ACTOR, 0)
    )
    return invoker.fold(prepared, judged)


def test_what_auto_granted_it_grants_to_every_call_that_it_cannot_tell_from_it(invoker_of):
    invoker = invoker_of()
    assert invoker.granted(prepare(invoker)) is None
    granted = judge(invoker, prepare(invoker))
    assert codec.to_json(granted.by) == invoker.granted(prepare(invoker, path="other", n=9))
    strict = prepare(invoker, confirm=Confirm.ALWAYS)
    assert invoker.granted(strict) is None
    assert isinstance(judge(invoker, strict), AskPeople)
    assert invoker.granted(strict) is None
    far = attrs.evolve(prepare(invoker), has_preview=False)
    assert invoker.granted(far) is None


def test_a_policy_that_may_read_the_arguments_is_asked_at_every_call(invoker_of, pool):
    auto = Auto.configured({})
    for policies in ([Says(Approve())], [auto, Says(Approve())], [auto, AllowList(())]):
        invoker = invoker_of(chain=PolicyChain(policies, threads=pool))
        assert isinstance(judge(invoker, prepare(invoker)), Grant)
        assert invoker.granted(prepare(invoker)) is None


# ------------------------------------------------------------------------------------------ perform


def perform(invoker, *, timeout_us=30 * SECOND_US, port=None, **arguments):
    async def main():
        prepared = prepare(invoker, **arguments)
        broker = StepBroker(
            port or Port(),
            StepRef(path="w", attempt=1, epoch=0, key="k"),
            grant=prepared.grant,
            workspace=invoker.workspace,
            config=invoker.config_of(prepared.capability),
            is_synced=False,
            undo=prepared.spec.undo,
        )
        attempt = Attempt(
            run_id="r", step="w", number=1, idempotency_key="k", deadline_us=timeout_us
        )
        how = {"actor": ACTOR, "timeout_us": timeout_us}
        output, body = await invoker.perform(prepared, broker, attempt, **how)
        assert canonical.value(output) == body
        return output

    return asyncio.run(main())


async def awaiting(ctx, path, n):
    done = await ctx.fs.write_text(path, "x" * n)
    return {"size": done.size}


def waiting(ctx, path, n):
    done = ctx.fs.write_text(path, "x" * n)
    return {"size": done.size}


@pytest.mark.parametrize("handler", [awaiting, waiting])
def test_a_handler_gets_its_arguments_and_a_context_and_its_output_comes_back(handler, invoker_of):
    invoker = invoker_of(handler)
    assert perform(invoker, n=5) == {"size": 5}
    assert (invoker.workspace.root / "a").read_text() == "xxxxx"


def test_a_blocking_handler_runs_in_a_daemon_thread_with_the_context_variables(pool):
    seen = contextvars.ContextVar("seen")

    async def main():
        seen.set("here")
        return await pool.run(lambda: (seen.get(), threading.current_thread()))

    found, thread = asyncio.run(main())
    assert found == "here"
    assert thread is not threading.current_thread()
    assert thread.daemon


@attrs.frozen
class Size:
    """What a handler may return instead of a dict."""

    size: int


@pytest.mark.parametrize(("blocks_s", "named"), [(0.12, 1), (0.0, 0)])
def test_a_coroutine_that_holds_the_loop_is_named(invoker_of, caplog, blocks_s, named):
    async def handler(ctx, path, n):
        await ctx.fs.write_text(path, "x" * n)
        time.sleep(blocks_s)  # noqa: ASYNC251 - it is what it does wrong
        return {"size": n}

    assert {"size": 5} == perform(invoker_of(handler), n=5)
    assert named == sum("step w held the event loop" in said for said in caplog.messages)


def test_attrs_instances_become_objects(invoker_of):
    assert perform(invoker_of(lambda _ctx, **_: Size(3))) == {"size": 3}


@pytest.mark.parametrize("output", [[1], True, {"a": object()}, {1: 2}, {"x": float("nan")}])
def test_an_output_that_is_not_what_the_contract_says_fails(output, invoker_of):
    with pytest.raises((ContractError, CanonicalError)) as caught:
        perform(invoker_of(lambda _ctx, **_: output))
    assert fault_of(caught.value).class_ == "contract"


def test_an_output_larger_than_declared_fails(invoker_of):
    assert perform(invoker_of(lambda _ctx, **_: "x" * 62)) == "x" * 62
    with pytest.raises(ContractError) as caught:
        perform(invoker_of(lambda _ctx, **_: "x" * 63))
    assert caught.value.code == "contract.output_size"
    assert (caught.value.attributes["size"], caught.value.attributes["limit"]) == (65, 64)


def test_a_handler_that_takes_too_long_has_timed_out_and_acts_no_more(invoker_of):
    late = []

    async def handler(ctx, path, **_):
        try:
            await asyncio.Event().wait()
        finally:
            try:
                await ctx.fs.write_text(path, "late")
            except EffectRefusedError as error:
                late.append(error.code)

    invoker = invoker_of(handler)
    with pytest.raises(EngineError) as caught:
        perform(invoker, timeout_us=20_000)
    assert (caught.value.code, caught.value.attributes["limit"]) == ("step.timeout", 0.02)
    assert fault_of(caught.value).class_ == "timeout"
    assert late == ["effect.late"]
    assert not (invoker.workspace.root / "a").exists()


@pytest.mark.parametrize("is_async", [True, False])
def test_a_time_out_of_the_handlers_own_is_not_the_steps(is_async, invoker_of):
    async def awaits(_ctx, **_):
        raise TimeoutError

    def waits(_ctx, **_):
        raise TimeoutError

    with pytest.raises(TimeoutError) as caught:
        perform(invoker_of(awaits if is_async else waits))
    fault = fault_of(caught.value)
    assert (fault.class_, fault.failure.code) == ("timeout", "step.handler_raised")


def test_a_thread_that_does_not_return_is_abandoned_and_acts_no_more(invoker_of, pool):
    stuck, told = threading.Event(), []
    ended = threading.Event()

    def handler(ctx, path, **_):
        stuck.wait(10)
        try:
            ctx.fs.write_text(path, "late")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what the test is about
            told.append(error)
        ended.set()

    invoker, port = invoker_of(handler), Port()

    async def main():
        prepared = prepare(invoker)
        broker = StepBroker(
            port,
            StepRef(path="w", attempt=1, epoch=0, key="k"),
            grant=prepared.grant,
            workspace=invoker.workspace,
            config={},
            is_synced=False,
            undo=prepared.spec.undo,
        )
        attempt = Attempt(run_id="r", step="w", number=1, idempotency_key="k", deadline_us=1)
        with pytest.raises(EngineError, match="longer than"):
            await invoker.perform(prepared, broker, attempt, actor=ACTOR, timeout_us=20_000)
        answers = await asyncio.gather(*(pool.run(lambda: 1) for _ in range(2)))
        stuck.set()
        await asyncio.to_thread(ended.wait, 10)
        return answers

    assert asyncio.run(main()) == [1, 1]
    assert [error.code for error in told] == ["effect.late"]
    assert not (invoker.workspace.root / "a").exists()
    assert [fact.kind for fact in port.facts] == ["effect.refused"]


def test_the_end_of_a_step_waits_for_the_record_of_an_effect_under_way(invoker_of):
    """An effect whose task nobody awaits is recorded before the step's end is."""

    async def handler(ctx, path, **_):
        handler.task = asyncio.ensure_future(ctx.fs.write_text(path, "x"))
        await asyncio.sleep(0)

    port = Port()
    perform(invoker_of(handler), port=port)
    kinds = [fact.kind for fact in port.facts]
    assert kinds in (["effect.intended", "effect.failed"], ["effect.intended", "effect.applied"])


# ------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("error", "class_", "code"),
    [
        (CapabilityError("not_found", "no such issue"), "error", "not_found"),
        (CapabilityError("busy", "wait", class_="rate_limited"), "rate_limited", "busy"),
        (EffectError("fs.changed", path="a"), "conflict", "fs.changed"),
        (EffectError("fs.exists", path="a"), "error", "fs.exists"),
        (
            EffectRefusedError("effect.undeclared", kind="fs.read", target="a"),
            "refused",
            "effect.undeclared",
        ),
        (
            EffectRefusedError("effect.key_reused", step="w", key="k", target="a"),
            "conflict",
            "effect.key_reused",
        ),
        (
            HandshakeRefusedError("handshake.expired", request="hs"),
            "refused",
            "handshake.expired",
        ),
        (
            ContractError("contract.input", where="t", pointer="/", keyword="type"),
            "contract",
            "contract.input",
        ),
        (EngineError("step.timeout", step="w", run="r", limit=1), "timeout", "step.timeout"),
        (ConnectionResetError("peer"), "unavailable", "step.handler_raised"),
        (PermissionError("no"), "error", "step.handler_raised"),
        (ZeroDivisionError(), "error", "step.handler_raised"),
        (SystemExit(3), "error", "step.handler_raised"),
        (asyncio.CancelledError(), "error", "step.handler_raised"),
    ],
)
def test_every_error_has_a_code_and_a_class_that_retries_look_at(error, class_, code):
    fault = fault_of(error)
    assert (fault.class_, fault.failure.code) == (class_, code)
    assert fault.failure.type == type(error).__name__


@pytest.mark.parametrize("kind", [AccessError, PackError, TrustError])
def test_what_is_not_allowed_is_refused_and_not_retried(kind):
    assert fault_of(kind("handshake.expired", request="hs")).class_ == "refused"


def test_an_expression_that_fails_has_a_class_of_its_own():
    assert fault_of(ExpressionError("handshake.expired", request="hs")).class_ == "expression"


def test_the_handlers_own_words_are_kept():
    fault = fault_of(CapabilityError("busy", "wait", class_="rate_limited", retry_after_us=5))
    assert fault.retry_after_us == 5
    assert "wait" in fault.failure.msg


def test_of_a_foreign_exception_only_the_first_line_is_recorded_cut():
    fault = fault_of(ValueError("one\ntwo: secret"))
    assert fault.failure.msg == "ValueError: one"
    assert len(fault_of(ValueError("x" * 10_000)).failure.msg) == 2_000


# ----------------------------------------------------------------------------------------- the pool


def test_work_gives_its_result_or_raises_its_exception(pool):
    async def main():
        with pytest.raises(KeyError, match="k"):
            await pool.run(lambda: {}["k"])
        return await pool.run(lambda: 7)

    assert asyncio.run(main()) == 7


@pytest.mark.parametrize(
    "error", [SystemExit(1), KeyboardInterrupt(), StopIteration(), GeneratorExit()]
)
def test_work_that_would_end_the_loop_raises_an_error_instead(error, pool):
    def work():
        raise error

    async def main():
        with pytest.raises(RuntimeError, match=type(error).__name__):
            await pool.run(work)
        return await pool.run(lambda: "still here")

    assert asyncio.run(main()) == "still here"


def test_threads_start_as_work_comes_and_are_used_again():
    pool = DaemonPool(3, name="test")
    assert pool.threads == 0

    async def main():
        for _ in range(5):
            await pool.run(lambda: None)
        one = pool.threads
        both = threading.Barrier(2)
        await asyncio.gather(*(pool.run(lambda: both.wait(10)) for _ in range(2)))
        return one, pool.threads

    assert asyncio.run(main()) == (1, 2)
    pool.close()


def test_more_work_than_threads_waits_its_turn():
    pool = DaemonPool(1, name="test")

    async def main():
        return await asyncio.gather(*(pool.run(lambda i=i: i) for i in range(5)))

    assert asyncio.run(main()) == [0, 1, 2, 3, 4]
    assert pool.threads == 1
    pool.close()


def test_work_behind_a_thread_that_was_given_up_gets_another():
    pool, begun, stuck = DaemonPool(1, name="test"), threading.Event(), threading.Event()

    async def main():
        hung = asyncio.ensure_future(pool.run(lambda: (begun.set(), stuck.wait())))
        behind = asyncio.ensure_future(pool.run(lambda: "done"))
        await asyncio.to_thread(begun.wait, 10)
        hung.cancel()
        return await behind

    assert asyncio.run(main()) == "done"
    assert pool.threads == 2
    stuck.set()
    pool.close()


def test_work_that_was_given_up_before_it_began_does_not_begin():
    pool, started, held, begun = (
        DaemonPool(1, name="test"),
        threading.Event(),
        threading.Event(),
        [],
    )

    async def main():
        first = asyncio.ensure_future(pool.run(lambda: (started.set(), held.wait(10))))
        second = asyncio.ensure_future(pool.run(lambda: begun.append("second")))
        third = asyncio.ensure_future(pool.run(lambda: begun.append("third")))
        await asyncio.to_thread(started.wait, 10)
        second.cancel()
        await asyncio.sleep(0)
        held.set()
        await first
        await third

    asyncio.run(main())
    assert begun == ["third"]
    pool.close()


def test_a_pool_that_is_closed_lets_its_threads_end():
    pool = DaemonPool(2, name="awe-closing")

    async def main():
        await pool.run(lambda: None)

    asyncio.run(main())
    (thread,) = [t for t in threading.enumerate() if t.name.startswith("awe-closing")]
    pool.close()
    thread.join(10)
    assert not thread.is_alive()
