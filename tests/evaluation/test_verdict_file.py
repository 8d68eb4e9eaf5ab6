from pathlib import Path

import pytest

from moderation_service.errors import Misconfigured
from moderation_service.evaluation.verdict_file import read_record
from tests.contracts.examples import verdict


def test_verdicts_are_read_by_post_and_revision_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    rows = [verdict(), verdict(post_revision=3), verdict(verdict_id="v-2"), verdict(post_id="other")]
    path.write_bytes(b"\n".join(row.to_json() for row in rows))
    record = read_record(path)
    lines = {key: [recorded.line for recorded in found] for key, found in record.verdicts.items()}
    assert lines == {("p-17", 2): [1, 3], ("p-17", 3): [2], ("other", 2): [4]}
    assert (record.deleted, record.left_out) == (0, ())


def test_nulls_are_counted_and_broken_rows_named_with_line_and_field_and_never_quoted(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    good = verdict().to_json()
    rows = [b"null", b"secret words", good, b"", good.replace(b'"p-17"', b"17"), b" null "]
    path.write_bytes(b"\n".join(rows))
    record = read_record(path)
    assert (len(record.verdicts), record.deleted) == (1, 2)
    assert [row.split(": ")[:2] for row in record.left_out] == [[f"{path}:2", "verdict"], [f"{path}:5", "post_id"]]
    assert "secret" not in "".join(record.left_out)


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "no such file"), ("", "holds no verdict"), ("{}\n", r"holds no verdict \(.*jsonl:1: verdict_id: ")],
)
def test_a_file_without_any_verdict_is_refused(tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "verdicts.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(Misconfigured, match=says):
        read_record(path)
