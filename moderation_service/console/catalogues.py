"""Message catalogues (gettext): what pages say, in each language that `pages/translations/` has a folder for.

Babel reads the `.po` files themselves when the console starts: a language is a file, and nothing is compiled or
generated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path
from typing import Literal, NewType

from babel import Locale, UnknownLocaleError
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po

from moderation_service.languages.tags import nearest_tag

MsgId = NewType("MsgId", str)
"""A sentence of the code in English, translated where it is shown. `make messages` finds it by this name."""

FOLDER = Path(__file__).parent / "pages" / "translations"
SOURCE = Locale("en")
_MOST_RANGES = 20  # of an Accept-Language header


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """The console's messages in one language."""

    locale: Locale
    translations: NullTranslations

    @property
    def tag(self) -> str:
        """The language's BCP 47 tag."""
        return str(self.locale).replace("_", "-")

    @property
    def name(self) -> str:
        """What the language calls itself, as an item of a list begins."""
        name = self.locale.get_display_name() or self.tag
        return name[0].upper() + name[1:]

    @property
    def direction(self) -> Literal["ltr", "rtl"]:
        """Which way the language is written."""
        return "rtl" if self.locale.text_direction == "rtl" else "ltr"

    def gettext(self, message: MsgId) -> str:
        """The message in this language; in English where it is not translated."""
        return self.translations.gettext(message)

    def language_name(self, tag: str) -> str:
        """What this language calls another, by its BCP 47 tag; the tag itself where it names none."""
        try:
            return Locale.parse(tag, sep="-").get_display_name(self.locale) or tag
        except (ValueError, UnknownLocaleError):
            return tag


Catalogues = Mapping[str, Catalogue]
"""By BCP 47 tag; English, in which the messages are written, first."""


@cache
def shipped_catalogues() -> Catalogues:
    """Those that come with the console."""
    return read_catalogues(FOLDER)


def read_catalogues(folder: Path) -> Catalogues:
    """English, and each `LANGUAGE/LC_MESSAGES/messages.po` of the folder.

    Raises UnknownLocaleError for a folder that is no language's, PoFileError for a broken file, ValueError for a broken
    plural form.
    """
    files = sorted(folder.glob("*/LC_MESSAGES/messages.po"))
    read = [Catalogue(SOURCE, NullTranslations()), *(_read(file) for file in files)]
    return {catalogue.tag: catalogue for catalogue in read}


def negotiate(catalogues: Catalogues, accept_language: str) -> Catalogue:
    """The language of an Accept-Language header that is liked best and there, by `nearest_tag`; else English."""
    ranges = map(_range, accept_language.split(",", _MOST_RANGES)[:_MOST_RANGES])
    for tag, weight in sorted(ranges, key=lambda one: -one[1]):
        if weight > 0 and (found := nearest_tag(tag, catalogues)):
            return catalogues[found]
    return catalogues[str(SOURCE)]


def read_file(file: Path) -> Catalog:
    """A `.po` file; its language is the name of the folder two above it. Raises as `read_catalogues`."""
    with file.open("rb") as source:
        try:
            return read_po(source, Locale.parse(file.parents[1].name), abort_invalid=True)
        except PoFileError as error:
            error.add_note(f"in {file}")
            raise


def _read(file: Path) -> Catalogue:
    catalog, compiled = read_file(file), BytesIO()
    write_mo(compiled, catalog)
    compiled.seek(0)
    try:
        return Catalogue(catalog.locale or SOURCE, GNUTranslations(compiled))
    except ValueError as error:
        error.add_note(f"in {file}")
        raise


def _range(written: str) -> tuple[str, float]:
    """A language range with its weight, as in `de;q=0.5`."""
    tag, _, weight = written.replace(" ", "").partition(";q=")
    try:
        return tag, float(weight or 1)
    except ValueError:
        return tag, 0
