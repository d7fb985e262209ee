"""Runs in the image's build: what of the runtime folder is this project's own, gathered in /own.

Usage: collect_own.py WHEEL: this distribution's wheel. It is compiled with the Python that will run it.
"""

import py_compile
import subprocess
import sys
import zipfile
from pathlib import Path

OWN, PLACE = Path("/own"), Path("/opt/toolkit")
PYTHON = "/opt/toolkit/base/bin/python3"

#: On the PATH of every job, after everything of the image's own.
LINKED_PROGRAMS = ("rsync", "ssh", "ssh-add", "ssh-agent", "ssh-keygen")
#: The others start the same way for everybody, whatever the image sets.
SHELL_LINE = "#!/opt/toolkit/base/bin/busybox sh\n"
SCRIPTS = {
    "bin/code-server": f'{SHELL_LINE}exec /opt/toolkit/code/bin/node /opt/toolkit/code/code-server/out/node/entry.js "$@"\n',
    "bin/scp": f'{SHELL_LINE}exec /opt/toolkit/base/bin/scp -S "$(command -v ssh)" "$@"\n',
    "bin/sftp": f'{SHELL_LINE}exec /opt/toolkit/base/bin/sftp -S "$(command -v ssh)" "$@"\n',
    # The server that the terminal in the browser talks to.
    "bin/tmux": f'{SHELL_LINE}exec /opt/toolkit/base/bin/tmux -u -S "${{TOOLKIT_TMUX:-/dev/shm/toolkit/tmux}}" "$@"\n',
    "bin/toolkit": f"#!{PYTHON} -I\nimport sys\n\nfrom toolkit_client.cli import main\n\nsys.exit(main())\n",
    "libexec/toolkit-job-server": f"#!{PYTHON} -I\nfrom toolkit_ext.job_server import main\n\nmain()\n",
}
LINKS = {
    **{f"bin/{name}": f"../base/bin/{name}" for name in LINKED_PROGRAMS},
    # The shell where an image has none.
    "libexec/sh": "../base/bin/busybox",
    # Places that are compiled into programs of the part `base`; see relocate.py.
    "cert.pem": "base/etc/ca-certificates.crt",
    "lo": "base/locale",
    "termin": "base/terminfo",
    "zonein": "base/zoneinfo",
}


def main(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(OWN / "packages")
    for name, text in SCRIPTS.items():
        (OWN / name).parent.mkdir(exist_ok=True)
        (OWN / name).write_text(text)
    for name, target in LINKS.items():
        (OWN / name).parent.mkdir(exist_ok=True)
        (OWN / name).symlink_to(target)
    for source in [*(OWN / "packages").rglob("*.py")]:
        compile_one(source, PLACE / source.relative_to(OWN))
    # A program that is a compiled file starts 3 ms sooner than one that is looked up by `-m`.
    init = OWN / "packages/toolkit_ext/job_init/__main__.py"
    compile_one(init, PLACE / "job_init.py", OWN / "job_init.pyc")
    for path in [OWN, *OWN.rglob("*")]:
        if not path.is_symlink():
            executable = path.is_dir() or path.parent.name in ("bin", "libexec")
            path.chmod(0o755 if executable else 0o644)
    command = [PYTHON, "-I", "-S", "-c", "import _json, select, socket, hmac, json, traceback"]
    subprocess.run(command, check=True, env={"LD_PRELOAD": "/nowhere.so", "LD_LIBRARY_PATH": "/nowhere"})


def compile_one(source: Path, shown_as: Path, target: Path | None = None) -> None:
    """Compile for good: no time stamps are compared, which a copied folder would not keep."""
    py_compile.compile(
        str(source),
        str(target) if target else None,
        dfile=str(shown_as),
        doraise=True,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


main(Path(sys.argv[1]))
