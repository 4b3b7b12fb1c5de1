"""Codes of the area: governance."""

from collections.abc import Mapping

from awe_core.errors.codes.code import Code

GOVERNANCE: Mapping[str, Code] = {
    # --- packs: grants ---
    "pack.hook_not_granted": Code(
        3,
        "{distribution} implements {hook}, which its record does not grant",
        next="awe packs inspect WHEEL, then propose it with that hook if it shall have it",
        state="Nothing of that module was registered.",
    ),
    "pack.hook_wrapper": Code(
        3,
        "{distribution} wraps {hook}, and nobody may stand between a policy and the core",
        next="tell the publisher of {distribution} to answer {hook} without wrapper=True",
        state="Nothing of that module was registered.",
    ),
    "pack.broken": Code(
        5,
        "{distribution} failed while {doing}: {why}",
        next="tell the publisher of {distribution}; awe packs show {distribution}",
        state="What it offers is off; the others run on.",
    ),
    # --- the gate ---
    "pack.not_active": Code(
        3,
        "{capability} cannot {doing}: {distribution} {version} is {status}",
        next="awe packs show {distribution}",
        state="Nothing of it ran.",
    ),
    "capability.unknown": Code(
        8,
        "there is no capability {capability} in an ACTIVE pack",
        next="awe capabilities list",
        state="Nothing ran.",
    ),
    "access.not_a_facade": Code(
        8,
        "there is no facade {facade} to call",
        next="awe facades list",
        state="Nothing ran.",
    ),
    "facade.channel": Code(
        3,
        "facade {facade} is not on the channel {channel}; it is on {exposed}",
        next="call it there, or propose it with that channel: awe facades show {facade}",
        state="Nothing ran.",
    ),
    "facade.caller": Code(
        3,
        "facade {facade} is for the roles {roles}, and the caller has none of them",
        next="awe facades show {facade}",
        state="Nothing ran.",
    ),
    # --- packs: wheels ---
    "pack.wheel": Code(
        2,
        "{wheel} is no wheel that AWE takes: {why}",
        next="tell its publisher; awe packs inspect {wheel}",
        state="Nothing of it was imported.",
    ),
    "pack.limits": Code(
        2,
        "{wheel} is over a limit: its {what} may be {most} at most",
        next="tell its publisher; awe packs inspect {wheel}",
        state="Nothing of it was imported.",
    ),
    "pack.name": Code(
        2,
        "{wheel} does not agree about its name: {why}",
        next="tell its publisher; awe packs inspect {wheel}",
        state="Nothing of it was imported.",
    ),
    "pack.path": Code(
        2,
        "{wheel} holds {path}: {why}",
        next="tell its publisher; awe packs inspect {wheel}",
        state="Nothing of it was imported.",
    ),
    "pack.case_collision": Code(
        2,
        "{wheel} holds {path} and {other}, which are one name on some systems",
        next="tell its publisher; awe packs inspect {wheel}",
        state="Nothing of it was imported.",
    ),
    "pack.startup_file": Code(
        2,
        "{wheel} holds {path}, which Python runs whenever it starts",
        next="tell its publisher; awe packs inspect {wheel}",
        state="Nothing of it was imported.",
    ),
    "pack.top_level": Code(
        2,
        "{wheel} cannot install the top level {top_level}: it {why}",
        next="tell its publisher; awe packs inspect {wheel}",
        state="Nothing of it was imported.",
    ),
    "pack.entry_points": Code(
        2,
        "{wheel} has an unfit entry point: {entry_point} {why}",
        next="tell its publisher; awe packs inspect {wheel}",
        state="Nothing of it was imported.",
    ),
    "pack.contents": Code(
        2,
        "the documents of {distribution} do not fit together: {why}",
        next="correct them; awe packs inspect .",
        state="Nothing of it was imported.",
    ),
    "pack.handler": Code(
        2,
        "{distribution} has an unfit handler: {handler} {why}",
        next="correct the contract or the function; awe packs inspect .",
        state="It was not called.",
    ),
    "pack.not_governed": Code(
        3,
        "{what} stands in no pack that people approved",
        next="awe packs propose WHEEL    (a program registers its own under a dev root only)",
        state="It was not taken.",
    ),
    "wiring.bind": Code(
        2,
        "{package} is no package with a pack.yaml to bind",
        next="return bind(__package__) from the package that holds pack.yaml",
    ),
    "pack.native": Code(
        3,
        "{wheel} holds machine code, which its proposal does not grant",
        next="propose it with native: true if it shall have it",
        state="No record was made.",
    ),
    "pack.capability_undeclared": Code(
        3,
        "{capability} of {distribution} {version} {why}",
        next="propose the wheel as it is, so that people can approve it: awe packs propose WHEEL",
        state="Nothing of the pack was imported; its capabilities are off.",
    ),
    "pack.contract_changed": Code(
        3,
        "{capability} of {distribution} {version} is not the contract that was approved",
        next="awe packs show {distribution}; propose the wheel anew if the change is wanted",
        state="Nothing of it ran.",
    ),
    # --- packs: what is installed ---
    "pack.not_installed": Code(
        9,
        "{distribution} {version} is approved and not installed here",
        next="pip install {distribution}=={version}",
        state="Its capabilities are off; the others run.",
    ),
    "pack.version": Code(
        3,
        "{distribution} {version} is approved, installed is {found}",
        next="pip install {distribution}=={version}    (or: awe packs propose WHEEL)",
        state="Nothing of it was imported; its capabilities are off.",
    ),
    "pack.duplicate_distribution": Code(
        3,
        "{distribution} is installed more than once, so nobody knows which one would run",
        next="uninstall all but one: pip uninstall {distribution}",
        state="Nothing of either was imported.",
    ),
    "pack.install_kind": Code(
        3,
        "{distribution} {version} is installed {how}; AWE takes ordinary installs of a wheel",
        next="pip install --force-reinstall {distribution}=={version}",
        state="Nothing of it was imported; its capabilities are off.",
    ),
    "pack.dependency": Code(
        3,
        "{distribution} {version} does not run with the packages it was approved with",
        next="awe packs show {distribution}; install exactly what it lists",
        state="Nothing of it was imported; its capabilities are off.",
    ),
    "pack.file_changed": Code(
        7,
        "{distribution} {version} is not the pack that was approved ({count} differences)",
        next="pip install --force-reinstall {distribution}=={version}",
        state="Nothing of it was imported; its capabilities are off.",
    ),
    "pack.file_missing": Code(
        7,
        "{distribution} {version} lacks files that were approved ({count} differences)",
        next="pip install --force-reinstall {distribution}=={version}",
        state="Nothing of it was imported; its capabilities are off.",
    ),
    "pack.file_added": Code(
        7,
        "{distribution} {version} has files that nobody approved ({count} differences)",
        next="pip uninstall {distribution}, delete what is left, install {version} again",
        state="Nothing of it was imported; its capabilities are off.",
    ),
    "pack.file_symlink": Code(
        7,
        "{distribution} {version} is installed with links where files belong ({count} differences)",
        next="pip install --force-reinstall {distribution}=={version}",
        state="Nothing of it was imported; its capabilities are off.",
    ),
    "pack.file_not_regular": Code(
        7,
        "{distribution} {version} holds what cannot be read as a file ({count} differences)",
        next="pip install --force-reinstall {distribution}=={version}",
        state="Nothing of it was imported; its capabilities are off.",
    ),
    "pack.already_imported": Code(
        3,
        "{module} of {distribution} was imported before AWE could look at it",
        next="awe trust hardening    (and import AWE before the pack, never the pack itself)",
        state="Its capabilities are off in this process.",
    ),
    "pack.loaded": Code(
        3,
        "{distribution} {version} is ACTIVE, and this process has run code of {loaded}",
        next="restart this process: modules cannot be unloaded",
        state="Its capabilities are off in this process.",
    ),
    "pack.replaced": Code(
        3,
        "{distribution} {version} is not what is installed; another approved record is",
        next="pip install {distribution}=={version}    (to go on with its open runs)",
        state="Nothing of it was imported.",
    ),
    "pack.changed": Code(
        3,
        "run {run} was opened with {distribution} {record}; {found} is in force now",
        next="awe runs rollback {run}    (or install the earlier version: awe runs resume {run})",
        state="The run is PAUSED; nothing of the new version ran for it.",
    ),
    "pack.import_blocked": Code(
        3,
        "{module} cannot be imported: {why}",
        next="awe packs list",
        state="Nothing of it was imported.",
    ),
    # --- the store ---
    "store.unreadable": Code(
        3,
        "{file} of the governance store cannot be read: {why}",
        next="let this user read the store: ls -l {file}",
        state="What was in force stays in force.",
    ),
    "store.missing": Code(
        3,
        "the governance store has no {file}",
        next="awe init    (or let trust.store in awe.yaml name the folder)",
        state="No pack is in force.",
    ),
    "store.gap": Code(
        3,
        "{file} is missing between the manifest this home has seen and the newest one",
        next="fetch the whole store; all manifests are kept",
        state="Nothing of it was adopted.",
    ),
    "store.no_file": Code(
        3, "{file} is not in the store", next="fetch the whole store, then: awe verify --store"
    ),
    "store.misplaced": Code(
        3,
        "{file} lies where another record belongs",
        next="git restore {file}    then: awe verify --store",
    ),
    "store.malformed": Code(
        3,
        "{where} {why}",
        next="take the file again from where it was signed; no editor may touch it",
        state="It was not used.",
    ),
    "store.not_canonical": Code(
        3,
        "{file} is JSON, but not in its one canonical form",
        next="git restore {file}    (changed line ends?)    then: awe verify --store",
        state="It was not used.",
    ),
    "store.too_large": Code(
        3,
        "{file} takes {size_bytes} bytes and {limit_bytes} is the limit",
        next="git restore {file}    then: awe verify --store",
        state="It was not read.",
    ),
    "store.digest": Code(
        3,
        "the bytes of {file} are not those its name says",
        next="git restore {file}    (changed line ends?)    then: awe verify --store",
        state="It was not used.",
    ),
    "store.not_regular": Code(
        3,
        "{file} is not a regular file of the store (a link, a pipe, or unreadable)",
        next="git restore {file}    then: awe verify --store",
        state="The store was not used.",
    ),
    "store.taken": Code(
        8,
        "{file} exists and holds other bytes; somebody else was faster",
        next="fetch their change, look at it, then repeat the command",
        state="Nothing was written over it.",
    ),
    "store.view_differs": Code(
        7,
        "{file} does not show what is signed",
        next="awe verify --store --write-views",
        state="What is signed counts; views are for people.",
    ),
    # --- commands of governance ---
    "governance.unknown": Code(8, "the store has no record {name}", next="awe packs list"),
    "governance.ambiguous": Code(
        8,
        "{name} stands for more than one record",
        next="name one as NAME@VERSION, or by the beginning of its digest",
    ),
    "governance.role_not_asked": Code(
        2,
        "nobody asks for an approval of {name} under role {role}; asked are: {asked}",
        next="awe packs approve {name} --role R    with one of these",
    ),
    "governance.not_pending": Code(
        8, "{file} does not wait for signatures", next="awe trust show    (lists what does)"
    ),
    "governance.person": Code(
        2,
        "{name} cannot be the name of a person or machine",
        next="use letters, digits and . _ - @ + between them",
    ),
    "pack.proposer": Code(
        3,
        "{name} names {proposer} as its proposer, and {owner} signs",
        next="let {proposer} sign, or build the record for {owner}: awe packs propose WHEEL",
        state="Nothing was proposed.",
    ),
    # --- trust: documents and signatures ---
    "trust.envelope": Code(
        3, "{file} is not a DSSE envelope: {why}", next="fetch it again from who signed it"
    ),
    "trust.payload_type": Code(
        3, "{file} does not hold a {wanted}", next="fetch it again from who signed it"
    ),
    "trust.base64": Code(
        3,
        "{file} holds base64 that is not in its one form",
        next="fetch it again from who signed it",
    ),
    "trust.threshold": Code(
        3,
        "{file} has {have} of the {need} signatures by distinct owners that role {role} takes",
        next="awe trust sign {file}    by one more of: awe trust show",
        state="It was not used.",
    ),
    "trust.statement": Code(
        3,
        "statement {file} does not count: {why}",
        next="awe trust show    (who holds which role), then let one of them decide",
    ),
    "trust.unknown_role": Code(
        3,
        "a statement about {name} is made under role {role}, which the root does not have",
        next="awe trust show    (roles), then decide under one of them with --role",
    ),
    "trust.deployment": Code(
        3,
        "{what} was made for deployment {found}, and this is {expected}",
        next="propose and approve it here; signatures do not travel",
        state="It was not used.",
    ),
    "trust.root_pin": Code(
        3,
        "{file} is not the root this deployment has pinned",
        next="compare the pins with security; only if they mean it: awe trust repin --reason T",
        state="No pack is in force.",
    ),
    "trust.root_chain": Code(
        3,
        "the chain of roots ends before {file}: {why}",
        next="fetch the folder root/ of the store again, whole",
        state="No pack is in force.",
    ),
    "trust.root_key": Code(
        3,
        "key {keyid} of {owner} cannot stand in the root: {why}",
        next="awe trust rotate    (with another key)",
        state="The root was not used.",
    ),
    "trust.root_threshold": Code(
        3,
        "role {role} of the root cannot be satisfied: {why}",
        next="awe trust rotate    (with more keys or a lower number)",
        state="The root was not used.",
    ),
    "trust.root_policy": Code(
        3,
        "a prod root must not grant what is for development: {taken}",
        next="awe trust rotate    (without it)",
        state="The root was not used.",
    ),
    "trust.root_mismatch": Code(
        3,
        "{what} was made under root {made_for}, and root {current} is in force",
        next="awe trust renew    (signs the manifest under the current root)",
        state="It was not used.",
    ),
    # --- trust: order and time ---
    "trust.rollback": Code(
        3,
        "{found} is older than {seen}, which this home has already used",
        next="stop and tell security: awe trust show --history",
        state="Nothing of it was adopted.",
    ),
    "trust.equivocation": Code(
        3,
        "manifest {number} is not the manifest {number} that this home has seen",
        next="stop and tell security: awe trust show --history",
        state="Nothing of it was adopted.",
    ),
    "trust.chain": Code(
        3,
        "{what} does not fit the manifests beside it: {why}",
        next="stop and tell security: awe trust show --history",
        state="Nothing of it was adopted.",
    ),
    "trust.time": Code(
        3,
        "{where} is no time: {why}",
        next="write times as YYYY-MM-DDTHH:MM:SSZ and sign the document anew",
    ),
    "trust.from_future": Code(
        3,
        "{what} was issued at {issued}, and here it is {now}",
        next="set the clock of this host, or of the signer; then: awe trust renew",
        state="Nothing of it was adopted.",
    ),
    "trust.lifetime": Code(
        3,
        "{what} does not have a life the policy allows: {why}",
        next="sign it anew with another date (manifests: awe trust renew)",
        state="It was not used.",
    ),
    "trust.clock": Code(
        9,
        "the clock is {behind_s} s behind the latest time this home has known",
        next="set the clock of this host",
        state="The later time counts.",
    ),
    "trust.root_expired": Code(
        3, "the root expired at {expires}", next="awe trust rotate", state="Undo still works."
    ),
    "trust.expired": Code(
        3, "the manifest expired at {expires}", next="awe trust renew", state="Undo still works."
    ),
    "trust.expires_soon": Code(
        7,
        "{what} expires at {expires}",
        next="awe trust {verb}",
        state="All is in force until then.",
    ),
    # --- trust: what a manifest says ---
    "trust.duplicate": Code(
        3,
        "{what} is claimed twice, by {by}",
        next="awe packs list    then sign a manifest with one of them",
        state="Neither is in force.",
    ),
    "trust.status": Code(
        3,
        "the manifest gives {subject} a state that nobody has signed: {why}",
        next="awe packs show {subject}    then sign a corrected manifest",
        state="It is not in force.",
    ),
    "trust.denied_dropped": Code(
        3,
        "the manifest leaves out {count} denials of records that were revoked",
        next="sign a manifest that carries them: awe trust renew",
        state="Nothing of it was adopted.",
    ),
    "trust.document": Code(
        3,
        "{file} {why}",
        next="restore {file}, or sign a manifest that pins it as it is: awe trust renew",
        state="No pack is in force.",
    ),
    "trust.mark": Code(
        3,
        "what this home remembers of its trust cannot be used: {why}",
        next="restore the home from its backup, or accept the change: awe trust repin --reason T",
        state="No pack is in force.",
    ),
    # --- packs: approvals ---
    "pack.approvals_missing": Code(
        3,
        "{name} has {have} of {need} from role {role}",
        next="awe packs approve {name} --role {role}",
        state="It is not in force.",
    ),
    "pack.resume_missing": Code(
        3,
        "{name} was stopped by {stop} and nobody of security has lifted that",
        next="awe packs resume {name} --reason T    (security; another person than who releases)",
        state="It takes no runs.",
    ),
    "pack.self_approval": Code(
        3,
        "{owner} proposed or wrote {name} and cannot approve it",
        next="let another person run: awe packs approve {name} --role R",
        state="The approval does not count.",
    ),
    "pack.separation_of_duties": Code(
        3,
        "one person approved {name} under two roles and counts under one; {role} is short",
        next="let another person run: awe packs approve {name} --role {role}",
        state="It is not in force.",
    ),
    "pack.approval_kind": Code(
        3,
        "{owner} is a machine and cannot {decision} {name}",
        next="let a person sign with their own key",
        state="The statement does not count.",
    ),
    "pack.approval_subject": Code(
        3,
        "what {owner} signed to {decision} is not {name} as it is now",
        next="awe packs diff    then approve these bytes: awe packs approve {name} --role R",
        state="The statement does not count.",
    ),
    "pack.approval_expired": Code(
        3,
        "{owner}'s approval of {name} does not cover the manifest's date; it ends {expires}",
        next="awe packs approve {name} --role R    then: awe trust renew",
        state="The approval does not count.",
    ),
    "pack.denied": Code(
        3,
        "{name} was revoked and never returns as this record",
        next="propose a new revision: awe packs propose WHEEL",
        state="It is not in force.",
    ),
    "pack.evidence": Code(
        3,
        "{name} lacks evidence that the policy demands: {kinds}",
        next="propose it with --provenance or --conformance: awe packs propose WHEEL",
        state="It is not in force.",
    ),
    "pack.executor": Code(
        3,
        "{name} is granted the inproc executor, and the root does not list it there",
        next="propose it with executor worker, or add it to inproc: awe trust rotate",
        state="It is not in force.",
    ),
    "pack.interpreter": Code(
        3,
        "{name} is performed by {interpreter}, which is not ACTIVE",
        next="awe packs show {interpreter}",
        state="It is not in force.",
    ),
    # --- facades ---
    "facade.not_active": Code(
        3, "facade {facade} is not in force: {why}", next="awe facades show {facade}"
    ),
    "facade.target_changed": Code(
        3,
        "{capability} behind facade {facade} has another contract than the approved one",
        next="awe facades show {facade}    then propose and approve it anew",
        state="The facade is off; the pack runs.",
    ),
    "facade.unknown_target": Code(
        3,
        "facade {facade} reaches {capability}, which no pack in force here has",
        next="awe facades show {facade}",
        state="The facade is off.",
    ),
    # --- signers ---
    "signer.unavailable": Code(
        9,
        "the key {file} cannot be used: {why}",
        next="awe trust key    (shows which key is yours), or name another one",
        state="Nothing was signed.",
    ),
    "signer.permissions": Code(
        3,
        "the key {file} is not private: {why}",
        next="chmod 600 {file}    and make a new key if others may have read it: awe trust key",
        state="Nothing was signed.",
    ),
    "signer.exists": Code(
        8,
        "there is a key at {file} already",
        next="awe trust key    (shows it), or name another file",
        state="It was left alone.",
    ),
    "signer.not_in_role": Code(
        3,
        "{owner} does not hold role {role} in root {version}",
        next="awe trust show    (who does)",
        state="The statement does not count.",
    ),
    "trust.not_pinned": Code(
        3,
        "{file} pins no root of trust",
        state="No pack can be ACTIVE.",
        next="awe init    (creates a development root and pins it)",
    ),
}
