"""PID 1 of every run: starts the user's command, keeps its output, starts the job server when it is asked to.

Two children: the user's command, whose end ends the run with its exit code, and the job server, whose end ends nothing.

- The command starts before anything else is done, in a session of its own, with the container's environment as it is.
- Its output goes through one pipe into the run's log, byte by byte as it comes.
- SIGTERM and SIGINT are passed on to the command's process group; two seconds before the engine would kill PID 1, every
  other process is killed, so that PID 1 itself still gets to record the end.
- On the control port the gate asks for the job server: one JSON line in, one JSON line out.

Standard library only, for it runs on a private Python in any image. It stands in the way of each job's first line of output,
so it imports little: `json`, `signal`, `socket`, `contextlib` and `dataclasses` would double or treble its start (12 ms with
the bare interpreter). What only the control port needs is imported once the command runs.

Exit codes: the command's own; 128 + n when signal n ended it; 127 and 126 when it could not be started; 125 when the run's
file is unreadable; 0 when a run without a command is stopped.
"""
