import json
from pathlib import Path

import pytest

from moderation_service.contracts.bank import Bank, BankEntry
from moderation_service.errors import Misconfigured
from moderation_service.readers.bank_files import load_banks, read_bank, read_entries, to_cell, write_bank

HASH = "f0" * 32
BANK = '{"name": "spam", "action": "block"}\n'


def write(folder: Path, text: str, name: str = "spam.jsonl") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_bank_that_was_written_is_read_back(tmp_path: Path) -> None:
    bank = Bank(name="spam", action="label", policy="p", severity=2)
    entries = [BankEntry(kind="terms", value="free  crypto", note="May"), BankEntry(kind="image_pdq", value=HASH)]
    write_bank(tmp_path / "spam.jsonl", bank, entries)
    found, read = read_bank(tmp_path / "spam.jsonl")
    assert (found, list(read)) == (bank, entries)
    assert [path.name for path in tmp_path.iterdir()] == ["spam.jsonl"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "spam.jsonl:1: is empty"),
        ('{"name": "spam", "action": "ban"}', "spam.jsonl:1: action: Input should be 'block'"),
        ('{"name": "other", "action": "block"}', "spam.jsonl:1: name: other is not the file's name"),
        ('{"name": "spam", "action": "block", "threshold": 3}', "spam.jsonl:1: threshold: unknown field"),
        (BANK + "nonsense", "spam.jsonl:2: not JSON"),
        (BANK + '\n{"kind": "image_pdq", "value": "12"}', "spam.jsonl:3: value: should be 64 hexadecimal digits"),
        (BANK + '{"kind": "pqd", "value": "12"}', "spam.jsonl:2: kind: Input should be 'image_sha256'"),
        (BANK + '{"kind": "urls", "value": "co.uk"}', "spam.jsonl:2: value: co.uk is a public suffix"),
        (BANK + '{"kind": "terms", "value": "!!"}', "spam.jsonl:2: value: '!!' has no letter"),
        (BANK + '{"kind": "terms", "value": "a", "expires_at": "May"}', "spam.jsonl:2: expires_at: Input should be"),
        (BANK + '{"kind": "terms", "value": "a", "expires": 1}', "spam.jsonl:2: expires: unknown field; known are"),
        (BANK + '{"kind": "terms", "value": "a"}\n' * 2, "spam.jsonl:3: id: "),
    ],
)
def test_a_wrong_file_is_refused_with_line_and_field(tmp_path: Path, text: str, fault: str) -> None:
    write(tmp_path, text)
    with pytest.raises(Misconfigured) as refused:
        load_banks(tmp_path)
    assert fault in str(refused.value)


def test_every_fault_of_a_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, BANK + '{"kind": "x"}\n{"kind": "terms"}\n')
    with pytest.raises(Misconfigured) as refused:
        load_banks(tmp_path)
    assert len(str(refused.value).splitlines()) == 2


def test_all_banks_of_a_folder_are_loaded_and_no_folder_is_none(tmp_path: Path) -> None:
    write(tmp_path, BANK + '{"kind": "terms", "value": "a"}\n')
    write(tmp_path, '{"name": "other", "action": "allow"}', "other.jsonl")
    assert {bank.bank.name: len(bank) for bank in load_banks(tmp_path)} == {"spam": 1, "other": 0}
    assert list(load_banks(None)) == []
    with pytest.raises(Misconfigured, match=r"banks\.path: .*/missing: no such folder"):
        load_banks(tmp_path / "missing")


def imported(folder: Path, name: str, text: str) -> list[tuple[str, str]]:
    rows = list(read_entries(write(folder, text, name)))
    assert not [row for row in rows if isinstance(row, str)]
    return [(row.kind, row.value) for row in rows if isinstance(row, BankEntry)]


