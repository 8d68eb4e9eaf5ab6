import base64
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from moderation_service.child_safety.hand_over import write_package
from moderation_service.child_safety.hold_access import HoldAccess
from moderation_service.child_safety.legal_hold import HeldCase, LegalHold
from moderation_service.child_safety.sealed_file import HoldError
from moderation_service.contracts.enums import ImageStatus
from moderation_service.contracts.verdict import ImageContent, Verdict
from moderation_service.errors import Misconfigured
from moderation_service.settings import ChildSafetySettings, load_settings
from moderation_service.telemetry.audit import AuditEntry
from tests.contracts.examples import verdict as example

KEY, OTHER = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
IMAGE = b"\x89PNG\r\n\x1a\nthe bytes of an image"
RECORD = json.dumps(
    {
        "post_id": "p-1",
        "author_id": "u-9",
        "text": "the words of the post",
        "created_at": "2026-05-01T09:30:00Z",
        "images": [{"url": "https://cdn.example/a%20b.png?size=2"}, {"object": "s3://bucket/gone"}],
    }
).encode()


def settings(root: Path, keys: str = KEY) -> ChildSafetySettings:
    return ChildSafetySettings.model_validate({"hold_path": root, "hold_key": keys})


def routed(case: str = "a" * 32, **changes: object) -> Verdict:
    content = example().content
    had = ImageContent(sha256="0" * 64, width=1, height=1, frames=1, media_type="image/png", status=ImageStatus.JUDGED)
    gone = had.model_copy(update={"sha256": None, "media_type": None, "status": ImageStatus.UNAVAILABLE})
    changes = {"verdict_id": case, "post_id": "p-1", "route": "child_safety", **changes}
    return example().model_copy(update={"content": content.model_copy(update={"images": (had, gone)}), **changes})


def put(hold: LegalHold, verdict: Verdict | None = None) -> HeldCase:
    return hold.put(verdict or routed(), record=RECORD, origin={"timestamp": 1}, images=[IMAGE, None], now=NOW)


@pytest.fixture
def hold(tmp_path: Path) -> LegalHold:
    return LegalHold(settings(tmp_path))


def sealed(root: Path, name: str = "*") -> Iterator[Path]:
    return root.glob(f"*/*/{name}.sealed")


def test_what_is_held_comes_back_as_it_was(hold: LegalHold) -> None:
    case = put(hold)
    assert hold.read(case.case_id) == {
        "post.json": RECORD,
        "origin.json": b'{\n  "timestamp": 1\n}',
        "verdict.json": routed().to_json(),
        "image-0": IMAGE,
    }
    assert (case.hold_until, case.missing_images) == (date(2027, 5, 1), ((1, ImageStatus.UNAVAILABLE),))
    assert list(hold.cases()) == [case]
    assert (hold.is_held("p-1"), hold.is_held("p-2")) == (True, False)


def test_nothing_of_it_is_on_the_disk_in_the_clear(hold: LegalHold, tmp_path: Path) -> None:
    put(hold)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 5
    for path in files:
        assert not any(word in path.read_bytes() for word in (b"words of the post", b"u-9", b"p-1", IMAGE[8:], b"cdn"))
        assert path.stat().st_mode & 0o077 == 0


def test_holding_again_changes_nothing_and_a_second_revision_is_a_second_case(hold: LegalHold, tmp_path: Path) -> None:
    first = put(hold)
    before = {path: path.read_bytes() for path in sealed(tmp_path)}
    assert hold.put(routed(), record=b"other", origin={}, images=[None, None]) == first
    assert {path: path.read_bytes() for path in sealed(tmp_path)} == before
    put(hold, routed("b" * 32, post_revision=2))
    (tmp_path / "lost+found").mkdir(mode=0)
    cases = [case for case in hold.cases() if isinstance(case, HeldCase)]
    assert [(case.case_id[0], case.revision) for case in cases] == [("a", first.revision), ("b", 2)]


