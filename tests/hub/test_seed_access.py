"""Sharing and access, word by word as people are told to do it, on a whole site: by full names, and again by ids.

A command line here is what a person types. `{role:acme.joe.submarine.user}` in it stands for a full name, and the second
time for the id of that thing; so that the two times do not meet, the second one has names of its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.running_site import PASSWORD, RunningSite
from toolkit_client.call import API_PATH, make_call, path_of

pytestmark = pytest.mark.engine

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
PLURALS = {kind: f"{kind}s" for kind in ("account", "organization", "role", "team", "user")} | {"data": "data"}
#: What is made here; the second time these names get a `2`.
OWN_NAMES = re.compile(
    r"\b(rowers_of_bob|joe|alice|bob|carol|dave|crew|awesome_project|submarine|cocos|shared_my_data|job_access|images|server|sample)\b"
)


class People:
    """Runs command lines in a shell, as one user or another."""

    def __init__(self, site: RunningSite, by: str) -> None:
        self.site, self.by = site, by
        self.err = ""

    def named(self, text: str) -> str:
        return OWN_NAMES.sub(r"\g<1>2", text) if self.by == "id" else text

    def __call__(self, line: str, user: str = "joe", code: int | set[int] = 0, token: str = "") -> str:
        text = re.sub(r"\{(\w+):([^}]*)\}", self._reference, self.named(line))
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {text}"],
            env={
                **self.site.environment,
                "PATH": f"{Path(sys.executable).parent}:{self.site.environment['PATH']}",
                "TOOLKIT_URL": self.site.url,
                "TOOLKIT_TOKEN": token or self.site.token(self.named(user)),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.err = done.stderr
        wanted = code if isinstance(code, set) else {code}
        assert done.returncode in wanted, f"{text}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _reference(self, found: re.Match[str]) -> str:
        kind, name = found.groups()
        return self.id_of(kind, name) if self.by == "id" else name

    def id_of(self, kind: str, name: str) -> str:
        with self.site.client() as client:
            return str(client.raw(make_call("GET", path_of(PLURALS[kind], name), dict))["id"])

    def rows(self, line: str, user: str = "joe") -> list[list[str]]:
        """The table that a command prints, without its header."""
        return [row.split() for row in self(line, user).splitlines()[1:]]


#: What nobody has been told word by word is tried by names alone.
by_name = pytest.mark.parametrize("people", ["name"], indirect=True)


@pytest.fixture(params=["name", "id"])
def people(site: RunningSite, request: pytest.FixtureRequest) -> People:
    made = People(site, request.param)
    for user in ("joe", "alice", "bob", "carol"):
        site.token(made.named(user))
    return made


def test_how_to_create_an_account(people: People) -> None:
    people("toolkit account new acme.awesome_project", "admin")
    people("toolkit account new acme.awesome_project.production", "admin")
    header, row = people("toolkit account ls {account:acme.awesome_project}", "admin").splitlines()
    assert re.fullmatch(r"id {34} name +organization parent", header)
    assert re.fullmatch(UUID, row.split()[0])
    assert row.split()[1:] == ["production", "acme", people.named("acme.awesome_project")]
    # Who made it administers it, and what is below it; nobody else is told that it is there.
    people("toolkit account get {account:acme.awesome_project}", "joe", code=5)
    inherited = people.rows("toolkit account role member ls acme.awesome_project.production.admin", "admin")
    assert [people.named("acme.awesome_project.admin"), "role"] in [row[1:] for row in inherited]


def test_who_i_am_and_what_i_hold(people: People) -> None:
    urn = people("toolkit user get --field urn").strip()
    assert re.fullmatch(rf"{UUID}:user:{UUID}", urn)
    organization, _, user = urn.split(":")
    assert people("toolkit user get {user:acme.joe} --field urn").strip() == urn
    account = people("toolkit account get --field id").strip()
    header, *rules = people("toolkit rule ls").splitlines()
    assert header == "action   expression"
    assert rules == [
        f"user:set {organization}:user:{user}",
        f"*:get    {organization}",
        f"*:get    {organization}:user:*",
        f"*:get    {organization}:team:*",
        f"*        {organization}:account:{account}",
        f"*        {organization}:account:{account}:*",
    ]
    people("toolkit user set --name joe")
    people("toolkit user set {user:acme.joe} --name joe")
    people("toolkit user set {user:acme.alice} --name eve", code=4)
    assert people("toolkit organization get --field id").strip() == organization
    assert people("toolkit organization get {organization:acme} --field name") == "acme\n"
    assert people.named("joe") in [row[1] for row in people.rows("toolkit user ls")]
    people("toolkit team ls")


def test_policies_of_a_user(people: People) -> None:
    """Root access, given by an administrator and taken away; nobody gives it to themselves."""
    (made,) = people.rows("toolkit user policy new {user:acme.carol} '*@*'", "admin")
    assert made[1:] == ["*@*", "-"]
    question = "organization:maintain@$(toolkit organization get --field urn)"
    assert people(f'toolkit rule allowed "{question}"', "carol") == "allowed\n"
    assert ["*", "*"] in people.rows("toolkit rule ls --user {user:acme.carol}", "admin")
    assert made in people.rows("toolkit user policy ls {user:acme.carol}", "admin")
    people(f"toolkit user policy rm {{user:acme.carol}} {made[0]}", "admin")
    assert people(f'toolkit rule allowed "{question}"', "carol", code=1) == "denied\n"
    people("toolkit user policy new {user:acme.joe} '*@*'", code=4)
    people("toolkit user policy new {user:acme.carol} 'job:get@acme:account:acme.carol:*' --expires 7d", "admin")
    temporary = people.rows("toolkit user policy ls {user:acme.carol}", "admin")[-1]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", temporary[2])
    people(f"toolkit user policy rm {{user:acme.carol}} {temporary[0]}", "admin")


def test_roles_and_their_members(people: People) -> None:
    header, *roles = people("toolkit organization role ls --fields id,name").splitlines()
    assert re.fullmatch(r"id {34} name", header)
    ids = {row.split()[1]: row.split()[0] for row in roles}
    assert set(ids) == {"admin", "user"}
    assert {row[1] for row in people.rows("toolkit account role ls")} == {"admin", "user"}
    assert {row[1] for row in people.rows("toolkit account role ls {account:acme.joe}")} == {"admin", "user"}
    people("toolkit team role ls")
    people(f"toolkit organization role member ls {ids['admin']}")
    people("toolkit organization role member ls acme.admin")

    role = ids["admin"] if people.by == "id" else "acme.admin"
    for user in ("alice", "bob"):
        people(f"toolkit organization role member add {role} --user {{user:acme.{user}}}", "admin")
    left = people(f"toolkit organization role member rm {role} --user {{user:acme.alice}}", "admin")
    assert re.fullmatch(r"id {34} name +type", left.splitlines()[0])
    assert people.named("alice") not in left.split()
    assert [people.named("bob"), "user"] in [row.split()[1:] for row in left.splitlines()[1:]]
    again = people(f"toolkit organization role member add {role} --user {{user:acme.alice}}", "admin")
    assert [people.named("alice"), "user"] in [row.split()[1:] for row in again.splitlines()[1:]]
    people(f"toolkit organization role member rm {role} --user {{user:acme.alice}} --user {{user:acme.bob}}", "admin")
    assert [row[1] for row in people.rows(f"toolkit organization role member ls {role}")] == ["admin"]
    people(f"toolkit organization role member rm {role} --user {{user:acme.admin}}", "admin", code=1)
    assert "administrator" in people.err
    people(f"toolkit organization role member add {role} --user {{user:acme.joe}}", code=4)


NEW_TEAM = "toolkit team get acme.cocos 2>/dev/null || toolkit team new acme.cocos"


def test_share_by_account(people: People) -> None:
    people(NEW_TEAM, "admin")
    people("toolkit account new acme.joe.submarine")
    assert people.rows("toolkit account role member ls {role:acme.joe.submarine.user}") == []
    people("toolkit account role member add {role:acme.joe.submarine.user} --user {user:acme.alice}")
    people("toolkit account role member add {role:acme.joe.submarine.user} --team {team:acme.cocos}")
    header, *members = people(
        "toolkit account role member ls {role:acme.joe.submarine.user} --fields name,type"
    ).splitlines()
    assert header.split() == ["name", "type"]
    assert [row.split() for row in members] == [[people.named("alice"), "user"], [people.named("cocos"), "team"]]
    people("toolkit account role member add {role:acme.joe.submarine.admin} --user {user:acme.bob}")

    # It is shared: alice works in it, bob administers it, carol sees nothing.
    people("toolkit data new acme.joe.submarine.sample", "alice")
    people("toolkit account role member ls {role:acme.joe.submarine.admin}", "alice")
    people("toolkit account role member rm {role:acme.joe.submarine.user} --user {user:acme.alice}", "alice", code=4)
    people("toolkit account role member rm {role:acme.joe.submarine.user} --user {user:acme.alice}", "bob")
    people("toolkit data get {data:acme.joe.submarine.sample}", "alice", code=5)
    people("toolkit account get {account:acme.joe.submarine}", "carol", code=5)

    # As the how-to has it by a slip: no account acme.job is there, and the hint names the one that was meant.
    people("toolkit account role member add acme.job.submarine.user --team acme.cocos", code=5)
    people("toolkit account role member add acme.job.submarine.admin --user acme.bob", code=5)
    people("toolkit account get acme.job.submarine", code=5)
    assert people.named("acme.joe.submarine") in people.err


def test_share_by_team(people: People) -> None:
    people(NEW_TEAM, "admin")
    people("toolkit account set $(toolkit team get {team:acme.cocos} --field account) --name cocos", "admin")
    assert people("toolkit team get {team:acme.cocos} --field account", "admin") == people.named("acme.cocos\n")
    people("toolkit team member add {team:acme.cocos} --user {user:acme.alice}", "admin")
    members = people("toolkit team member add {team:acme.cocos} --user {user:acme.bob}", "admin")
    assert {row.split()[1] for row in members.splitlines()[1:]} >= {people.named("alice"), people.named("bob")}
    people("toolkit data new acme.cocos.images", "alice")
    people("toolkit data get {data:acme.cocos.images}", "bob")
    people("toolkit data get {data:acme.cocos.images}", "carol", code=5)
    job = people("toolkit job submit --account {account:acme.cocos} --field id -- true", "bob").strip()
    people(f"toolkit job get {job}", "alice")
    people(f"toolkit job get {job}", "carol", code=5)
    share = "toolkit job submit --data acme.cocos.images:/images --account {account:acme.cocos} --field id"
    writer = people(f"{share} -- bash -c 'echo of bob > /images/note'", "bob").strip()
    people(f"toolkit job logs -f --exit-code {writer}", "bob")
    reader = people(f"{share} -- cat /images/note", "alice").strip()
    assert people(f"toolkit job logs -f --exit-code {reader}", "alice") == people.named("of bob\n")
    people(share, "carol", code=5)
    people("toolkit team member rm {team:acme.cocos} --user {user:acme.bob}", "admin")
    people(f"toolkit job get {job}", "bob", code=5)


def test_share_data_and_ask_who_may(people: People) -> None:
    people("toolkit data new acme.joe.images")
    header, row = people("toolkit role new acme.joe.shared_my_data").splitlines()
    assert re.fullmatch(r"id {34} name +organization parent", header)
    assert row.split()[1:] == [people.named("shared_my_data"), "acme", people.named("acme.joe")]
    role = row.split()[0] if people.by == "id" else "acme.joe.shared_my_data"
    urn = people("toolkit data get --field urn {data:acme.joe.images}").strip()
    assert re.fullmatch(rf"{UUID}:account:{UUID}:data:{UUID}", urn)
    people("toolkit data get --field urn", code=2)  # as the how-to has it: it leaves out which
    assert people.err.startswith("error: which data?")
    people(f"toolkit role policy new {role}  'data:*@{urn}'")
    (policy,) = people.rows(f"toolkit role policy ls {role}")
    assert policy[1:] == [f"data:*@{urn}", "-"]
    alice = people.id_of("user", people.named("acme.alice"))
    assert alice in [row[0] for row in people.rows("toolkit user ls")]
    people("toolkit data get {data:acme.joe.images}", "alice", code=5)
    members = people.rows(f"toolkit role member add {role} --user {{user:acme.alice}}")
    assert members == [[alice, people.named("alice"), "user"]]

    question = '"data:set@$(toolkit data get {data:acme.joe.images} --field urn)"'
    assert people(f"toolkit rule allowed {question}", "alice") == "allowed\n"
    assert people(f"toolkit rule allowed {question}") == "allowed\n"
    assert people(f"toolkit rule allowed data:set@{urn}", "carol", code=1) == "denied\n"
    table = people.rows(f"toolkit rule who-is-allowed {question}")
    assert people("toolkit rule who-is-allowed " + question).split()[:4] == ["type", "name", "id", "via"]
    who = {row[1]: row for row in table}
    assert set(who) == {people.named(name) for name in ("acme.joe", "acme.alice", "acme.admin")}
    assert people.named("acme.joe.shared_my_data") in " ".join(who[people.named("acme.alice")])
    why = people(f"toolkit rule why {question}", "alice")
    assert why.startswith(people.named("allowed: acme.alice may do data:set on "))
    assert people.named("role acme.joe.shared_my_data") in why
    no = people(f"toolkit rule why {question} --user {{user:acme.carol}}", "admin")
    assert no.startswith(people.named("denied: acme.carol may not do data:set on "))
    assert people.named("acme.joe") in no
    people(f"toolkit role member rm {role} --user {{user:acme.alice}}")
    people(f"toolkit rule allowed data:set@{urn}", "alice", code=1)


@by_name
def test_names_of_data_may_begin_with_a_dot(people: People) -> None:
    people("toolkit data new .ssh", "carol")
    people("toolkit data set {data:acme.carol..ssh} --name .keys", "carol")
    assert people("toolkit data get .keys --field fullName", "carol") == people.named("acme.carol..keys\n")
    people("toolkit data archive acme.carol..keys", "carol")
    assert people.rows("toolkit data ls", "carol") == []
    people("toolkit data new .keys", "carol")


def test_a_role_key_for_a_python_server(people: People) -> None:
    job = people("toolkit job submit --name server --field id -- sleep 600").strip()
    other = people("toolkit job submit --field id -- true").strip()
    role = "acme.joe.job_access"
    people(f"toolkit role new {role}")
    job_ref = job if people.by == "id" else "acme.joe.server"
    people(f'toolkit role policy new {{role:{role}}} "job:get@"$(toolkit job get --field urn {job_ref})')
    key = people(f"toolkit role key new {{role:{role}}}").strip()
    assert re.fullmatch(r"tkr_[A-Za-z0-9_-]{20,}", key)
    assert key not in people.err
    assert f"http://{job}." in people(f"toolkit job info {job_ref}")

    # From anywhere: the key opens that job and no other, and nothing of its owner's.
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=people.site.url + API_PATH, headers=headers) as http:
        assert http.get(f"/jobs/{job}").status_code == 200
        assert http.delete(f"/jobs/{job}").status_code == 403
        assert http.get(f"/jobs/{other}").status_code == 404
    assert people(f"toolkit job get {job} --field id", token=key).strip() == job
    people(f"toolkit job get {other}", token=key, code=5)
    question = f"job:get@$(toolkit job get --field urn {job})"
    holders = people.rows(f'toolkit rule who-is-allowed "{question}"')
    assert ["role", people.named(role)] in [row[:2] for row in holders]

    (listed,) = people(f"toolkit role key ls {{role:{role}}} --no-header").splitlines()
    assert key not in listed
    people(f"toolkit role key rm {{role:{role}}} {listed.split()[0]}")
    people(f"toolkit job get {job}", token=key, code=3)
    people(f"toolkit job kill {job}")


@by_name
def test_locks_and_the_audit_log(people: People) -> None:
    people("toolkit organization get", "bob")
    people("toolkit lock user {user:acme.bob} --why 'the laptop was stolen'", "admin")
    assert ["user", people.named("acme.bob")] in [row[:2] for row in people.rows("toolkit lock ls", "admin")]
    people("toolkit organization get", "bob", code=4)
    assert "lock" in people.err
    people("toolkit job ls --state all", "bob", code=4)
    assert "the laptop was stolen" in people.err
    people("toolkit unlock user {user:acme.bob}", "admin")
    people("toolkit organization get", "bob")
    told = people("toolkit audit ls --since 1h --actor acme.admin --format json", "admin")
    assert "user:lock" in told
    assert "user:lock" not in people("toolkit audit ls --since 1h --format json", "carol")


@by_name
def test_renamed_locked_handed_over_and_archived(people: People) -> None:
    people(f"echo '{PASSWORD}' | toolkit user new dave --password-stdin", "admin")
    people("toolkit account new acme.dave.boat", "dave")
    people("toolkit role new acme.dave.boat.reader --policy 'account:get@acme:account:acme.dave.boat'", "dave")
    key = people("toolkit role key new acme.dave.boat.reader --name ci --expires 1d", "dave").strip()
    people("toolkit role set {role:acme.dave.boat.reader} --name viewer", "dave")
    people("toolkit account set {account:acme.dave.boat} --name ship", "dave")
    # Names follow, and what was granted stays.
    assert people("toolkit role get {role:acme.dave.ship.viewer} --field fullName", "dave") == people.named(
        "acme.dave.ship.viewer\n"
    )
    ship = people.named("acme.dave.ship\n")
    assert people("toolkit account get acme.dave.ship --field fullName", token=key) == ship
    key_id = people("toolkit role key ls acme.dave.ship.viewer --field id", "dave").strip()
    for what in (f"key {key_id}", "role {role:acme.dave.ship.viewer}"):
        people(f"toolkit lock {what}", "dave")
        people("toolkit account get acme.dave.ship", token=key, code=3)
        people(f"toolkit unlock {what}", "dave")
        people("toolkit account get acme.dave.ship", token=key)
    submit = "toolkit job submit --role {role:acme.dave.ship.viewer} --field role -- true"
    assert people(submit, "dave") == people.named("acme.dave.ship.viewer\n")

    people("toolkit user disable {user:acme.dave}", "admin")
    # Refused at once; as soon as the hub has forgotten the user too, the token is nobody's.
    people("toolkit organization get", "dave", code={3, 4})
    people("toolkit user enable {user:acme.dave}", "admin")
    people("toolkit user offboard {user:acme.dave} --to {user:acme.alice}", "admin")
    people("toolkit user get acme.dave", "admin", code=5)
    assert people("toolkit account get {account:acme.dave.ship} --field fullName", "alice") == ship
    people("toolkit role archive {role:acme.dave.ship.viewer}", "alice")
    people("toolkit account get acme.dave.ship", token=key, code=3)
    people("toolkit account archive {account:acme.dave.ship}", "alice")
    people("toolkit account get acme.dave.ship", "alice", code=5)


@by_name
def test_a_team_of_ones_own(people: People) -> None:
    people("toolkit team new rowers", "admin")
    people("toolkit team set {team:acme.rowers} --name rowers_of_bob", "admin")
    people("toolkit team member add {team:acme.rowers_of_bob} --user {user:acme.joe} --expires 1d", "admin")
    people("toolkit team policy new {team:acme.rowers_of_bob} 'user:set@acme:user:acme.carol'", "admin")
    urn = people("toolkit user get {user:acme.carol} --field urn").strip()
    assert ["user:set", urn] in people.rows("toolkit rule ls")
    assert {row[1] for row in people.rows("toolkit team role ls {team:acme.rowers_of_bob}", "admin")} == {
        "admin",
        "user",
    }
    people("toolkit team archive {team:acme.rowers_of_bob}", "admin")
    assert ["user:set", urn] not in people.rows("toolkit rule ls")
