"""One flat buffer of parameters and one of gradients, summed over all ranks."""
from __future__ import annotations

import torch


class DistributedDataParallel(torch.nn.Module):
    """A model whose parameters and gradients are views of two flat buffers."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module
        parameters = list(module.parameters())
        size = sum(parameter.numel() for parameter in parameters)
        self.param_buffer = torch.nn.Parameter(torch.empty(size), requires_grad=False)
        self.grad_buffer = torch.zeros(size)
        self.param_buffer.grad = self.grad_buffer
        offset = 0
        for parameter in parameters:
            end = offset + parameter.numel()
            self.param_buffer.data[offset:end].copy_(parameter.data.flatten())
            parameter.data = self.param_buffer.data[offset:end].view_as(parameter)
            parameter.grad = self.grad_buffer[offset:end].view_as(parameter)
            offset = end

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The module's own."""
        return self.module(*inputs)

    def zero_grad_buffer(self) -> None:
        """Start an iteration."""
        self.grad_buffer.zero_()

    def all_reduce_gradients(self, loss: torch.Tensor) -> torch.Tensor:
        """Sum gradients over all ranks, and with them the loss; returns the sum of the losses."""
        # In one message: the ranks meet once an iteration.
        if not self.grad_buffer.is_contiguous():
            raise AssertionError("gradients are not in one piece")
        message = torch.cat([self.grad_buffer, loss.detach().reshape(1)])
        torch.distributed.all_reduce(message)
        self.grad_buffer.copy_(message[:-1])
        return message[-1]
