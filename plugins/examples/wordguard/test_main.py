"""Run with: python3 -m unittest"""

import json
import unittest
from types import SimpleNamespace

import main
from guildhall_plugin import Action, Change, Servicer
from guildhall.plugin.v1 import plugin_pb2

SETTINGS = {"words": [{"word": "darn"}, {"word": "hell", "replacement": "heck"}, {"word": "blob", "replacement": "x, y"}]}


def call(settings=None):
    return SimpleNamespace(settings_json=json.dumps(settings or SETTINGS).encode())


def decide(draft, subject=None, settings=None):
    return main.decide(call(settings), Change("task.will_change", subject or {}, draft))


class Deciding(unittest.TestCase):
    def test_refusing(self):
        for draft in ({"title": "Darn"}, {"title": "a", "description": "b darn"}, {"body": "DARN"}, {"title": "a", "labels": ["darn"]}):
            with self.subTest(draft):
                self.assertIn("“darn”", decide(draft).refusal)
        self.assertEqual(decide({"title": "darned", "description": "", "labels": ["red"]}), main.Decision())

    def test_amending(self):
        draft = {"title": "What the hell", "description": "Hell.", "labels": ["hell", "red", "heck"]}
        got = decide(draft)
        self.assertEqual(got.refusal, "")
        self.assertEqual(got.amend, {"title": "What the heck", "description": "heck.", "labels": ["heck", "red"]})

    def test_what_stood_there_before(self):
        task = {"title": "Darn", "description": "hell", "labels": ["darn"]}
        self.assertEqual(decide({**task, "priority": "high"}, task), main.Decision())
        self.assertIn("darn", decide({**task, "title": "Darn it"}, task).refusal)
        self.assertEqual(decide({**task, "labels": ["darn", "hell"]}, task).amend, {"labels": ["darn", "heck"]})

    def test_what_would_not_fit(self):
        long = {"words": [{"word": "a", "replacement": "b" * 100}]}
        self.assertTrue(decide({"title": "a " * 200}, settings=long).refusal)
        self.assertTrue(decide({"title": "fine", "labels": ["a"]}, settings=long).refusal)
        self.assertTrue(decide({"title": "fine", "labels": ["blob"]}).refusal)  # a comma parts labels
        self.assertTrue(decide({"title": "a"}, settings={"words": [{"word": "a", "replacement": " "}]}).refusal)

    def test_testing_a_text(self):
        def said(text):
            r = main.test_text(call(), Action("test_text", {"text": text}))
            return r.output["outcome"], r.output["text"]

        self.assertEqual(said("fine"), ("allowed", "fine"))
        self.assertEqual(said("oh HELL"), ("amended", "oh heck"))
        self.assertEqual(said("hell, darn"), ("refused", "hell, darn"))


class Serving(unittest.TestCase):
    """The helper between the wire and the plugin."""

    def setUp(self):
        self.servicer = Servicer(main.PLUGIN, host=None)
        self.context = SimpleNamespace(abort=self.abort)

    def abort(self, code, text):
        raise AssertionError(f"{code.name}: {text}")

    def message(self, **more):
        return plugin_pb2.Call(settings=json.dumps({**SETTINGS, **more}).encode())

    def test_decisions_come_in_order(self):
        texts = ["fine", "darn", "hell"]
        items = [plugin_pb2.DecideItem(subject=b"{}", draft=json.dumps({"body": t}).encode()) for t in texts]
        got = self.servicer.Decide(
            plugin_pb2.DecideRequest(call=self.message(), hook="comment.will_create", items=items), self.context
        )
        self.assertEqual([(bool(d.refusal), d.amend) for d in got.decisions], [(False, b""), (True, b""), (False, b'{"body": "heck"}')])

    def test_what_is_not_served(self):
        with self.assertRaisesRegex(AssertionError, "UNIMPLEMENTED: there is no hook task.will_sing"):
            self.servicer.Decide(plugin_pb2.DecideRequest(call=self.message(), hook="task.will_sing"), self.context)
        with self.assertRaisesRegex(AssertionError, "UNIMPLEMENTED"):
            self.servicer.Hear(plugin_pb2.HearRequest(), self.context)

    def test_settings(self):
        got = self.servicer.CheckSettings(plugin_pb2.CheckSettingsRequest(call=self.message(mask="darn")), self.context)
        self.assertEqual([e.pointer for e in got.errors], ["/mask"])


if __name__ == "__main__":
    unittest.main()
