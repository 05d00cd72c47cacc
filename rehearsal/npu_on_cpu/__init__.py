"""Stand-ins for torch_npu and apex over CPU and gloo, and the builder of their wheels."""
