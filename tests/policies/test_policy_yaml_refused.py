"""A file that is no plain YAML is refused with the line, and never does more than be read."""

from collections.abc import Callable
from pathlib import Path

import pytest

from moderation_service.policies.document import MAX_BYTES, MAX_DEPTH

Edit = Callable[[str, str], str]
Refusal = Callable[[], str]

NOT_YAML = 'should be "field: value" lines of even indentation; words with ": " or " #" in them go in quotes'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(
            "version: 1",
            "version: 1\nversion: 2",
            "weapon_sale.yaml:3: version: is here twice (first on line 2); should be kept once",
            id="field twice",
        ),
        pytest.param(
            "    expect: allow",
            "    expect: allow\n    expect: block",
            "weapon_sale.yaml:30: cases[1].expect: is here twice (first on line 29); should be kept once",
            id="field twice in a case",
        ),
        pytest.param(
            "version: 1",
            "version: !!python/object/apply:os.getcwd []",
            "weapon_sale.yaml:2: file: uses the tag tag:yaml.org,2002:python/object/apply:os.getcwd;"
            " should be a plain value without a tag",
            id="tag",
        ),
        pytest.param(
            "  en: A weapon is offered.\n  zh: 出售武器。",
            "  en: &words A weapon is offered.\n  zh: *words",
            "weapon_sale.yaml:9: file: uses the alias *words; should be written out",
            id="alias",
        ),
        pytest.param(
            "version: 1",
            "version: " + "[" * 20 + "]" * 20,
            f"weapon_sale.yaml:2: file: is nested over {MAX_DEPTH} deep; should be as flat as a policy's fields are",
            id="nested",
        ),
        pytest.param(
            "version: 1",
            "? [a]\n: 1",
            "weapon_sale.yaml:2: file: has a field without a name; should be a plain word",
            id="no field name",
        ),
        pytest.param(
            "    text: DM me for the price",
            "    text: Wanted: a knife",
            f"weapon_sale.yaml:22: file: is not YAML (mapping values are not allowed here); {NOT_YAML}",
            id="colon in words",
        ),
        pytest.param(
            "severity: 4",
            "severity: 4\n---\nseverity: 5",
            f"weapon_sale.yaml:14: file: is not YAML (but found another document); {NOT_YAML}",
            id="two documents",
        ),
        pytest.param(
            "    text: DM me for the price",
            "    text: DM \x07 me",
            "weapon_sale.yaml:22: file: holds the control character '\\x07'; should be plain text",
            id="control character",
        ),
    ],
)
def test_wrong_yaml_is_refused_with_its_line(refused_edit: Edit, old: str, new: str, message: str) -> None:
    """Only what a policy needs of YAML is read."""
    assert refused_edit(old, new) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "weapon_sale.yaml:1: file: is empty; should hold one policy: id, version, title, …"),
        (b"# only a comment\n", "weapon_sale.yaml:1: file: is empty; should hold one policy: id, version, title, …"),
        (
            b"- a\n",
            "weapon_sale.yaml:1: file: does not start with a field; should hold one policy: id, version, title, …",
        ),
        (b"id: a\ntitle: \xff\n", "weapon_sale.yaml:2: file: is not UTF-8; should be saved as UTF-8"),
        (b"#" * (MAX_BYTES + 1), "weapon_sale.yaml:1: file: is over 256 KiB; should hold one policy"),
    ],
    ids=["empty", "comment", "list", "other encoding", "large"],
)
def test_a_file_that_holds_no_policy_is_refused(folder: Path, refusal: Refusal, content: bytes, message: str) -> None:
    """What is not one mapping in UTF-8 of bounded size is no policy."""
    (folder / "weapon_sale.yaml").write_bytes(content)
    assert refusal() == message


def test_a_file_that_cannot_be_read_is_refused(folder: Path, refusal: Refusal) -> None:
    """A folder of a policy's name stands for any unreadable file."""
    (folder / "weapon_sale.yaml").unlink()
    (folder / "weapon_sale.yaml").mkdir()
    assert refusal() == "weapon_sale.yaml:1: file: cannot be read (Is a directory); should be a readable file"


def test_words_that_look_like_a_broken_number_are_words(refused_edit: Edit) -> None:
    """YAML 1.1 takes `0x_` for a number, Python does not."""
    assert refused_edit("severity: 4", "severity: 0x_").startswith(
        "weapon_sale.yaml:13: severity: '0x_' cannot stand here"
    )
