"""The training module computes what transformers' Glm4MoeLiteForCausalLM computes on the saved checkpoint."""

import pathlib
import unittest

import torch
from transformers import AutoModelForCausalLM

from checkpoint import read_model

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "nano-flash"
LATENT_NORMS = ("q_a_layernorm", "kv_a_layernorm")


def reference():
    """transformers' model in float32, with the latent norms' epsilon of the family (its class default differs)."""
    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    for name, module in model.named_modules():
        if name.endswith(LATENT_NORMS):
            module.variance_epsilon = 1e-5
    return model


class ParityTest(unittest.TestCase):
    def test_logits_agree(self):
        torch.manual_seed(3)
        ours, theirs = read_model(FOLDER), reference()
        tokens = torch.randint(0, 8000, (2, 300))
        positions = torch.arange(300).expand(2, -1)
        with torch.no_grad():
            expected = theirs(tokens).logits
            actual = ours(tokens, positions, torch.zeros_like(tokens))
        error = ((actual - expected).norm() / expected.norm()).item()
        self.assertLess(error, 1e-4)

    def test_documents_of_a_row_do_not_see_each_other(self):
        torch.manual_seed(4)
        model = read_model(FOLDER)
        first, second = torch.randint(0, 8000, (1, 40)), torch.randint(0, 8000, (1, 60))
        packed = torch.cat((first, second), 1)
        positions = torch.cat((torch.arange(40), torch.arange(60)))[None]
        documents = torch.cat((torch.zeros(40), torch.ones(60))).long()[None]
        with torch.no_grad():
            alone = model(second, torch.arange(60)[None], torch.zeros(1, 60, dtype=torch.long))
            together = model(packed, positions, documents)[:, 40:]
        self.assertLess(((alone - together).norm() / alone.norm()).item(), 1e-4)


if __name__ == "__main__":
    unittest.main()
