"""What lines of a training's logs mean: a table, and the causes that it names. Data only.

A line is what the first row says whose expression is found in it. Vendor error codes are in _fault_codes.py; an exception that no
row knows is a cause of its own, in _evidence.py.

Roles of a line:
    cause          this rank, NPU or node is at fault;
    cascade        it suffers from what happened elsewhere: a peer was lost, torchrun stopped it;
    pointer        a sufferer names the address and the device of the one that was lost;
    confirmation   goes with another line and adds to it;
    noise          looks like an error and is none.
A cascade may carry a cause too: what it is where no node has anything better.
"""
from __future__ import annotations

from typing import NamedTuple


class Cause(NamedTuple):
    """A cause in plain words, and what a person does about it."""

    words: str
    remedy: str
    #: how sure it is that the rank with these words began it: 3 its own clear words, 2 an exception or a signal, 1 hardly anything
    strength: int = 3


class Pattern(NamedTuple):
    """A row of the table."""

    role: str
    #: key of CAUSES; "" where the line names none
    cause: str
    #: literals, cut at "|", of which every such line holds one: searched for before the expression is tried
    anchor: str
    expression: str
    source: str
    #: of the program that prints it
    version: str = ""


CAUSES: dict[str, Cause] = {
    "npu_out_of_memory": Cause(
        "NPU out of memory", "Lower plan_micro_batch_size or plan_seq_length, raise plan_tensor_model_parallel_size or "
        "plan_pipeline_model_parallel_size (more nodes), or recompute more. Look with `npu-smi info` for a process that was left on the NPU."),
    "host_out_of_memory": Cause(
        "the host has run out of memory", "See `journalctl -k` of the node for what was killed. Lower the number of data workers, end what else "
        "runs there, or raise the memory limit of the unit."),
    "python_exception": Cause(
        "an exception in the training code",
        "The lines above it name file and line. If they are the site's own arguments or data, correct these and launch again.", 2),
    "import_error": Cause(
        "a package or library cannot be imported", "Run playbooks/conda_env.yml and playbooks/cann_toolkit.yml with --tags verify for the node; they "
        "name what is missing."),
    "data_worker": Cause(
        "a worker process of the data loader died", "If it was killed: memory of the host or /dev/shm is too small (`df -h /dev/shm`). If it raised: the "
        "data on this node, which playbooks/data_share.yml proves."),
    "killed": Cause(
        "the process was ended by a signal, without words of its own", "SIGKILL comes from the kernel's out-of-memory killer (`journalctl -k`) or "
        "from a person; "
        "SIGSEGV, SIGABRT and SIGBUS from a fault in a library: look at ~/ascend/log of the training user for the same time.", 2),
    "launcher_killed": Cause(
        "torchrun itself was killed", "Look who did it: `journalctl -k` (out-of-memory killer) or a person. Then launch again with pretrain_resume=true.", 2),
    "unit_killed": Cause(
        "the whole unit was killed, or the node was restarted",
        "Look at `journalctl -u ascend-pretrain` and `last -x` on the node. Then launch again with pretrain_resume=true.", 2),
    "machine_lost": Cause(
        "the node does not answer any more",
        "Look at its console and power (BMC). Its supervisor ends what runs there when it no longer hears the others; when it answers again, "
        "playbooks/stop.yml proves that nothing is left.", 2),
    "disk_full": Cause(
        "a disk is full", "Free some space below cluster_checkpoint_dir (`df -h`), or point it at a larger disk; the checkpoint in the making is not whole."),
    "checkpoint_unreadable": Cause(
        "a checkpoint cannot be loaded", "To take an older one, write its iteration into latest_checkpointed_iteration.txt in cluster_checkpoint_dir "
        "on the master, and "
        "launch again with pretrain_resume=true."),
    "exit_early": Cause(
        "the training ended with status 0 before its last iteration", "Megatron-LM leaves by a bare sys.exit() where it cannot load, and at "
        "exit-interval or exit-duration-in-mins: see the last words of the first rank's log, and plan_extra_arguments.", 1),
    "index_cache_missing": Cause(
        "Megatron's index cache is missing or was made for other arguments", "Run playbooks/dataset.yml and playbooks/data_share.yml, then launch again."),
    "port_in_use": Cause(
        "a port is in use", "End what holds it (`ss -ltnp`), often a training that was left behind (playbooks/stop.yml), or set cluster_ports."),
    "address_unreachable": Cause(
        "the master cannot be reached", "Check from each node that cluster_address of the master answers on its port (master of cluster_ports): a firewall, "
        "a route, or the wrong address in the inventory.", 1),
    "wrong_interface": Cause(
        "the network interface for the training is wrong", "Set cluster_address of the node to its address on the training's network, and leave "
        "pretrain_socket_ifname empty or "
        "name the interface that carries it. The node's name must not resolve to 127.0.0.1 there."),
    "tokenizer_unreadable": Cause(
        "the tokenizer cannot be loaded", "Run playbooks/tokenizer.yml, which loads it with the training's own libraries, then playbooks/data_share.yml."),
    "nan_loss": Cause(
        "the loss became nan or infinite, or vanished from the log", "Go back to a checkpoint before it with pretrain_resume=true, and lower plan_lr, "
        "or raise the warm-up; "
        "look at the data of these iterations."),
    "nan_grad": Cause(
        "the gradients became nan or infinite", "If it is always the same NPU: suspect it (`npu-smi info -t health`). Else go back to a checkpoint "
        "before it, lower plan_lr or plan_clip_grad, "
        "and look at the data."),
    "skipped_iterations": Cause(
        "iterations were skipped to the end", "Every step overflowed: lower plan_initial_loss_scale or plan_lr, or train in bf16 (plan_precision)."),
    "last_process_running": Cause(
        "a process of an earlier training still holds the NPU", "Run playbooks/stop.yml, end what `npu-smi info` still lists, wait for 10 s, and "
        "launch again."),
    "device_error": Cause(
        "a fault of the NPU", "Look at `npu-smi info -t health -i <NPU>`, `npu-smi info -t ecc -i <NPU>` and dmesg; reset the NPU or take the node "
        "out of the inventory."),
    "wrong_setting": Cause(
        "a setting of HCCL or CANN is refused", "Look at pretrain_environment_extra and cann_toolkit_environment for the variable that the line "
        "names, and unset RANK_TABLE_FILE: "
        "torchrun needs none."),
    "operator_failed": Cause(
        "an operator failed on the NPU", "Check that the kernels' package fits CANN and the chip (playbooks/cann_toolkit.yml --tags verify); "
        "ASCEND_LAUNCH_BLOCKING=1 (pretrain_profile: recipe) "
        "makes the line above it the right one."),
    "tls_mismatch": Cause(
        "the TLS switches of the NPUs differ", "Compare `hccn_tool -i <NPU> -tls -g` over all nodes and set them alike (`-tls -s enable 0`)."),
    "version_mismatch": Cause(
        "versions of torch, torch_npu, CANN or the driver do not fit", "Run playbooks/conda_env.yml and playbooks/cann_toolkit.yml with --tags "
        "verify; conda_env_cann_pairs has the pairs."),
    "permission_denied": Cause(
        "a file or device may not be read or written", "It must belong to the training user (cluster_user), who must be in the group HwHiAiUser for "
        "devices: run playbooks/node_base.yml."),
    "collective_timeout": Cause(
        "the ranks lost each other, and no log says through whom", "Check links (`hccn_tool -i <NPU> -link -g`, `-net_health -g`) and TLS switches "
        "(`-tls -g`) of all nodes, and "
        "~/ascend/log of the training user on each: the earliest error there is the best lead.", 0),
    "stopped": Cause(
        "the training was stopped from outside (playbooks/stop.yml, systemctl, a shutdown)", "To go on, launch again with pretrain_resume=true.", 1),
    "unknown": Cause("no cause is known", "Read the logs named below.", 0),
}

