"""The commands about accounts, teams, users, data and roles: what they send, and what they print."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.canned_service import CREATED, Service
from tests.unit.cli.access_things import (
    IMAGES,
    JOE,
    POLICY,
    READER,
    ROLE_ID,
    STATEMENT,
    TEAM,
    USER_ID,
    make_account,
    make_member,
    make_role,
    sent,
)
from tests.unit.cli.conftest import Cli
from toolkit_client.access_models import Organization, RoleKey, RoleKeySecret
from toolkit_client.errors import Conflict, NotFound

# --- accounts, teams, organizations, data ------------------------------------------------------------------------------


def test_accounts(service: Service, cli: Cli) -> None:
    child = make_account("production", "acme.awesome_project")
    service.answers = {
        ("GET", "/accounts"): [child],
        ("POST", "/accounts"): child,
        ("GET", "/accounts/a"): child,
        ("PATCH", "/accounts/acme.joe.x"): child,
        ("DELETE", "/accounts/acme.joe.x"): child,
    }
    table = "id name       organization parent\na  production acme         acme.awesome_project\n"
    assert cli("account", "ls", "acme.awesome_project") == table
    assert service.seen[-1].query == {"parent": "acme.awesome_project"}
    assert cli("account", "ls") == table
    assert service.seen[-1].query == {}
    assert cli("account", "new", "acme.awesome_project.production") == table
    assert sent(service)[2] == {"name": "acme.awesome_project.production"}
    assert cli("account", "get", "--field", "urn") == "o:account:a\n"  # the caller's own
    cli("account", "set", "acme.joe.x", "--name", "y")
    assert sent(service) == ("PATCH", "/accounts/acme.joe.x", {"name": "y"})
    cli("account", "archive", "acme.joe.x", "acme.joe.none", code=1)
    assert cli.out.count("production") == 1


def test_teams_and_the_organization(service: Service, cli: Cli) -> None:
    organization = Organization(id="o", urn="o", name="acme", created=CREATED)
    service.answers = {
        ("POST", "/teams"): TEAM,
        ("GET", "/teams"): [TEAM],
        ("GET", "/teams/acme.cocos"): TEAM,
        ("GET", "/organizations/o"): organization,
        ("PATCH", "/organizations/o"): organization,
    }
    table = "id name  organization account\nt  cocos acme         acme.cocos\n"
    assert cli("team", "new", "acme.cocos") == cli("team", "ls") == table
    assert cli("team", "get", "acme.cocos", "--field", "account") == "acme.cocos\n"
    assert cli("organization", "get") == "id name created\no  acme 2019-12-06T20:49:41Z\n"
    cli("organization", "set", "--name", "umbrella")
    assert sent(service) == ("PATCH", "/organizations/o", {"name": "umbrella"})
    cli("team", "get", code=2)
    assert "which team?" in cli.err


def test_data(service: Service, cli: Cli) -> None:
    service.answers = {
        ("POST", "/data"): IMAGES,
        ("GET", "/data"): [IMAGES],
        ("GET", "/data/acme.joe..ssh"): IMAGES,
    }
    table = "id name   account  creator  created\nd  images acme.joe acme.joe 2019-12-06T20:49:41Z\n"
    assert cli("data", "new", "acme.joe.images") == cli("data", "ls") == table
    assert service.seen[0].body == {"name": "acme.joe.images"}
    for words in (("--account", "acme.x", "data", "new", ".ssh"), ("data", "new", ".ssh", "--account", "acme.x")):
        cli(*words)
        assert sent(service)[2] == {"name": ".ssh", "account": "acme.x"}
    cli("data", "new", "acme.joe.images", "--account", "acme.x", code=2)
    assert cli("--account", "acme.joe", "data", "get", ".ssh", "--field", "urn") == "o:account:a:data:d\n"
    cli("data", "get", "--field", "urn", code=2)
    assert cli.err.startswith("error: which data?")


def test_users(service: Service, cli: Cli) -> None:
    service.answers = {
        ("GET", "/users/u"): JOE,
        ("PATCH", "/users/u"): JOE,
        ("POST", "/users/acme.joe/disable"): JOE,
        ("POST", "/users/acme.joe/offboard"): JOE,
        ("DELETE", "/users/acme.joe"): JOE,
    }
    assert cli("user", "get", "--field", "urn") == "o:user:u\n"
    cli("user", "set", "--name", "joseph")
    assert sent(service) == ("PATCH", "/users/u", {"name": "joseph"})
    cli("user", "disable", "acme.joe")
    cli("user", "offboard", "acme.joe", "--to", "acme.alice")
    assert sent(service) == ("POST", "/users/acme.joe/offboard", {"to": "acme.alice"})
    cli("user", "offboard", "acme.joe", code=2)
    assert cli("user", "archive", "acme.joe", "--field", "name") == "joe\n"


# --- roles, members, policies, keys ------------------------------------------------------------------------------------


def test_roles_of_an_owner(service: Service, cli: Cli) -> None:
    roles = [make_role("admin"), make_role("user", "acme.cocos", "team")]
    for path in ("/organizations/o/roles", "/accounts/a/roles", "/accounts/acme.joe.x/roles", "/roles"):
        service.answers["GET", path] = roles
    assert (
        cli("account", "role", "ls", "--fields", "id,name")
        == f"id                                   name\n{ROLE_ID} admin\n"
    )
    assert sent(service)[1] == "/accounts/a/roles"
    cli("account", "role", "ls", "acme.joe.x")
    assert sent(service)[1] == "/accounts/acme.joe.x/roles"
    cli("organization", "role", "ls")
    assert sent(service)[1] == "/organizations/o/roles"
    assert cli("team", "role", "ls", "--field", "parent") == "acme.cocos\n"
    assert sent(service)[1] == "/roles"
    assert len(cli("role", "ls", "--no-header").splitlines()) == 2


def test_a_new_role(service: Service, cli: Cli) -> None:
    service.answers["POST", "/roles"] = make_role("shared_my_data", "acme.account")
    assert cli("role", "new", "acme.account.shared_my_data") == (
        f"id                                   name           organization parent\n{ROLE_ID} shared_my_data acme         "
        "acme.account\n"
    )
    assert sent(service)[2] == {"name": "acme.account.shared_my_data"}
    cli("--account", "acme.x", "role", "new", "r", "--owner", "account", "--policy", "a@b", "--policy", "*@*")
    assert sent(service)[2] == {"name": "acme.x.r", "ownerType": "account", "policies": ["a@b", "*@*"]}


@pytest.mark.parametrize(
    ("words", "path", "owner"),
    [
        (("role",), "/roles/acme.joe.reader", None),
        (("account", "role"), "/roles/acme.joe.reader", "account"),
        (("organization", "role"), "/roles/acme.joe.reader", "organization"),
        (("team",), "/teams/acme.joe.reader", None),
    ],
)
def test_members(service: Service, cli: Cli, words: tuple[str, ...], path: str, owner: str | None) -> None:
    service.answers = {
        ("GET", f"{path}/members"): [make_member("alice"), make_member("cocos", "team")],
        ("POST", f"{path}/members"): make_member("alice"),
        ("DELETE", f"{path}/members/user/acme.alice"): make_member("alice"),
    }
    table = f"id                                   name  type\n{USER_ID} alice user\n{USER_ID} cocos team\n"
    assert cli(*words, "member", "ls", READER) == table
    assert service.seen[-1].query.get("owner") == owner
    assert cli(*words, "member", "add", READER, "--user", "acme.alice", "--team", "acme.cocos") == table
    added = [one.body for one in service.asked("POST", f"{path}/members")]
    assert added == [{"user": "acme.alice"}, {"team": "acme.cocos"}]
    assert (
        cli(*words, "member", "rm", READER, "--user", "acme.alice", "--fields", "name,type").splitlines()[0]
        == "name  type"
    )
    cli(*words, "member", "rm", READER, code=2)
    assert all(one.query.get("owner") == owner for one in service.seen)


def test_which_owner_is_meant(service: Service, cli: Cli) -> None:
    """The account of a team often has the team's name, so that `acme.cocos.admin` is two roles."""
    role = "acme.cocos.admin"
    service.answers = {
        ("GET", f"/roles/{role}"): make_role(),
        ("GET", f"/roles/{role}/members"): [],
        ("GET", f"/roles/{role}/policies"): [],
        ("GET", f"/roles/{role}/keys"): [],
    }
    for words in (("get",), ("member", "ls"), ("policy", "ls"), ("key", "ls")):
        cli("role", *words, role, "--owner", "team")
        assert service.seen[-1].query == {"owner": "team"}
        cli("role", *words, role)
        assert service.seen[-1].query == {}


