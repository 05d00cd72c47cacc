"""Every collective that Megatron and AscendSpeed call, over the backends hccl and nccl, against the plain result."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

RANKS = 4
START = """
import datetime, os, sys
import torch, torch.distributed as dist, torch_npu
from torch_npu.contrib import transfer_to_npu
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
torch.npu.set_device(rank)
dist.init_process_group(backend=sys.argv[1], rank=rank, world_size=world, timeout=datetime.timedelta(seconds=60))
def full(value, *shape, dtype=torch.float32):
    return torch.full(shape, float(value), dtype=dtype, device=torch.cuda.current_device())
def same(a, b):
    torch.testing.assert_close(a, b, atol=0, rtol=0)
ranks = range(world)
"""
BODIES = {
    "all_reduce": """
for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.int64):
    x = full(rank + 1, 3, dtype=dtype); dist.all_reduce(x); same(x, full(10, 3, dtype=dtype))
    x = full(rank, 3, dtype=dtype); dist.all_reduce(x, op=dist.ReduceOp.MAX); same(x, full(3, 3, dtype=dtype))
    x = full(rank + 1, 3, dtype=dtype); dist.all_reduce(x, op=dist.ReduceOp.MIN, async_op=True).wait(); same(x, full(1, 3, dtype=dtype))
""",
    "gather_and_scatter": """
for dtype in (torch.float32, torch.bfloat16):
    parts = torch.arange(world, dtype=dtype).repeat_interleave(2)
    out = torch.empty(2 * world, dtype=dtype, device="cuda")
    for function in (dist._all_gather_base, dist.all_gather_into_tensor):
        out.zero_(); function(out, full(rank, 2, dtype=dtype)); same(out, parts)
        out.zero_(); function(out, full(rank, 2, dtype=dtype), async_op=True).wait(); same(out, parts)
    pieces = [torch.empty(2, dtype=dtype) for _ in ranks]; dist.all_gather(pieces, full(rank, 2, dtype=dtype)); same(torch.cat(pieces), parts)
    for function in (dist._reduce_scatter_base, dist.reduce_scatter_tensor):
        out = full(-1, 2, dtype=dtype); function(out, parts.clone()); same(out, full(rank * world, 2, dtype=dtype))
        out = full(-1, 2, dtype=dtype); function(out, parts.clone(), async_op=True).wait(); same(out, full(rank * world, 2, dtype=dtype))
    sent = [full(r, 2, dtype=dtype) for r in ranks]
    out = full(-1, 2, dtype=dtype); dist.scatter(out, sent if rank == 0 else None, src=0); same(out, full(rank, 2, dtype=dtype))
    got = [full(-1, 1, dtype=dtype) for _ in ranks] if rank == 1 else None
    dist.gather(full(rank, 1, dtype=dtype), got, dst=1)
    if rank == 1: same(torch.cat(got), torch.arange(world, dtype=dtype))
    x = full(rank, 2, dtype=dtype); dist.broadcast(x, src=2); same(x, full(2, 2, dtype=dtype))
""",
    "all_to_all": """
for dtype in (torch.float32, torch.bfloat16):
    x = torch.arange(world, dtype=dtype) + 10 * rank
    out = torch.empty_like(x); dist.all_to_all_single(out, x); same(out, torch.tensor([10.0 * r + rank for r in ranks], dtype=dtype))
    lengths = [r + 1 for r in ranks]
    x = torch.cat([full(rank, n, dtype=dtype) for n in lengths])
    out = torch.empty(world * (rank + 1), dtype=dtype)
    dist.all_to_all_single(out, x, output_split_sizes=[rank + 1] * world, input_split_sizes=lengths)
    same(out, torch.arange(world, dtype=dtype).repeat_interleave(rank + 1))
""",
    "point_to_point": """
for dtype in (torch.float32, torch.bfloat16):
    after, before = (rank + 1) % world, (rank - 1) % world
    left, right = full(-1, 2, dtype=dtype), full(-1, 2, dtype=dtype)
    ops = [dist.P2POp(dist.isend, full(rank, 2, dtype=dtype), before), dist.P2POp(dist.irecv, left, before),
           dist.P2POp(dist.irecv, right, after), dist.P2POp(dist.isend, full(rank, 2, dtype=dtype), after)]
    for work in dist.batch_isend_irecv(ops): work.wait()
    same(left, full(before, 2, dtype=dtype)); same(right, full(after, 2, dtype=dtype))
    x = full(rank, 2, dtype=dtype)
    dist.send(x, after) if rank % 2 == 0 else dist.recv(x, before); same(x, full(rank - rank % 2, 2, dtype=dtype))
