"""What a caller asks to have run, as JSON: the one form for this process and for guests.

Resolving it needs the deployment (which workflow, which facade) and happens in the owner alone, so
that a guest's view of what is ACTIVE never decides anything.
"""

from __future__ import annotations

import copy
import json
import os
import pwd
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from awe_core.documents import read, written_us
from awe_core.engine import Submission
from awe_core.errors import AccessError, UsageError
from awe_core.events import Actor, codec
from awe_core.workflow import Need, Retry, WorkflowSpec

if TYPE_CHECKING:
    from awe_core.engine import Plans
    from awe_core.runtime.deployment import Deployment
    from awe_core.values import JsonObject


def named(workflow: str | Path | WorkflowSpec | None) -> JsonObject:
    """Say which workflow: an ACTIVE one by id, or a document, whole."""
    match workflow:
        case WorkflowSpec():
            return {"document": document_of(workflow), "file": workflow.id}
        case str() | Path() if is_file(workflow):
            parsed = read("workflow", Path(workflow).read_bytes(), file=str(workflow))
            return {"document": json.loads(json.dumps(parsed.value)), "file": str(workflow)}
        case str():
            return {"workflow": workflow}
        case _:
            raise AccessError("workflow.unknown", workflow=str(workflow))


def is_file(workflow: str | Path) -> bool:
    """Tell a file by its suffix, so that no file can take the place of an id."""
    is_id = isinstance(workflow, str) and not workflow.endswith((".yaml", ".yml"))
    return not is_id and (isinstance(workflow, Path) or Path(workflow).is_file())


def document_of(spec: WorkflowSpec) -> JsonObject:
    """Give the document whose loading gives *spec* again."""
    return {"awe": "workflow/v1", **_written(spec)}


def _written(value: Any) -> Any:  # noqa: ANN401 - any part of a workflow
    match value:
        case Enum():
            return value.value
        case Need(step=step, even_if_skipped=is_enough):
            return {"step": step, "even_if": "skipped"} if is_enough else step
        case tuple():
            return [_written(one) for one in value]
        case _ if attrs.has(type(value)):
            found = {}
            for field in attrs.fields(type(value)):
                one, name = getattr(value, field.name), field.name.rstrip("_")
                is_unsaid = isinstance(one, Retry) and one.attempts == 1
                is_moot = name == "max_parallel" and value.foreach is None
                if one in (None, "", (), {}) or is_unsaid or is_moot:
                    continue
                is_duration = name.endswith("_us")
                found[name.removesuffix("_us")] = written_us(one) if is_duration else _written(one)
            return found
        case _:
            return value


def resolve(request: JsonObject, deployment: Deployment, plans: Plans) -> Submission:
    """Turn a request into what the engine takes.

    ``request`` holds exactly one of ``call`` (capability), ``workflow`` (id), ``document`` (a whole
    workflow) and ``facade``; besides ``inputs``, ``actor``, ``idempotency_key``, ``expires_us``.

    :raises AccessError: not for this caller; outwards the same as unknown
    :raises UsageError: ``run.request`` when it names nothing to run
    """
    actor = codec.from_json(Actor, request["actor"])
    facade, inputs = request.get("facade"), dict(request.get("inputs") or {})
    if actor.kind == "agent" and facade is None:
        asked = str(request.get("call") or request.get("workflow") or "a workflow")
        raise AccessError("access.not_a_facade", facade=asked, by=str(actor))
    if deployment.failure is not None:
        raise copy.copy(deployment.failure)  # nothing is in force: more telling than "unknown"
    target, document = request, None
    if facade is not None:
        target, inputs = _exposed(str(facade), inputs, actor, deployment)
    if "call" in target:
        spec = plans.call(deployment.capability(str(target["call"])))
    elif "document" in target:
        document = target["document"]
        spec = plans.document(document, file=str(target.get("file", "workflow")))
    elif "workflow" in target:
        spec = plans.workflow(str(target["workflow"]))
    else:
        raise UsageError("run.request", verb="run", why="it names nothing to run")
    return Submission(
        spec=spec,
        inputs=inputs,
        actor=actor,
        document=document,
        is_call="call" in target,
        facade=facade,
        idempotency_key=request.get("idempotency_key"),
        expires_us=request.get("expires_us"),
    )


def _exposed(
    name: str, inputs: JsonObject, actor: Actor, deployment: Deployment
) -> tuple[JsonObject, JsonObject]:
    """Give what a facade exposes, and the inputs with those it fixes."""
    entry = deployment.gate.facade(name)
    channel = actor.via if actor.via in {"cli", "mcp", "rest"} else "functions"
    is_for_caller = not entry.roles or set(entry.roles) & {*actor.roles, actor.kind}
    if channel not in entry.channels or not is_for_caller:
        raise AccessError("access.refused", asked=name, by=str(actor))
    fixed = dict(entry.document.get("fixed") or {})
    if forbidden := sorted(set(fixed) & set(inputs)):
        raise UsageError("facade.fixed", facade=name, inputs=", ".join(forbidden))
    exposes = entry.document["exposes"]
    kind = "call" if "capability" in exposes else "workflow"
    return {kind: next(iter(exposes.values()))}, {**fixed, **inputs}


def default_actor(via: str = "sdk") -> Actor:
    """``person:<os user>``: who runs this process, by its user id and not by its environment."""
    try:
        return Actor.person(pwd.getpwuid(os.geteuid()).pw_name, via=via)
    except KeyError:
        return Actor.person(f"uid{os.geteuid()}", via=via)
