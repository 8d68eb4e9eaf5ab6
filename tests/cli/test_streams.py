"""`-` on the command line."""

from moderation_service.cli import cli, with_streams


def test_a_dash_is_standard_input_or_output_for_every_command() -> None:
    assert with_streams(["judge", "-", "-o", "-"]) == ["judge", "/dev/stdin", "-o", "/dev/stdout"]
    assert with_streams(["evaluate", "-", "--report", "-"]) == ["evaluate", "/dev/stdin", "--report", "/dev/stdout"]
    assert with_streams(["replay", "v.jsonl", "--posts", "-"]) == ["replay", "v.jsonl", "--posts", "/dev/stdin"]
    assert with_streams(["--help"]) == ["--help"]


def test_the_command_line_takes_what_stands_for_a_dash() -> None:
    _, bound, _ = cli.parse_args(with_streams(["judge", "-", "-o", "-"]), exit_on_error=False, print_error=False)
    assert {name: str(path) for name, path in bound.arguments.items()} == {"path": "/dev/stdin", "out": "/dev/stdout"}
