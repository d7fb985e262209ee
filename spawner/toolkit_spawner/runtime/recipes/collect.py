"""Runs in the image's build: gathers a Python that works in any image of this machine's kind, with the program for PID 1.

Usage: collect.py SOURCES TARGET PLACE: SOURCES holds the package toolkit_ext, PLACE is the path that TARGET will
have in the containers.
"""

import platform
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

#: Parts of the standard library that nothing in a job's first process will ever use.
LEFT_OUT = {
    "__pycache__", "config-*", "dist-packages", "distutils", "ensurepip", "idlelib", "lib2to3", "pydoc_data",
    "site-packages", "sitecustomize.py", "test", "tkinter", "turtle.py", "turtledemo", "venv",
}  # fmt: skip
#: How the loader recognises variables that are for it (`LD_…`), as compiled for x86-64 by Debian's gcc.
LD_CHECK = re.compile(rb"\x80[\x38-\x3f]\x4c(?=\x75.\x80[\x78-\x7f]\x01\x44\x75.\x80[\x78-\x7f]\x02\x5f)", re.DOTALL)


def libraries(binary: Path) -> dict[str, Path]:
    """Names and places of the shared libraries that `binary` needs, the loader left out."""
    listing = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=True).stdout
    return {name: Path(path) for name, path in re.findall(r"^\s*(\S+) => (/\S+)", listing, re.MULTILINE)}


def loader_of(binary: Path) -> Path:
    listing = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=True).stdout
    found = re.search(r"^\s*(/\S*ld-linux\S*) \(", listing, re.MULTILINE)
    if not found:
        raise SystemExit(f"collect: ldd names no loader for {binary}:\n{listing}")
    return Path(found.group(1))


def private_loader(data: bytes) -> bytes:
    """The loader, deaf to an image's settings: a preloaded library made for another libc would end PID 1 at its start."""
    swaps = {b"/etc/ld.so.preload\0": b"/opt/toolkit/none\0\0", b"GLIBC_TUNABLES\0": b"TOOLK_TUNABLES\0"}
    for old, new in swaps.items():
        if old not in data or len(old) != len(new):
            raise SystemExit(f"collect: the loader holds no {old!r}; this Debian's libc is not the expected one")
        data = data.replace(old, new)
    if platform.machine() != "x86_64":
        print("collect: on this kind of machine an image's LD_PRELOAD reaches PID 1")
        return data
    data, changes = LD_CHECK.subn(lambda found: found.group()[:2] + b"\x01", data)
    if changes != 1:
        raise SystemExit(f"collect: {changes} places in the loader look for LD_ variables, expected 1")
    return data


def copy_library(target: Path, allowed: set[str]) -> None:
    """The standard library, with those of its compiled modules that need no library beyond Python's own."""
    source = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*LEFT_OUT))
    for module in (target / "lib-dynload").iterdir():
        if not set(libraries(module)) <= allowed or module.name.startswith(("_test", "_xx", "xx")):
            module.unlink()


def compile_one(source: Path, shown_as: Path, target: Path | None = None) -> None:
    """Compile for good: no time stamps are compared, which a copied folder would not keep."""
    py_compile.compile(
        str(source),
        str(target) if target else None,
        dfile=str(shown_as),
        doraise=True,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def compile_all(root: Path, place: Path) -> None:
    for source in [*root.rglob("*.py")]:
        compile_one(source, place / source.relative_to(root))


def main(sources: Path, root: Path, place: Path) -> None:
    python = Path(sys.executable).resolve()
    needed = libraries(python)
    (root / "bin").mkdir(parents=True)
    shutil.copy(python, root / "bin" / "python3")
    copy_library(root / "lib" / f"python3.{sys.version_info.minor}", set(needed))
    for name, path in needed.items():
        shutil.copy(path, root / "lib" / name)
    loader = root / "lib" / "ld.so"
    loader.write_bytes(private_loader(loader_of(python).read_bytes()))
    shutil.copytree(sources / "toolkit_ext", root / "lib" / f"python3.{sys.version_info.minor}" / "toolkit_ext")
    compile_all(root, place)
    # A program that is a compiled file starts 3 ms sooner than one that is looked up by `-m`.
    compile_one(sources / "toolkit_ext/job_init/__main__.py", place / "job_init.py", root / "job_init.pyc")
    for path in [root, *root.rglob("*")]:
        executable = path.is_dir() or path in (loader, root / "bin" / "python3")
        path.chmod(0o755 if executable else 0o644)
    command = [str(loader), "--library-path", str(root / "lib"), str(root / "bin" / "python3"), "-I", "-S"]
    subprocess.run([*command, "-c", "import _json, select, socket, hmac, json, traceback"], check=True)


main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
