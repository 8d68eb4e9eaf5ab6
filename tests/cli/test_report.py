"""`moderation report dsa`: periods that can be reported, and where the files go."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from moderation_service.cli import cli
from moderation_service.errors import Misconfigured

TODAY = datetime.now(UTC).date()


def run(first: object, last: object, out: Path) -> object:
    arguments = ["report", "dsa", "--from", str(first), "--to", str(last), "-o", str(out)]
    return cli(arguments, exit_on_error=False, print_error=False)


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_CONSOLE__DATABASE_URL", f"sqlite:///{tmp_path / 'console.db'}")
    monkeypatch.setenv("MODERATION_CONSOLE__RETENTION_DAYS", "30")


def test_it_names_each_file_that_it_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a" / "report"
    assert run(TODAY - timedelta(days=20), TODAY - timedelta(days=1), folder) == 0
    assert {Path(line) for line in capsys.readouterr().out.splitlines()} == set(folder.iterdir())


@pytest.mark.parametrize(
    ("first", "last", "what"),
    [
        (20, 21, "is before --from"),
        (20, 0, "is not over in UTC"),
        (30, 1, r"kept for 30 days \(console.retention_days\); name .* or later"),
    ],
)
def test_a_period_that_the_records_do_not_cover_is_refused(first: int, last: int, what: str, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=what):
        run(TODAY - timedelta(days=first), TODAY - timedelta(days=last), tmp_path / "report")


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.touch()
    with pytest.raises(Misconfigured, match="is a file; name a folder"):
        run(TODAY - timedelta(days=2), TODAY - timedelta(days=1), file)
