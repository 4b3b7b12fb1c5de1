"""``time.*``, ``id.*``, ``flow.*``."""

from __future__ import annotations

import time
import uuid
from datetime import datetime


def test_the_time_is_now_in_both_forms(stdlib):
    before = time.time_ns() // 1_000
    found = stdlib.output("time.now")
    assert before <= found["epoch_us"] <= time.time_ns() // 1_000
    seen = datetime.fromisoformat(found["utc"])
    assert found["epoch_us"] // 1_000_000 == int(seen.timestamp())


def test_a_sleep_ends_when_its_run_is_cancelled(stdlib):
    started = time.monotonic()
    handle = stdlib.runtime.submit_call("time.sleep", {"seconds": 3600})
    handle.cancel(reason="enough")
    assert "ROLLED_BACK" == handle.wait(timeout=30).state
    assert time.monotonic() - started < 30


def test_a_sleep_says_how_long_it_was(stdlib):
    assert {"slept_us": 1_001} == stdlib.output("time.sleep", seconds=0.001001)


def test_uuids_are_of_version_4_and_never_the_same(stdlib):
    found = [uuid.UUID(stdlib.output("id.uuid")["uuid"]) for _ in range(3)]
    assert {4} == {one.version for one in found}
    assert 3 == len(set(found))


def test_a_gate_stays_shut_until_a_person_has_answered(stdlib):
    handle = stdlib.runtime.submit_call("flow.approve", {"question": "Publish now?"})
    waiting = handle.wait()
    assert "PAUSED" == waiting.state
    asked = stdlib.runtime.approval(waiting.waiting[0])
    handle.deny(asked.id, asked.digest, asked.version, "not yet")
    assert not handle.wait().is_completed


def test_a_drill_fails_with_the_words_it_was_given(stdlib):
    _, result = stdlib.call("flow.fail", {"message": "a drill"})
    assert "flow_failed" == result.error.code
    assert "a drill" in result.error.msg
