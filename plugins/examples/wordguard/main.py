"""Wordguard: keeps the words of a list out of tasks and comments."""

import json
from functools import lru_cache

import guildhall_plugin
import words
from guildhall_plugin import Decision, Plugin, Result

# The texts of a draft, and how long each may be.
TEXTS = {"title": 500, "description": 50_000, "body": 20_000}
LONGEST_LABEL = 50


@lru_cache(maxsize=64)
def guard_of(settings):
    """By what the settings say: two organisations share a guard only if their
    settings are the same to the letter."""
    return words.Guard.of(json.loads(settings or b"{}"))


def decide(call, change):
    """Looks at what the change makes new; what stood there before may stay."""
    guard = guard_of(call.settings_json)
    refused, amend = [], {}
    for field, limit in TEXTS.items():
        text = change.draft.get(field, "")
        if not text or text == change.subject.get(field):
            continue
        hits = guard.find(text)
        if not hits:
            continue
        masked = words.amended(text, hits)
        if len(masked) > limit or not masked.strip():
            refused += hits
            continue
        refused += (h for h in hits if h.entry.action == words.REFUSE)
        amend[field] = masked
    labels = labelled(guard, change, refused)
    if labels != change.draft.get("labels", []):
        amend["labels"] = labels
    if refused:
        return Decision(refusal=guard.refusal(h.entry for h in refused))
    return Decision(amend=amend)


def labelled(guard, change, refused):
    """The draft's labels with what replaces them; what cannot be a label is added
    to refused."""
    old, out = change.subject.get("labels", []), []
    for label in change.draft.get("labels", []):
        hits = [] if label in old else guard.find(label)
        masked = words.amended(label, hits)
        if hits and (len(masked) > LONGEST_LABEL or "," in masked or not masked.strip()):
            refused += hits
        refused += (h for h in hits if h.entry.action == words.REFUSE)
        if masked not in out:
            out.append(masked)
    return out


def test_text(call, action):
    """Says what would become of a text."""
    guard, text = guard_of(call.settings_json), action.input["text"]
    hits = guard.find(text)
    output = {
        "outcome": "allowed",
        "text": text,
        "found": [{"word": h.entry.word, "text": text[h.start : h.end], "action": h.entry.action} for h in hits],
    }
    refused = [h.entry for h in hits if h.entry.action == words.REFUSE]
    if refused:
        output["outcome"] = "refused"
        return Result("It would be refused: " + guard.refusal(refused), output)
    if hits:
        output["outcome"], output["text"] = "amended", words.amended(text, hits)
        return Result("It would be changed to: " + output["text"][:300], output)
    return Result("It would be allowed.", output)


HOOKS = ("task.will_create", "task.will_change", "comment.will_create", "comment.will_change")

PLUGIN = Plugin(
    hooks={hook: decide for hook in HOOKS},
    actions={"test_text": test_text},
    check_settings=lambda call: words.problems(call.settings),
)

if __name__ == "__main__":
    guildhall_plugin.serve(PLUGIN)
