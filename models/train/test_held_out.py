"""The evaluation's names, requests and questions do not occur in what the training data is made of."""

import json
import random
import unittest

import data_mix
import data_tools
import held_out
import words
from evaluate import FOLDER
from known_tools import KNOWN
from tool_parts import ACTIONS, OBJECTS, PARAMETERS

SAMPLES = 4000


def tool_cases() -> list[dict]:
    return [json.loads(line) for line in (FOLDER / "tools.jsonl").read_text(encoding="utf-8").splitlines()]


def questions(dialogue) -> list[str]:
    return [held_out.bare(m["content"]) for m in dialogue.messages if m["role"] == "user"]


class HeldOutTest(unittest.TestCase):
    def test_word_lists_hold_none_of_the_names(self):
        listed = {word for part in ACTIONS + OBJECTS
                  for word in part} | set(words.NOUNS) | set(words.VERBS) | set(words.WORDS)
        listed |= {name for tool in KNOWN for name in (tool.name, *tool.parameters)} | {p.name for p in PARAMETERS}
        self.assertEqual(listed & held_out.NAMES, set())

    def test_sampled_tools_hold_none_of_the_names(self):
        rng = random.Random("held-out names")
        for _ in range(SAMPLES):
            for tool in data_tools.sample(rng).tools:
                function = tool["function"]
                names = {function["name"], *function["name"].replace("-", "_").replace(".", "_").split("_")}
                names |= set(function.get("parameters", {}).get("properties", {}))
                self.assertEqual(names & held_out.NAMES, set())

    def test_no_sampled_question_is_asked_by_the_evaluation(self):
        asked = {held_out.bare(m["content"]) for case in tool_cases() if case["expect"].get("calls")
                 for m in case["messages"][-1:]}
        rng = random.Random("held-out questions")
        for _ in range(SAMPLES):
            self.assertEqual(asked & set(questions(data_mix.short(rng))), set())

    def test_the_evaluation_uses_the_held_out_names(self):
        unseen = [case for case in tool_cases() if case["group"].startswith("tools unseen")]
        self.assertEqual(len(unseen), 120)
        for case in unseen:
            for call in case["expect"]["calls"]:
                self.assertLessEqual({*call["name"].split("_"), *call["arguments"]}, held_out.NAMES)

    def test_a_held_out_request_is_known_as_such(self):
        self.assertTrue(held_out.is_held_out_request("Hello! Weather in {city}, please. Thanks"))
        self.assertFalse(held_out.is_held_out_request("What is the weather in {city}?"))

    def test_put_together_clauses_leave_out_the_held_out_ones(self):
        rng = random.Random("held-out clauses")
        forms = {data_tools.clause_form(rng) for _ in range(50000)}
        self.assertEqual(forms & set(held_out.CLAUSES), set())
        self.assertGreater(len(forms), 1000)


if __name__ == "__main__":
    unittest.main()
