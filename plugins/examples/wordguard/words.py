"""Finding the words of a list in what people write.

A word is found whole: "ass" is not in "class". Before they are compared, text
and list are folded: compatibility forms, letters of either case, full width and
composed accents come to the same (NFKC and case folding), and characters that
cannot be seen, with which a word could be split, are left out. What was found
is told in offsets of the text as it was written.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

REFUSE = "refuse"
AMEND = "amend"
MASK = "•••"  # not asterisks, which Markdown would take for emphasis
MESSAGE = "This is not said here: {words}. Please put it another way."
MOST_NAMED = 5  # words in a message

# Languages that write without spaces: their words are found inside of others.
UNSPACED = {"ja", "km", "lo", "my", "th", "zh"}
# The scripts of these, as the names of their characters begin.
UNSPACED_SCRIPTS = ("CJK UNIFIED", "HIRAGANA", "KATAKANA", "KHMER", "LAO", "MYANMAR", "THAI")
# Languages whose i with and without a dot are two letters in both cases.
DOTTED = {"az", "tr"}

_INVISIBLE = {0x34F, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}  # joiners and variation selectors
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_PARTS_OF_SYLLABLES = range(0x1160, 0x1200)  # Hangul vowels and finals, which follow their initial


def _ignored(c):
    return unicodedata.category(c) == "Cf" or ord(c) in _INVISIBLE or ord(c) in _SKIN_TONES


@lru_cache(maxsize=1 << 14)
def _fold(cluster, dotted):
    s = unicodedata.normalize("NFKC", "".join(c for c in cluster if not _ignored(c)))
    if dotted:
        s = s.replace("İ", "i").replace("I", "ı")
    return unicodedata.normalize("NFKC", s.casefold())


class _Table(dict):
    """A function of characters for str.translate, which is many times faster than
    a loop: what was seen once is looked up."""

    MOST = 1 << 15  # no text may fill the memory

    def __init__(self, of):
        self._of = of

    def __missing__(self, code):
        if len(self) >= self.MOST:
            self.clear()
        value = self[code] = self._of(chr(code))
        return value


def _joins(c):
    """c: continues the character before it, b: begins one."""
    first = unicodedata.normalize("NFKC", c)[0]
    return "c" if _ignored(c) or unicodedata.category(first)[0] == "M" or ord(first) in _PARTS_OF_SYLLABLES else "b"


def _kind(c):
    """w: part of a word, s: space, o: anything else, which stands for itself."""
    category = unicodedata.category(c)[0]
    if category in "LMN":
        return "w"
    return "s" if category == "Z" or c.isspace() else "o"


_JOINS = _Table(_joins)
_KINDS = _Table(_kind)
_FOLDS = {dotted: _Table(lambda c, dotted=dotted: _fold(c, dotted)) for dotted in (False, True)}
_PIECE = re.compile("b+(?!c)|.c*")  # characters that nothing continues, or one with what does
_TOKEN = re.compile("w+|s+|o")


class Folded:
    """A text as it is compared, and where each of its characters comes from."""

    def __init__(self, text, dotted=False):
        folds = _FOLDS[dotted]
        folded, self._starts, self._ends = [], [], []
        for m in _PIECE.finditer(text.translate(_JOINS)):
            start, end = m.span()
            if "c" in m[0]:
                one = _fold(text[start:end], dotted)
                starts, ends = [start] * len(one), [end] * len(one)
            else:
                one = text[start:end].translate(folds)
                starts, ends = range(start, end), range(start + 1, end + 1)
                if len(one) != end - start:  # some became several
                    starts = [n for n in starts for _ in folds[ord(text[n])]]
                    ends = [n + 1 for n in starts]
            folded.append(one)
            self._starts.extend(starts)
            self._ends.extend(ends)
        self.text = "".join(folded)

    def tokens(self):
        """Words, spaces and single other characters: [(token, start, end)]."""
        text, kinds = self.text, self.text.translate(_KINDS)
        spans = [m.span() for m in _TOKEN.finditer(kinds)]
        return [(" " if kinds[start] == "s" else text[start:end], start, end) for start, end in spans]

    def original(self, start, end):
        """The offsets in the text as it was written, or None in the middle of a
        character that became several."""
        if start > 0 and self._starts[start - 1] == self._starts[start]:
            return None
        if end < len(self.text) and self._starts[end - 1] == self._starts[end]:
            return None
        return self._starts[start], self._ends[end - 1]


@dataclass(frozen=True)
class Entry:
    """A word of the list, or several with spaces between them."""

    word: str
    action: str
    replacement: str
    language: str = ""

    @property
    def dotted(self):
        return self.language in DOTTED

    @property
    def unspaced(self):
        return self.language in UNSPACED

    def tokens(self):
        return tuple(token for token, _, _ in Folded(self.word.strip(), self.dotted).tokens())


@dataclass(frozen=True)
class Hit:
    """An entry that a text has, and where."""

    start: int
    end: int
    entry: Entry


class Guard:
    """A list, ready to be looked for."""

    def __init__(self, entries, message=MESSAGE):
        self.message = message
        self._whole = {}  # by dotted: {first token: [(tokens, entry)], the longest first}
        self._inside = {}  # by dotted: [(folded text, entry)]
        for e in entries:
            tokens = e.tokens()
            if not tokens:
                continue
            if e.unspaced:
                self._inside.setdefault(e.dotted, []).append(("".join(tokens), e))
            else:
                self._whole.setdefault(e.dotted, {}).setdefault(tokens[0], []).append((tokens, e))
        for index in self._whole.values():
            for candidates in index.values():
                candidates.sort(key=lambda c: -len(c[0]))

    @classmethod
    def of(cls, settings):
        """The guard of an organisation's settings."""
        action, mask = settings.get("action", REFUSE), settings.get("mask", MASK)
        return cls(
            [
                Entry(
                    w["word"],
                    w.get("action") or (AMEND if "replacement" in w else action),
                    w.get("replacement", mask),
                    w.get("language", ""),
                )
                for w in settings.get("words", [])
            ],
            settings.get("message", MESSAGE),
        )

    def find(self, text):
        """What the text has, in its order; of two at one place the longer."""
        hits = []
        for dotted in self._whole.keys() | self._inside.keys():
            folded = Folded(text, dotted)
            self._find_whole(folded, self._whole.get(dotted, {}), hits)
            self._find_inside(folded, self._inside.get(dotted, ()), hits)
        hits.sort(key=lambda h: (h.start, -h.end))
        kept, end = [], 0
        for h in hits:
            if h.start >= end:
                kept.append(h)
                end = h.end
        return kept

    @staticmethod
    def _find_whole(folded, index, hits):
        tokens = folded.tokens()
        words = [t[0] for t in tokens]
        for n, word in enumerate(words):
            for wanted, entry in index.get(word, ()):
                last = n + len(wanted)
                if tuple(words[n:last]) != wanted:
                    continue
                span = folded.original(tokens[n][1], tokens[last - 1][2])
                if span:
                    hits.append(Hit(*span, entry))
                    break

    @staticmethod
    def _find_inside(folded, wanted, hits):
        for word, entry in wanted:
            at = folded.text.find(word)
            while at >= 0:
                span = folded.original(at, at + len(word))
                if span:
                    hits.append(Hit(*span, entry))
                at = folded.text.find(word, at + len(word))

    def refusal(self, entries):
        """What the person is told. Each word is named once, as the list has it."""
        words = list(dict.fromkeys(e.word.strip() for e in entries))
        named = ", ".join(f"“{w}”" for w in words[:MOST_NAMED])
        if len(words) > MOST_NAMED:
            named += f" and {len(words) - MOST_NAMED} more"
        return self.message.replace("{words}", named)