_NPU_DOC = "https://gitcode.com/Ascend/pytorch docs/zh/user_guide/troubleshooting"
_HCCL_DOC = "https://www.hiascend.com/document/detail/en/canncommercial/850/commlib/hcclug/hcclug_000050.html"
_NPU_EXCEPTION = "https://gitcode.com/Ascend/pytorch torch_npu/csrc/core/npu/NPUException.h"
_ELASTIC = "torch/distributed/elastic/multiprocessing/api.py"
_MEGATRON = "megatron/training/checkpointing.py"

PATTERNS = (
    # --- looks like an error, and is none
    Pattern("noise", "", "Warning", r"\b\w*Warning\b(?!.*(?:out of memory|No space left))", "https://docs.python.org/3/library/warnings.html"),
    Pattern("noise", "", "will start from random|could not find the metadata file",
            r"could not find the metadata file|will not load any checkpoints and will start from random",
            _MEGATRON, "9de386d0"),
    Pattern("noise", "", "got signal: ", r"SignalException: Process \d+ got signal: ", _ELASTIC, "torch 2.1"),
    Pattern("noise", "", "KeyboardInterrupt", r"^\s*KeyboardInterrupt", "https://docs.python.org/3/library/exceptions.html"),
    Pattern("noise", "", "ChildFailedError", r"ChildFailedError", "https://github.com/vllm-project/speculators/issues/1115", "torch 2.1"),
    Pattern("noise", "", "error_file:|To enable traceback", r"error_file:|To enable traceback see", _ELASTIC, "torch 2.1"),
    Pattern("noise", "", "closing signal",
            r"Sending process \d+ closing signal",
            "https://github.com/hpcaitech/ColossalAI/issues/3514", "torch 1.13"),
    Pattern("noise", "", "death signal", r"Received \S+ death signal, shutting down workers", "https://github.com/pytorch/pytorch/issues/150916", "torch 2.1"),
    Pattern("noise", "", "Possible Cause", r"^\s*Possible Cause", "https://github.com/vllm-project/vllm-ascend/issues/486", "CANN 8.0"),
    Pattern("noise", "", "Solution:", r"^\s*Solution: ", "https://github.com/vllm-project/vllm-ascend/issues/486", "CANN 8.0"),
    Pattern("cascade", "tls_mismatch", "SSL routines", r"SSL routines.*TLS switch", "https://www.hiascend.com/document/caselibrary/detail/case_9514", "HCCP"),
    Pattern("noise", "", "The TLS switch is",
            r"The TLS switch is ?inconsistent, or the TLS certificate",
            "https://www.hiascend.com/document/detail/zh/canncommercial/700/reference/hcclapiref/hcclapi_07_0011.html", "CANN 7.0"),
    Pattern("noise", "", "TraceBack", r"^\s*TraceBack \(most recent call last\)", "https://github.com/vllm-project/vllm-ascend/issues/486", "CANN 8.0"),
    Pattern("noise", "", "null",
            r"reason=\[context pointer null\]|the context is a null pointer",
            "https://github.com/vllm-project/vllm-ascend/issues/800", "CANN 8.0"),
    Pattern("noise", "", "TBE Subprocess",
            r"TBE Subprocess\[\w+\] raise error\[\], main process disappeared",
            "https://github.com/vllm-project/vllm-ascend/issues/1706", "CANN 8.1"),
    Pattern("noise", "", "BrokenPipeError", r"^\s*BrokenPipeError", "https://github.com/Ascend/pytorch/issues/79", "CANN 8.0"),
    Pattern("noise", "", "ConnectionResetError", r"^\s*ConnectionResetError", "https://github.com/Ascend/pytorch/issues/79", "CANN 8.0"),
    Pattern("noise", "", "ConnectionRefusedError", r"^\s*ConnectionRefusedError", "https://github.com/Ascend/pytorch/issues/79", "CANN 8.0"),
    Pattern("noise", "", "EOFError", r"^\s*EOFError\s*$", "https://github.com/Ascend/pytorch/issues/79", "CANN 8.0"),
    Pattern("noise", "", "ProcessRaisedException", r"ProcessRaisedException", "torch/multiprocessing/spawn.py"),
    Pattern("noise", "", "killed by signal: Terminated",
            r"DataLoader worker \(pid.*killed by signal: Terminated",
            "torch/utils/data/_utils/signal_handling.py"),
    # --- memory
    Pattern("cause", "npu_out_of_memory", "NPU out of memory", r"NPU out of memory", "https://github.com/hiyouga/LlamaFactory/issues/5491", "torch_npu 2.1"),
    Pattern("cause", "npu_out_of_memory", "allocate memory",
            r"EL0004.*[Ff]ailed to allocate memory",
            "https://github.com/vllm-project/vllm-ascend/issues/1993", "CANN 8.0"),
    Pattern("cause", "npu_out_of_memory", "OutOfMemoryError",
            r"torch(?:\.npu|_npu)?\S*\.OutOfMemoryError",
            "https://github.com/sgl-project/sglang/issues/29838", "torch_npu 2.5"),
    Pattern("confirmation", "npu_out_of_memory", "memory error", r"ERR\d\d006 .*memory error", _NPU_DOC),
    Pattern("confirmation", "", "ERR99999", r"ERR99999 UNKNOWN", "https://github.com/ray-project/ray/issues/49998", "torch_npu 2.1"),
    Pattern("cause", "host_out_of_memory", "pin memory",
            r"Malloc pin memory failed, host out of memory",
            "https://gitcode.com/Ascend/pytorch torch_npu/csrc/core/npu/CachingHostAllocator.cpp", "torch_npu 2.7"),
    Pattern("cause", "host_out_of_memory", "Killed process", r"[Oo]ut of memory: Killed process", "https://github.com/pcyin/tranX/issues/41", "Linux 5.0"),
    Pattern("cause", "host_out_of_memory", "Kill process", r"[Oo]ut of memory: Kill process", "https://github.com/pcyin/tranX/issues/41", "Linux 4.19"),
    Pattern("cause", "host_out_of_memory", "oom-kill", r"oom-kill:constraint|Result: oom-kill|result 'oom-kill'", "linux mm/oom_kill.c; systemd"),
    Pattern("cause", "host_out_of_memory", "OOM killer", r"killed by the OOM killer", "systemd src/core/unit.c"),
    Pattern("cause", "host_out_of_memory", "systemd-oomd",
            r"systemd-oomd.*Killed \S+ due to",
            "https://github.com/systemd/systemd/issues/32304", "systemd 255"),
    Pattern("cause", "host_out_of_memory", "allocate memory|unable to allocate",
            r"[Cc]annot allocate memory(?! in static TLS)|DefaultCPUAllocator: can't allocate memory|unable to allocate \d+ bytes",
            "https://github.com/pytorch/pytorch/issues/56193"),
    Pattern("cause", "host_out_of_memory", "bad_alloc", r"std::bad_alloc", "https://en.cppreference.com/w/cpp/memory/new/bad_alloc"),
    Pattern("cause", "host_out_of_memory", "MemoryError", r"^\s*(?:numpy\S*\.)?_?(?:ArrayM|M)emoryError", "https://docs.python.org/3/library/exceptions.html"),
    # --- the data loader
    Pattern("cause", "data_worker", "DataLoader worker",
            r"DataLoader worker \(pid.*(?:killed by signal|exited unexpectedly)|Caught \w+ in DataLoader worker process",
            "torch/utils/data/_utils/worker.py"),
    Pattern("cause", "data_worker", "shared memory|/torch_",
            r"insufficient shared memory \(shm\)|out of shared memory|unable to (?:open|write to|mmap) .*(?:shared memory|/torch_)|"
            r"unable to allocate shared memory",
            "https://github.com/pytorch/pytorch/issues/5040"),
    # --- disks and files
    Pattern("cause", "disk_full", "No space left", r"No space left on device", "https://github.com/h2oai/h2o-llmstudio/issues/214"),
    Pattern("cause", "disk_full", "Disk quota", r"Disk quota exceeded", "errno EDQUOT"),
    Pattern("cause", "disk_full", "PytorchStreamWriter",
            r"PytorchStreamWriter failed writing",
            "https://github.com/hiyouga/LlamaFactory/issues/1223", "torch 2.1"),
    Pattern("confirmation", "disk_full", "inline_container",
            r"inline_container\.cc:\d+\] \. (?:unexpected pos|invalid)",
            "https://github.com/hiyouga/LlamaFactory/issues/1223", "torch 2.1"),
    Pattern("cause", "index_cache_missing", ".npy|GPTDataset",
            r"(?:FileNotFoundError|No such file).*(?:GPTDataset|_(?:doc\w*|sample|shuffle)_(?:index|idx)\.npy)",
            "megatron/core/datasets/gpt_dataset.py", "9de386d0"),
    Pattern("cause", "index_cache_missing", "dataset materials", r"Failed to write dataset materials", "megatron/core/datasets/gpt_dataset.py", "9de386d0"),
    Pattern("cause", "checkpoint_unreadable", "PytorchStreamReader",
            r"PytorchStreamReader failed",
            "https://github.com/pytorch/pytorch/issues/31620", "torch 2.1"),
    Pattern("cause", "checkpoint_unreadable", "could not load the checkpoint", r"could not load the checkpoint", _MEGATRON, "9de386d0"),
    Pattern("cause", "checkpoint_unreadable", "from checkpoint|exit-on-missing-checkpoint",
            r"Unable to load (?:optimizer|rng state|\S+) from checkpoint|exit-on-missing-checkpoint' set",
            _MEGATRON, "9de386d0"),
    Pattern("cause", "checkpoint_unreadable", "UnpicklingError|data was truncated", r"UnpicklingError|pickle data was truncated", "torch/serialization.py"),
    Pattern("cause", "checkpoint_unreadable", "Ran out of input", r"EOFError: Ran out of input", "torch/serialization.py"),
    Pattern("cause", "checkpoint_unreadable", "is corrupted|unexpected EOF",
            r"invalid header or archive is corrupted|unexpected EOF, expected \d+ more bytes",
            "torch/serialization.py"),
    Pattern("cause", "checkpoint_unreadable", "loading state_dict", r"Error\(s\) in loading state_dict", "torch/nn/modules/module.py"),
    Pattern("cause", "checkpoint_unreadable", "mismatch after resume", r"mismatch after resume \(", _MEGATRON, "9de386d0"),
    Pattern("cause", "checkpoint_unreadable", "unable to load iteration", r"metadata file exists but unable to load iteration", _MEGATRON, "9de386d0"),
    Pattern("cause", "checkpoint_unreadable", "model_optim_rng.pt|distrib_optim.pt",
            r"(?:FileNotFoundError|No such file).*(?:model_optim_rng|distrib_optim)\.pt",
            _MEGATRON, "9de386d0"),
    Pattern("cause", "checkpoint_unreadable", "metadata file", r"ERROR: Invalid metadata file|error parsing metadata file", _MEGATRON, "9de386d0"),
    # --- the tokenizer
    Pattern("cause", "tokenizer_unreadable", "load tokenizer|load vocabulary|backend tokenizer",
            r"Can't load tokenizer|Couldn't instantiate the backend tokenizer|Unable to load (?:vocabulary|tokenizer)",
            "transformers/tokenization_utils_base.py"),
    Pattern("cause", "tokenizer_unreadable", "untagged enum",
            r"data did not match any variant of untagged enum",
            "https://github.com/huggingface/transformers/issues/31789"),
    Pattern("cause", "tokenizer_unreadable", "okeniz",
            r"(?:JSONDecodeError|OSError|ValueError|FileNotFoundError|No such file|PermissionError|HFValidationError|not a string).*okeniz",
            "transformers/tokenization_utils_base.py"),
    Pattern("cause", "tokenizer_unreadable", "not a local folder|Incorrect path_or_model_id",
            r"is not a local folder and is not a valid model identifier|Incorrect path_or_model_id",
            "transformers/utils/hub.py"),
    Pattern("cause", "tokenizer_unreadable", "HFValidationError", r"HFValidationError", "huggingface_hub/utils/_validators.py"),
    Pattern("cause", "tokenizer_unreadable", "sentencepiece",
            r"sentencepiece_processor\.cc.*(?:ParseFromArray|LINE\(\d+\))",
            "https://github.com/google/sentencepiece"),
    # --- imports and versions
    Pattern("cause", "version_mismatch", "undefined symbol", r"undefined symbol", "https://github.com/Ascend/pytorch/issues/35"),
    Pattern("cause", "version_mismatch", "GLIBC", r"version [`']GLIBC\w*_[\d.]+' not found", "https://github.com/Ascend/pytorch/issues/35"),
    Pattern("cause", "version_mismatch", "does not match|mismatch",
            r"(?:driver|firmware|CANN|torch_npu|torch).{0,60}version.{0,60}(?:does not match|mismatch)",
            _NPU_DOC),
    Pattern("cause", "import_error", "cannot open shared object",
            r"lib\S+\.so\S*: cannot open shared object file",
            "https://github.com/vllm-project/vllm-ascend/issues/152"),
    Pattern("cause", "import_error", "static TLS", r"cannot allocate memory in static TLS block", "https://github.com/pytorch/pytorch/issues/2575"),
    Pattern("cause", "import_error", "ModuleNotFoundError", r"^\s*ModuleNotFoundError", "https://docs.python.org/3/library/exceptions.html"),
    Pattern("cause", "import_error", "ImportError", r"^\s*ImportError", "https://docs.python.org/3/library/exceptions.html"),
    # --- interfaces, ports, addresses
    Pattern("cause", "wrong_interface", "nable to find ",
            r"Unable to find address for: |unable to find (?:address|interface)",
            "gloo/transport/tcp/device.cc"),
    Pattern("cause", "wrong_interface", "ocket Ifname",
            r"get host ip fail by socket Ifname",
            "https://www.hiascend.com/document/detail/zh/canncommercial/900/API/hcclug/hcclug_000031.html", "CANN 9.0"),
    Pattern("cause", "wrong_interface", "HCCL_SOCKET_IFNAME",
            r"HCCL_SOCKET_IFNAME.*not found",
            "https://www.hiascend.com/document/detail/zh/canncommercial/900/API/hcclug/hcclug_000031.html", "CANN 9.0"),
    Pattern("cause", "wrong_interface", "o socket interface found", r"[Nn]o socket interface found", "https://github.com/NVIDIA/nccl/issues/286"),
    Pattern("cause", "port_in_use", "ddress already in use", r"[Aa]ddress already in use", _NPU_DOC),
    Pattern("cause", "port_in_use", "EADDRINUSE", r"EADDRINUSE", "torch/csrc/distributed/c10d/socket.cpp", "torch 2.13"),
    Pattern("cause", "port_in_use", "listen on ip",
            r"listen on ip\[.*\] and specific port\[\d+\] fail",
            "https://www.hiascend.com/document/detail/en/canncommercial/850/commlib/hcclug/hcclug_000035.html", "CANN 8.5"),
    Pattern("cause", "port_in_use", "unmatched ack",
            r"\[OpRetryConnection\].*Recv unmatched ack",
            "https://www.hiascend.com/document/detail/zh/CANNCommunityEdition/82RC1alpha003/hccl/hcclug/hcclug_000036.html", "CANN 8.2"),
    Pattern("confirmation", "port_in_use", "failed to listen", r"server socket has failed to listen", _NPU_DOC),
    # --- what HCCL, gloo and torch say of a lost peer
    Pattern("pointer", "", "Cluster Exception Location",
            r"Cluster Exception Location\[IP/ID\]:\[([\d.:a-fA-F]+)/(\d+)\].*ExceptionType:\[",
            _NPU_DOC, "CANN 8.0"),
    Pattern("pointer", "", "crimer rank",
            r"crimer rank \[(?:[^\]]*?)([\d.]+)[/:](\d+)\] status\[",
            "https://www.hiascend.com/document/detail/zh/canncommercial/900/API/hcclug/hcclug_000055.html", "CANN 9.0"),
    Pattern("pointer", "", "by peer [",
            r"Connection (?:closed|reset) by peer \[([\d.:a-fA-F]+)\]:(\d+)",
            "https://github.com/pytorch/pytorch/issues/75512", "gloo"),
    Pattern("cascade", "tls_mismatch", "TlsStatus", r"TlsStatus.*(?:ENABLE.*DISABLE|DISABLE.*ENABLE)", _HCCL_DOC, "CANN 8.5"),
    Pattern("cascade", "version_mismatch", "versions are inconsistent",
            r"(?:CANN|HCCL) versions are inconsistent",
            "https://www.hiascend.com/document/detail/zh/CANNCommunityEdition/83RC1alpha002/hccl/hcclug/hcclug_000037.html", "CANN 8.3"),
    Pattern("cascade", "", "watchdog", r"HCCL watchdog thread terminated", "https://github.com/vllm-project/vllm-ascend/issues/4972", "torch_npu 2.7"),
    Pattern("cascade", "", "Hccl",
            r"\bHccl\w+.{0,120}error code is \d+|error code is \d+.{0,80}\bHccl\w+",
            "https://github.com/vllm-project/vllm-ascend/issues/486", "torch_npu 2.1"),
    Pattern("cascade", "", "hccl|hcom|HCCL error in",
            r"(?:hcclComm\w+|hcom\w*).{0,120}(?:error code is \d+|fail)|call hccl api failed|HCCL error in",
            "https://github.com/verl-project/verl/pull/332", "torch_npu 2.1"),
    Pattern("cascade", "", "HCCL|HcclCommInit",
            r"HCCL (?:error in|function error|OP RETRY FAILED)|HcclCommInit",
            "https://github.com/hiyouga/LlamaFactory/issues/3839", "torch_npu 2.1"),
    Pattern("cascade", "", "fftsplus", r"fftsplus (?:task )?timeout", "https://github.com/InternLM/lmdeploy/issues/3354", "CANN 8.0"),
    Pattern("cascade", "", "[task timeout]", r"reason=\[task timeout\]", "https://github.com/Ascend/pytorch/issues/43", "CANN 7.0"),
    Pattern("cascade", "", "SUSPECT REMOTE", r"SUSPECT REMOTE ERROR", _NPU_EXCEPTION, "torch_npu 2.7"),
    Pattern("cascade", "", "FORCE STOP", r"FORCE STOP", _NPU_EXCEPTION, "torch_npu 2.7"),
    Pattern("cascade", "", "Watchdog", r"Watchdog caught collective operation timeout", "torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp"),
    Pattern("cascade", "", "gloo/transport", r"gloo/transport/tcp/\w+\.cc:\d+\]", "https://github.com/pytorch/pytorch/issues/75512", "gloo"),
    Pattern("cascade", "", "connectFullMesh", r"connectFullMesh failed", "https://github.com/sgl-project/sglang/issues/3226", "gloo"),
    Pattern("cascade", "", "by peer", r"Connection (?:reset|closed) by peer", "torch/csrc/distributed/c10d/Utils.cpp"),
    Pattern("cascade", "", "roken pipe", r"Broken pipe", "errno EPIPE"),
    Pattern("cascade", "", "sendBytes|sendValue|recvValue|recvVector",
            r"sendBytes failed|recvValue failed|recvVector failed|sendValue failed",
            "torch/csrc/distributed/c10d/TCPStore.cpp", "torch 2.7"),
    Pattern("cascade", "", "imed out|Wait timeout",
            r"Timed out waiting \d+ms for (?:recv|send) operation|Wait timeout|[Rr]endezvous\w*.{0,40}timed out",
            "gloo; torch c10d"),
    Pattern("cascade", "", "ocket Timeout", r"Socket Timeout", "https://github.com/hiyouga/LlamaFactory/issues/3698", "torch 2.1"),
    Pattern("cascade", "address_unreachable", "failed to connect to any",
            r"failed to connect to any network address|failed to connect to any address",
            "https://github.com/hpcaitech/Open-Sora/issues/667", "torch 2.1"),
    Pattern("cascade", "address_unreachable", "client socket has timed out",
            r"client socket has timed out after",
            "torch/csrc/distributed/c10d/socket.cpp", "torch 2.1"),
    Pattern("cascade", "address_unreachable", "No route to host|errno: 113", r"No route to host|errno: 113", "errno EHOSTUNREACH"),
    Pattern("cascade", "address_unreachable", "etwork is unreachable", r"[Nn]etwork is unreachable", "errno ENETUNREACH"),
    Pattern("cascade", "address_unreachable", "onnection refused", r"[Cc]onnection refused", "errno ECONNREFUSED"),
    Pattern("cascade", "address_unreachable", "name resolution|service not known",
            r"[Tt]emporary failure in name resolution|Name or service not known",
            "getaddrinfo(3)"),
    Pattern("cascade", "address_unreachable", "Rendezvous", r"Rendezvous(?:Timeout|Connection|Closed)Error", "torch/distributed/elastic/rendezvous/api.py"),
    Pattern("cascade", "", "DistBackendError|DistNetworkError|DistStoreError",
            r"Dist(?:Backend|Network|Store)Error", "torch/csrc/distributed/c10d/exception.h"),
    # --- the NPU
    Pattern("cause", "device_error", "ECC",
            r"(?:HBM )?(?:MULTI BIT|[Mm]ulti-bit) ECC|uncorrectable.{0,20}ECC|ECC.{0,20}uncorrectable",
            _NPU_EXCEPTION, "torch_npu 2.7"),
    Pattern("cause", "device_error", "UCE ERROR", r"UCE ERROR", _NPU_EXCEPTION, "torch_npu 2.7"),
    Pattern("cause", "device_error", "LINK ERROR", r"(?:HCCS|UB) LINK ERROR", _NPU_EXCEPTION, "torch_npu 2.7"),
    Pattern("cause", "device_error", "reason=", r"reason=\[?(?:device mem error|link error|device lost)", _NPU_EXCEPTION, "CANN 8.0"),
    Pattern("cause", "device_error", "Fault RAS",
            r"Fault RAS occurs in the system",
            "https://github.com/hicann/runtime docs/en/error_code_ref/EZ2001-Execution_Error.md", "CANN 9.1"),
    Pattern("cause", "device_error", "TsdOpen failed|connect the device",
            r"TsdOpen failed|Failed to connect the device",
            "https://github.com/hw-native-sys/PTOAS/pull/523", "CANN 8.5"),
    Pattern("cause", "device_error", "Device not found", r"Device not found or invalid", "https://github.com/vllm-project/vllm-ascend/issues/8186", "CANN 8.0"),
    Pattern("cause", "device_error", "eartbeat|eart beat",
            r"(?:[Dd]evice|NPU).{0,30}(?:lost heart ?beat|heart ?beat.{0,20}(?:lost|timeout|abnormal))|[Ll]ost heart ?beat.{0,30}(?:device|NPU|chip)",
            _NPU_DOC),
    Pattern("cause", "device_error", "aicore timeout|vector core timeout|aivec timeout",
            r"\[?(?:aicore|vector core|aivec) timeout",
            "https://github.com/hw-native-sys/PTOAS/pull/864", "CANN 8.5"),
    Pattern("cause", "device_error", "ink down|ink is down|INK DOWN",
            r"(?:[Nn]pu|NPU|[Dd]evice|[Rr]o[Cc][Ee]|hccn).{0,40}(?:[Ll]ink (?:is )?down|LINK DOWN)",
            "hccn_tool -link_stat"),
    Pattern("cause", "operator_failed", "core id is",
            r"(?:aicore|aivec|aicpu|vector core) (?:error|exception).{0,40}core id is",
            "https://github.com/hw-native-sys/PTOAS/pull/864", "CANN 8.5"),
    Pattern("cause", "operator_failed", "exception]", r"\[(?:aicore|aivec|aicpu) exception\]", "https://github.com/huawei-csl/pto-dsl/pull/90", "CANN 8.5"),
    Pattern("cause", "operator_failed", "Cannot find bin of op", r"Cannot find bin of op", _NPU_DOC, "CANN 8.0"),
    Pattern("cause", "operator_failed", "libopapi",
            r"not in libopapi\.so|libopapi\.so ?not found",
            "https://github.com/Ascend/pytorch/issues/88", "torch_npu 2.1"),
    Pattern("cause", "operator_failed", "aclnn",
            r"\baclnn\w+.{0,80}(?:failed|error code|not support)|call aclnn\w+ failed",
            "https://github.com/vllm-project/vllm-ascend/issues/2210", "torch_npu 2.1"),
    # --- gradients
    Pattern("cause", "nan_grad", "found ", r"found (?:NaN|Inf|nan|inf)\b.{0,40}grad", "megatron/core/distributed/param_and_grad_buffer.py", "9de386d0"),
    Pattern("cause", "nan_loss", "oss is nan", r"[Ll]oss is nan\b", "https://github.com/epfLLM/Megatron-LLM/issues/33"),
    Pattern("cause", "nan_loss", "Unexpected result", r"Unexpected result (?:nan|inf)", "megatron/core/rerun_state_machine.py", "core_v0.12.1"),
    Pattern("cause", "nan_loss", "local forward loss",
            r"found (?:NaN|Inf) in local forward loss",
            "https://github.com/alibaba/Pai-Megatron-Patch/issues/366", "core_v0.12.1"),
    # --- the command line
    Pattern("cause", "python_exception", ".py: error: ", r"\S\.py: error: ", "https://docs.python.org/3/library/argparse.html"),
    # --- permissions
    Pattern("cause", "permission_denied", "ermission denied", r"[Pp]ermission denied", "errno EACCES"),
    Pattern("cause", "permission_denied", "Read-only file system", r"Read-only file system", "errno EROFS"),
    # --- the end of a process
    Pattern("cause", "killed", "Fatal Python error",
            r"Fatal Python error: (?:Segmentation fault|Aborted|Bus error)",
            "https://docs.python.org/3/library/faulthandler.html"),
    Pattern("confirmation", "", "stream synchronize", r"ACL stream synchronize failed", "https://github.com/Ascend/pytorch/issues/43", "torch_npu 2.1"),
    Pattern("confirmation", "", "terminate called",
            r"terminate called after throwing an instance of",
            "https://github.com/vllm-project/vllm-ascend/issues/4972"),
)

#: where an exception was raised, for those whose words tell nothing: (cause, expression over the frames of the traceback)
FRAMES = (
    ("tokenizer_unreadable", r"tokeniz\w*\.py"),
    ("checkpoint_unreadable", r"checkpointing\.py.*in (?:_?load_\w+|read_metadata)|in load_checkpoint|serialization\.py.*in (?:_?load|_legacy_load)"),
    ("index_cache_missing", r"GPTDataset_indices"),
    # Raised in a collective: whatever the words, a peer was missed.
    ("collective_timeout", r"distributed_c10d\.py"),
)