def test_slips_are_told(service: Service, cli: Cli) -> None:
    cli("role", "policy", "a7202d30", "data:*@x", code=2)
    assert cli.err.startswith("error: `toolkit role policy` has no command 'a7202d30'; it has ls, new, rm\nhint: ")
    cli("role", "member", "add", "a7202d30", "\u2013user", "60e9", code=2)
    assert "write --user" in cli.err
    assert not service.seen


def test_one_member_that_is_refused_does_not_stop_the_others(service: Service, cli: Cli) -> None:
    service.answers = {
        ("GET", "/roles/acme.joe.reader/members"): [make_member("bob")],
        ("POST", "/roles/acme.joe.reader/members"): make_member("bob"),
    }
    service.faults = [NotFound("there is no user 'nobody'")]
    cli("role", "member", "add", READER, "--user", "nobody", "--user", "bob", code=5)
    assert (cli.out.count("bob"), cli.err) == (1, "error: there is no user 'nobody'\n")
    service.faults = [Conflict("the last administrator")]
    assert cli("role", "member", "rm", READER, "--user", "bob", code=1) == ""


def test_until_when(service: Service, cli: Cli) -> None:
    service.answers = {
        ("GET", "/roles/acme.joe.reader/members"): [],
        ("POST", "/roles/acme.joe.reader/members"): make_member("bob"),
    }
    for words, expires in (
        (("--expires", "2099-01-31T00:00:00Z"), {"expires": "2099-01-31T00:00:00Z"}),
        (("--expires", "never"), {"expires": None}),
        ((), {}),
    ):
        cli("role", "member", "add", READER, "--user", "bob", *words)
        assert service.asked("POST", "/roles/acme.joe.reader/members")[-1].body == {"user": "bob"} | expires


