"""Runs through the real engine, told by their records: what the scenarios of the saga share.

A record is told as what it says of the run: times are left out, and what differs from one run to
the next has a name instead (``RUN``, ``SLOT``, ``REQUEST``, ``SHA256-1`` …).
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from awe_core.documents import load_workflow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: What a line tells, in this order; `err` and `undo` are told by their heart alone.
_TOLD = (
    *("kind", "mode", "cause", "steps", "step", "attempt", "epoch", "effect", "type", "target"),
    *("undo", "try", "class", "err", "code", "applied", "repeated", "found_by", "inspect"),
    *("resolved_by", "found", "kept", "due_us", "retry_after_us", "items", "scope", "from", "to"),
    *("inclusive", "state", "standing", "residue", "reason", "by", "via", "req"),
)
_QUIET = frozenset({"by", "via"})  # always the one who runs the tests


def write(name: str, path: str, *more: str, text: str = "ours", needs: str = "") -> str:
    """Give a step that writes a file; *needs* are separated by commas."""
    return call(name, "fs.write_text", *more, needs=needs, path=path, text=text)


def call(name: str, capability: str, *more: str, needs: str = "", **given: object) -> str:
    """Give a step that calls *capability*; *more* are lines of its own."""
    return _step(name, f"capability: {capability}@1", needs, given, more)


def scope(name: str, workflow: str, *more: str, needs: str = "", **given: object) -> str:
    """Give a step that calls *workflow*."""
    return _step(name, f"workflow: {workflow}@1", needs, given, more)


def _step(
    name: str, calls: str, needs: str, given: dict[str, object], more: tuple[str, ...]
) -> str:
    said = ", ".join(
        f"{key}: {json.dumps(value) if isinstance(value, list) else value}"
        for key, value in given.items()
    )
    lines = [f"id: {name}", calls, f"needs: [{needs}]", f"with: {{{said}}}", *more]
    return "  - " + "\n    ".join(lines) + "\n"


@attrs.define
class Story:
    """One deployment, in which one run after another is told."""

    place: Any
    golden: Any
    write = staticmethod(write)
    call = staticmethod(call)
    scope = staticmethod(scope)
    _fifos: dict[str, int] = attrs.field(factory=dict)

    # ---- the world ------------------------------------------------------------------------------
    def put(self, name: str, text: str) -> Path:
        path: Path = self.place.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def world(self) -> dict[str, str]:
        """Give every file of the workspace with its text."""
        return {
            str(path.relative_to(self.place.work)): path.read_text()
            for path in sorted(self.place.work.rglob("*"))
            if path.is_file() and not path.name.startswith(".awe-probe-")
        }

    def one_at_a_time(self) -> Story:
        """Let a run start no step while another is at work, so that its records have one order."""
        with self.place.file.open("a") as settings:
            settings.write("engine: {limits: {steps_in_flight_per_run: 1}}\n")
        return self

    def slots(self) -> list[Path]:
        """Give every file that is kept to take effects back."""
        return [path for path in self.place.home.glob("undo/*/*") if path.is_file()]

    def fifo(self, name: str) -> str:
        return str(self.place.fifo(name))

    def reached(self, fifo: str) -> None:
        """Return when a handler waits at *fifo*."""
        self._fifos[fifo] = os.open(fifo, os.O_WRONLY)

    def release(self, *fifos: str) -> None:
        """Let whoever waits at *fifos*, now or soon, go on."""
        for fifo in fifos:
            os.close(self._fifos.pop(fifo) if fifo in self._fifos else os.open(fifo, os.O_WRONLY))

    # ---- runs -----------------------------------------------------------------------------------
    def submit(self, rt: Any, steps: str, *, head: str = "") -> Any:
        file = self.place.workflow(steps, head=head)
        return rt.submit(load_workflow(file.read_bytes(), file=str(file)))

    @staticmethod
    def until(run: Any, kind: str, *, after: int = -1, **fields: Any) -> dict[str, Any]:
        """Wait for the record of *kind* with *fields*."""
        for record in run.events(after):
            event = record.event
            if event["kind"] == kind and fields.items() <= event.items():
                return event
        raise AssertionError(kind)

    def tell(self, name: str, *runs: Any) -> list[dict[str, Any]]:
        """Hold the records of *runs* against the golden *name*."""
        told = [line for run in runs for line in self._lines(run)]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in told)
        self.golden.check(f"saga/{name}.jsonl", text)
        return told

    def _lines(self, run: Any) -> Iterator[dict[str, Any]]:
        names: dict[str, str] = {run.run_id: "RUN"}
        for record in run.events(follow=False):
            yield json.loads(self._named(json.dumps(_told(record.event)), names))

    def _named(self, text: str, names: dict[str, str]) -> str:
        def name(found: re.Match[str]) -> str:
            kind = "SHA256" if found[0].startswith("sha256") else "REQUEST"
            number = 1 + sum(each.startswith(kind) for each in names.values())
            return names.setdefault(found[0], f"{kind}-{number}")

        text = text.replace(str(self.place.folder), "FOLDER")
        text = re.sub(r"RUN/[0-9a-f]{8}-\d{6}", "SLOT", text.replace(next(iter(names)), "RUN"))
        text = re.sub(r"sha256:[0-9a-f]{64}|hs_[a-z0-9]+", name, text)
        for found, stands_for in names.items():
            text = text.replace(found, stands_for)
        return text


def _told(event: dict[str, Any]) -> dict[str, Any]:
    told = {}
    for key in _TOLD:
        value = event.get(key)
        if value in (None, "", [], {}) or key in _QUIET or (key == "attempt" and value == 1):
            continue
        match key, value:
            case "err", {"code": code}:
                value = code
            case "undo", {"strategy": value} | {"none": value}:
                pass
            case "due_us" | "retry_after_us", _:
                value = "later"
            case "kept", _:
                value = "SLOT"
            case "standing", 0:
                continue
            case "residue", list():
                value = [
                    {k: "SLOT" if k == "kept" else v for k, v in each.items() if v}
                    for each in value
                ]
            case _:
                pass
        told[key.removesuffix("_us")] = value
    return told


@pytest.fixture
def story(place: Any, golden: Any) -> Story:
    place.work.mkdir(exist_ok=True)
    return Story(place, golden)
