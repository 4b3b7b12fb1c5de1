"""What a caller asks to have run, as JSON: the one form for this process and for guests.

Resolving it needs the deployment (which workflow, which facade) and happens in the owner alone, so
that a guest's view of what is ACTIVE never decides anything.
"""

from __future__ import annotations

import copy
import os
import pwd
from typing import TYPE_CHECKING

from awe_core.engine import Submission
from awe_core.errors import AccessError, UsageError
from awe_core.events import Actor, codec

if TYPE_CHECKING:
    from awe_core.capability import CapabilitySpec
    from awe_core.engine import Plans
    from awe_core.runtime.deployment import Deployment
    from awe_core.values import JsonObject


def resolve(request: JsonObject, deployment: Deployment, plans: Plans) -> Submission:
    """Turn a request into what the engine takes.

    ``request`` holds exactly one of ``call`` (capability), ``workflow`` (id), ``document`` (a whole
    workflow) and ``facade``; besides ``inputs``, ``actor``, ``idempotency_key``, ``expires_us``.

    :raises AccessError: not for this caller; outwards the same as unknown
    :raises UsageError: ``run.request`` when it names nothing to run
    """
    actor = codec.from_json(Actor, request["actor"])
    if actor.kind == "agent" and "facade" not in request:
        raise AccessError("access.not_a_facade", facade=_asked(request), by=str(actor))
    if deployment.failure is not None:
        raise copy.copy(deployment.failure)  # nothing is in force: more telling than "unknown"
    inputs = dict(request.get("inputs") or {})
    if "facade" in request:
        return _through_facade(request, inputs, actor, deployment, plans)
    return _direct(request, inputs, actor, deployment, plans, facade=None)


def _through_facade(
    request: JsonObject, inputs: JsonObject, actor: Actor, deployment: Deployment, plans: Plans
) -> Submission:
    name = str(request["facade"])
    entry = deployment.gate.facade(name)
    channel = actor.via if actor.via in {"cli", "mcp", "rest"} else "functions"
    is_for_caller = not entry.roles or set(entry.roles) & {*actor.roles, actor.kind}
    if channel not in entry.channels or not is_for_caller:
        raise AccessError("access.refused", asked=name, by=str(actor))
    fixed = dict(entry.document.get("fixed") or {})
    forbidden = sorted(set(fixed) & set(inputs))
    if forbidden:
        raise UsageError("facade.fixed", facade=name, inputs=", ".join(forbidden))
    exposes = entry.document["exposes"]
    target = {"call" if "capability" in exposes else "workflow": next(iter(exposes.values()))}
    rest = {k: v for k, v in request.items() if k in {"idempotency_key", "expires_us"}}
    return _direct({**rest, **target}, {**fixed, **inputs}, actor, deployment, plans, facade=name)


def _direct(  # noqa: PLR0913 - what a submission is made of
    request: JsonObject,
    inputs: JsonObject,
    actor: Actor,
    deployment: Deployment,
    plans: Plans,
    *,
    facade: str | None,
) -> Submission:
    document, is_call = None, "call" in request
    if is_call:
        spec = plans.call(_capability(deployment, str(request["call"])))
    elif "document" in request:
        document = request["document"]
        spec = plans.document(document, file=str(request.get("file", "workflow")))
    elif "workflow" in request:
        spec = plans.workflow(str(request["workflow"]))
    else:
        raise UsageError("run.request", verb="run", why="it names nothing to run")
    return Submission(
        spec=spec,
        inputs=inputs,
        actor=actor,
        document=document,
        is_call=is_call,
        facade=facade,
        idempotency_key=request.get("idempotency_key"),
        expires_us=request.get("expires_us"),
    )


def _capability(deployment: Deployment, reference: str) -> CapabilitySpec:
    """Resolve what is called; where a listed pack is off here, its reason is the answer."""
    try:
        return deployment.registry.resolve(reference).spec
    except AccessError as error:
        raise deployment.gate.reason(reference.partition("@")[0]) or error from None


def _asked(request: JsonObject) -> str:
    return next((str(request[k]) for k in ("call", "workflow") if k in request), "a workflow")


def default_actor(via: str = "sdk") -> Actor:
    """``person:<os user>``: who runs this process, by its user id and not by its environment."""
    try:
        return Actor.person(pwd.getpwuid(os.geteuid()).pw_name, via=via)
    except KeyError:
        return Actor.person(f"uid{os.geteuid()}", via=via)
