"""Keeps a GPU busy through the driver's own library: `load.py GIB [for-ever]`. Needs Python, the driver, and nothing else.

Prints a line of JSON with what it sees once it computes, and ends with its standard input, unless for ever.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
import uuid

NO_DEVICE = 100


def done(code: int) -> None:
    if code:
        raise SystemExit(f"CUDA error {code}")


def main() -> None:
    cuda = ctypes.CDLL("libcuda.so.1")
    code = cuda.cuInit(0)
    if code == NO_DEVICE:
        print(json.dumps({"count": 0}), flush=True)
        return
    done(code)
    count, name, identity = ctypes.c_int(), ctypes.create_string_buffer(100), (ctypes.c_ubyte * 16)()
    done(cuda.cuDeviceGetCount(ctypes.byref(count)))
    done(cuda.cuDeviceGetName(name, 100, 0))
    done(cuda.cuDeviceGetUuid_v2(identity, 0))
    context, memory, size = ctypes.c_void_p(), ctypes.c_uint64(), int(float(sys.argv[1]) * 2**30)
    done(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
    done(cuda.cuCtxSetCurrent(context))
    done(cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(size)))
    done(cuda.cuMemsetD8_v2(memory, ctypes.c_ubyte(1), ctypes.c_size_t(size)))
    seen = {"count": count.value, "name": name.value.decode(), "uuid": f"GPU-{uuid.UUID(bytes=bytes(identity))}"}
    print(json.dumps({**seen, "pid": os.getpid()}), flush=True)
    if not sys.argv[2:]:
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    while True:
        done(cuda.cuMemsetD8_v2(memory, ctypes.c_ubyte(2), ctypes.c_size_t(size)))
        done(cuda.cuCtxSynchronize())


if __name__ == "__main__":
    main()
