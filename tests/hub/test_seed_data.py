"""Data, word by word as people are told to use it, on a whole site."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.hub.test_seed_access import UUID, People
from tests.support.running_site import RunningSite

pytestmark = pytest.mark.engine

CONTENTS = (
    ".DS_Store",
    "AAA/Accelerometer Data 2019-06-28 14-00-01.txt",
    "AAA/Accelerometer Data 2019-06-28 14-37-42.txt",
    "BBB/.DS_Store",
    "BBB/BBB-1/.DS_Store",
)
FIRST_LISTING = """\
name                                           status
.DS_Store                                      new
AAA                                            new
AAA/Accelerometer Data 2019-06-28 14-00-01.txt new
AAA/Accelerometer Data 2019-06-28 14-37-42.txt new
BBB                                            new
BBB/.DS_Store                                  new
BBB/BBB-1                                      new
BBB/BBB-1/.DS_Store                            new
"""


class Persons(People):
    """The same in a folder of theirs."""

    def __init__(self, site: RunningSite, folder: Path) -> None:
        super().__init__(site, "name")
        self.folder = folder

    def __call__(self, line: str, user: str = "joe", code: int | set[int] = 0, token: str = "") -> str:
        return super().__call__(f"cd '{self.folder}' && {line}", user, code, token)


@pytest.fixture
def people(site: RunningSite, tmp_path: Path) -> Persons:
    for user in ("joe", "alice", "bob", "hanna"):
        site.token(user)
    for name in CONTENTS:
        file = tmp_path / "contents" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"content of {name}\n")
    return Persons(site, tmp_path)


def test_how_to_delete_directories_in_a_data(people: Persons) -> None:
    people("toolkit account new acme.some_account", "admin")
    people("toolkit account role member add acme.some_account.admin --user acme.joe", "admin")
    data = "acme.some_account.some_data"
    header, row = people(f"toolkit data new {data} contents").splitlines()
    assert re.fullmatch(r"id {34} name +account +creator +created", header)
    assert people.err.startswith("pushed 5 files, ")
    data_id = row.split()[0]
    assert re.fullmatch(UUID, data_id)

    assert people(f"toolkit data content ls {data}") == FIRST_LISTING
    people(f"toolkit data content rm {data} AAA")
    # Fixed width: the columns are as wide as what is left.
    assert [line.split() for line in people(f"toolkit data content ls {data}").splitlines()] == [
        ["name", "status"],
        *([name, "new"] for name in (".DS_Store", "BBB", "BBB/.DS_Store", "BBB/BBB-1", "BBB/BBB-1/.DS_Store")),
    ]
    # Or from inside a job.
    people(f"toolkit job submit --data {data_id}:/data --follow --exit-code -- bash -c 'rm -rf /data/BBB'")
    assert people(f"toolkit data content ls {data_id} --field name") == ".DS_Store\n"
    people(f"toolkit data content rm {data} .")
    assert people(f"toolkit data content ls {data}") == "name status\n"


def test_create_your_home_directory(people: Persons) -> None:
    people("export HOME_DATA_NAME=acme.hanna.home && toolkit data new $HOME_DATA_NAME", "hanna")
    (people.folder / "job.yml").write_text(
        "data:\n  - acme.hanna.home:/home/toolkit\n"
        "interactive: true\n"
        "command:\n  - /bin/bash\n  - -c\n  - pwd; cat ~/kept || echo kept > ~/kept\n"
        "workdir: /home/toolkit\n"
    )
    submit = "toolkit job submit -f job.yml --follow --exit-code"
    assert people(submit, "hanna").startswith("/home/toolkit\n")
    assert people(submit, "hanna") == "/home/toolkit\nkept\n"
    assert people("toolkit data content cat acme.hanna.home kept", "hanna") == "kept\n"


def test_how_to_pull_certain_files(people: Persons) -> None:
    people("mv contents remote && mkdir data && mv remote data && toolkit data new acme.joe.pulled data && mkdir there")
    people("toolkit data pull ./remote .", code=2)  # as the how-to has it: it leaves out whose
    assert "first say which data" in people.err
    people("cd there && toolkit data pull acme.joe.pulled ./remote .")
    people("diff -r data/remote there/remote")
    people("cd there && toolkit data pull pulled ./remote .")
    assert people.err.startswith("pulled 0 files")
    people("toolkit data pull pulled remote/AAA:found && diff -r found data/remote/AAA")
    people("toolkit data pull pulled remote/.DS_Store there && cmp there/.DS_Store data/remote/.DS_Store")


def test_how_to_share_data_with_other_users(people: Persons) -> None:
    people("toolkit data new acme.joe.my_data contents")
    pull = "rm -rf pulled && toolkit data pull acme.joe.my_data . pulled"
    push = "toolkit data push acme.joe.my_data contents/.DS_Store:from_alice"
    people(pull, "alice", code=5)
    header, row = people("toolkit role new acme.joe.shared_content").splitlines()
    assert re.fullmatch(r"id {34} name +organization parent", header)
    role = row.split()[0]
    urn = people("toolkit data get --field urn acme.joe.my_data").strip()
    people(f"toolkit role policy new {role}  'data:*@{urn}'")
    (alice,) = [row[0] for row in people.rows("toolkit user ls") if "alice" in row]
    people(pull, "alice", code=5)
    people(f"toolkit role member add {role} --user {alice}")
    people(pull, "alice")
    people("diff -r pulled contents")
    people(push, "alice")
    assert "from_alice new" in re.sub(" +", " ", people("toolkit data content ls acme.joe.my_data"))
    people(f"toolkit role member rm {role} --user {alice}")
    people(pull, "alice", code=5)
    people("toolkit data content rm acme.joe.my_data .", "alice", code=5)


def test_sharing_in_one_command(people: Persons) -> None:
    people("toolkit data new acme.joe.letters contents && toolkit data new acme.joe..keys")
    urn = people("toolkit data get --field urn letters").strip()
    share = "toolkit data share letters --user bob --ro --expires 30d"
    (row,) = people.rows(share)
    assert (row[0], row[2:4]) == ("acme.joe.share_letters_ro", ["bob", "user"])
    said = people.err.splitlines()
    assert said[0] == "toolkit role new acme.joe.share_letters_ro"
    assert said[1] == f"toolkit role policy new acme.joe.share_letters_ro data:get@{urn}"
    assert re.fullmatch(r"toolkit role member add acme.joe.share_letters_ro --user bob --expires 20\S+Z", said[2])
    assert people.rows(share)[0][:4] == row[:4]
    assert people.err.splitlines()[0].startswith("toolkit role member add ")
    people("toolkit data content cat acme.joe.letters .DS_Store", "bob")
    people("toolkit data content rm acme.joe.letters .", "bob", code=4)
    people("toolkit data push acme.joe.letters contents", "bob", code=4)

    people("toolkit team new acme.readers && toolkit team member add acme.readers --user acme.alice", "admin")
    rows = people.rows("toolkit vfolder share acme.joe.letters --team acme.readers --user acme.bob --rw")
    assert {row[2] for row in rows} == {"bob", "readers"}
    people("toolkit data content mkdir acme.joe.letters by_alice", "alice")
    people("toolkit data share letters --user bob")
    assert "acme.bob may still change it: role acme.joe.share_letters_rw" in people.err
    assert [row[2] for row in people.rows("toolkit data unshare letters --user acme.bob")] == ["readers"]
    people("toolkit data content ls acme.joe.letters", "bob", code=5)
    people("toolkit data unshare letters --user acme.bob", code=5)

    # A role of that name that gives something else is left alone.
    people("toolkit data archive letters && toolkit data new acme.joe.letters")
    (row,) = people.rows("toolkit data share letters --user bob --rw")
    assert re.fullmatch(r"acme.joe.share_letters_rw_[0-9a-f]{8}", row[0])
    people("toolkit data content ls acme.joe.letters", "alice", code=5)
    assert people.rows("toolkit data share .keys --user bob")[0][0] == "acme.joe.share_dot_keys_ro"


def test_how_to_redirect_stdout_and_stderr_to_a_file(people: Persons) -> None:
    people("toolkit data new acme.joe.output")

    def submit(command: str) -> str:
        line = f"toolkit job submit --field id --data acme.joe.output:/home/joe -- bash -c '{command}'"
        job = people(line).strip()
        people.site.wait_state(job, "SUCCEEDED", user="joe")
        return job

    job = submit("ls /nothing /home > /home/joe/${EAI_JOB_ID}.txt 2>&1; true")
    read = people(f"toolkit data content cat output {job}.txt")
    assert "cannot access '/nothing'" in read
    assert "toolkit" in read
    for _ in range(2):
        submit("echo appended >> /home/joe/all.txt 2>&1")
    job = submit("echo the run > /home/joe/${EAI_JOB_ID}.${EAI_RUN_INDEX}.txt 2>&1")
    people(f"toolkit data pull output . && cat all.txt {job}.0.txt > both")
    assert (people.folder / "both").read_text() == "appended\nappended\nthe run\n"


def test_inside_a_job_content_is_mounted(people: Persons) -> None:
    people("toolkit data new acme.joe.inside contents")
    ls = "toolkit data content ls acme.joe.inside"
    told = people(f"toolkit job submit --follow --exit-code -- bash -c '{ls} 2>&1'", code={1, 3, 4, 5})
    assert "mount it: `toolkit job submit --data NAME:/path" in told


def test_your_own_ssh_key_for_all_sessions(people: Persons) -> None:
    people("echo 'ssh-rsa AAAAB3 me@laptop' > id_container.pub && cat id_container.pub > authorized_keys")
    people("toolkit vfolder create .ssh", "hanna")
    people("toolkit vfolder upload .ssh authorized_keys", "hanna")
    assert people.rows("toolkit vfolder ls acme.hanna..ssh", "hanna") == [["authorized_keys", "new"]]
    assert [".ssh", "acme.hanna"] in [row[1:3] for row in people.rows("toolkit vfolder ls", "hanna")]
    people("toolkit data content ls acme.hanna..ssh", "joe", code=5)


def test_data_without_a_name_and_versions(people: Persons) -> None:
    data = people("toolkit data new acme.joe. --field id").strip()
    assert people(f"toolkit data get {data} --field fullName") == f"acme.joe.data-{data[:8]}\n"
    people("toolkit data new acme.alice. --field id", code={4, 5})
    sums = json.loads(people(f"toolkit data push {data} contents -m 'the first' --format json"))
    assert (sums["files"], sums["version"]) == (5, 1)
    statuses = people(f"toolkit data content ls {data} --field status")
    assert set(statuses.split()) == {"committed"}
    people(f"echo more >> contents/AAA/new.txt && echo x > contents/.DS_Store && toolkit data push {data} contents")
    fields = "--fields status,name --no-header"
    live = people(f"toolkit data content ls {data} {fields}").splitlines()
    assert {"new       AAA/new.txt", "changed   .DS_Store", "committed BBB"} < set(live)
    assert people(f"toolkit data content ls {data}@1 AAA --field status") == "-\n-\n"
    assert people(f"toolkit data content cat {data}@latest .DS_Store") == "content of .DS_Store\n"
    people(f"toolkit data pull {data}@1 . first && test ! -e first/AAA/new.txt")
    people(f"toolkit data push {data}@1 contents", code=2)
    people(f"toolkit data pull {data}@7 . seventh", code=5)
