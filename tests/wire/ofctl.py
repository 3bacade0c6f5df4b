"""ovs-ofctl(8) as the judge of bytes and of text. Both are printed by the same program and can be compared."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from controller.flow.flow import Flow

_XID = re.compile(r" \(xid=0x[0-9a-f]+\)")


def _print(command: str, content: bytes) -> list[str]:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "input"
        path.write_bytes(content)
        line = ["ovs-ofctl", "-O", "OpenFlow14", command, str(path)]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "decode error" not in done.stdout, done.stdout + done.stderr
    return [_XID.sub("", line) for line in done.stdout.splitlines() if line.startswith(("OFPT_", "NXT_"))]


def print_messages(messages: Sequence[bytes]) -> list[str]:
    """What ovs-ofctl reads in these bytes, a line a message, without xids."""
    return _print("ofp-parse", b"".join(messages))


def print_texts(flows: Sequence[Flow]) -> list[str]:
    """What ovs-ofctl makes of the text of these flows, printed as the flow-mods it would send."""
    return _print("parse-flows", "".join(f"{flow}\n" for flow in flows).encode())
