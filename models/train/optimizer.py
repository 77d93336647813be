"""Muon for the matrices inside the layers, AdamW for the rest."""

from collections import defaultdict

import torch


def orthogonalise(update, steps: int = 5):
    """Newton-Schulz iteration: brings the singular values of each matrix near 1. update: [..., rows, columns]."""
    x = update.bfloat16() if update.is_cuda else update.float()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose direction is orthogonalised; matrices of one shape are handled together."""

    def __init__(self, parameters, lr: float, momentum: float = 0.95, weight_decay: float = 0.05):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes[parameter.shape].append(parameter)
            for shape, parameters in shapes.items():
                self.step_together(group, shape, parameters)

    def step_together(self, group, shape, parameters):
        momentum = group["momentum"]
        updates = []
        for parameter in parameters:
            state = self.state[parameter]
            buffer = state.setdefault("momentum", torch.zeros_like(parameter))
            buffer.lerp_(parameter.grad, 1 - momentum)
            updates.append(parameter.grad.lerp(buffer, momentum))
        scale = group["lr"] * max(1.0, shape[-2] / shape[-1]) ** 0.5
        for parameter, update in zip(parameters, orthogonalise(torch.stack(updates))):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(update.to(parameter.dtype), alpha=-scale)


def make_optimizers(model, muon_lr: float, adam_lr: float):
    """One optimizer for the matrices of the layers, one for embeddings, head, routers and norms."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        inner = name.startswith(("layers.", "mtp.")) and parameter.dim() >= 2 and not name.endswith("router")
        (matrices if inner else others).append(parameter)
    fused = next(model.parameters()).is_cuda
    return [Muon(matrices, muon_lr),
            torch.optim.AdamW(others, adam_lr, betas=(0.9, 0.95), weight_decay=0.0, fused=fused)]