""",
    "groups": """
assert dist.is_hccl_available() and dist.is_nccl_available()
assert dist.get_backend() == "hccl", dist.get_backend()
pairs = [dist.new_group([0, 1], backend="nccl"), dist.new_group([2, 3], None, "hccl")]
mine = pairs[rank // 2]
assert dist.get_backend(mine) == "hccl" and dist.get_backend(dist.group.WORLD) == "hccl"
x = full(rank, 1); dist.all_reduce(x, group=mine); same(x, full(1 if rank < 2 else 5, 1))
assert dist.get_backend(dist.new_group([0, 1, 2, 3])) == "hccl"
honest = dist.new_group([0, 1, 2, 3], backend="gloo"); assert dist.get_backend(honest) == "gloo"
dist.barrier(); dist.barrier(device_ids=[rank]); dist.barrier(group=mine)
things = [None] * world; dist.all_gather_object(things, {"rank": rank}); assert things == [{"rank": r} for r in ranks]
one = [rank]; dist.broadcast_object_list(one, src=3); assert one == [3]
try: dist.new_group([0, 1, 2, 3], backend="nccl", pg_options=object())
except NotImplementedError as error: assert "pg_options" in str(error)
else: raise SystemExit("pg_options accepted")
from torch_npu._C._distributed_c10d import ProcessGroupHCCL
options = ProcessGroupHCCL.Options(); assert options.hccl_config == {}
options.hccl_config["group_name"] = "lost"; assert options.hccl_config == {}
options.hccl_config = {"group_name": "tp", "hccl_buffer_size": 200}; assert options.hccl_config == {"group_name": "tp", "hccl_buffer_size": 200}
x = full(rank, 1); dist.all_reduce(x, group=dist.new_group([0, 1, 2, 3], backend="nccl", pg_options=options)); same(x, full(6, 1))
def refused(kind, said, action):
    try: action()
    except kind as error: assert said in str(error), error
    else: raise SystemExit(f"{said} accepted")
refused(NotImplementedError, "hccl_config['hccl_algo']", lambda: setattr(options, "hccl_config", {"hccl_algo": "x"}))
refused(TypeError, "hccl_config['hccl_buffer_size'] is '200', not int", lambda: setattr(options, "hccl_config", {"hccl_buffer_size": "200"}))
refused(NotImplementedError, "Options.op_timeout", lambda: setattr(options, "op_timeout", 1))
refused(NotImplementedError, "ProcessGroupHCCL(…)", lambda: ProcessGroupHCCL(None, 0, 1))
try: dist.new_group([0, 1, 2, 3], backend="cpu:mpi,npu:hccl")
except NotImplementedError as error: assert "cpu:mpi,npu:hccl" in str(error)
else: raise SystemExit("mpi accepted")
x = full(rank, 1); dist.all_reduce(x, group=dist.new_group([0, 1, 2, 3], backend="cpu:gloo,npu:hccl")); same(x, full(6, 1))
""",
}


def a_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("backend", ["nccl", "hccl"])
def test_collectives(python: Run, tmp_path: Path, backend: str) -> None:
    program = tmp_path / "collectives.py"
    body = "".join(f"{code}\nprint('{name} done', flush=True)\n" for name, code in BODIES.items())
    program.write_text(f"{START}{body}\ndist.destroy_process_group()\n")
    torchrun = f"--nproc_per_node={RANKS} --master_addr=127.0.0.1 --master_port={a_free_port()}"
    launch = f"""
    import sys
    from torch.distributed.run import main
    main({[*torchrun.split(), str(program), backend]!r})
    """
    done = python(launch, GLOO_SOCKET_IFNAME="lo")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in BODIES:
        assert done.stdout.count(f"{name} done") == RANKS


def test_nccl_is_refused_before_transfer_to_npu(python: Run) -> None:
    done = python("""
    import torch, torch.distributed as dist, torch_npu
    try: dist.init_process_group("nccl", init_method="tcp://127.0.0.1:0", rank=0, world_size=1)
    except Exception as error: print(type(error).__name__, dist.is_initialized())
    """)
    assert done.stdout.split()[-1:] == ["False"], (sys.platform, done.stdout, done.stderr)
