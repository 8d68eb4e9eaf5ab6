"""Hand-over package: a held case as files, with a draft of what NCMEC's CyberTipline asks for. Nothing is sent.

`report.json` has the elements of the CyberTipline Reporting API in the order of its schema
(https://report.cybertip.org/ispws/documentation). What only the owner knows is null, and listed in `CHECKLIST.md`:
above all whether a person viewed a file, on which the law of searches turns.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from moderation_service.child_safety.legal_hold import HeldCase, HeldPart
from moderation_service.child_safety.sealed_file import sync_folder, write_durably
from moderation_service.contracts.post import ImageRef, Post, read_post
from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import Misconfigured

_EXTENSIONS = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/avif": ".avif",
}
_INCIDENT_TYPES = (
    "Child Pornography (possession, manufacture, and distribution)",
    "Child Sex Trafficking",
    "Child Sex Tourism",
    "Child Sexual Molestation",
    "Misleading Domain Name",
    "Misleading Words or Digital Images on the Internet",
    "Online Enticement of Children for Sexual Acts",
    "Unsolicited Obscene Material Sent to a Child",
)
_CHECKLIST = """\
# Before you report case {case_id}

This folder holds the case in the clear. Keep it encrypted and delete it when the report is made.
Nothing was sent. The service knows what is in `report.json`; the rest only you know.

- [ ] A person decided that the content is apparent child sexual abuse material, where your process asks for that.
- [ ] `incidentSummary.incidentType`, one of:
{types}
- [ ] `incidentSummary.incidentDateTime`: the one given is {when}. Correct it if you know better.
- [ ] `reporter.reportingPerson`: first name, last name and e-mail address of who reports.
- [ ] `reporter.contactPerson`: whom law enforcement may contact, if that is another person.
- [ ] `personOrUserReported`: screen name, display name, profile, e-mail addresses, telephone, IP addresses with times
      (`ipCaptureEvent`), devices. The service knows the author's id alone.
- [ ] `internetDetails`: the address of the page where the post was seen.
- [ ] For each file: `fileViewedByEsp` is true only if a person of yours viewed the whole file; `exifViewedByEsp` only
      if a person viewed its EXIF block. A match of hashes is not a view.
- [ ] For each file: `originalFileName`, where it is null; `publiclyAvailable`; `fileAnnotations`.
- [ ] For each image: `industryClassification` (A1, A2, B1, B2) if a person viewed it.
- [ ] Victims, intended recipients and open law-enforcement contacts, if you know of any.
{missing}- [ ] After the report: `moderation holds extend {case_id} --reported-at TIME --report-id ID --reason WHY`.
"""


def write_package(case: HeldCase, parts: Mapping[str, bytes], folder: Path) -> None:
    """Write the case's files as they came, `report.json`, `CHECKLIST.md` and `SHA256SUMS` into a new or empty folder.

    Raises Misconfigured for a folder that holds something, and OSError.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"--out {folder}: is not an empty folder; name a new one"
        raise Misconfigured(msg)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    held = {_file_name(part): parts[part.name] for part in case.parts}
    written = {**held, "report.json": _report(case, parts), "CHECKLIST.md": _checklist(case, parts)}
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in written.items())
    for name, data in {**written, "SHA256SUMS": sums.encode()}.items():
        write_durably(folder / name, data)
    sync_folder(folder)


def _report(case: HeldCase, parts: Mapping[str, bytes]) -> bytes:
    post, verdict = read_post(parts["post.json"]), Verdict.model_validate_json(parts["verdict.json"])
    moment, source = _incident_time(case, post, parts)
    report = {
        "incidentSummary": {
            "incidentType": None,
            "incidentDateTime": moment.isoformat(),
            "incidentDateTimeDescription": source,
        },
        "internetDetails": {"webPageIncident": {"url": None}},
        "reporter": {"reportingPerson": {"firstName": None, "lastName": None, "email": None}, "contactPerson": None},
        "personOrUserReported": {"espIdentifier": post.author_id, "screenName": None, "ipCaptureEvent": None},
        "additionalInfo": " ".join(_in_words(case, verdict)),
    }
    files = [
        {"file": _file_name(part), "fileDetails": _file_details(part, parts[part.name], post, moment)}
        for part in case.parts
        if part.name == "post.json" or part.image is not None
    ]
    return (json.dumps({"report": report, "files": files}, indent=2, ensure_ascii=False) + "\n").encode()


def _file_details(part: HeldPart, data: bytes, post: Post, moment: datetime) -> dict[str, object]:
    """One file; only an image is what is reported, the record of the post says what it came with."""
    is_image = part.image is not None
    url = _web_address(post.images[part.image]) if part.image is not None else None
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()  # what NCMEC's lists are keyed by
    return {
        "originalFileName": unquote(urlsplit(url).path.rpartition("/")[2]) or None if url else None,
        "uploadedToEspTimestamp": moment.isoformat(),
        "locationOfFile": url,
        "fileViewedByEsp": None,
        "exifViewedByEsp": None,
        "publiclyAvailable": None,
        "fileRelevance": "Reported" if is_image else "Supplemental Reported",
        "industryClassification": None,
        "originalFileHash": [
            {"hashType": "MD5", "value": md5},
            {"hashType": "SHA256", "value": part.sha256},
        ],
    }


def _in_words(case: HeldCase, verdict: Verdict) -> Iterator[str]:
    yield f"Post {case.post_id}, revision {case.revision}, seized {case.seized_at.isoformat()}, case {case.case_id}."
    for match in verdict.matches:
        place = "words" if match.image is None else f"image-{match.image}"
        near = "" if match.distance is None else f" at distance {match.distance}"
        yield f"{place}: {match.kind} match{near} with entry {match.entry} of bank {match.bank}."
    for policy in verdict.policies:
        if policy.outcome.is_flagged:
            yield f"Flagged by policy {policy.policy_id} (model {verdict.model.name}, score {policy.score:.2f})."


def _incident_time(case: HeldCase, post: Post, parts: Mapping[str, bytes]) -> tuple[datetime, str]:
    if post.created_at:
        return post.created_at, "creation of the post, as the platform says"
    timestamp = json.loads(parts["origin.json"]).get("timestamp") or 0  # of the record; a producer may set none
    if timestamp <= 0:
        return case.seized_at, "the legal hold began"
    return datetime.fromtimestamp(timestamp / 1000, UTC), "arrival of the post in the moderation queue"


def _web_address(reference: ImageRef) -> str | None:
    url = (reference.url or "").strip()
    return url if url.lower().startswith(("http://", "https://")) else None


def _checklist(case: HeldCase, parts: Mapping[str, bytes]) -> bytes:
    moment, source = _incident_time(case, read_post(parts["post.json"]), parts)
    missing = "".join(
        f"- [ ] Image {number} could not be had ({status}): look for it in your own storage.\n"
        for number, status in case.missing_images
    )
    types = "\n".join(f"      - {type_}" for type_ in _INCIDENT_TYPES)
    when = f"{moment.isoformat()} ({source})"
    return _CHECKLIST.format(case_id=case.case_id, types=types, when=when, missing=missing).encode()


def _file_name(part: HeldPart) -> str:
    return part.name + _EXTENSIONS.get(part.media_type or "", "")
