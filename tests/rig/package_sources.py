"""Where this machine gets packages from, for an image's root: apt's sources, pip's settings. I/O.

An image that is built by an engine has its base image's sources and pip's defaults. A machine that reaches neither, but
a mirror, says so in its own settings, and these are what counts here. Nothing of them stays in the image.
"""

from __future__ import annotations

import configparser
import os
import re
from pathlib import Path

_APT = Path("/etc/apt")
_PIP = Path("/etc/pip.conf")


def mirror() -> str | None:
    """Debian's mirror as this machine names it; None: debootstrap(8) knows one."""
    for text in _apt_files().values():
        if found := re.search(r"https?://\S*/debian/?(?=\s)", text + "\n"):
            return found[0]
    return None


def apt_sources(suite: str) -> dict[Path, str]:
    """File -> text: what this machine has for a suite of Debian, its updates and security updates; or nothing."""
    names = {suite, f"{suite}-updates", f"{suite}-security"}
    found = {}
    for path, text in _apt_files().items():
        entries = re.split(r"\n\s*\n", text) if "Types:" in text else text.splitlines()
        kept = [entry for entry in entries if names & set(entry.split()) and not entry.lstrip().startswith("# deb")]
        if kept:
            found[path] = "\n\n".join(kept) + "\n"
    place = mirror()
    return found or ({} if place is None else {_APT / "sources.list": f"deb {place} {suite} main\n"})


def _apt_files() -> dict[Path, str]:
    paths = [_APT / "sources.list", *sorted((_APT / "sources.list.d").glob("*"))]
    return {path: path.read_text() for path in paths if path.is_file()}


def pip_settings(shown_at: str) -> tuple[dict[str, str], list[Path]]:
    """Variables for pip, and the files and directories that they name, as if under `shown_at`."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(_PIP)
    for key, value in settings["global"].items() if settings.has_section("global") else ():
        variables.setdefault("PIP_" + key.upper().replace("-", "_"), " ".join(value.split()))
    paths: dict[Path, None] = {}

    def show(match: re.Match[str]) -> str:
        if not Path(match[2]).exists():
            return match[0]
        paths[Path(match[2])] = None
        return f"{match[1] or ''}{shown_at}{match[2]}"

    found = {name: re.sub(r"(?<!\S)(file://)?(/[^\s]+)", show, value) for name, value in variables.items()}
    return found, list(paths)
