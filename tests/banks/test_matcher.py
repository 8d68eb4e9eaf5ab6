import hashlib
import itertools
import threading
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from moderation_service.banks.matcher import BankMatcher
from moderation_service.banks.pdq_index import PdqIndex
from moderation_service.banks.terms import TermIndex
from moderation_service.contracts.bank import Bank, BankEntry, BankMatch
from moderation_service.media.pdq import ImageHash, from_hex, pdq, to_hex
from tests.banks.images import image
from tests.timing import Clock

PIXELS = image(1, 512, 384)
SHA256 = hashlib.sha256(b"a file").hexdigest()
OTHER = hashlib.sha256(b"another file").hexdigest()
PDQ_ENTRY = BankEntry(kind="image_pdq", value=to_hex(pdq(PIXELS).hashes)[0], id="e1")
TERM = BankEntry(kind="terms", value="badword", id="t1")


def matcher(*entries: BankEntry, clock: Clock | None = None, **properties: Any) -> BankMatcher:
    made = BankMatcher(clock=clock or Clock())
    made.put_bank(Bank(**{"name": "known", "action": "block", **properties}), entries)
    return made


def entries_of(matches: tuple[BankMatch, ...]) -> list[str]:
    return [match.entry for match in matches]


def test_an_image_matches_by_its_bytes_and_by_its_looks() -> None:
    bytes_entry = BankEntry(kind="image_sha256", value=SHA256.upper(), id="e2")
    found = matcher(PDQ_ENTRY, bytes_entry, policy="p", severity=5).match_image([pdq(PIXELS)], SHA256, image=1).enforced
    assert [(one.kind, one.entry, one.distance, one.image) for one in found] == [
        ("image_sha256", "e2", None, 1),
        ("image_pdq", "e1", 0, 1),
    ]
    assert {(one.bank, one.action, one.policy, one.severity) for one in found} == {("known", "block", "p", 5)}


def test_any_frame_may_match_also_flipped() -> None:
    found = matcher(PDQ_ENTRY).match_image([pdq(image(2, 400, 300)), pdq(PIXELS[:, ::-1])], OTHER).enforced
    assert entries_of(found) == ["e1"]
    assert 0 < (found[0].distance or 0) <= 31


def test_the_threshold_and_the_least_quality_are_the_banks() -> None:
    assert matcher(PDQ_ENTRY, pdq_threshold=2).match_image([pdq(PIXELS[:, ::-1])], OTHER).enforced == ()
    grey = np.full((300, 300, 3), 128, np.uint8)
    entry = BankEntry(kind="image_pdq", value=to_hex(pdq(grey).hashes)[0])
    assert matcher(entry).match_image([pdq(grey)], OTHER).enforced == ()


def test_terms_and_links_match_a_text_with_their_places() -> None:
    link = BankEntry(kind="urls", value="bit.ly/x", id="u1")
    text = "see b4dword at bit.ly/x"
    found = matcher(TERM, link).match_text(text).enforced
    assert [(one.kind, one.entry, [text[slice(*span)] for span in one.spans], one.shortener) for one in found] == [
        ("terms", "t1", ["b4dword"], None),
        ("urls", "u1", ["bit.ly/x"], "bit.ly"),
    ]


def test_a_bank_in_shadow_is_matched_apart() -> None:
    found = matcher(TERM, mode="shadow").match_text("badword")
    assert (found.enforced, entries_of(found.shadow)) == ((), ["t1"])


@pytest.mark.parametrize("expiring", ["bank", "entry"])
def test_what_is_expired_matches_no_more(expiring: str) -> None:
    clock, until = Clock(999.0), datetime.fromtimestamp(1000, UTC)
    entry = TERM if expiring == "bank" else TERM.model_copy(update={"expires_at": until})
    banks = matcher(entry, clock=clock, expires_at=until if expiring == "bank" else None)
    assert entries_of(banks.match_text("badword").enforced) == ["t1"]
    clock.now = 1000.0
    assert banks.match_text("badword").enforced == ()


def test_an_entry_is_added_replaced_and_removed_while_matching_goes_on() -> None:
    banks = matcher()
    assert banks.match_text("badword").enforced == ()
    banks["known"].put([TERM])
    before = banks["known"].digest
    assert entries_of(banks.match_text("badword").enforced) == ["t1"]
    banks["known"].put([BankEntry(kind="terms", value="worse", id="t1")])
    assert banks.match_text("badword").enforced == ()
    assert entries_of(banks.match_text("worse").enforced) == ["t1"]
    assert banks["known"].digest != before
    assert banks["known"].remove("t1")
    banks["known"].compact()
    assert banks.match_text("worse").enforced == ()
    assert not banks["known"].remove("t1")


