"""The doctor's rows on what ends: green for long, amber in time, red only when it is too late."""

from __future__ import annotations

import time

import pytest

from awe_core.config import load_config
from awe_core.health import doctor
from awe_core.testing import Deployment

DAY = 86_400


@pytest.fixture(scope="module")
def place(tmp_path_factory, wheels):
    stdlib = next(wheels.glob("awe_pack_stdlib-*.whl"))
    with Deployment.create(tmp_path_factory.mktemp("ends") / "here", [stdlib]) as made:
        yield made


@pytest.mark.parametrize(
    ("days", "levels"),
    [
        (0, "green green green"),
        (14, "green green green"),
        (16, "green amber green"),
        (31, "green red green"),
        (336, "amber red amber"),
        (366, "red red red"),
    ],
)
def test_what_ends_is_amber_weeks_before_it_is_red(place, days, levels):
    config = load_config(place.config, flags={}, environ={})
    rows = doctor(config, ["expiry"], now_s=int(time.time()) + days * DAY)
    assert ["root of trust", "manifest", "approval of stdlib@0.1.0"] == [row.what for row in rows]
    assert levels.split() == [row.level.value for row in rows]
    assert all(row.next.startswith("awe ") for row in rows if row.level != "green")