def test_a_changed_file_and_one_in_the_place_of_another_are_seen(hold: LegalHold, tmp_path: Path) -> None:
    put(hold)
    put(hold, routed("b" * 32))
    image, post = next(sealed(tmp_path, "image-0")), next(sealed(tmp_path, "post.json"))
    whole = image.read_bytes()
    for tampered in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:30] + b"x" + whole[31:], post.read_bytes()):
        image.write_bytes(tampered)
        with pytest.raises(HoldError, match="was changed since it was sealed, or moved"):
            hold.read(image.parent.name)
    image.write_bytes(whole[:20])
    with pytest.raises(HoldError, match="is not a whole sealed file"):
        hold.read(image.parent.name)
    image.unlink()
    with pytest.raises(HoldError, match=r"image-0: can't be read \(No such file or directory\)"):
        hold.read(image.parent.name)
    first, second = sorted(tmp_path.glob("*/*"))
    shutil.copytree(second, first, dirs_exist_ok=True)  # a whole case in the place of another
    with pytest.raises(HoldError, match="was changed since it was sealed, or moved"):
        hold.case(first.name)


def test_keys_are_rotated_and_a_wrong_one_is_named_by_its_id(tmp_path: Path) -> None:
    put(LegalHold(settings(tmp_path)))
    rotated = LegalHold(settings(tmp_path, f"{OTHER}\n{KEY}\n"))
    put(rotated, routed("b" * 32))
    assert len(list(rotated.cases())) == 2
    with pytest.raises(HoldError, match=r"was sealed with key [0-9a-f]{16}; child_safety.hold_key has [0-9a-f]{16}"):
        LegalHold(settings(tmp_path, OTHER)).read("a" * 32)
    assert LegalHold(settings(tmp_path, OTHER)).read("b" * 32)["image-0"] == IMAGE


def test_settings_that_are_wrong_are_refused_and_quote_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("c2hvcnQ=", "not base64!"):
        with pytest.raises(Misconfigured, match="key 2 isn't 32 bytes in base64; make one: openssl rand") as refused:
            LegalHold(settings(tmp_path, f"{KEY} {key}"))
        assert key.split()[0] not in str(refused.value)
    with pytest.raises(Misconfigured, match="is not a folder that this process may write"):
        LegalHold(settings(tmp_path / "none"))
    monkeypatch.setenv("MODERATION_CHILD_SAFETY__HOLD_PATH", str(tmp_path))
    with pytest.raises(Misconfigured, match="hold_path needs hold_key"):
        load_settings()
    (tmp_path / "key").write_text(KEY + "\n")
    monkeypatch.setenv("MODERATION_CHILD_SAFETY__HOLD_KEY_FILE", str(tmp_path / "key"))
    assert KEY not in repr(load_settings().child_safety)
    assert put(LegalHold(load_settings().child_safety)).case_id == "a" * 32


