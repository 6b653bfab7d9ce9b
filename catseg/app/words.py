"""Names as somebody types them: how many there are, and what has to be said of them."""

from collections.abc import Callable
from dataclasses import dataclass

from catseg.app.limits import Limits
from catseg.errors import InputError, UserError
from catseg.vocabulary import Vocabulary, load_vocabulary
from catseg.vocabulary.entries import synonyms_of
from catseg.vocabulary.loading import line_entries

_ORIGIN = "your names"
_TYPING = " \t\r\n,;|"  # what stands at the end while the next name is not typed yet
_SHOWN = 40  # characters of a name that a note repeats

ReadsWhole = Callable[[str], bool]


@dataclass(frozen=True)
class Words:
    """What typed names mean.

    Attributes:
        classes: that will be looked for; None if there are none.
        notes: what became of names that are not taken as they were typed.
        problem: why nothing can be looked for; "" if it can.
    """

    classes: Vocabulary | None = None
    notes: tuple[str, ...] = ()
    problem: str = ""

    @property
    def count(self) -> str:
        """How many names there are, in words."""
        number = len(self.classes or ())
        return f"{number} name{'s' * (number != 1)}"

    def required(self) -> Vocabulary:
        """Return the classes.

        Raises:
            ValueError: if there are none.
        """
        if self.problem:
            raise InputError(self.problem)
        if self.classes is None:
            raise InputError("no names: write what to look for, such as: sofa, night sky, cat | kitten")
        return self.classes


def read_words(text: str, limits: Limits, reads_whole: ReadsWhole | None = None) -> Words:
    """Read names as the command line does, but leave out repeated ones and cut those that are too long, with a note.

    No file is read, whatever the text looks like.

    Args:
        text: such as "sofa, night sky, cat | kitten".
        limits: their number of names holds.
        reads_whole: tells whether the model can read a name to its end; None if no model is loaded yet.
    """
    if len(text) > limits.characters:
        return Words(problem=f"{len(text)} characters of names, this server takes {limits.characters}")
    line = text.rstrip(_TYPING)
    if not line.strip():
        return Words()
    try:
        entries = [synonyms_of(entry, f"{place} of {_ORIGIN}") for place, entry in line_entries(line, _ORIGIN)]
    except (UserError, RecursionError, MemoryError) as error:  # the latter for brackets in brackets in brackets
        return Words(problem=str(error) or f"{_ORIGIN} are nested too deeply")
    notes: list[str] = []
    if reads_whole is not None:
        entries = [_cut(words, reads_whole, notes) for words in entries]
    kept = _without_repeats(entries, notes)
    if len(kept) > limits.names:
        return Words(notes=tuple(notes), problem=f"{len(kept)} names, this server takes {limits.names}")
    return Words(Vocabulary(kept, _ORIGIN), tuple(notes))


def shipped_words(name: str, limits: Limits) -> Words:
    """Return the names of a benchmark.

    Raises:
        ValueError: if no shipped vocabulary is called so.
    """
    classes = load_vocabulary(name)
    if len(classes) > limits.names:
        return Words(problem=f"{name} has {len(classes)} names, this server takes {limits.names}")
    return Words(classes)


def _cut(synonyms: tuple[str, ...], reads_whole: ReadsWhole, notes: list[str]) -> tuple[str, ...]:
    short = tuple(_readable_start(word, reads_whole) for word in synonyms)
    for word, start in zip(synonyms, short, strict=True):
        if start != word:
            notes.append(f"“{_shown(word)}” is longer than the model reads: cut to “{start}”")
    return tuple(dict.fromkeys(short))


def _readable_start(name: str, reads_whole: ReadsWhole) -> str:
    """The longest start of a name that is read whole; where there is a choice, it ends with a word."""
    if reads_whole(name):
        return name
    low, high = 1, len(name)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if reads_whole(name[:middle].rstrip()) else (low, middle - 1)
    start = name[:low]
    if name[low] != " " and " " in start:
        start = start.rpartition(" ")[0]
    return start.rstrip()


def _without_repeats(classes: list[tuple[str, ...]], notes: list[str]) -> list[tuple[str, ...]]:
    kept: dict[tuple[str, ...], tuple[int, tuple[str, ...]]] = {}
    for number, synonyms in enumerate(classes, 1):
        same = tuple(sorted(synonym.casefold() for synonym in synonyms))
        if same in kept:
            notes.append(f"name {number}, “{_shown(', '.join(synonyms))}”, repeats name {kept[same][0]}: left out")
        else:
            kept[same] = number, synonyms
    return [synonyms for _, synonyms in kept.values()]


def _shown(name: str) -> str:
    return name if len(name) <= _SHOWN else f"{name[:_SHOWN].rstrip()}…"
