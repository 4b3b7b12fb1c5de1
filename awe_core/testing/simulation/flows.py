"""What simulated runs are made of: a handful of capabilities and a small grammar of workflows."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any, get_args

import attrs

from awe_core import gate
from awe_core.documents import load_capability
from awe_core.errors import CapabilityError
from awe_core.events import PackRef
from awe_core.packs import PinnedFinder
from awe_core.plugins import Plugins
from awe_core.registry import CapabilityRegistry

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from awe_core.testing.simulation.watched import Witness
    from awe_core.values import Json, JsonObject
    from awe_core.workflow import WorkflowSpec

_FAULTS = dict.fromkeys((0, 1, 2), ("broken", "error"))  #: by what the dice show, of 80
_FAULTS |= dict.fromkeys((3, 4, 5), ("away", "unavailable"))
_SYSTEM = 6
NAMES = ("a.txt", "b.txt", "c.txt", "d.txt")  #: in the folder of each run
LAID = {"a.txt": b"a as it was\n", "b.txt": b"b as it was\n"}  #: before any run


def text_of(key: str) -> str:
    """Give what the effect with this key writes, the same each time it is done."""
    return f"{key.partition('~')[0]}\n"


def digest(data: bytes) -> str:
    """Give the SHA-256, in hex."""
    return hashlib.sha256(data).hexdigest()


# ---- what can be called --------------------------------------------------------------------------
_CONTRACT = """\
awe: capability/v1
id: sim.{name}
version: 1.0.0
summary: Simulated.
risk: {risk}
effects: {effects}
undo: {undo}
idempotent: {idempotent}
timeout: 40s
input:
  type: object
  required: [path]
  properties: {{path: {{type: string, format: workspace-path}}}}
  additionalProperties: false
output:
  type: object
  required: [path]
  properties: {{path: {{type: string}}}}
  additionalProperties: false
