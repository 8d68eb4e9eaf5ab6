"""All scenarios: what `make chaos` runs, and the few of them that `make test` does, shorter and on any machine."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.chaos.arena import Scenario, Setting
from tests.chaos.by_brokers import broker_frozen, broker_kills, cuts, grows, letters_out_of_reach
from tests.chaos.by_engine import drip, engine_troubles, poison_burst
from tests.chaos.by_load import OVERLOAD_RATE, TEXT_BYTES, overload
from tests.chaos.by_workers import SESSION_S, kills, rolling, stalls, storm, terms, zombies
from tests.chaos.traffic import GOOD

_QUICK = {"session_timeout_s": SESSION_S}
_OVERLOAD = Setting(workers=0, rate=OVERLOAD_RATE, text_bytes=TEXT_BYTES)
_SOON = {"dlq_breaker_window": 40, "dlq_breaker_pause_s": 2.0}


@dataclass(frozen=True)
class Named:
    """A scenario and what it asks for."""

    scenario: Scenario
    setting: Setting


FULL: Mapping[str, Named] = {
    "kills": Named(kills(100), Setting(kafka=_QUICK)),
    "kills-at-least-once": Named(kills(20), Setting(kafka={**_QUICK, "delivery": "at_least_once"})),
    "terms": Named(terms(30), Setting()),
    "rolling": Named(rolling(3), Setting()),
    "storm": Named(storm(20), Setting(workers=2)),
    "zombies": Named(zombies(5), Setting(kafka=_QUICK)),
    "stalls": Named(stalls(5), Setting(kafka=_QUICK)),
    "engine": Named(engine_troubles(15.0), Setting()),
    "poison-burst": Named(poison_burst, Setting(kafka=_SOON)),
    "letters-away": Named(letters_out_of_reach, Setting(mix=GOOD)),
    "grows": Named(grows, Setting()),
    "drip": Named(drip, Setting()),
    "overload": Named(overload(100_000, 60), _OVERLOAD),
    "cuts": Named(cuts(9), Setting(workers=0, proxied=True)),
    "broker-kills": Named(broker_kills(6, clean=False), Setting(brokers=3)),
    "broker-stops": Named(broker_kills(6, clean=True), Setting(brokers=3)),
    "broker-frozen": Named(broker_frozen(3), Setting(brokers=3)),
    "lone-broker-kills": Named(broker_kills(3, clean=False), Setting()),
    "lone-broker-frozen": Named(broker_frozen(2), Setting()),
}

REBALANCES: Mapping[str, Named] = {
    "kills": Named(kills(10), Setting(kafka=_QUICK)),
    "terms": Named(terms(6), Setting()),
    "storm": Named(storm(4), Setting(workers=2)),
    "zombies": Named(zombies(1), Setting(kafka=_QUICK)),
    "lone-broker-kills": Named(broker_kills(1, clean=False), Setting()),
}

SHORT: Mapping[str, Named] = {
    "kills": Named(kills(6), Setting(workers=2, kafka=_QUICK)),
    "zombies": Named(zombies(1), Setting(workers=2, kafka=_QUICK)),
    "poison-burst": Named(poison_burst, Setting(workers=1, kafka=_SOON)),
    "overload": Named(overload(5_000, 10, probe_ms=10_000), _OVERLOAD),
    "lone-broker-kills": Named(broker_kills(1, clean=False), Setting(workers=2)),
}
