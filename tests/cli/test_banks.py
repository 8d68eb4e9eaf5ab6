import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from moderation_service.cli import cli
from moderation_service.errors import Misconfigured
from tests.banks.images import image

Run = Callable[..., list[str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `moderation banks` on a folder of its own; the lines on standard output."""
    folder = tmp_path / "banks"
    folder.mkdir()
    monkeypatch.setenv("MODERATION_BANKS__PATH", str(folder))

    def call(*arguments: object, code: int = 0) -> list[str]:
        assert cli(["banks", *map(str, arguments)], exit_on_error=False, print_error=False) == code
        return capsys.readouterr().out.splitlines()

    return call


@pytest.fixture
def spam(tmp_path: Path, run: Run) -> str:
    """A bank with one term."""
    file = tmp_path / "terms.csv"
    file.write_text("kind,value,id\nterms,free crypto,t1\n", encoding="utf-8")
    run("import", "spam", file, "--action", "block", "--policy", "spam_policy")
    return "spam"


def test_a_text_is_matched_by_what_was_imported(tmp_path: Path, run: Run, spam: str) -> None:
    text = tmp_path / "text.txt"
    text.write_text("FREE  CRYPT0 here", encoding="utf-8")
    (line,) = run("test", text)
    found = json.loads(line)
    assert (found["mode"], found["bank"], found["entry"], found["action"]) == ("enforced", spam, "t1", "block")
    (row,) = (line.split("│") for line in run("list") if spam in line)
    assert [cell.strip() for cell in row[1:5]] == [spam, "block", "enforce", "1"]


def test_an_image_that_is_added_matches_its_copy_until_it_is_removed(tmp_path: Path, run: Run, spam: str) -> None:
    original, copy = tmp_path / "a.png", tmp_path / "b.jpg"
    Image.fromarray(image(1, 512, 384)).save(original)
    Image.fromarray(image(1, 512, 384)).resize((300, 220)).save(copy, quality=50)
    same_bytes, looks = run("add", spam, "image", original, "--note", "seen in May")
    assert [json.loads(line)["entry"] for line in run("test", original)] == [same_bytes, looks]
    (match,) = run("test", copy)
    assert json.loads(match)["entry"] == looks
    run("remove", spam, looks)
    assert run("test", copy) == []
    run("remove", spam, looks, code=1)


def test_an_image_without_detail_has_no_pdq(tmp_path: Path, run: Run, spam: str) -> None:
    plain = tmp_path / "plain.png"
    Image.new("RGB", (200, 200), "red").save(plain)
    assert len(run("add", spam, "image", plain)) == 1


def test_a_bank_is_exported_as_json_lines_or_csv(tmp_path: Path, run: Run, spam: str) -> None:
    run("add", spam, "url", "bad.com/x", "--expires-at", "2030-01-01", "--source", "us")
    assert [json.loads(line)["value"] for line in run("export", spam)] == ["bad.com/x", "free crypto"]
    out = tmp_path / "out.csv"
    run("export", spam, "-o", out)
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert (rows[0]["kind"], rows[0]["source"], rows[0]["expires_at"]) == (
        "urls",
        "us",
        "2030-01-01T00:00:00Z",
    )
    run("import", "copy", out)
    assert len(run("export", "copy")) == 2


def test_a_child_safety_bank_is_never_exported(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "a.csv"
    file.write_text(f"kind,value\nimage_pdq,{'f0' * 32}\n", encoding="utf-8")
    run("import", "cs", file, "--action", "escalate", "--route", "child_safety")
    with pytest.raises(Misconfigured, match="never exported"):
        run("export", "cs")


def test_properties_are_changed_one_by_one_and_a_bank_may_have_no_entries(run: Run, spam: str) -> None:
    run("set", spam, "--mode", "shadow")
    run("set", "empty", "--action", "block")
    rows = [[cell.strip() for cell in line.split("│")[1:5]] for line in run("list") if "│" in line]
    assert rows == [["empty", "block", "enforce", "0"], [spam, "block", "shadow", "1"]]
    with pytest.raises(Misconfigured, match="mode shadow cannot go with route"):
        run("set", spam, "--route", "child_safety")


def test_an_empty_policy_or_route_removes_it(tmp_path: Path, run: Run, spam: str) -> None:
    file = tmp_path / "banks" / f"{spam}.jsonl"
    run("set", spam, "--route", "child_safety", "--pdq-threshold", "0")
    run("set", spam, "--policy", "")
    properties = json.loads(file.read_text().splitlines()[0])
    assert (properties["route"], properties["pdq_threshold"], "policy" in properties) == ("child_safety", 0, False)
    run("set", spam, "--route", "", "--mode", "shadow")
    properties = json.loads(file.read_text().splitlines()[0])
    assert (properties["mode"], "route" in properties) == ("shadow", False)
    assert len(run("export", spam)) == 1


def test_an_import_may_repeat_the_properties_of_its_bank(tmp_path: Path, run: Run, spam: str) -> None:
    run("set", spam, "--action", "block", "--policy", "spam")
    file = tmp_path / "more.csv"
    file.write_text("kind,value\nterms,more\n", encoding="utf-8")
    run("import", spam, file, "--action", "block", "--policy", "spam")
    assert len(run("export", spam)) == 2


def test_rows_that_are_left_out_are_named_and_the_rest_is_imported(tmp_path: Path, run: Run, spam: str) -> None:
    file = tmp_path / "more.csv"
    file.write_text("kind,value\nurls,co.uk\nterms,more\n", encoding="utf-8")
    run("import", spam, file, code=1)
    assert len(run("export", spam)) == 2


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (("export", "none"), "no such bank"),
        (("set", "none", "--route", ""), "bank none: route: should not be empty for a new bank"),
        (("import", "spam", "FILE", "--policy", ""), "bank spam: policy: should not be empty for a new bank"),
        (("import", "spam", "FILE", "--route", "child_safety"), "bank spam: is there already with other properties"),
        (("add", "spam", "url", "com"), "neither a domain nor a link"),
        (("test", "FILE"), "undecodable"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, run: Run, spam: str, arguments: tuple[str, ...], wrong: str) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(Misconfigured, match=wrong):
        run(*(str(broken) if one == "FILE" else one for one in arguments))
