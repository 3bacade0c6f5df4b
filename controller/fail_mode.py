"""What a bridge's fail_mode means for isolation. PURE."""

from __future__ import annotations


def judge_fail_mode(fail_mode: str, bridge: str) -> tuple[str, ...]:
    """What to say of a bridge's fail_mode; with standalone, isolation goes when the controller goes (ovs-vsctl(8))."""
    mend = f"ovs-vsctl set-fail-mode {bridge} secure"
    match fail_mode:
        case "secure":
            return ()
        case "standalone":
            return (f"the bridge forwards everything when the controller is gone; mend it: {mend}",)
        case _:
            check = f"ovs-vsctl get-fail-mode {bridge}"
            return (f"whether the bridge fails secure cannot be seen from here; {check}; mend it: {mend}",)
