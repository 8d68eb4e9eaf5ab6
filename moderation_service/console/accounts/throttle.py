"""Guessing passwords made slow: so many tries of a name, from an address, and of both, then none for a while."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

WINDOW_S = 300.0
PAIR, ONE = 5, 50  # tries that fail in a window: of a name from an address; of a name, or from an address
_KEPT = 20_000  # names and addresses at a time; the oldest go first
_LONGEST = 64  # of a name; who has a longer one is nobody

_Key = tuple[str | None, str | None]


class Throttle:
    """Of one process, in bounded memory. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: OrderedDict[_Key, tuple[float, int]] = OrderedDict()  # when the window began, and how many

    def begin(self, name: str, address: str) -> float:
        """Count a try and give 0; or the seconds until there may be one, and count none."""
        now, keys = self._clock(), _keys(name, address)
        held = [self._tries[key][0] + WINDOW_S - now for key, most in keys.items() if self._count(key) >= most]
        if held:
            return max(held)
        for key in keys:
            began = self._tries[key][0] if self._count(key) else now
            self._tries[key] = (began, self._count(key) + 1)
            self._tries.move_to_end(key)
        while len(self._tries) > _KEPT:
            self._tries.popitem(last=False)
        return 0.0

    def spent(self, name: str, address: str) -> bool:
        """Whether the try just counted was a window's last."""
        return any(self._count(key) == most for key, most in _keys(name, address).items())

    def passed(self, name: str, address: str) -> None:
        """The try just counted was right: tries of the name are forgotten, and of those from the address this one."""
        pair, by_name, by_address = _keys(name, address)
        self._tries.pop(pair, None)
        self._tries.pop(by_name, None)
        if count := self._count(by_address):
            self._tries[by_address] = (self._tries[by_address][0], count - 1)

    def _count(self, key: _Key) -> int:
        began, count = self._tries.get(key, (0.0, 0))
        return count if self._clock() < began + WINDOW_S else 0


def _keys(name: str, address: str) -> dict[_Key, int]:
    name = name[: _LONGEST + 1]
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        pass  # no network: a Unix socket
    else:
        if ip.version == 6:  # noqa: PLR2004 - one customer has a whole /64
            address = str(ipaddress.ip_network((ip, 64), strict=False))
    return {(name, address): PAIR, (name, None): ONE, (None, address): ONE}