def test_a_disk_that_fails_half_way_leaves_no_case(
    hold: LegalHold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moderation_service.child_safety import legal_hold  # noqa: PLC0415

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(legal_hold, "write_durably", full)
    with pytest.raises(OSError, match="No space left"):
        put(hold)
    assert list(hold.cases()) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    monkeypatch.undo()
    assert put(hold) == hold.case("a" * 32)


def test_a_case_is_purged_after_its_last_day_and_never_before(hold: LegalHold, tmp_path: Path) -> None:
    put(hold)
    last = date(2027, 5, 1)
    assert hold.past_cases(last) == []
    with pytest.raises(HoldError, match="is held until 2027-05-01 and can't be purged before"):
        hold.purge("a" * 32, last)
    longer = hold.extend("a" * 32, reported_at=NOW + timedelta(days=10), report_id="123")
    assert (longer.hold_until, longer.report_id) == (date(2027, 5, 11), "123")
    assert hold.extend("a" * 32, until=date(2026, 6, 1)).hold_until == date(2027, 5, 11)  # never shorter
    assert hold.past_cases(date(2027, 5, 11)) == []
    assert hold.past_cases(date(2027, 5, 12)) == ["a" * 32]
    hold.purge("a" * 32, date(2027, 5, 12))
    assert list(tmp_path.iterdir()) == []


def test_a_purge_whose_process_was_killed_is_finished_by_the_next(hold: LegalHold, tmp_path: Path) -> None:
    put(hold)
    case = next(tmp_path.glob("*/*"))
    case.rename(case.with_name(f".purged-{case.name}"))  # as far as it came
    assert list(hold.cases()) == []
    hold.sweep()
    assert list(tmp_path.iterdir()) == []


def test_a_case_that_cannot_be_opened_is_never_purged(hold: LegalHold, tmp_path: Path) -> None:
    put(hold)
    next(sealed(tmp_path, "case")).write_bytes(b"broken")
    put(hold, routed("b" * 32))
    broken, whole = hold.cases()
    assert (type(broken), type(whole)) == (HoldError, HeldCase)
    assert hold.past_cases(date(2040, 1, 1)) == ["b" * 32]
    with pytest.raises(HoldError):
        hold.purge("a" * 32, date(2040, 1, 1))


@pytest.mark.parametrize("case_id", ["../x", "", "A" * 32, "c" * 32])
def test_only_an_id_of_a_case_is_looked_for(hold: LegalHold, case_id: str) -> None:
    with pytest.raises(HoldError):
        hold.case(case_id)


async def test_no_access_goes_without_its_audit_entry(hold: LegalHold, tmp_path: Path) -> None:
    put(hold)
    entries = list[AuditEntry]()

    async def emit(entry: AuditEntry) -> None:
        entries.append(entry)

    access, case = HoldAccess(hold, "user:a", emit), "a" * 32
    await access.cases("look")
    await access.read(case, "look")
    await access.export(case, tmp_path / "out", "report")
    await access.extend(case, "reported", reported_at=NOW, report_id="7")
    assert await access.purge("old", date(2028, 1, 1)) == [case]
    assert [(entry.action.partition(".")[2], entry.target, entry.details["reason"]) for entry in entries] == [
        ("listed", "legal_hold", "look"),
        ("read", case, "look"),
        ("exported", case, "report"),
        ("extended", case, "reported"),
        ("purged", case, "old"),
    ]
    assert {entry.actor for entry in entries} == {"user:a"}

    async def away(entry: AuditEntry) -> None:
        raise ConnectionError

    put(hold)
    denied = HoldAccess(hold, "user:a", away)
    for use in (denied.cases("look"), denied.read(case, "look"), denied.purge("old", date(2028, 1, 1))):
        with pytest.raises(ConnectionError):
            await use
    assert hold.read(case)


def test_the_package_has_what_the_cybertipline_asks_for(hold: LegalHold, tmp_path: Path) -> None:
    case = put(hold)
    write_package(case, hold.read(case.case_id), tmp_path / "package")
    files = {path.name: path.read_bytes() for path in (tmp_path / "package").iterdir()}
    assert set(files) == {
        *("post.json", "origin.json", "verdict.json", "image-0.png", "report.json", "CHECKLIST.md", "SHA256SUMS")
    }
    assert (files["post.json"], files["image-0.png"]) == (RECORD, IMAGE)
    draft = json.loads(files["report.json"])
    assert list(draft["report"]) == [
        "incidentSummary", "internetDetails", "reporter", "personOrUserReported", "additionalInfo"
    ]  # fmt: skip
    assert draft["report"]["incidentSummary"]["incidentDateTime"] == "2026-05-01T09:30:00+00:00"
    assert draft["report"]["personOrUserReported"]["espIdentifier"] == "u-9"
    by_file = {file["file"]: file["fileDetails"] for file in draft["files"]}
    assert [details["fileRelevance"] for details in by_file.values()] == ["Supplemental Reported", "Reported"]
    image = by_file["image-0.png"]
    assert (image["originalFileName"], image["fileViewedByEsp"]) == ("a b.png", None)
    assert [found["hashType"] for found in image["originalFileHash"]] == ["MD5", "SHA256"]
    assert b"Image 1 could not be had (unavailable)" in files["CHECKLIST.md"]
    assert all(f"`{name}`".encode() in files["CHECKLIST.md"] for name in ("fileViewedByEsp", "exifViewedByEsp"))
    with pytest.raises(Misconfigured, match="is not an empty folder"):
        write_package(case, hold.read(case.case_id), tmp_path / "package")


@pytest.mark.parametrize(
    ("origin", "expected"), [({"timestamp": 1_700_000_000_000}, "2023-11-14T22:13:20+00:00"), ({}, NOW.isoformat())]
)
def test_the_time_of_a_post_that_tells_none_is_that_of_its_record_or_of_the_hold(
    hold: LegalHold, tmp_path: Path, origin: dict[str, int], expected: str
) -> None:
    record = json.dumps({"post_id": "p-1", "text": "words"}).encode()
    case = hold.put(routed(), record=record, origin=origin, images=[], now=NOW)
    write_package(case, hold.read(case.case_id), tmp_path / "package")
    draft = json.loads((tmp_path / "package" / "report.json").read_text(encoding="utf-8"))
    assert draft["report"]["incidentSummary"]["incidentDateTime"] == expected