def ends(service: Service) -> datetime:
    return datetime.fromisoformat(service.seen[-1].body["expires"])


def test_policies(service: Service, cli: Cli) -> None:
    for path in ("/roles/acme.joe.reader", "/users/u", "/teams/acme.cocos"):
        service.answers |= {
            ("GET", f"{path}/policies"): [POLICY],
            ("POST", f"{path}/policies"): POLICY,
            ("DELETE", f"{path}/policies/p"): POLICY,
        }
    table = "id policy                    expires\np  data:*@o:account:a:data:d -\n"
    for kind, ref in (("role", READER), ("user", "u"), ("team", "acme.cocos")):
        assert cli(kind, "policy", "new", ref, STATEMENT) == cli(kind, "policy", "ls", ref) == table
        assert service.seen[-2].body == {"policy": STATEMENT}
        assert cli(kind, "policy", "rm", ref, "p") == table
        assert service.seen[-2].path.endswith("/policies/p")
    assert cli("user", "policy", "ls") == table  # the caller's own
    cli("team", "policy", "ls", code=2)
    cli("user", "policy", "new", "u", STATEMENT, "--expires", "7d")
    assert timedelta(days=6, hours=23) < ends(service) - datetime.now(UTC) <= timedelta(days=7)
    cli("user", "policy", "new", "u", STATEMENT, "--expires", "2099-01-31")
    assert ends(service) == datetime(2099, 2, 1, tzinfo=UTC)
    cli("user", "policy", "new", "u", STATEMENT, "--expires", "2099-01-31T12:00:00+02:00")
    assert ends(service) == datetime(2099, 1, 31, 10, tzinfo=UTC)
    for wrong in ("7", "soon", "2001-01-01", "0d", "2099-01-31T12:00:00", "9999-12-31", "2099-13-01", "999999999d"):
        cli("user", "policy", "new", "u", STATEMENT, "--expires", wrong, code=2)


def test_a_key_alone_is_on_stdout(service: Service, cli: Cli) -> None:
    key = {"id": "k", "role": READER, "created": CREATED}
    service.answers = {
        ("POST", "/roles/acme.joe.reader/keys"): RoleKeySecret(**key, token="tkr_secret"),
        ("GET", "/roles/acme.joe.reader/keys"): [RoleKey(**key, name="ci", last_used=CREATED)],
        ("DELETE", "/roles/acme.joe.reader/keys/k"): RoleKey(**key),
    }
    assert cli("role", "key", "new", READER) == "tkr_secret\n"
    assert cli.err == "key k of acme.joe.reader; it is shown this once\n"
    assert sent(service)[2] == {"name": ""}
    table = (
        "id name role            expires lastUsed             created\n"
        "k  ci   acme.joe.reader -       2019-12-06T20:49:41Z 2019-12-06T20:49:41Z\n"
    )
    assert cli("role", "key", "ls", READER) == cli("role", "key", "rm", READER, "k") == table
    # Asked for again after a lost answer, it is the same request: a second key would be one that nobody knows.
    service.faults = [503]
    cli("role", "key", "new", READER)
    asked = service.asked("POST", "/roles/acme.joe.reader/keys")[-2:]
    assert asked[0].headers["Idempotency-Key"] == asked[1].headers["Idempotency-Key"]
