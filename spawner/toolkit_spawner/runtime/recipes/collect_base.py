"""Runs in the image's build: gathers Python, the programs and all that they need in /opt/toolkit/base.

Usage: collect_base.py WHEELS: the folder into which pip has installed the Python packages.
"""

import compileall
import json
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from relocate import relocate  # type: ignore[import-not-found]  # it lies beside this file

BASE = Path("/opt/toolkit/base")
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
PYTHON = f"python3.{sys.version_info.minor}"

#: Programs, by the place that they get. `sshd` starts the two beside it.
PROGRAMS = {
    "bin/python3": f"/usr/bin/{PYTHON}",
    "bin/busybox": "/usr/bin/busybox",
    "bin/rsync": "/usr/bin/rsync",
    "bin/scp": "/usr/bin/scp",
    "bin/sftp": "/usr/bin/sftp",
    "bin/ssh": "/usr/bin/ssh",
    "bin/ssh-add": "/usr/bin/ssh-add",
    "bin/ssh-agent": "/usr/bin/ssh-agent",
    "bin/ssh-keygen": "/usr/bin/ssh-keygen",
    "bin/tmux": "/usr/bin/tmux",
    "bin/ttyd": "/usr/bin/ttyd",
    "libexec/sshd": "/usr/sbin/sshd",
    "libexec/sshd-auth": "/usr/lib/openssh/sshd-auth",
    "libexec/sshd-session": "/usr/lib/openssh/sshd-session",
}
#: Libraries that are loaded by name while a program runs, or that packages from PyPI and Node.js need.
LOADED_LATER = (
    "libatomic.so.1", "libdl.so.2", "libgcc_s.so.1", "libpthread.so.0", "librt.so.1", "libstdc++.so.6", "libutil.so.1",
    "libwebsockets-evlib_uv.so",
)  # fmt: skip
#: Parts of the standard library that nothing in a job's server will ever use.
LEFT_OUT = (
    "EXTERNALLY-MANAGED", "__pycache__", "_dbm.*", "_gdbm.*", "_test*.so", "_tkinter.*", "_xx*.so", "config-*", "dist-packages",
    "ensurepip", "idlelib", "pydoc_data", "site-packages", "sitecustomize.py", "test", "tkinter", "turtle.py", "turtledemo",
    "xxlimited*",
)  # fmt: skip
#: Of the packages: their tests, maps for debuggers.
PACKAGES_LEFT_OUT = ("*.js.map", "*.css.map", "__pycache__", "tests", "bin")
TERMINALS = (
    "ansi",
    "dumb",
    "linux",
    "screen*",
    "tmux*",
    "vt100",
    "vt220",
    "xterm*",
    "alacritty*",
    "foot*",
    "kitty*",
    "rxvt*",
)


def main(wheels: Path) -> None:
    for place, source in PROGRAMS.items():
        copy(Path(source), BASE / place)
    library = BASE / "lib" / PYTHON
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=shutil.ignore_patterns(*LEFT_OUT))
    copy_packages(wheels, library / "dist-packages")
    # What belongs to this project comes with the other part. PID 1 starts without `site`, hence the link.
    (library / "toolkit_ext").symlink_to("../../../packages/toolkit_ext")
    (library / "dist-packages" / "toolkit.pth").write_text("/opt/toolkit/packages\n")
    copy_libraries()
    for path in BASE.rglob("*"):
        if path.is_file() and not path.is_symlink() and library / "dist-packages" not in path.parents:
            relocate(path)
    copy_data()
    compile_all(library)
    close_to_changes()


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)


def copy_packages(wheels: Path, target: Path) -> None:
    """The packages into Python's folder, and what they install beside it to where Jupyter looks for it."""
    for folder in ("share", "etc"):
        shutil.move(wheels / folder, BASE / folder)
    shutil.copytree(wheels, target, ignore=shutil.ignore_patterns(*PACKAGES_LEFT_OUT))
    for path in [*(BASE / "share").rglob("*.map")]:
        path.unlink()
    # The notebook's kernel where an image has none, with the image's settings for Python kept away.
    kernel = BASE / "share/jupyter/kernels/python3/kernel.json"
    spec = json.loads(kernel.read_text())
    spec["argv"] = [f"{BASE}/bin/python3", "-I", *spec["argv"][1:]]
    spec["display_name"] = "Python 3 (toolkit)"
    kernel.write_text(json.dumps(spec))


def copy_libraries() -> None:
    """Everything that is linked to, and the loader."""
    wanted = {LIBRARIES / name for name in LOADED_LATER}
    for path in [*BASE.rglob("*"), *wanted]:
        if (
            path.is_file()
            and not path.is_symlink()
            and (path.suffix == ".so" or ".so." in path.name or path.parent.name in ("bin", "libexec"))
        ):
            wanted |= linked_libraries(path)
    for path in wanted:
        copy(path, BASE / "lib" / path.name)
    copy(Path("/lib64/ld-linux-x86-64.so.2"), BASE / "lib/ld.so")


def linked_libraries(path: Path) -> set[Path]:
    listing = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False).stdout
    found = {Path(place) for _, place in re.findall(r"^\s*(\S+) => (/\S+)", listing, re.MULTILINE)}
    return {place for place in found if BASE not in place.parents}


def copy_data() -> None:
    shutil.copytree("/usr/lib/locale/C.utf8", BASE / "locale/C.utf8")
    shutil.copytree("/usr/share/zoneinfo", BASE / "zoneinfo", symlinks=True, ignore=shutil.ignore_patterns("localtime"))
    for root in (Path("/usr/share/terminfo"), Path("/lib/terminfo")):
        for name in TERMINALS:
            for path in root.glob(f"?/{name}"):
                copy(path, BASE / "terminfo" / path.parent.name / path.name)
    (BASE / "etc").mkdir(exist_ok=True)
    copy(Path("/etc/ssl/certs/ca-certificates.crt"), BASE / "etc/ca-certificates.crt")
    copy(Path("/etc/ssh/moduli"), BASE / "etc/moduli")
    packages = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\n"], capture_output=True, text=True, check=True
    )
    (BASE / "etc/debian-packages").write_text(packages.stdout)


def compile_all(library: Path) -> None:
    """For good: no time stamps are compared, which a copied folder would not keep."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    # Some packages ship templates that are no Python; they stay as they are.
    compileall.compile_dir(library, quiet=2, workers=2, invalidation_mode=mode)


def close_to_changes() -> None:
    for path in [BASE, *BASE.rglob("*")]:
        if not path.is_symlink():
            executable = path.is_dir() or path.parent.name in ("bin", "libexec") or path.name == "ld.so"
            path.chmod(0o755 if executable else 0o644)


if __name__ == "__main__":  # compilers import this file
    main(Path(sys.argv[1]))
