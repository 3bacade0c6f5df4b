"""`python -m topologies`: the lab commands without the rest of the command line. I/O."""

from __future__ import annotations

import argparse
import os
import sys

from topologies import command


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m topologies", description="Labs in network namespaces.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in (
        ("up", "bring a lab up"),
        ("test", "check a lab's expectations"),
        ("run", "up, test, stay until Ctrl-C"),
    ):
        one = verbs.add_parser(verb, help=text)
        one.add_argument("file", help="a lab file; for test also the name or id of a lab that is up")
        one.add_argument("--controller", default="own", help="'own' (default) or the REST URL of one that runs")
        one.add_argument("--openflow", help="its OpenFlow PORT or HOST:PORT (default 6653)")
        if verb == "run":
            one.add_argument("--once", action="store_true", help="end after the report")
    verbs.add_parser("down", help="take a lab down").add_argument("lab", help="its id, name or file")
    verbs.add_parser("list", help="labs on this machine")
    chosen = parser.parse_args(words)
    if chosen.verb == "down":
        return command.down(chosen.lab, sys.stdout)
    if chosen.verb == "list":
        return command.list_labs(sys.stdout)
    options = {"controller": chosen.controller, "openflow": chosen.openflow, "out": sys.stdout}
    if chosen.verb == "run":
        return command.run(chosen.file, once=chosen.once, **options)
    return (command.up if chosen.verb == "up" else command.test)(chosen.file, **options)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:
        # Whoever read the report has enough; what was up was taken down on the way here.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
