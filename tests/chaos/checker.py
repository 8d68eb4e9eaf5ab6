"""Holds the outputs to the input: each record of it, also where a post is on it twice."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tests.chaos.reader import Found
from tests.chaos.traffic import Sent
from tests.chaos.watch import Sample

_SHOWN = 5


def breaches(
    found: Found,
    sent: Sequence[Sent],
    samples: Sequence[Sample],
    *,
    once: bool,
    until: Mapping[int, int] | None = None,
) -> list[str]:
    """What breaks the promise; nothing where all is well. `once`: exactly, not at least. `until`: as far as that."""
    wanted: defaultdict[str, list[Sent]] = defaultdict(list)
    for one in sent:
        wanted[one.name].append(one)
    gone = Counter(one.name for one in _due(sent, until) if one.kind == "gone")
    return [
        *_some("missing", missing(found, sent, until)),
        *_some("letters not erased", [*(gone - found.erased)]),
        *_each(found, wanted, once=once),
        *_kinds(found, wanted),
        *_order(found, wanted),
        *_watermark(found, sent, samples),
    ]


def missing(found: Found, sent: Sequence[Sent], until: Mapping[int, int] | None) -> list[str]:
    """Names of records that have no output of their own, as often as that is so."""
    return [*(Counter(one.name for one in _due(sent, until)) - _outputs(found)).elements()]


def twice(found: Found, sent: Sequence[Sent]) -> list[str]:
    """Names of which there are more outputs than records."""
    names = Counter(one.name for one in sent)
    return [name for name in _outputs(found) - names if name in names]


def acknowledged_in_vain(acknowledged: Sequence[Sent], sent: Sequence[Sent]) -> list[str]:
    """What the brokers said they had, and have not."""
    return [*_some("acknowledged and not there", [one.name for one in set(acknowledged) - set(sent)])]


def _outputs(found: Found) -> Counter[str]:
    return Counter({name: len(places) for name, places in found.places.items()})


def _due(sent: Sequence[Sent], until: Mapping[int, int] | None) -> list[Sent]:
    """What must have been published: all, or what lies below these offsets of the partitions."""
    return [one for one in sent if until is None or one.offset < until.get(one.partition, 0)]


def _each(found: Found, wanted: Mapping[str, Sequence[Sent]], *, once: bool) -> Iterator[str]:
    yield from _some("never sent", [name for name in found.places if name not in wanted])
    if once:
        sent = [one for records in wanted.values() for one in records]
        yield from _some("more than once", twice(found, sent))
        gone = Counter(one.name for one in sent if one.kind == "gone")
        yield from _some("erased more than once", [*(found.erased - gone)])
    yield from _some("verdict ids differ", [name for name, ids in found.verdict_ids.items() if len(ids) > 1])


def _kinds(found: Found, wanted: Mapping[str, Sequence[Sent]]) -> Iterator[str]:
    """Poison has a dead letter, and names the record; what can be judged has none."""
    for name, letters in found.letters.items():
        if name not in wanted:
            continue
        if wanted[name][0].kind != "poison":
            yield f"a post became a dead letter: {name}: {letters[0]['reason']}"
            continue
        theirs = {(letter["partition"], letter["offset"]) for letter in letters}
        records = {(str(one.partition), str(one.offset)) for one in wanted[name]}
        if not theirs <= records or len(theirs) < min(len(letters), len(records)):
            yield f"a dead letter names another record: {name}"
    judged = [name for name in found.verdict_ids if name in wanted and wanted[name][0].kind != "post"]
    yield from _some("a verdict on what is no post", judged)


def _order(found: Found, wanted: Mapping[str, Sequence[Sent]]) -> Iterator[str]:
    """What comes from one input partition lies in its order in each output partition, first times counted."""
    for (topic, partition), names in found.order.items():
        last: dict[int, int] = {}
        for name in dict.fromkeys(names):
            if name not in wanted:
                continue
            one = wanted[name][0]
            if one.offset < last.get(one.partition, -1):
                yield f"order: {name}, offset {one.offset}, after {last[one.partition]} in {topic}[{partition}]"
                break
            last[one.partition] = one.offset


def _watermark(found: Found, sent: Sequence[Sent], samples: Sequence[Sample]) -> Iterator[str]:
    """Whatever was below a committed offset was published before: its place is below the ends that were seen then.

    Of a post that is on the input twice, as many places as records. A committed offset never goes back.
    """
    inputs: defaultdict[int, list[Sent]] = defaultdict(list)
    for one in sent:
        inputs[one.partition].append(one)
    for records in inputs.values():
        records.sort(key=lambda one: one.offset)
    checked: Counter[int] = Counter()  # records of a partition whose places were held to a sample
    times: Counter[str] = Counter()  # the records among them, by name
    committed: dict[int, int] = {}
    for sample in samples:
        for partition, offset in sample.committed.items():
            if offset < committed.get(partition, 0):
                yield f"committed offset of {partition} went back from {committed[partition]} to {offset}"
            committed[partition] = offset
            records = inputs[partition]
            while checked[partition] < len(records) and records[checked[partition]].offset < offset:
                one = records[checked[partition]]
                checked[partition] += 1
                times[one.name] += 1
                places = found.places.get(one.name, [])
                there = sum(place.offset < sample.ends.get((place.topic, place.partition), 0) for place in places)
                if there < times[one.name]:
                    yield f"committed {offset} of {partition} passed {one.name}, which was not published"


def _some(what: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"{what}: {len(names)}, such as {', '.join(sorted(names)[:_SHOWN])}"
