"""``python -m toolkit_ext.job_init [RUN_FILE [LOG]]``; in a container, the program of PID 1."""

from __future__ import annotations

import sys

from toolkit_ext.job_init.log import Log
from toolkit_ext.job_init.pid1 import JobInit
from toolkit_ext.job_init.processes import report
from toolkit_ext.job_init.run_file import BadRunFile, read_run

RUN_FILE = "/run/toolkit/run.json"
LOG_FILE = "/run/toolkit/log"
#: Exit code when there is nothing that could be started.
NO_RUN_FILE = 125


def main(arguments: list[str]) -> int:
    """`arguments`: paths of the run's file and the log, where they are not the usual ones."""
    run_file = arguments[0] if arguments else RUN_FILE
    log_file = arguments[1] if len(arguments) > 1 else LOG_FILE
    log = Log(log_file)
    try:
        run = read_run(run_file)
    except BadRunFile as error:
        report(str(error))
        log.note("the run could not be started: its run file is unreadable. Please tell the site's administrator.")
        return NO_RUN_FILE
    if run.log_shares is not None:
        log.limit(*run.log_shares)
    return JobInit(run, log).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
