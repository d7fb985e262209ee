"""Makes Debian's programs work from /opt/toolkit/base alone, in any image and whatever it contains or sets.

The paths that are compiled into programs and libraries are overwritten by paths of ours of the same length, above all that of the
dynamic loader. Our loader looks for libraries in our folder only, and heeds none of the variables that an image may set for its
own (LD_PRELOAD, LD_LIBRARY_PATH, GLIBC_TUNABLES): they stay in the environment for the programs of the image.
"""

import re
from pathlib import Path

LOADER = b"/lib64/ld-linux-x86-64.so.2"

#: Everywhere. The order counts: the second is a part of the first.
PATHS = {
    b"/usr/lib/x86_64-linux-gnu": b"/opt/toolkit/base/lib////",
    b"/lib/x86_64-linux-gnu/": b"/opt/toolkit/base/lib/",
    LOADER: b"/opt/toolkit/base/lib/ld.so",
    b"/usr/lib/locale": b"/opt/toolkit/lo",
    b"/usr/share/zoneinfo": b"/opt/toolkit/zonein",
    b"/usr/share/terminfo": b"/opt/toolkit/termin",
}
#: In single files, which must have them: name, and what is swapped.
IN_FILES = {
    "ld.so": {
        b"/etc/ld.so.cache\0": b"/opt/toolkit/nil\0",
        b"/etc/ld.so.preload\0": b"/opt/toolkit/never\0",
        b"\0/lib/\0/usr/lib/\0": b"\0/nil/\0/opt/nil/\0",
        b"GLIBC_TUNABLES\0": b"TOOLK_TUNABLES\0",
    },
    "libc.so.6": {b"/etc/nsswitch.conf\0": b"/opt/toolkit/never\0"},
    "libcrypto.so.3": {
        b"OPENSSL_CONF\0": b"TOOLKIT_CONF\0",
        b"/usr/lib/ssl/": b"/opt/toolkit/",
        b"/usr/lib/ssl\0": b"/opt/toolkit\0",
    },
    "node": {b"OPENSSL_CONF\0": b"TOOLKIT_CONF\0"},
    # They look there for plug-ins.
    "libwebsockets.so.19": {b"LD_LIBRARY_PATH\0": b"TK_LIBRARY_PATH\0"},
    "ttyd": {b"LD_LIBRARY_PATH\0": b"TK_LIBRARY_PATH\0"},
}
#: How the loader recognises variables that are for it (`LD_…`), as compiled for x86-64 by Debian's gcc.
LD_CHECK = re.compile(rb"\x80[\x38-\x3f]\x4c(?=\x75.\x80[\x78-\x7f]\x01\x44\x75.\x80[\x78-\x7f]\x02\x5f)", re.DOTALL)


def relocate(path: Path) -> None:
    """Rewrite a program or library in place; other files stay as they are."""
    data = before = path.read_bytes()
    if not data.startswith(b"\x7fELF"):
        return
    for old, new in PATHS.items():
        data = swapped(data, old, new)
    for old, new in IN_FILES.get(path.name, {}).items():
        if old not in data:
            raise SystemExit(f"relocate: {path} holds no {old!r}; this Debian's build of it is not the expected one")
        data = swapped(data, old, new)
    if path.name == "ld.so":
        data, changes = LD_CHECK.subn(lambda found: found.group()[:2] + b"\x01", data)
        if changes != 1:
            raise SystemExit(f"relocate: {changes} places in the loader look for LD_ variables, expected 1")
    if data != before:
        path.write_bytes(data)


def swapped(data: bytes, old: bytes, new: bytes) -> bytes:
    if len(old) != len(new):
        raise SystemExit(f"relocate: {old!r} and {new!r} differ in length")
    return data.replace(old, new)