def test_csv_is_read_by_its_header(tmp_path: Path) -> None:
    text = f"value;kind;note\n{HASH};image_pdq;from May\nfree crypto;terms;\n"
    assert imported(tmp_path, "a.csv", text) == [("image_pdq", HASH), ("terms", "free crypto")]


def test_the_csv_of_threatexchanges_command_line_is_read(tmp_path: Path) -> None:
    text = (
        f"collab,signal_type,signal_str,category,tags\nSample,pdq,{HASH},MALICIOUS,a b\nSample,url,http://bad.com/x,,\n"
    )
    assert imported(tmp_path, "a.csv", text) == [("image_pdq", HASH), ("urls", "http://bad.com/x")]


def test_the_updates_and_descriptors_of_threatexchanges_api_are_read(tmp_path: Path) -> None:
    items = [
        {"id": "1", "indicator": HASH, "type": "HASH_PDQ", "should_delete": False, "tags": ["x"]},
        {"id": "2", "indicator": HASH, "type": "HASH_PDQ", "should_delete": True},
        {"id": "3", "raw_indicator": "bad.com", "type": "DOMAIN", "owner": {"id": "9"}},
    ]
    wanted = [("image_pdq", HASH), ("urls", "bad.com")]
    assert imported(tmp_path, "a.json", json.dumps({"data": items, "paging": {}})) == wanted
    assert imported(tmp_path, "a.jsonl", "\n".join(map(json.dumps, items))) == wanted


def test_the_contents_of_hmas_banks_are_read_but_for_the_disabled(tmp_path: Path) -> None:
    item = {"id": 7, "disable_until_ts": 1, "bank": {"name": "B"}, "signals": {"pdq": HASH}, "original_media_uri": None}
    assert imported(tmp_path, "a.json", json.dumps(item)) == [("image_pdq", HASH)]
    assert imported(tmp_path, "a.json", json.dumps([{**item, "disable_until_ts": 0}, item])) == [("image_pdq", HASH)]


def test_rows_of_other_kinds_are_named(tmp_path: Path) -> None:
    text = f"signal_str,signal_type\n{'0' * 32},video_md5\n{HASH},pdq\n"
    left_out, entry = read_entries(write(tmp_path, text, "a.csv"))
    assert "a.csv:2: kind: Input should be" in str(left_out)
    assert isinstance(entry, BankEntry)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[" * 100_000, "bank.json: not JSON: maximum recursion depth"),
        ("5", "bank.json: should be an array of objects"),
        ('{"data": null}', "bank.json: should be an array of objects"),
        ("", "bank.json: not JSON"),
        ('[{"kind": "terms", "value": "caf\udce9"}]', "bank.json: is not UTF-8"),
    ],
)
def test_a_json_file_that_holds_no_rows_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "bank.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(Misconfigured, match=fault):
        list(read_entries(path))


def test_exports_with_wrong_types_are_named_by_item(tmp_path: Path) -> None:
    rows = [
        {"signals": []},
        {"signals": {"pdq": HASH}, "bank": "x"},
        {"signal_str": ["x"], "category": 5, "tags": ["a"]},
    ]
    found = list(read_entries(write(tmp_path, json.dumps(rows), "export.json")))
    assert [one if isinstance(one, str) else one.value for one in found] == [
        f"{tmp_path}/export.json: item 1: kind: Input should be 'image_sha256', 'image_pdq', 'terms' or 'urls'",
        HASH,
        f"{tmp_path}/export.json: item 3: kind: Field required",
    ]


@pytest.mark.parametrize("value", ["=cmd()", "'=cmd()", "@home", "-1", "it's", "'quoted'", "plain"])
def test_a_cell_is_no_formula_and_is_read_back_as_it_was(tmp_path: Path, value: str) -> None:
    cell = to_cell(value) or ""
    assert cell[0] not in "=+-@"
    (entry,) = read_entries(write(tmp_path, f"kind,value\nterms,{cell}\n", "bank.csv"))
    assert not isinstance(entry, str)
    assert entry.value == value
