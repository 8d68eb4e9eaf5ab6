"""Asks a worker's probes five times a second, from a process of its own; on SIGTERM, prints the slowest: ms and which.

A probe that does not answer, or that says no where it must say yes, is an answer of a minute.
"""

import http.client
import signal
import sys
import time

PATHS = ("livez", "startupz", "readyz", "metrics")
NONE_MS = 60_000
_EVERY_S = 0.2


def slowest(port: int) -> tuple[int, str]:
    """Of one round."""
    found = (0, "")
    for path in PATHS:
        begun = time.monotonic()
        asked = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            asked.request("GET", f"/{path}")
            answer = asked.getresponse()
            answer.read()
            if answer.status != 200 and path != "readyz":
                return NONE_MS, f"{path}: {answer.status}"
        except OSError as error:
            return NONE_MS, f"{path}: {error!r}"
        finally:
            asked.close()
        found = max(found, (int((time.monotonic() - begun) * 1000), path))
    return found


def main() -> None:
    """Until SIGTERM."""
    ending = False

    def end(*_: object) -> None:
        nonlocal ending
        ending = True

    signal.signal(signal.SIGTERM, end)
    worst = (0, "")
    while not ending:
        worst = max(worst, slowest(int(sys.argv[1])))
        time.sleep(_EVERY_S)
    sys.stdout.write("{} {}\n".format(*worst))


if __name__ == "__main__":
    main()
