"""What the settings of a bridge mean for isolation; OpenFlow does not show them, its database does. PURE."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BridgeSettings:
    """fail_mode: "secure" or "standalone". in_band: the switch has hidden flows for its controller's traffic."""

    fail_mode: str
    in_band: bool


def judge_settings(settings: BridgeSettings | None, bridge: str) -> tuple[str, ...]:
    """What to say of them, each with the command that mends it. None: they cannot be read.

    Standalone: isolation goes when the controller goes (ovs-vsctl(8) set-fail-mode). In-band: whatever looks like the
    controller's TCP connection or ARP is forwarded past all flows (ovs-vswitchd.conf.db(5) connection_mode).
    """
    secure = f"ovs-vsctl set-fail-mode {bridge} secure"
    out_of_band = f"set bridge {bridge} other_config:disable-in-band=true"
    if settings is None:
        unseen = "whether the bridge fails secure, and is free of hidden in-band flows, cannot be seen from here"
        return (f"{unseen}; make sure: {secure} -- {out_of_band}",)
    said: list[str] = []
    if settings.fail_mode != "secure":
        said.append(f"the bridge forwards everything when the controller is gone; mend it: {secure}")
    if settings.in_band:
        said.append(f"hidden in-band flows let frames past isolation; mend it: ovs-vsctl {out_of_band}")
    return tuple(said)
