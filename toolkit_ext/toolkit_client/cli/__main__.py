from __future__ import annotations

from toolkit_client.cli import main

main()
