"""Error categories: packages raise only these to their callers."""


class ModerationError(Exception):
    """Root of the service's own errors."""


class Poison(ModerationError):  # noqa: N818 - the design's word
    """This record can never be judged; it becomes a dead letter.

    `reason` is a bounded word for metrics, `stage` the step of the line that refused it.
    The message names what and where, and never quotes the post.
    """

    def __init__(self, reason: str, message: str, *, stage: str = "open") -> None:
        super().__init__(message)
        self.reason = reason
        self.stage = stage


class Transient(ModerationError):  # noqa: N818 - the design's word
    """The same call may go through later; `reason` is a bounded word for metrics."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Fatal(ModerationError):  # noqa: N818 - the design's word
    """The process can't go on; the command line exits with `exit_code`."""

    exit_code = 3


class Unavailable(Fatal):
    """A server that the process needs from its start on is not there yet."""


class Misconfigured(Fatal):
    """Settings, a policy file or the command line are wrong; the message says what would be right."""

    exit_code = 2
