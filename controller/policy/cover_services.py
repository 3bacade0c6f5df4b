"""Whether one rule is about all connections that another one is about, by protocol, ports and ICMP types. PURE.

Exact where it says yes. It says no where only several together would cover.
"""

from __future__ import annotations

from bisect import bisect_right

from controller.policy.firewall import IcmpType, PortRange, Service


def service_covers(wide: Service, narrow: Service) -> bool:
    """Whether all connections of a service are of another one, too."""
    if wide.protocol is None:
        return True
    return (
        wide.protocol == narrow.protocol
        and _ports_cover(wide.ports, narrow.ports)
        and _ports_cover(wide.source_ports, narrow.source_ports)
        and _icmp_covers(wide.icmp, narrow.icmp)
    )


def _ports_cover(wide: tuple[PortRange, ...], narrow: tuple[PortRange, ...]) -> bool:
    """Both as `Service` has them: sorted and apart, so that each range lies in one other, if in any."""
    if not wide:
        return True
    if not narrow or narrow[0].first < wide[0].first:
        return False
    nearest = (wide[bisect_right(wide, each.first, key=_first) - 1] for each in narrow)
    return all(each.last <= outer.last for each, outer in zip(narrow, nearest, strict=True))


def _first(ports: PortRange) -> int:
    return ports.first


def _icmp_covers(wide: tuple[IcmpType, ...], narrow: tuple[IcmpType, ...]) -> bool:
    if not wide:
        return True
    return bool(narrow) and all(each in wide or IcmpType(each.type) in wide for each in narrow)
