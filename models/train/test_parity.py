"""The training modules compute what transformers computes on the saved checkpoints."""

import pathlib
import tempfile
import unittest

import torch
from transformers import AutoModelForCausalLM

from checkpoint import MODELS, read_model, write_configs, write_weights

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "nano-flash"
LATENT_NORMS = ("q_a_layernorm", "kv_a_layernorm")


def reference(folder: pathlib.Path):
    """transformers' model in float32, with the latent norms' epsilon of the family (its class default differs)."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for name, module in model.named_modules():
        if name.endswith(LATENT_NORMS):
            module.variance_epsilon = 1e-5
    return model


def difference(folder: pathlib.Path) -> float:
    """Of the logits of random tokens, as a share of their norm."""
    ours, theirs = read_model(folder), reference(folder)
    tokens = torch.randint(0, 8000, (2, 300))
    positions = torch.arange(300).expand(2, -1)
    with torch.no_grad():
        expected = theirs(tokens).logits
        actual = ours(tokens, positions, torch.zeros_like(tokens))
    return ((actual - expected).norm() / expected.norm()).item()


class ParityTest(unittest.TestCase):
    def test_trained_logits_agree(self):
        for folder in sorted(FOLDER.parent.glob("nano-*")):
            with self.subTest(folder.name):
                torch.manual_seed(3)
                self.assertLess(difference(folder), 1e-4)

    def test_random_logits_agree(self):
        """Every weight random, biases and norms too, so that nothing hides behind a zero or a one."""
        for name, (make_config, make_model) in MODELS.items():
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                torch.manual_seed(5)
                model = make_model(make_config())
                with torch.no_grad():
                    for parameter in model.parameters():
                        if parameter.dim() == 1:
                            parameter.add_(torch.randn_like(parameter) * 0.3)
                write_weights(model, pathlib.Path(folder))
                write_configs(model.c, pathlib.Path(folder), 8128)
                self.assertLess(difference(pathlib.Path(folder)), 1e-4)

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
