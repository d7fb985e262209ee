"""The commands about rules, locks and the audit log; completion of names; what the help says of actions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from tests.unit.canned_service import CREATED, ME, Service
from tests.unit.cli.access_things import IMAGES, JOE, READER, ROLE_ID, TEAM, make_account, make_role, sent
from tests.unit.cli.conftest import Cli
from tests.unit.cli.test_completion import offered
from toolkit_client.access_models import (
    Allowed,
    AuditRecord,
    HeldRule,
    Lock,
    Proof,
    ProofStep,
    RuleAnswer,
    WhoIsAllowed,
)
from toolkit_client.cli.app import toolkit
from toolkit_hub.policy.actions import ACTIONS

# --- rules, locks, the audit log ---------------------------------------------------------------------------------------


def test_rules(service: Service, cli: Cli) -> None:
    service.answers = {
        ("GET", "/rules"): [HeldRule(action="*:get", expression="o"), HeldRule(action="*", expression="o:account:a")],
        ("GET", "/rules/who-is-allowed"): [WhoIsAllowed(type="user", name="acme.joe", id="u", via="acme.joe.admin")],
    }
    assert cli("rule", "ls") == "action expression\n*:get  o\n*      o:account:a\n"
    cli("rule", "ls", "--user", "acme.bob")
    assert service.seen[-1].query == {"user": "acme.bob"}
    assert cli("rule", "who-is-allowed", f"data:set@{IMAGES.urn}") == (
        "type name     id via\nuser acme.joe u  acme.joe.admin\n"
    )
    assert service.seen[-1].query == {"rule": f"data:set@{IMAGES.urn}"}


def answer_to(allowed: bool, **other: Any) -> RuleAnswer:
    return RuleAnswer(allowed=allowed, subject="acme.alice", action="data:set", urn="o:account:a:data:d", **other)


def test_allowed(service: Service, cli: Cli) -> None:
    for yes, word, code in ((True, "allowed\n", 0), (False, "denied\n", 1)):
        service.answers = {
            ("GET", "/rules/allowed"): Allowed(allowed=yes),
            ("GET", "/rules/why"): answer_to(yes),
        }
        assert cli("rule", "allowed", "data:set@x", code=code) == word
        assert cli("rule", "allowed", "data:set@x", "--user", "bob", code=code) == word
        assert service.seen[-1].query == {"rule": "data:set@x", "user": "bob"}


def test_why_is_a_tree(service: Service, cli: Cli) -> None:
    alice, reader, cocos = (
        ProofStep(type=kind, name=name, id=name)
        for kind, name in (("user", "acme.alice"), ("role", READER), ("team", "acme.cocos"))
    )
    short = reader.model_copy(update={"expires": datetime(2027, 1, 31, tzinfo=UTC)})
    proofs = [
        Proof(path=[alice, reader], statement="by ids", named="data:set@acme:account:acme.joe:*"),
        Proof(path=[alice, reader], statement="data:*@acme:*", expires=datetime(2028, 1, 1, tzinfo=UTC)),
        Proof(path=[alice, cocos, short], statement="\x1b[2J"),
    ]
    service.answers["GET", "/rules/why"] = answer_to(True, proofs=proofs, named="acme:account:acme.joe:data:images")
    assert cli("rule", "why", "data:set@x").splitlines() == [
        "allowed: acme.alice may do data:set on acme:account:acme.joe:data:images",
        "user acme.alice",
        "├─ role acme.joe.reader",
        "│  ├─ data:set@acme:account:acme.joe:*",
        "│  └─ data:*@acme:*, until 2028-01-01T00:00:00Z",
        "└─ team acme.cocos",
        "   └─ role acme.joe.reader, until 2027-01-31T00:00:00Z",
        "      └─ \\x1b[2J",
    ]
    no = answer_to(
        False,
        reason="no statement",
        nearest=[Proof(path=[alice], statement="data:get@o:account:a:data:d")],
        grantors=["acme.joe", "acme.admin"],
        smallest="data:set@o:account:a:data:d",
    )
    service.answers["GET", "/rules/why"] = no
    assert cli("rule", "why", "data:set@x").splitlines() == [
        "denied: acme.alice may not do data:set on o:account:a:data:d",
        "because: no statement",
        "nearest:",
        "  user acme.alice",
        "  └─ data:get@o:account:a:data:d",
        "it takes: data:set@o:account:a:data:d",
        "who could grant it: acme.joe, acme.admin",
    ]
    assert json.loads(cli("rule", "why", "data:set@x", "--format", "json"))["grantors"] == ["acme.joe", "acme.admin"]


def test_locks(service: Service, cli: Cli) -> None:
    lock = Lock(resource_id="u", type="user", name="acme.joe", urn="o:user:u", created=CREATED, created_by="acme.admin")
    service.answers = {("POST", "/locks"): lock, ("GET", "/locks"): [lock], ("DELETE", "/locks/user/acme.joe"): lock}
    table = "type name     why created              createdBy\nuser acme.joe -   2019-12-06T20:49:41Z acme.admin\n"
    assert cli("lock", "user", "acme.joe", "--why", "stolen") == cli("lock", "ls") == table
    assert service.seen[0].body == {"type": "user", "ref": "acme.joe", "why": "stolen"}
    assert cli("unlock", "user", "acme.joe") == table
    cli("--account", "acme.x", "lock", "job", "train")
    assert sent(service)[2]["ref"] == "acme.x.train"
    cli("--account", "acme.x", "lock", "user", "joe")
    assert sent(service)[2]["ref"] == "joe"
    cli("lock", "account", "acme.joe", code=2)


def test_audit(service: Service, cli: Cli) -> None:
    entries = [
        AuditRecord(seq=seq, time=CREATED, actor="acme.joe", action="role:member", urn="o:role:r", outcome="done")
        for seq in (2, 1)
    ]
    service.answers["GET", "/audit"] = entries
    assert cli("audit", "ls").splitlines()[0].split() == ["time", "actor", "action", "outcome", "urn", "reason"]
    since = datetime.fromisoformat(service.seen[-1].query["since"])
    assert timedelta(hours=23) < datetime.now(UTC) - since < timedelta(hours=25)
    words = ("--actor", "acme.joe", "--urn", "o:role:r", "--action", "role:member", "--outcome", "done", "-n", "1")
    assert json.loads(cli("audit", "ls", *words, "--format", "json"))["seq"] == 2
    assert service.seen[-1].query == {
        "actor": "acme.joe",
        "urn": "o:role:r",
        "action": "role:member",
        "outcome": "done",
        "limit": "1",
    }
    assert cli("audit", "ls", "--since", "2026-01-31T00:00:00Z", "-r", "--field", "seq") == "1\n2\n"
    assert service.seen[-1].query["since"] == "2026-01-31T00:00:00Z"
    cli("audit", "ls", "--outcome", "good", code=2)


# --- completion and help -----------------------------------------------------------------------------------------------


def test_names_are_completed(service: Service, cli: Cli) -> None:
    service.answers = {
        ("GET", "/accounts"): [make_account("submarine", "acme.joe")],
        ("GET", "/roles"): [make_role()],
        ("GET", "/teams"): [TEAM],
        ("GET", "/users"): [JOE],
        ("GET", "/data"): [IMAGES],
    }
    assert offered("account", "get", "acme.j") == ["acme.joe.submarine"]
    assert offered("account", "role", "member", "ls", "") == [READER]
    assert offered("role", "member", "add", READER, "--user", "jo") == ["joe"]
    assert offered("role", "member", "add", READER, "--team", "") == ["acme.cocos"]
    assert offered("role", "policy", "new", "a7") == [ROLE_ID]
    assert offered("data", "get", "im") == ["images"]
    assert offered("lock", "user", "acme.") == ["acme.joe"]
    assert offered("rule", "ls", "--user", "x") == []
    assert offered("account", "role", "member", "") == ["add", "ls", "rm"]


NOUNS = ("account", "audit", "data", "lock", "organization", "role", "rule", "team", "unlock", "user")


def leaves(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield context.command_path, command
        return
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None
        yield from leaves(inner, click.Context(inner, info_name=name, parent=context))


def test_each_command_tells_the_actions_that_it_needs() -> None:
    root = click.Context(toolkit, info_name="toolkit", help_option_names=["-h", "--help"])
    found = [item for item in leaves(toolkit, root) if item[0].split()[1] in NOUNS]
    assert len(found) > 60
    for path, command in found:
        text = " ".join((command.help or "").split())
        needs = text[text.find("Needs ") :]
        assert needs.startswith("Needs "), path
        named = set(re.findall(r"\b[a-z]+:[a-z]+\b", needs))
        assert named <= set(ACTIONS), path
        assert named or "`get`" in needs, path
        assert f"{path} " in f"{command.epilog} ".replace("\n", " "), path


def test_who_is_signed_in_is_asked_only_when_it_matters(service: Service, cli: Cli) -> None:
    service.answers["GET", "/users/acme.joe"] = JOE
    cli("user", "get", "acme.joe")
    assert len(service.seen) == 1
    assert ME.id == "u"
