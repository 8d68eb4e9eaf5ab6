"""Terms: words and phrases in a text, however they are disguised, by Aho-Corasick."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations, pairwise
from threading import Lock
from typing import NamedTuple

import numpy as np
from ahocorasick_rs import AhoCorasick
from numpy.typing import NDArray

from moderation_service.character_folding import SPACELESS
from moderation_service.contracts.bank import Span
from moderation_service.text_folding import IS_GAP, NO_GAP, NO_SYMBOL, SIGN, STOP, FoldedText, fold

_MOST_IN_TAIL = 512  # terms; an automaton of as many is built in two milliseconds
_MOST_SMALL = 16  # sealed automata that came since the last compaction
_LETTERS = 40_000  # of an automaton, which is built in some 15 ms in which no other thread runs
_MOST_SPANS = 20  # of a term
_LEAST_SPELLED, _LONGEST_PIECE = 3, 2  # letters of a term that is found spelled apart, and of its pieces
_LEAST_CUT, _NEVER_ALONE = 6, "bcfghjklnpqrvwxz"  # letters of a term from which one is cut off, as in v iagra
_MOST_DOUBLES = 3  # letters of a term that may be stretched, each in twice as many forms
_LEAST_JOINED = 8  # letters of a phrase that is found without its spaces


class Term(NamedTuple):
    """`breaks`: where its words begin, in letters. `open_start`, `open_end`: it may be part of a longer word there.

    `stretched`: letters that stand for two, and match only where the text has three or more.
    """

    letters: str
    breaks: frozenset[int]
    open_start: bool
    open_end: bool
    stretched: frozenset[int] = frozenset()


def parse_term(value: str) -> Term:
    """A term; `*` in front or behind lets it be part of a longer word. Raises ValueError where there is none."""
    text = fold(value)
    if not text.letters.strip(NO_SYMBOL):
        msg = f"{value!r} has no letter, digit or symbol to look for"
        raise ValueError(msg)
    breaks = frozenset(at for at in range(1, len(text.letters)) if text.gaps[at] != NO_GAP)
    return Term(text.letters, breaks, value.startswith("*"), value.endswith("*"))


class _Automaton:
    def __init__(self, terms: Iterable[tuple[int, Term]]) -> None:
        by_letters = defaultdict[str, list[tuple[int, Term]]](list)
        for slot, term in terms:
            for form in _forms(term):
                by_letters[form.letters].append((slot, form))
        self._terms = list(by_letters.values())
        self._automaton = AhoCorasick(list(by_letters)) if by_letters else None

    def __iter__(self) -> Iterator[tuple[int, Term]]:
        return ((slot, term) for same in self._terms for slot, term in same if not term.stretched)

    def search(self, text: FoldedText, found: defaultdict[int, list[Span]]) -> None:
        """Add to `found` where terms stand in the text, by slot."""
        places = self._automaton.find_matches_as_indexes(text.letters, overlapping=True) if self._automaton else ()
        stretched = text.stretched
        for index, begin, end in places:
            begins, ends = text.boundaries[begin], text.boundaries[end]
            for slot, term in self._terms[index]:
                if len(found[slot]) >= _MOST_SPANS or not ((begins or term.open_start) and (ends or term.open_end)):
                    continue
                # Cheap checks first: most terms and most texts have nothing stretched.
                if term.stretched and not (stretched and all(begin + at in stretched for at in term.stretched)):
                    continue
                if _stands_alone(term, text, begin, end):
                    span = text.offsets[begin], stretched.get(end - 1, text.offsets[end - 1] + 1)
                    if span not in found[slot]:
                        found[slot].append(span)


class TermIndex:
    """Terms by slot. The newest are in an automaton of their own, the tail: each `add` rebuilds it until it is full."""

    def __init__(self) -> None:
        self._swap = Lock()
        self._sealed: tuple[_Automaton, ...] = ()
        self._compacted = 0
        self._tail = _Automaton(())

    @property
    def needs_compaction(self) -> bool:
        """Whether enough small automata have come up to slow the search down."""
        return len(self._sealed) > self._compacted + _MOST_SMALL

    def add(self, terms: Mapping[int, Term]) -> None:
        """Add terms by slot."""
        if terms:
            with self._swap:
                tail = [*self._tail, *terms.items()]
                if len(tail) > _MOST_IN_TAIL:
                    self._sealed += tuple(_automata(tail))
                    tail = []
                self._tail = _Automaton(tail)

    def compact(self, kept: NDArray[np.bool_]) -> None:
        """Build the sealed automata anew, of the terms that `kept` has true or that came after it. For a thread."""
        old = self._sealed
        terms = (each for automaton in old for each in automaton)
        made = tuple(_automata((slot, term) for slot, term in terms if slot >= len(kept) or kept[slot]))
        with self._swap:
            self._sealed, self._compacted = made + self._sealed[len(old) :], len(made)

    def search(self, readings: Iterable[FoldedText]) -> dict[int, list[Span]]:
        """Where each term stands in the text, by slot; at most 20 places of a term."""
        found = defaultdict[int, list[Span]](list)
        automata = (self._tail, *self._sealed)  # in this order: what a tail held is sealed before the tail is emptied
        for text in readings:
            for automaton in automata:
                automaton.search(text, found)
        return {slot: spans for slot, spans in found.items() if spans}


def _automata(terms: Iterable[tuple[int, Term]]) -> Iterator[_Automaton]:
    part, letters = list[tuple[int, Term]](), 0
    for slot, term in terms:
        part.append((slot, term))
        letters += len(term.letters)
        if letters > _LETTERS:
            yield _Automaton(part)
            part, letters = [], 0
            time.sleep(0)  # lets other threads run
    yield _Automaton(part)


def _forms(term: Term) -> Iterator[Term]:
    """The term, and as it is found where its double letters are stretched: kiiillll is read as kil."""
    doubles = [at for at, pair in enumerate(pairwise(term.letters)) if pair[0] == pair[1]][:_MOST_DOUBLES]
    for count in range(len(doubles) + 1):
        for chosen in combinations(doubles, count):
            if all(later - at > 1 for at, later in pairwise(chosen)):
                letters = "".join(letter for at, letter in enumerate(term.letters) if at - 1 not in chosen)
                breaks = frozenset(at - sum(one < at for one in chosen) for at in term.breaks)
                stretched = frozenset(at - number for number, at in enumerate(chosen))
                yield term._replace(letters=letters, breaks=breaks, stretched=stretched)


def _stands_alone(term: Term, text: FoldedText, begin: int, end: int) -> bool:
    """Whether the term's words stand between two boundaries, and not others that have the same letters."""
    gaps, inner = text.gaps, text.gaps[begin + 1 : end]
    if SPACELESS.match(text.letters, begin):
        return STOP not in inner or (len(inner) > 1 and all(inner))
    if end - begin < _LEAST_JOINED and any(not inner[at - 1] for at in term.breaks):
        return False
    if all(gap <= SIGN or at in term.breaks for at, gap in enumerate(inner, 1)) and not (inner and all(inner)):
        return True
    # Spelled apart: pieces of one letter, or several of two at most; and no part of a longer word, as in p a s s.
    widest, size = max(inner, default=0), end - begin
    if (gaps[begin] <= widest and gaps[begin - 1]) or (gaps[end] <= widest and gaps[end + 1]) or size < _LEAST_SPELLED:
        return False
    pieces = [len(piece) + 1 for piece in inner.translate(IS_GAP).split(b"\1")]
    if size >= _LEAST_CUT and pieces in ([1, size - 1], [size - 1, 1]):
        return term.letters[0 if pieces[0] == 1 else -1] in _NEVER_ALONE
    return max(pieces) == 1 or (len(pieces) >= _LEAST_SPELLED and max(pieces) <= _LONGEST_PIECE)
