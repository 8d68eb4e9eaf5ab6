"""`moderation run` as it is, but for SIGUSR1: that holds the event loop's thread up for STALL_S seconds."""

import json
import signal
import sys
import time

from moderation_service.cli import main

STALL_S = 9.0
STALLED = "stalled by the harness"


def _stall(*_: object) -> None:
    sys.stderr.write(json.dumps({"message": STALLED}) + "\n")
    time.sleep(STALL_S)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _stall)
    sys.argv[1:] = ["run"]
    main()