def test_entries_are_found_while_another_thread_compacts() -> None:
    rng, banks = np.random.default_rng(3), matcher(PDQ_ENTRY, TERM)
    values = to_hex(rng.integers(0, 2**64, (20_000, 4), dtype=np.uint64))
    banks["known"].put(BankEntry(kind="image_pdq", value=value) for value in values)
    compacting = threading.Thread(target=lambda: [banks["known"].compact() for _ in range(5)])
    compacting.start()
    added = 0
    while compacting.is_alive() or added < 50:
        banks["known"].put([BankEntry(kind="terms", value=f"word{added}", id=f"w{added}")])
        found = banks.match_text(f"badword word{added} word{added - 1}").enforced
        assert set(entries_of(found)) == {"t1", f"w{added}", *([f"w{added - 1}"] if added else [])}
        assert entries_of(banks.match_image([pdq(PIXELS)], OTHER).enforced) == ["e1"]
        added += 1
    compacting.join()


def test_an_unfit_entry_is_refused_and_none_of_its_batch_is_added() -> None:
    banks = matcher()
    with pytest.raises(ValueError, match="public suffix"):
        banks["known"].put([TERM, BankEntry(kind="urls", value="co.uk")])
    assert banks.match_text("badword").enforced == ()
    assert len(banks["known"]) == 0


def test_the_digest_is_of_the_entries_and_the_properties_in_whatever_order() -> None:
    entries = [TERM, PDQ_ENTRY, BankEntry(kind="urls", value="bad.com")]
    digests = {matcher(*some)["known"].digest for some in itertools.permutations(entries)}
    assert len(digests) == 1
    banks = matcher(*entries, BankEntry(kind="terms", value="more", id="m"))
    assert banks["known"].digest not in digests
    banks["known"].remove("m")
    assert banks["known"].digest in digests
    banks.put_bank(Bank(name="known", action="review"))
    assert banks["known"].digest not in digests


def test_the_digest_of_all_banks_leaves_those_in_shadow_out() -> None:
    banks = matcher(TERM)
    before = banks.digest
    banks.put_bank(Bank(name="new", action="block", mode="shadow"), [TERM])
    assert banks.digest == before
    banks.put_bank(Bank(name="new", action="block"))
    assert banks.digest != before
    assert banks.remove_bank("new")
    assert banks.digest == before
    assert banks.remove_bank("known")
    assert (banks.digest, banks.is_empty) == (None, True)


def test_an_entrys_id_follows_from_kind_and_value() -> None:
    ids = {BankEntry(kind=kind, value=SHA256).id for kind in ("image_sha256", "image_pdq")}
    assert len(ids) == 2
    assert BankEntry(kind="image_sha256", value=f" {SHA256.upper()} ").id in ids


@pytest.mark.parametrize(
    ("properties", "why"),
    [({"action": "allow"}, "action allow"), ({"action": "block", "mode": "shadow"}, "mode shadow")],
)
def test_a_child_safety_bank_decides_and_does_not_allow(properties: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=f"{why} cannot go with route child_safety"):
        Bank(**{"name": "b", "route": "child_safety", **properties})


def test_what_is_added_while_a_compaction_runs_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    banks = matcher(*(BankEntry(kind="image_pdq", value=f"{n:064x}", id=f"pdq-{n}") for n in range(10)))
    loaded = banks["known"]
    begun = dict.fromkeys((PdqIndex, TermIndex))

    def during(index: Any) -> Any:
        real = index.compact

        def compact(self: Any, kept: Any) -> None:  # as a thread beside it may
            if not begun[index]:
                begun[index] = True
                word = f"{index.__name__}word".lower()
                loaded.put([BankEntry(kind="terms", value=word, id=word)])
                loaded.put([BankEntry(kind="image_pdq", value="f" * 64, id=f"pdq-{word}")])
            real(self, kept)

        return compact

    for index in begun:
        monkeypatch.setattr(index, "compact", during(index))
    loaded.compact()
    assert entries_of(banks.match_text("pdqindexword termindexword").enforced) == ["pdqindexword", "termindexword"]
    near = ImageHash(from_hex(["f" * 64]), 100)
    assert entries_of(banks.match_image([near], "0" * 64).enforced) == ["pdq-pdqindexword", "pdq-termindexword"]


def test_of_very_many_matches_the_same_are_kept_however_the_entries_came() -> None:
    entries = [BankEntry(kind="image_pdq", value=f"{1 << n:064x}", id=f"{n:02}") for n in range(40)]
    words = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}x" for n in range(600)]
    entries += [BankEntry(kind="terms", value=word, id=word) for word in words]
    text, image = " ".join(words[::20]), ImageHash(from_hex([f"{0:064x}"]), 100)
    kept = set()
    for step in (len(entries), 250, 7):
        banks = matcher()
        for cut in range(0, len(entries), step):
            banks["known"].put(entries[cut : cut + step][:: -1 if step == 7 else 1])
        if step == 250:
            banks["known"].compact()
        found = banks.match_text(text).enforced, banks.match_image([image], "0" * 64).enforced
        kept.add((*entries_of(found[0]), *entries_of(found[1])))
    assert len(kept) == 1
