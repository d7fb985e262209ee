"""``make bench [ONLY=name]``: every row on a site of its own, with medians, each beside its reference in the same run."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.bench import access, commands, data, gate, interface, planner, queue, runs, ssh
from tests.bench.rows import Bench, write
from tests.support.running_site import RunningSite

#: In this order: the last ones leave work behind that would be measured with those after them. What stands before a slash names
#: all that have it.
BENCHES: dict[str, Bench] = {
    "list": interface.list_of_ten_thousand,
    "job-ls": interface.job_ls,
    "allowed": access.allowed,
    "allowed-p99": access.allowed_tail,
    "who-is-allowed": access.who_is_allowed,
    "data-ls": access.data_ls,
    "cedarpy": access.cedar_beside,
    "pycasbin": access.casbin_beside,
    "plan/full": planner.full_site,
    "plan/empty": planner.empty_site,
    "data/push-many-tar": data.push_many_tar,
    "data/push-many-rsync": data.push_many_rsync,
    "data/pull-many-tar": data.pull_many_tar,
    "data/pull-many-rsync": data.pull_many_rsync,
    "data/push-again": data.second_push,
    "data/content-ls": data.content_ls,
    "data/memory": data.memory,
    "data/push-big": data.push_big,
    "data/pull-big": data.pull_big,
    "revoked": access.revoked,
    "exec": commands.exec_true,
    "gate/get-1": gate.requests_on_one,
    "gate/get-32": gate.requests_on_many,
    "gate/first-look": gate.first_look,
    "gate/flood": gate.slow_readers,
    "ssh/login": ssh.login,
    "ssh/down": ssh.sftp_down,
    "ssh/up": ssh.sftp_up,
    "first-line": runs.first_line,
    "one-key": interface.one_key,
    "fifty": runs.fifty_at_once,
    "queue/freed": queue.freed,
    "queue/200": queue.two_hundred,
    "queue/submits": queue.submits,
    "queue/100000": queue.many_queued,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench")
    choices = {*BENCHES, *(name.partition("/")[0] for name in BENCHES)}
    parser.add_argument("--only", choices=sorted(choices), metavar="NAME", help="one row, or those of one kind")
    chosen = parser.parse_args().only
    rows = []
    with tempfile.TemporaryDirectory(prefix="toolkit-bench-") as folder:
        # As many CPUs to declare as the largest row has jobs: what is measured is not the waiting.
        site = RunningSite(
            Path(folder) / "state", "c.Toolkit.cpus = 64\nc.Toolkit.memory = 256.0\nc.Toolkit.simulated_gpus = 1"
        )
        try:
            site.start()
            for name, bench in BENCHES.items():
                if chosen in (None, name, name.partition("/")[0]):
                    rows.append(bench(site))
                    print(rows[-1].line(), flush=True)
            write(rows)
        except AssertionError:
            print(site.logs(), file=sys.stderr)
            raise
        finally:
            site.destroy()
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