errors: {{broken: It broke., away: Nobody answers.}}
handler: awe_core.testing.simulation:handler
"""
_WRITE, _DELETE = "[fs.write: '${input.path}']", "[fs.delete: '${input.path}']"
_CAPABILITIES: Mapping[str, tuple[str, str, str, str]] = {  # risk, effects, undo, idempotent
    "think": ("low", "[]", "not_needed", "false"),
    "put": ("medium", _WRITE, "captured", "false"),
    "keep": ("medium", _WRITE, "captured", "true"),
    "twice": ("medium", _WRITE, "captured", "false"),
    "drop": ("medium", _DELETE, "captured", "false"),
    "send": ("low", _WRITE, "{none: it is on its way}", "false"),
}


@attrs.define
class Skills:
    """The handlers; what they write names the effect, so that it can be told from any other."""

    witness: Witness = attrs.field(init=False)  #: of this process

    async def think(self, _context: Any, path: str) -> Json:
        """Do nothing, and take time for it."""
        await self._moment()
        return {"path": path}

    async def put(self, context: Any, path: str) -> Json:
        """Write one file."""
        return await self._written(context, path, times=1)

    async def twice(self, context: Any, path: str) -> Json:
        """Write one file, and write it again."""
        return await self._written(context, path, times=2)

    async def drop(self, context: Any, path: str) -> Json:
        """Delete one file."""
        await self._moment()
        await context.fs.delete(path)
        await self._moment()
        return {"path": path}

    async def _written(self, context: Any, path: str, *, times: int) -> Json:
        for number in range(times):
            await self._moment()
            await context.fs.write_text(path, text_of(f"{context.idempotency_key}-{number}"))
        await self._moment()
        return {"path": path}

    async def _moment(self) -> None:
        """Take a while, or too long, and go wrong at times."""
        dice = self.witness.dice
        await asyncio.sleep(dice.choice((0, 0, 0.01, 0.5, 3)) if dice.random() < 0.98 else 60)
        roll = dice.randrange(80)
        if roll in _FAULTS:
            code, class_ = _FAULTS[roll]
            raise CapabilityError(code, "As the dice would have it.", class_=class_)
        if roll == _SYSTEM:
            raise OSError(5, "an error of the system")


class _Registry(CapabilityRegistry):
    """The real one, and workflows that steps may call."""

    def __init__(self) -> None:
        super().__init__(PinnedFinder(), Plugins(), dev=True)
        self.inner: dict[str, WorkflowSpec] = {}

    @property
    def workflows(self) -> Mapping[str, WorkflowSpec]:
        return self.inner

    def pack_of_workflow(self, reference: str) -> PackRef:
        return PackRef(reference, "1.0.0", digest(reference.encode()))


class _Gate(gate.Gate):
    """Lets through what the program registered, workflows too."""

    def check_workflow(self, workflow: str, record: str, purpose: gate.Purpose) -> None:
        pass


@attrs.frozen
class Stage:
    """What all lives share: contracts compiled once, before anything forks."""

    skills: Skills
    registry: _Registry
    gate: _Gate

    @classmethod
    def set(cls) -> Stage:
        """Register the capabilities."""
        skills, registry = Skills(), _Registry()
        for name, (risk, effects, undo, idempotent) in _CAPABILITIES.items():
            text = _CONTRACT.format(
                name=name, risk=risk, effects=effects, undo=undo, idempotent=idempotent
            )
            function = getattr(skills, {"keep": "twice", "send": "put"}.get(name, name))
            registry.register(load_capability(text, file=name), function)
        own = dict.fromkeys(registry.local, "local")
        allowed = dict.fromkeys(get_args(gate.Purpose), own)
        return cls(skills, registry, _Gate(gate.GateSnapshot(allowed=allowed)))


# ---- what is run: a small grammar of workflows ---------------------------------------------------
def workflow(dice: random.Random, name: str, inner: Sequence[str]) -> JsonObject:
    """Make one; its steps may call the workflows *inner*."""
    ids = [f"s{n}" for n in range(dice.randint(1, 5))]
    steps = [_step(dice, number, ids, inner) for number in range(len(ids))]
    document: JsonObject = {
        "awe": "workflow/v1",
        "id": name,
        "version": "1.0.0",
        "summary": "Simulated.",
        "inputs": {
            "type": "object",
            "required": ["dir"],
            "properties": {
                "dir": {"type": "string"},
                "flag": {"type": "boolean", "default": True},
            },
            "additionalProperties": False,
        },
        "steps": steps,
    }
    if dice.random() < 0.2:
        document["enable_auto_rollback"] = False
    if dice.random() < 0.2:
        document["in_flight"] = "wait"
    if dice.random() < 0.1:
        document["expires"] = "90s"
    return document


def _step(dice: random.Random, n: int, ids: Sequence[str], inner: Sequence[str]) -> JsonObject:
    def likely(part: float) -> bool:
        return dice.random() < part

    step: JsonObject = {"id": ids[n]}
    name = dice.choice(list(_CAPABILITIES))
    if inner and likely(0.2):
        step |= {"workflow": dice.choice(inner), "with": {"dir": "${inputs.dir}"}}
    elif likely(0.2):
        items = dice.sample(NAMES, dice.randint(0, 3))
        step |= {"foreach": items, "max_parallel": dice.randint(1, 3)}
        step |= {"capability": f"sim.{name}@1", "with": {"path": "${inputs.dir}/${item}"}}
    else:
        step |= {"capability": f"sim.{name}@1"}
        step |= {"with": {"path": f"${{inputs.dir}}/{dice.choice(NAMES)}"}}
    if n and likely(0.7):
        step["needs"] = sorted(dice.sample(ids[:n], dice.randint(1, min(n, 2))))
    if likely(0.15):
        step["when"] = dice.choice(("${inputs.flag}", "${!inputs.flag}"))
    if likely(0.4):
        step["retry"] = {"attempts": dice.randint(2, 3), "backoff": "2s", "on": ["any"]}
    if likely(0.5):
        step["on_failure"] = dice.choice(("rollback", "stop", "continue", "continue"))
    if "workflow" not in step and likely(0.15):
        step["confirm"] = "always"
    return step
