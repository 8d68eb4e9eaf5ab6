# ruff: noqa: INP001 - a script, and no package
"""Collects what the console says into `translations/messages.pot`, and brings each language's catalogue up to date.

Run by `make messages`; `make messages ADD=fr` begins a new language. Messages whose English has changed or gone are
taken out of a catalogue, new ones stand in it without a translation. tests/console/pages/test_translations.py says
which are missing.
"""

import sys
from io import BytesIO

from babel import Locale
from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import write_po

from moderation_service.console.catalogues import FOLDER, read_file

CONSOLE = FOLDER.parents[1]
TEMPLATE = FOLDER / "messages.pot"
_METHODS = [("**.py", "python"), ("pages/templates/**.html", "jinja2")]
_OPTIONS = {"**.html": {"silent": "false"}}  # a template that is broken is an error
_HEADER = """# Messages of the console. How to translate them: CONTRIBUTING.md
msgid ""
msgstr ""
"Language: {language}\\n"
{plural_forms}"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"

"""


def collected() -> Catalog:
    """Every message of the console's code and templates, in English."""
    found = Catalog()
    keywords = {**DEFAULT_KEYWORDS, "MsgId": None}
    for file, line, message, _, context in extract_from_dir(CONSOLE, _METHODS, _OPTIONS, keywords):
        found.add(message, locations=[(file, line)], context=context)
    return found


def written(catalog: Catalog) -> str:
    """The catalogue as its file has it: by place, with the files that say it, and without dates."""
    out = BytesIO()
    write_po(out, catalog, width=120, omit_header=True, sort_by_file=True, ignore_obsolete=True, include_lineno=False)
    forms = f'"Plural-Forms: {catalog.plural_forms}\\n"\n' if catalog.locale else ""
    return _HEADER.format(language=catalog.locale or "", plural_forms=forms) + out.getvalue().decode()


def updated(catalog: Catalog, template: Catalog) -> str:
    """The file of a catalogue with all messages of the template and no other."""
    catalog.update(template, no_fuzzy_matching=True)
    return written(catalog)


def main(new: list[str]) -> None:
    """Write all files."""
    template = collected()
    TEMPLATE.write_text(written(template), encoding="utf-8")
    for file in sorted(FOLDER.glob("*/LC_MESSAGES/messages.po")):
        file.write_text(updated(read_file(file), template), encoding="utf-8")
    for name in new:
        file = FOLDER / str(Locale.parse(name, sep="-")) / "LC_MESSAGES" / "messages.po"
        file.parent.mkdir(parents=True)
        file.write_text(updated(Catalog(Locale.parse(name, sep="-")), template), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
