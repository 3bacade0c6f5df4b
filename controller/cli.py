"""`tripoint`: the command line, a thin client of the REST API. I/O.

Here are the words that may be said; `cli_commands` carries them out, and `cli_text` prints for people. Exit codes are
part of the contract and stand in `--help` and docs/REST.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

import controller
from controller import cli_commands
from controller.cli_commands import Exit, UsageError
from controller.client import BadServer, Refused, Unreachable

DEFAULT_SERVER = "http://127.0.0.1:8080"


EXIT_CODES = """\
exit codes:
  0  done, and the answer is yes
  1  the answer is no: not in force on some bridge; with --exit-code, the plan changes something
  2  wrong usage, or a document that is no policy
  3  the controller cannot be reached, or failed to answer
  4  conflict: the policy is not at the revision that --if-match names
  130 interrupted, 141 nobody reads the output any more"""

LAB_EXIT_CODES = """\
exit codes:
  0  every expectation holds
  1  an expectation does not hold, or something could not be taken down
  2  wrong usage, or a file that is no lab
  3  the lab did not come up
  4  invalid: a capture that was to show that nothing arrived was not proven alive"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; argparse ends the process itself for --help and wrong usage (2)."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    chosen = _parser().parse_args(arguments)
    try:
        code = int(chosen.command(chosen))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes once more when it ends; there must be somewhere for it to go.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE
    except Refused as refused:
        return cli_commands.say_refused(refused, chosen.json)
    except Unreachable as error:
        return cli_commands.fail(Exit.UNREACHABLE, f"{error}")
    except (UsageError, BadServer) as error:
        return cli_commands.fail(Exit.USAGE, f"{error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tripoint",
        description="""\
One policy document says which networks exist and who belongs to them; the controller keeps every bridge to
it. These commands talk to a running controller over REST (docs/REST.md), and bring up labs.""",
        epilog=f"""\
examples:
  tripoint lab run topologies/three_point_untagged.yaml   a whole lab: hosts, policy, packets, reachability matrix
  tripoint policy check policy.yaml                       what is wrong with it; no controller is asked
  tripoint policy plan policy.yaml                        what would change; nothing is sent
  tripoint policy apply policy.yaml                       make it so, and wait until it is in force
  tripoint status                                         what is in force on which bridge
  tripoint matrix                                         who reaches whom

The controller is asked at {DEFAULT_SERVER}, or at --server, or at $TRIPOINT_SERVER.

{EXIT_CODES}""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"tripoint {controller.__version__}")
    parser.set_defaults(json=False, server=os.environ.get("TRIPOINT_SERVER") or DEFAULT_SERVER, timeout=120.0)
    asking = argparse.ArgumentParser(add_help=False)
    for target in (parser, asking):
        # SUPPRESS, so that an option before the command is not undone by the default of the same option after it.
        group = target.add_argument_group("the controller")
        group.add_argument("--server", metavar="URL", default=argparse.SUPPRESS, help="where it answers")
        group.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print the answer as it came")
        group.add_argument(
            "--timeout", metavar="SECONDS", type=_seconds, default=argparse.SUPPRESS, help="how long to wait (120)"
        )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_policy(commands, asking)
    _add_questions(commands, asking)
    _add_lab(commands)
    docs = commands.add_parser("docs", help="pages rendered from the code", allow_abbrev=False)
    pages = docs.add_subparsers(title="pages", metavar="PAGE", required=True)
    pipeline = pages.add_parser("pipeline", help="the tables of the pipeline, from their declarations")
    either = pipeline.add_mutually_exclusive_group()
    either.add_argument("--check", action="store_true", help="exit 1 if docs/PIPELINE.md says something else")
    either.add_argument("--write", action="store_true", help="write docs/PIPELINE.md")
    pipeline.set_defaults(command=cli_commands.pipeline)
    return parser


Commands = argparse._SubParsersAction  # argparse has no public name for it


def _add_policy(commands: Commands[argparse.ArgumentParser], asking: argparse.ArgumentParser) -> None:
    policy = commands.add_parser("policy", help="check, plan, apply or show the policy", allow_abbrev=False)
    verbs = policy.add_subparsers(title="commands", metavar="COMMAND", required=True)
    plan = _leaf(
        verbs, "plan", "what a policy would change", cli_commands.plan, asking,
        "  tripoint policy plan policy.yaml --flows\n"
        "  tripoint policy plan policy.yaml --exit-code || echo 'something would change'",
    )  # fmt: skip
    plan.add_argument("--flows", action="store_true", help="list the flows as well")
    plan.add_argument("--exit-code", action="store_true", help="exit 1 if anything would change")
    apply = _leaf(
        verbs, "apply", "put a policy in force", cli_commands.apply, asking,
        "  tripoint policy apply policy.yaml\n"
        "  generate-policy | tripoint policy apply\n"
        "  tripoint policy apply policy.yaml --if-match 17    only if nobody changed it since revision 17",
    )  # fmt: skip
    check = _leaf(
        verbs, "check", "whether a file is a policy; no controller is asked", cli_commands.check, asking,
        "  tripoint policy check policy.yaml\n  tripoint policy check policy.yaml --json",
    )  # fmt: skip
    for verb in (check, plan, apply):
        verb.add_argument(
            "file", metavar="FILE", nargs="?", default="-", help="YAML, .json or .msgpack (- is standard input)"
        )
    for verb in (plan, apply):
        verb.add_argument("--if-match", metavar="N", type=_revision, help="the revision that the policy must be at")
    show = _leaf(
        verbs, "show", "the policy that is stored", cli_commands.policy, asking,
        "  tripoint policy show > policy.yaml\n  tripoint policy show --revision 16",
    )  # fmt: skip
    show.add_argument("--revision", metavar="N", type=_revision, help="an older one")
    _leaf(
        verbs, "revisions", "all revisions and when they were stored", cli_commands.revisions, asking,
        "  tripoint policy revisions",
    )  # fmt: skip


def _add_questions(commands: Commands[argparse.ArgumentParser], asking: argparse.ArgumentParser) -> None:
    _leaf(
        commands, "status", "what is in force on which bridge", cli_commands.status, asking,
        "  tripoint status\n  until tripoint status > /dev/null; do sleep 1; done    wait until all is in force",
    )  # fmt: skip
    _leaf(
        commands, "bindings", "where each endpoint was observed", cli_commands.bindings, asking, "  tripoint bindings"
    )
    _leaf(
        commands, "hosts", "what is seen of every host: its database, tunnels, ports", cli_commands.hosts, asking,
        "  tripoint hosts\n  tripoint hosts --json",
    )  # fmt: skip
    matrix = _leaf(
        commands, "matrix", "who reaches whom, and in which network", cli_commands.matrix, asking,
        "  tripoint matrix\n  tripoint matrix web1 web2 nas",
    )  # fmt: skip
    matrix.add_argument("endpoint", metavar="ENDPOINT", nargs="*", help="only these; all if none is named (up to 200)")
    _leaf(
        commands, "rules", "every rule in force, and what it has counted", cli_commands.rules, asking,
        "  tripoint rules\n  watch tripoint rules",
    )  # fmt: skip
    log = _leaf(
        commands, "log", "what rules that log have seen", cli_commands.log, asking,
        "  tripoint log\n  tripoint log --follow\n  tripoint log --follow --json | jq .rule",
    )  # fmt: skip
    log.add_argument("--follow", action="store_true", help="go on with what is still to come, until Ctrl-C")
    flows = _leaf(
        commands, "flows", "the flows and the policy sentence each comes from", cli_commands.flows, asking,
        "  tripoint flows --bridge br0 --stage classify\n  tripoint flows --origin /endpoints/web1",
    )  # fmt: skip
    flows.add_argument("--bridge", metavar="NAME", help="name or datapath id")
    flows.add_argument("--origin", metavar="PATH", help="those that come from here in the policy, or below")
    flows.add_argument("--stage", metavar="NAME", help="one stage of the pipeline (tripoint docs pipeline)")
    flows.add_argument("--limit", metavar="N", type=_revision, help="at most so many")
    flows.add_argument("--offset", metavar="N", type=_revision, help="leave out so many first")


def _add_lab(commands: Commands[argparse.ArgumentParser]) -> None:
    lab = commands.add_parser(
        "lab",
        help="whole labs in network namespaces (needs root)",
        description="Hosts, cables, bridges, policy and expectations from one file, with real packets. Needs root.",
        epilog=f"""\
examples:
  sudo tripoint lab run topologies/three_point_untagged.yaml    up, policy, packets, matrix; Ctrl-C takes it down
  sudo tripoint lab up topologies/three_point_untagged.yaml && sudo tripoint lab test three_point_untagged
  sudo tripoint lab down three_point_untagged

{LAB_EXIT_CODES}""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verbs = lab.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for verb, text in (
        ("up", "bring a lab up and leave it up"),
        ("test", "check a lab's expectations with real packets"),
        ("run", "up, test, and stay until Ctrl-C"),
    ):
        one = verbs.add_parser(verb, help=text, description=text, allow_abbrev=False)
        one.add_argument("file", metavar="FILE", help="a lab file; for test also the name of a lab that is up")
        one.add_argument("--controller", metavar="URL", default="own", help="one that runs, in place of the lab's own")
        one.add_argument("--openflow", metavar="PORT", help="PORT or HOST:PORT where that one takes switches (6653)")
        if verb == "run":
            one.add_argument("--once", action="store_true", help="end after the report")
        one.set_defaults(command=cli_commands.lab, verb=verb)
    down = verbs.add_parser("down", help="take a lab down", description="take a lab down", allow_abbrev=False)
    down.add_argument("file", metavar="FILE", help="its file, name or id")
    down.set_defaults(command=cli_commands.lab, verb="down")
    verbs.add_parser("list", help="the labs on this machine").set_defaults(command=cli_commands.lab, verb="list")


def _leaf(
    commands: Commands[argparse.ArgumentParser],
    name: str,
    text: str,
    command: Callable[[argparse.Namespace], int],
    asking: argparse.ArgumentParser,
    examples: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=text,
        parents=[asking],
        epilog=f"examples:\n{examples}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=command)
    return parser


def _revision(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or greater")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
