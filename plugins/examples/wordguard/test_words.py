"""Run with: python3 -m unittest"""

import unittest

import words


def guard(*entries, **settings):
    return words.Guard.of({"words": [{"word": e} if isinstance(e, str) else e for e in entries], **settings})


def found(text, *entries):
    return [text[h.start : h.end] for h in guard(*entries).find(text)]


class Finding(unittest.TestCase):
    def test_whole_words(self):
        for text, want in {
            "ass": ["ass"],
            "What an ass!": ["ass"],
            "a first-class passenger": [],
            "ass-backwards, (ass)": ["ass", "ass"],
            "_ass_ and **ass**": ["ass", "ass"],  # Markdown
            "ass2 assé": [],
            "asś": [],  # a mark makes another letter of it
            "my ass's": ["ass"],
            "": [],
        }.items():
            with self.subTest(text):
                self.assertEqual(found(text, "ass"), want)

    def test_folding(self):
        for word, text in [
            ("darn", "DARN"),
            ("Darn", "ｄａｒｎ"),  # full width
            ("straße", "STRASSE"),
            ("strasse", "Straße"),
            ("fiasco", "ﬁasco"),  # a ligature
            ("café", "cafe\u0301"),
            ("cafe\u0301", "CAFÉ"),
            ("ΣΟΦΟΣ", "σοφος"),  # two small sigmas
            ("darn", "da\u00adrn"),  # a soft hyphen
            ("darn", "d\u200ba\u200cr\u2060n"),
            ("한국", "\u1112\u1161\u11ab\u1100\u116e\u11a8"),  # syllables in parts
            ("हिन्दी", "हिन्दी"),  # marks within a word
            ("🖕", "🖕🏽"),
            ("☺", "☺\ufe0f"),
        ]:
            with self.subTest(word=word, text=text):
                self.assertEqual(found(text, word), [text])
                self.assertEqual(found(f"so {text}, then", word), [text])
                self.assertEqual(found(f"so{text}x", word) if word.isalpha() else [], [])

    def test_offsets_are_those_of_the_text(self):
        self.assertEqual(found("ﬃ ßß ½ darn \u00adé DARN.", "darn"), ["darn", "DARN"])

    def test_no_half_characters(self):
        self.assertEqual(found("½", "1"), [])
        self.assertEqual(found("1 ⁄ 2", "1"), ["1"])

    def test_phrases(self):
        self.assertEqual(found("what the  \n HECK is", "the heck"), ["the  \n HECK"])
        self.assertEqual(found("theheck, the-heck", "the heck"), [])
        self.assertEqual(found("C++ and c + +", "c++"), ["C++"])

    def test_the_longer_of_two(self):
        self.assertEqual(found("a big darn fool", "darn", "darn fool", "big darn"), ["big darn"])
        self.assertEqual(found("darn fool", "darn", "darn fool"), ["darn fool"])

    def test_languages_without_spaces(self):
        ja = {"word": "馬鹿", "language": "ja"}
        self.assertEqual(found("これは馬鹿です。馬鹿", ja), ["馬鹿", "馬鹿"])
        self.assertEqual(found("これは馬鹿です。", "馬鹿"), [])
        self.assertEqual(found("ﾊﾞｶ", {"word": "バカ", "language": "ja"}), ["ﾊﾞｶ"])  # half width
        self.assertEqual(found("คนควายจริง", {"word": "ควาย", "language": "th"}), ["ควาย"])

    def test_the_turkish_i(self):
        tr = {"word": "sıkı", "language": "tr"}
        self.assertEqual(found("SIKI sıkı siki SİKİ", tr), ["SIKI", "sıkı"])
        self.assertEqual(found("SIKI sıkı siki", "siki"), ["SIKI", "siki"])

    def test_long_texts(self):
        text = "é darned " * 5500
        self.assertEqual(found(text + "darn", *(f"word{n}" for n in range(499)), "darn"), ["darn"])


class Replacing(unittest.TestCase):
    def replace(self, text, *entries, **settings):
        g = guard(*entries, **settings)
        return words.amended(text, g.find(text))

    def test_masks_and_replacements(self):
        self.assertEqual(self.replace("Darn it, DARN", "darn"), "••• it, •••")
        self.assertEqual(self.replace("Darn it", "darn", mask="#"), "# it")
        heck = {"word": "hell", "replacement": "heck"}
        self.assertEqual(self.replace("ｈｅｌｌ, shell", heck), "heck, shell")

    def test_what_happens(self):
        g = guard(
            "plain", {"word": "soft", "replacement": "mild"}, {"word": "hard", "action": "refuse"}, action="amend"
        )
        self.assertEqual(
            [(h.entry.action, h.entry.replacement) for h in g.find("plain soft hard")],
            [("amend", "•••"), ("amend", "mild"), ("refuse", "•••")],
        )
        self.assertEqual(guard("plain").find("plain")[0].entry.action, "refuse")

    def test_the_message(self):
        g = guard(*"abcdefg", message="Not {words}, {please}!")
        entries = [h.entry for h in g.find("g f e d c b a g")]
        self.assertEqual(g.refusal(entries[:1]), "Not “g”, {please}!")
        self.assertEqual(g.refusal(entries), "Not “g”, “f”, “e”, “d”, “c” and 2 more, {please}!")


class Settings(unittest.TestCase):
    def test_good_ones(self):
        self.assertEqual(words.problems({}), [])
        good = {
            "words": [{"word": "darn"}, {"word": "c++"}, {"word": "🖕", "replacement": "…"}, {"word": "馬鹿", "language": "ja"}],
            "mask": "***",
            "message": "{words}: no",
        }
        self.assertEqual(words.problems(good), [])

    def test_bad_ones(self):
        bad = {
            "words": [
                {"word": "darn"},
                {"word": " \u200b"},
                {"word": "---"},
                {"word": "ＤＡＲＮ"},
                {"word": "heck", "replacement": "oh Darn!"},
                {"word": "hell", "action": "refuse", "replacement": "heaven"},
                {"word": "馬鹿"},
                {"word": "drat", "replacement": "a\nb"},
            ],
            "mask": "heck",
            "message": "{word} and {words}",
        }
        found = words.problems(bad)
        self.assertEqual(
            [pointer for pointer, _ in found],
            [
                "/words/1/word",
                "/words/2/word",
                "/words/3/word",
                "/words/4/replacement",
                "/words/5/replacement",
                "/words/6/language",
                "/words/7/replacement",
                "/mask",
                "/message",
            ],
        )
        said = dict(found)
        self.assertEqual(said["/words/3/word"], "is the same word as /words/0")
        self.assertIn("“darn”", said["/words/4/replacement"])
        self.assertIn("ja", said["/words/6/language"])


if __name__ == "__main__":
    unittest.main()
