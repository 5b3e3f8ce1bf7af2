"""Addresses of clients as all of the service writes them."""

import ipaddress

__all__ = ["plain_address"]


def plain_address(address: str) -> str:
    """Return an IPv4 address as it is written everywhere, though IPv6 carried it.

    What listens on `::` sees `::ffff:10.0.0.1`, which no list of proxies has.
    """
    try:
        mapped = ipaddress.IPv6Address(address).ipv4_mapped
    except ValueError:
        return address  # IPv4, or a path
    return address if mapped is None else str(mapped)