def amended(text, hits):
    """The text with each hit replaced."""
    out, at = [], 0
    for h in hits:
        out += text[at : h.start], h.entry.replacement
        at = h.end
    return "".join(out) + text[at:]


def problems(settings):
    """What is wrong with settings that fit the manifest's schema: [(JSON
    pointer, message)]."""
    found = []
    guard = Guard.of(settings)
    first = {}
    for n, w in enumerate(settings.get("words", [])):
        at = f"/words/{n}"
        language = w.get("language", "")
        entry = Entry(w["word"], REFUSE, "", language)
        tokens = entry.tokens()
        if not any(_kind(t[0]) == "w" or unicodedata.category(t[0])[0] == "S" for t in tokens):
            found.append((at + "/word", "has no letter, digit or symbol that could be found"))
            continue
        same = first.setdefault((entry.dotted, entry.unspaced, tokens), n)
        if same != n:
            found.append((at + "/word", f"is the same word as /words/{same}"))
        if not entry.unspaced and _unspaced_script(w["word"]):
            found.append((at + "/language", "is needed: this script has no spaces between words, so name one of " + ", ".join(sorted(UNSPACED))))
        if "replacement" in w:
            if w.get("action") == REFUSE:
                found.append((at + "/replacement", "has no use: the action is refuse"))
            found += _unfit(guard, at + "/replacement", w["replacement"])
    if "mask" in settings:
        found += _unfit(guard, "/mask", settings["mask"])
    unknown = [p for p in re.findall(r"\{[^{}]*\}", settings.get("message", "")) if p != "{words}"]
    if unknown:
        found.append(("/message", f"has {unknown[0]} in it; only {{words}} is filled in"))
    return found


def _unspaced_script(word):
    return any(unicodedata.name(c, "").startswith(UNSPACED_SCRIPTS) for c in word)


def _unfit(guard, pointer, replacement):
    if any(unicodedata.category(c) == "Cc" for c in replacement):
        return [(pointer, "has a control character in it")]
    hits = guard.find(replacement)
    if hits:
        return [(pointer, f"has “{hits[0].entry.word.strip()}” in it, which is on the list")]
    return []
