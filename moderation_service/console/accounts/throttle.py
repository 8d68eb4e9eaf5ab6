"""Login rate limiter, per user, per address, and per pair of both."""

import ipaddress
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WINDOW_S = 300.0
PAIR, ONE = 5, 50  # tries that fail in a window: of a name from an address; of a name, or from an address
AT_ONCE = 5  # tries from one address whose password is being looked at: each costs a core a tenth of a second
_KEPT = 20_000  # names and addresses at a time; the oldest go first
_LONGEST = 64  # of a name; who has a longer one is nobody

_Key = tuple[str | None, str | None]


class Throttle:
    """Of one process, in bounded memory. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: OrderedDict[_Key, tuple[float, int]] = OrderedDict()  # when the window began, and how many
        self._in_hand = Counter[str]()  # by address

    @contextmanager
    def in_hand(self, address: str) -> Iterator[bool]:
        """Whether one more password from this address may be looked at now, until the block is left."""
        network = _network(address)
        if self._in_hand[network] >= AT_ONCE:
            yield False
            return
        self._in_hand[network] += 1
        try:
            yield True
        finally:
            self._in_hand[network] -= 1
            if not self._in_hand[network]:
                del self._in_hand[network]

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
    name, address = name[: _LONGEST + 1], _network(address)
    return {(name, address): PAIR, (name, None): ONE, (None, address): ONE}


def _network(address: str) -> str:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address  # no network: a Unix socket
    return str(ipaddress.ip_network((ip, 64), strict=False)) if ip.version == 6 else address  # noqa: PLR2004 - one customer has a whole /64
