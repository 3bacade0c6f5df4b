"""What the frames on a cable had as tags, from the first to the last one of a whole run. PURE."""

from __future__ import annotations

from collections.abc import Container

from topologies.capture import Notebook, Sighting
from topologies.spec import Carries, Encapsulation, Expect, Lab
from topologies.verdict import ALIVE, NOTHING, Row, Verdict

THROUGHOUT = "all of the above"
_TUNNELS = {kind.value for kind in Encapsulation}


def cable_row(carries: Carries, lab: Lab, notebook: Notebook, mute: str) -> Row:
    """FAIL where a frame had another tag (or two) or came from elsewhere, or one of the tags was never seen.

    mute: why the capture was not alive all the time, or "".
    """
    places = {(p.node, p.interface) for p in lab.points(carries.on)}
    senders = {tag: {p.mac for name in names for p in lab.points(name)} for tag, names in carries.tags}
    found = dict.fromkeys(senders, 0)
    wrong = Sighting()
    for (node, interface, mac, tags), sighting in notebook.tags.items():
        if (node, interface) not in places:
            continue
        tag = _as_listed(tags[0] if tags else "plain", senders)
        if len(tags) <= 1 and tag in senders and (not senders[tag] or mac in senders[tag]):
            found[tag] += sighting.count
        else:
            wrong.add(sighting)
    absent = [tag for tag, count in found.items() if senders[tag] and not count]
    observed = ", ".join(f"{tag}: {count}" for tag, count in found.items())
    verdict = Verdict.FAIL if wrong.count or absent else Verdict.INVALID if mute else Verdict.PASS
    return Row(
        source=carries.on,
        target="",
        via="nothing but " + ", ".join(found),
        situation=THROUGHOUT,
        expected=Expect.CARRIES,
        observed=f"none of {', '.join(absent)}" if absent else observed,
        verdict=verdict,
        seen=f"{carries.on} carried {wrong}" if wrong.count else NOTHING,
        canary=mute or ALIVE,
        why=carries.why,
        hostile=True,
    )


def _as_listed(tag: str, listed: Container[str]) -> str:
    """ARP counts as plain, and a tunnel of any kind by its VNI alone, where nothing more is listed for it."""
    if tag in listed:
        return tag
    kind, _, number = tag.partition(" ")
    return "plain" if tag == "arp" else f"vni {number}" if kind in _TUNNELS else tag
