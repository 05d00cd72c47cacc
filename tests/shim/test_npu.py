"""torch_npu.npu, what importing torch_npu redirects, and what transfer_to_npu adds. In an interpreter of its own each."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Callable

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def good(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr


def test_npu_devices_mean_the_cpu_and_others_stay(python: Run) -> None:
    good(
        python("""
        import torch, torch_npu
        x = torch.ones(2)
        for made in (torch.zeros(2, device="npu:0"), torch.empty(2, device="npu"), torch.tensor([1.0], device=0), torch.arange(3, device="npu:0"),
                     torch.ones_like(x, device="npu"), x.new_zeros(2, device="npu:0"), x.to("npu:0"), x.to(0), x.to(device="npu"), x.npu(), x.npu(0),
                     torch.nn.Linear(2, 2).npu().weight, torch.nn.Linear(2, 2).to("npu:0").weight, torch.randn(1, device="npu")):
            assert made.device.type == "cpu", made.device
        assert torch.empty(2, device="meta").device.type == "meta"
        assert torch.nn.Linear(2, 2, device="meta").to_empty(device="npu").weight.device.type == "cpu"
        assert x.to(torch.bfloat16).dtype == torch.bfloat16 and x.to("npu", torch.float16).dtype == torch.float16
        assert x.to(x.bfloat16()).dtype == torch.bfloat16
        assert torch.zeros(2, device=None).device.type == "cpu"
        torch.set_default_device("npu"); assert torch.ones(1).device.type == "cpu"
        """)
    )


def test_cuda_means_npu_only_after_transfer_to_npu(python: Run) -> None:
    good(
        python("""
        import torch, torch_npu
        assert not torch.cuda.is_available() and torch.npu.is_available()
        from torch_npu.contrib import transfer_to_npu
        assert torch.cuda.is_available()
        x = torch.ones(2)
        for made in (x.cuda(), x.cuda(0), x.to("cuda"), x.to(torch.device("cuda", 0)), torch.nn.Linear(2, 2).cuda().weight,
                     torch.zeros(1, device="cuda"), torch.zeros(1, device=torch.cuda.current_device()), torch.zeros(1, device=torch.device("cuda")),
                     torch.cuda.FloatTensor([1.0]), torch.cuda.LongTensor([1])):
            assert made.device.type == "cpu", made.device
        assert torch.cuda.DoubleTensor([1.0]).dtype == torch.float32
        def f(x): return x
        assert torch.jit.script(f) is f and torch.compile(f) is f and torch.compile()(f) is f
        assert torch.cuda.memory_stats()["allocation.all.current"] == 0
        """)
    )


def test_types_are_called_as_on_an_npu(python: Run) -> None:
    good(
        python("""
        import torch, torch_npu
        assert torch.ones(1).type() == "torch.npu.FloatTensor"
        assert torch.ones(1).bfloat16().type() == "torch.npu.BFloat16Tensor"
        assert torch.nn.Parameter(torch.ones(1)).type() == "torch.npu.FloatTensor"
        for name in ("torch.cuda.HalfTensor", "torch.npu.HalfTensor", torch.float16, torch.HalfTensor):
            assert torch.ones(1).type(name).dtype == torch.float16
        """)
    )


def test_devices_are_as_many_as_local_ranks(python: Run) -> None:
    good(
        python(
            """
        import torch, torch_npu
        npu = torch_npu.npu
        assert npu is torch.npu and npu.device_count() == 4 and npu.current_device() == 0
        for given in (3, "npu:3", torch.device("cuda", 3)):
            npu.set_device(0); npu.set_device(given); assert npu.current_device() == 3
        with npu.device(1):
            assert npu.current_device() == 1
            with npu.device("npu:2"): assert npu.current_device() == 2
            assert npu.current_device() == 1
        assert npu.current_device() == 3
        for given in (4, "cpu"):
            try: npu.set_device(given)
            except ValueError: pass
            else: raise SystemExit(f"{given} was accepted")
        assert len(npu.default_generators) == 4 and npu.default_generators[3] is torch.default_generator
        assert npu.get_device_capability() == (8, 0) and "rehearsal" in npu.get_device_name(0)
        """,
            LOCAL_WORLD_SIZE="4",
        )
    )


def test_a_process_keeps_the_file_of_its_npu_open(python: Run, tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/davinci1").touch()
    good(
        python(
            """
        import os, torch, torch_npu
        def held():
            targets = [os.readlink(fd) for fd in os.scandir("/proc/self/fd") if os.path.exists(fd)]
            return [target for target in targets if "davinci" in target]
        assert held() == []
        torch.npu.set_device(1); torch.npu.set_device(1)
        torch.npu.set_device(0)  # this pretend node has no such file
        assert held() == [os.environ["REHEARSAL_ROOT"] + "/dev/davinci1"], held()
        """,
            LOCAL_WORLD_SIZE="2", REHEARSAL_ROOT=str(tmp_path),
        )
    )


def test_random_states(python: Run) -> None:
    good(
        python("""
        import torch, torch_npu
        npu = torch.npu
        npu.manual_seed(5); a = torch.rand(3, device="npu"); assert npu.initial_seed() == 5
        npu.manual_seed_all(5); assert torch.equal(a, torch.rand(3))
        state = npu.get_rng_state(); b = torch.rand(3); npu.set_rng_state(state); assert torch.equal(b, torch.rand(3))
        states = npu.get_rng_state_all(); b = torch.rand(3); npu.set_rng_state_all(states); assert torch.equal(b, torch.rand(3))
        called = []; npu._lazy_call(lambda: called.append(1)); assert called
        npu.default_generators[0].set_state(state); assert not torch.equal(b, torch.rand(3))
        """)
    )


def test_memory_streams_and_events(python: Run) -> None:
    good(
        python("""
        import torch, torch_npu
        npu = torch.npu
        assert {npu.memory_allocated(), npu.memory_reserved(), npu.max_memory_allocated(0), npu.max_memory_reserved()} == {0}
        assert set(npu.memory_stats().values()) == {0} and "num_ooms" in npu.memory_stats()
        npu.empty_cache(); npu.synchronize(); npu.reset_peak_memory_stats(); npu.init()
        s = npu.Stream(); s.wait_stream(npu.current_stream()); s.synchronize(); assert s.query()
        with npu.stream(s): start = s.record_event()
        end = npu.Event(enable_timing=True)
        try: start.elapsed_time(end)
        except RuntimeError: pass
        else: raise SystemExit("elapsed_time without a record")
        end.record(); end.wait(); assert start.elapsed_time(end) >= 0.0 and end.query()
        """)
    )


def test_checkpoints_made_on_an_npu_are_loaded_onto_the_cpu(python: Run) -> None:
    good(
        python("""
        import io, torch, torch_npu
        from torch_npu.contrib import transfer_to_npu
        for how in ({"map_location": "npu:0"}, {"map_location": "cuda"}, {"map_location": torch.device("cuda", 0)}, {"map_location": {"cuda:0": "npu:0"}}):
            file = io.BytesIO(); torch.save(torch.ones(2), file); file.seek(0)
            assert torch.load(file, **how).device.type == "cpu"
        file.seek(0); assert torch.load(file, "npu").device.type == "cpu"
        """)
    )


def test_what_megatron_asks_of_a_tensor_on_the_device(python: Run) -> None:
    good(
        python("""
        import torch, torch_npu
        x = torch.ones(2)
        assert x.record_stream(torch.npu.current_stream()) is None
        assert not x.is_cuda
        from torch_npu.contrib import transfer_to_npu
        assert x.is_cuda and torch.nn.Parameter(x).is_cuda
        # megatron/core/transformer/moe/moe_utils.py:754
        assert x.to(torch.device("cpu"), non_blocking=True).numpy().tolist() == [1.0, 1.0]
        assert torch.qint8 in torch_npu.unsupported_dtype and torch.int8 not in torch_npu.unsupported_dtype
        """)
    )


def test_random_states_by_the_module_of_their_own(python: Run) -> None:
    good(
        python("""
        import torch, torch_npu
        from torch_npu.contrib import transfer_to_npu
        from torch.cuda import random
        state = random.get_rng_state(); a = torch.rand(3); random.set_rng_state(state); assert torch.equal(a, torch.rand(3))
        random.manual_seed(5); assert random.initial_seed() == 5
        """)
    )


def test_converters_to_torchairs_graphs_are_forgotten(python: Run) -> None:
    good(
        python("""
        import torch, torch_npu
        import torchair
        from torchair import ge, register_fx_node_ge_converter
        from torchair.ge import DataType, Tensor, TensorSpec
        def converter(): raise SystemExit("was run")
        assert register_fx_node_ge_converter(None)(converter) is converter
        for module, name in ((torchair, "get_npu_backend"), (ge, "custom_op"), (torch_npu.dynamo, "npugraph_ex")):
            try: getattr(module, name)
            except NotImplementedError as error: assert f"{name} is not part of the rehearsal" in str(error), error
            else: raise SystemExit(f"{name} is there")
        """)
    )


def test_the_version_of_cann_is_read_where_torch_npu_reads_it(python: Run, tmp_path: Path) -> None:
    program = "import torch_npu; from torch_npu.utils.collect_env import get_cann_version; print(get_cann_version())"
    assert python(program, ASCEND_HOME_PATH="").stdout == "not known\n"
    assert python(program, ASCEND_HOME_PATH=str(tmp_path)).stdout == "not known\n"
    for folder, version in (("compiler", "8.9"), ("x86_64-linux", "9.1.0")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ascend_toolkit_install.info").write_text(f"package_name=Ascend-cann-toolkit\nversion={version}\narch=x86_64\n")
    (tmp_path / "x86_64-linux/other.info").write_text("version=1\n")
    (tmp_path / "link").symlink_to(tmp_path)
    assert python(program, ASCEND_HOME_PATH=str(tmp_path / "link")).stdout == "9.1.0\n"


def test_absent_names_are_refused_by_name_and_probed_sanely(python: Run) -> None:
    good(
        python("""
        import torch, torch_npu, apex
        from torch_npu.contrib import transfer_to_npu
        for module, name in ((torch_npu, "npu_fusion_attention_grad"), (torch_npu.npu, "set_per_process_memory_fraction"),
                             (torch_npu.utils if hasattr(torch_npu, "utils") else __import__("torch_npu.utils").utils, "set_seed"),
                             (torch_npu.contrib, "module"), (apex, "amp"), (torch_npu._C, "_npu_init"),
                             (torch_npu._C._distributed_c10d, "ParallelStore")):
            assert not hasattr(module, name) and getattr(module, name, 1) == 1
            try: getattr(module, name)
            except NotImplementedError as error: assert f"{module.__name__}.{name} is not part of the rehearsal" in str(error), error
            else: raise SystemExit(f"{module.__name__}.{name} is there")
        try: torch_npu.utils.register_asd_hook(1, 2)
        except NotImplementedError as error: assert "NPU_ASD_ENABLE" in str(error)
        else: raise SystemExit("register_asd_hook")
        for call in (torch.cuda.cudart, lambda: torch.cuda.nvtx.range_push("x"), torch.cuda.mem_get_info, lambda: torch.ones(1).is_npu):
            try: call()
            except NotImplementedError as error: assert "is not part of the rehearsal" in str(error)
            else: raise SystemExit("accepted")
        """)
    )


def test_apex(python: Run) -> None:
    good(
        python("""
        import torch, apex
        from apex.multi_tensor_apply import multi_tensor_applier
        assert multi_tensor_applier(lambda *given: given, "flag", [1], 2, 3) == (65536, "flag", [1], 2, 3)
        from apex.normalization.fused_layer_norm import FusedLayerNormAffineFunction, fused_layer_norm_affine
        x, w, b = torch.randn(3, 4), torch.randn(4), torch.randn(4)
        expected = torch.nn.functional.layer_norm(x, [4], w, b, 1e-5)
        for shape in (4, [4], torch.Size([4])):
            assert torch.equal(fused_layer_norm_affine(x, w, b, shape, 1e-5), expected)
            assert torch.equal(FusedLayerNormAffineFunction.apply(x, w, b, shape, 1e-5), expected)
        from apex.optimizers import FusedAdam, FusedSGD
        for cls, said in ((FusedAdam, "ascendspeed -P"), (FusedSGD, "CUDA")):
            try: cls([torch.nn.Parameter(x)])
            except NotImplementedError as error: assert said in str(error)
            else: raise SystemExit("accepted")
        """)
    )
