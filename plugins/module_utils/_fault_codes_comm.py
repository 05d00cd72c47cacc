"""Error codes of HCCL, HCCP and torch_npu; the columns are those of ``_fault_codes.FaultCode``.

Roles follow the vendor's words on who is at fault. HCCL is a matter of all ranks: most of its codes are printed by ranks that waited.
"""
from __future__ import annotations

_CAUSE, _CASCADE, _DETAIL = "cause", "cascade", "confirmation"

_OTHERS = (
    "Find the first error of any other rank or node: the rank that prints this only waited or lost its peer. If nobody else failed, compare "
    "`hccn_tool -i N -link -g`, `-net_health -g` and `-tls -g` of all NPUs on all nodes.",
    "请先查找其他 rank 或节点最早的报错：打印该码的 rank 只是在等待或失去了对端。若其他 rank 均无报错，请在所有节点上逐卡对比 "
    "`hccn_tool -i N -link -g`、`-net_health -g`、`-tls -g`。")
_STOP = (
    "Stop what is left with `ansible-playbook playbooks/stop.yml`, see with `npu-smi info` that no process holds an NPU, wait 10 s, then run "
    "site.yml again.",
    "先用 `ansible-playbook playbooks/stop.yml` 停止残留进程，用 `npu-smi info` 确认没有进程占用 NPU，等待 10 秒后重新运行 site.yml。")
_MEMORY = (
    "See with `npu-smi info` that no other process holds this NPU; else train with less memory: a smaller plan_micro_batch_size, a larger "
    "plan_tensor_model_parallel_size or plan_pipeline_model_parallel_size, full recomputation.",
    "用 `npu-smi info` 确认该 NPU 未被其他进程占用；否则降低显存占用：减小 plan_micro_batch_size，增大 plan_tensor_model_parallel_size 或 "
    "plan_pipeline_model_parallel_size，开启全量重计算。")
_SETTING = (
    "The line names the variable and what is allowed. Correct it in pretrain_environment_extra or pretrain_socket_ifname (group_vars), then run "
    "site.yml again.",
    "报错行给出了变量名与允许的取值。请在 group_vars 的 pretrain_environment_extra 或 pretrain_socket_ifname 中改正后重新运行 site.yml。")
_RANKTABLE = (
    "Remove RANK_TABLE_FILE from the environment (this launch needs none), or make the file agree with `hccn_tool -i N -ip -g` of every NPU.",
    "请从环境变量中去掉 RANK_TABLE_FILE（本启动方式不需要），或使该文件与每张卡的 `hccn_tool -i N -ip -g` 一致。")
_PORT = (
    "Look for a job left running (`ansible-playbook playbooks/stop.yml`); see who has the port with `ss -ltnp`; or set HCCL_IF_BASE_PORT in "
    "pretrain_environment_extra.",
    "检查是否有残留任务（`ansible-playbook playbooks/stop.yml`），用 `ss -ltnp` 查看占用端口的进程；或在 pretrain_environment_extra 中设置 "
    "HCCL_IF_BASE_PORT。")
_LINK = (
    "On this node see `hccn_tool -i N -link -g`, `-net_health -g`, `-optical -g` and `-ip -g` of the NPU; have cable, optical module and switch "
    "port checked; then run site.yml again.",
    "在该节点上查看该 NPU 的 `hccn_tool -i N -link -g`、`-net_health -g`、`-optical -g`、`-ip -g`，检查线缆、光模块与交换机端口，然后重新运行 "
    "site.yml。")
_SAME = (
    "Install the same CANN on all nodes: `ansible-playbook site.yml --tags cann_toolkit`.",
    "在所有节点上安装相同版本的 CANN：`ansible-playbook site.yml --tags cann_toolkit`。")
_SCRIPT = (
    "All ranks must run the same code, data and plan: see that code, environment variables and dataset are the same on all nodes.",
    "所有 rank 必须运行相同的代码、数据与并行配置：请确认各节点的代码、环境变量与数据集一致。")
_NEXT = (
    "Read the lines around it: the E… code or the Python exception beside it tells what failed.",
    "请查看其前后的报错行：同处的 E 开头错误码或 Python 异常才说明失败原因。")
_TRACEBACK = (
    "The Python traceback above names the line. Correct the code or the arguments that it names.",
    "请看上方的 Python 调用栈，修正其指出的代码或参数。")

_DOC = "https://www.hiascend.com/document/detail/"
_HCCL = "https://github.com/hicann/runtime/blob/8.5.0/src/dfx/error_manager/error_code.json"
_CANN_85, _CANN_90 = "CANN 8.5.0", "CANN 9.0.0"
_PTA, _PTA_VERSION = "https://gitcode.com/Ascend/pytorch/blob/v2.7.1-26.0.0/docs/en/troubleshooting/", "torch_npu 2.7.1 (26.0.0)"

ROWS: tuple[tuple[str, ...], ...] = (
    ("EI0001", _CAUSE, "wrong_setting", "HCCL refuses an environment variable of this node (often HCCL_SOCKET_IFNAME or HCCL_IF_IP).",
     "HCCL 不接受该节点的某个环境变量（常见为 HCCL_SOCKET_IFNAME 或 HCCL_IF_IP）。", *_SETTING, _HCCL, _CANN_85),
    ("EI0002", _CASCADE, "", "This rank waited for another rank in a collective until the time-out (HCCL_EXEC_TIMEOUT): the other one failed, was "
     "too slow, or the link between them lost packets.",
     "该 rank 在集合通信中等待其他 rank 直至超时（HCCL_EXEC_TIMEOUT）：对端异常、过慢，或两者之间的链路丢包。", *_OTHERS,
     _DOC + "zh/canncommercial/81RC1/developmentguide/maintenref/troubleshooting/atlaserrorcode_15_0242.html", "CANN 8.1.RC1"),
    ("EI0003", _CAUSE, "operator_failed", "This rank called a collective with an argument that HCCL does not accept.",
     "该 rank 调用集合通信算子时传入了 HCCL 不接受的参数。", *_TRACEBACK, _HCCL, _CANN_85),
    ("EI0004", _CAUSE, "wrong_setting", "The rank table that this rank was given is invalid or cannot be read.", "该 rank 使用的 rank table 无效或无法读取。",
     *_RANKTABLE, _DOC + "zh/CANNCommunityEdition/850/maintenref/troubleshooting/atlaserrorcode_15_0244.html", _CANN_85),
    ("EI0005", _CASCADE, "", "Two ranks called a collective with different arguments (parameter, local and remote value are in the line): which of "
     "them is wrong is not said.", "两个 rank 调用同一集合通信算子时参数不一致（报错行给出参数名及本端、对端的值），无法据此判断哪一方有误。",
     *_SCRIPT, _DOC + "zh/CANNCommunityEdition/850alpha002/hccl/hcclug/hcclug_000051.html", "CANN 8.5.0.alpha002"),
    ("EI0006", _CASCADE, "", "This rank could not set up a connection to another rank before the time-out (HCCL_CONNECT_TIMEOUT): that rank failed, "
     "is late, or the network or the TLS settings differ.",
     "该 rank 与其他 rank 建链超时（HCCL_CONNECT_TIMEOUT）：对端异常或过慢，或网络不通、TLS 开关不一致。", *_OTHERS,
     _DOC + "zh/CANNCommunityEdition/850/maintenref/troubleshooting/atlaserrorcode_15_0246.html", _CANN_85),
    ("EI0007", _CAUSE, "npu_out_of_memory", "HCCL could not get memory or another resource of this NPU: it is exhausted.",
     "HCCL 无法在该 NPU 上申请内存或其他资源：资源已耗尽。", *_MEMORY,
     _DOC + "zh/CANNCommunityEdition/850/maintenref/troubleshooting/atlaserrorcode_15_0247.html", _CANN_85),
    ("EI0008", _CASCADE, "version_mismatch", "Two nodes have different HCCL (CANN) versions; both are in the line.",
     "两个节点的 HCCL（CANN）版本不一致，报错行给出了双方版本。", *_SAME,
     _DOC + "zh/CANNCommunityEdition/82RC1alpha002/maintenref/troubleshooting/atlaserrorcode_15_0248.html", "CANN 8.2.RC1.alpha002"),
    ("EI0009", _CASCADE, "", "The connection of this NPU to another one could not be set up: the other side is abnormal or a port is down.",
     "该 NPU 与另一 NPU 的传输通道初始化失败：对端异常，或端口处于 down 状态。", *_OTHERS,
     _DOC + "zh/CANNCommunityEdition/83RC1alpha003/maintenref/troubleshooting/atlaserrorcode_15_0249.html", "CANN 8.3.RC1.alpha003"),
    ("EI0010", _CAUSE, "device_error", "NPUs of this node cannot reach each other directly (P2P).", "该节点内的 NPU 之间无法直接通信（P2P 失败）。",
     "See with `npu-smi info` that all NPUs of the node are healthy; to go over RoCE instead, set HCCL_INTRA_ROCE_ENABLE=1 in "
     "pretrain_environment_extra.",
     "用 `npu-smi info` 确认该节点的 NPU 全部正常；如需改走 RoCE，在 pretrain_environment_extra 中设置 HCCL_INTRA_ROCE_ENABLE=1。", _HCCL, _CANN_85),
    ("EI0011", _CAUSE, "npu_out_of_memory", "HCCL could not allocate memory of this NPU for its connections.", "HCCL 无法在该 NPU 上为通信连接申请内存。",
     *_MEMORY, _DOC + "zh/canncommercial/850/maintenref/troubleshooting/atlaserrorcode_15_0324.html", _CANN_85),
    ("EI0012", _CASCADE, "", "A memory copy (SDMA) from or to another NPU failed: a link broke, the other process ended, or memory was freed too early.",
     "与另一 NPU 之间的内存拷贝（SDMA）失败：链路异常、对端进程退出，或内存被提前释放。", *_OTHERS, _HCCL, _CANN_85),
    ("EI0013", _CASCADE, "", "RoCE gave up sending to a peer (error CQE; both addresses are in the line): the network between them broke or the peer ended.",
     "RoCE 多次重传后放弃（error CQE，报错行给出双方地址）：两端之间网络异常，或对端进程已退出。", *_OTHERS,
     _DOC + "zh/canncommercial/900/maintenref/troubleshooting/atlaserrorcode_15_0349.html", _CANN_90),
    ("EI0014", _CAUSE, "wrong_setting", "The rank table does not agree with the devices of this node.", "rank table 与该节点的实际设备不一致。", *_RANKTABLE,
     _DOC + "zh/CANNCommunityEdition/850/maintenref/troubleshooting/atlaserrorcode_15_0350.html", _CANN_85),
    ("EI0015", _CASCADE, "address_unreachable", "Not all ranks reached the root rank while the communicator was made; the line may list who is missing.",
     "创建通信域时并非所有 rank 都连上了 root rank；报错行可能列出缺失的 rank。",
     "Find the ranks that are missing: did they fail before, and do they reach the master's cluster_address over the interface in "
     "pretrain_socket_ifname (HCCL_SOCKET_IFNAME)?",
     "找出缺失的 rank：它们是否更早失败？能否通过 pretrain_socket_ifname（HCCL_SOCKET_IFNAME）指定的网卡访问主节点的 cluster_address？",
     _DOC + "en/CANNCommunityEdition/900/API/hcclug/hcclug_000038.html", _CANN_90),
    ("EI0016", _CAUSE, "wrong_setting", "A value in HCCL's configuration of this node is invalid.",
     "该节点的 HCCL 配置项取值无效。", *_SETTING, _HCCL, _CANN_85),
    ("EI0017", _CAUSE, "wrong_setting", "An entry is missing in the rank table.", "rank table 中缺少配置项。", *_RANKTABLE, _HCCL, _CANN_85),
    ("EI0019", _CAUSE, "port_in_use", "HCCL cannot listen on its port on this node: another process has it.",
     "HCCL 无法在该节点监听端口：端口已被其他进程占用。", *_PORT, _DOC + "en/CANNCommunityEdition/900/API/hcclug/hcclug_000049.html", _CANN_90),
    ("EI0020", _CAUSE, "port_in_use", "HCCL cannot listen on its port on this node: another process has it, or two processes use one NPU.",
     "HCCL 无法在该节点监听端口：端口被其他进程占用，或多个进程使用同一 NPU。", *_PORT,
     _DOC + "zh/canncommercial/900/maintenref/troubleshooting/atlaserrorcode_15_0384.html", _CANN_90),
    ("EI9999", _CASCADE, "", "An error inside HCCL, mostly a task that waited for another rank until its time-out.",
     "HCCL 内部错误，多为任务等待其他 rank 直至超时。", *_OTHERS,
     _DOC + "zh/CANNCommunityEdition/850alpha002/hccl/hcclug/hcclug_000024.html", "CANN 8.5.0.alpha002"),
    ("EJ0001", _CAUSE, "last_process_running", "The communication process (HCCP) of this NPU could not start: that of an earlier training is still alive.",
     "该 NPU 的集合通信进程（HCCP）无法启动：上一次训练的进程仍在运行。", *_STOP,
     _DOC + "zh/CANNCommunityEdition/850/maintenref/troubleshooting/atlaserrorcode_15_0251.html", _CANN_85),
    ("EJ0002", _CAUSE, "device_error", "The network port of this NPU is down.", "该 NPU 的网口处于 down 状态。", *_LINK, _HCCL, _CANN_85),
    ("EJ0003", _CAUSE, "port_in_use", "A port that HCCL needs on this node is taken.", "HCCL 在该节点需要的端口已被占用。", *_PORT,
     _DOC + "en/canncommercial/850/commlib/hcclug/hcclug_000035.html", _CANN_85),
    ("EJ0004", _CAUSE, "wrong_setting", "The address of this NPU in the rank table is not the one that the NPU has.",
     "rank table 中该 NPU 的 IP 与其实际 IP 不一致。", *_RANKTABLE, _DOC + "zh/CANNCommunityEdition/850/commlib/hcclug/hcclug_000043.html", _CANN_85),

    ("ERR00001", _CAUSE, "python_exception", "torch_npu was called with an invalid argument.", "调用 torch_npu 时参数无效。", *_TRACEBACK,
     _PTA + "ERR-001.md", _PTA_VERSION),
    ("ERR01001", _CAUSE, "python_exception", "An operator was called with an invalid argument.", "调用算子时参数无效。", *_TRACEBACK,
     _PTA + "ERR-001.md", _PTA_VERSION),
    ("ERR01002", _CAUSE, "python_exception", "An operator was called with a data type that it does not take.", "调用算子时数据类型不受支持。", *_TRACEBACK,
     _PTA + "ERR-002.md", _PTA_VERSION),
    ("ERR01003", _CAUSE, "python_exception", "An operator was called with a wrong value, shape or dimension.", "调用算子时数值、形状或维度有误。", *_TRACEBACK,
     _PTA + "ERR-003.md", _PTA_VERSION),
    ("ERR00005", _DETAIL, "", "An internal error of torch_npu.", "torch_npu 内部错误。", *_NEXT, _PTA + "ERR-005.md", _PTA_VERSION),
    ("ERR02005", _DETAIL, "", "An internal error of torch_npu's distributed module: its watchdog ends the process after another error.",
     "torch_npu 分布式模块内部错误：其看门狗在其他错误之后结束进程。", *_NEXT, _PTA + "ERR-005.md", _PTA_VERSION),
    ("ERR00006", _CAUSE, "npu_out_of_memory", "torch_npu could not get memory.", "torch_npu 申请内存失败。", *_MEMORY, _PTA + "ERR-006.md", _PTA_VERSION),
    ("ERR00007", _CAUSE, "python_exception", "The code uses something that this torch_npu does not support.", "代码使用了当前 torch_npu 不支持的功能。",
     *_TRACEBACK, _PTA + "ERR-007.md", _PTA_VERSION),
    ("ERR00012", _CAUSE, "permission_denied", "torch_npu may not use a file or folder that the line names.", "torch_npu 无权访问报错行中的文件或目录。",
     "Correct owner and mode of that path for the user of the training, then run site.yml again.",
     "为训练用户修正该路径的属主与权限，然后重新运行 site.yml。", _PTA + "ERR-012.md", _PTA_VERSION),
    ("ERR02011", _CASCADE, "", "A wait between ranks timed out.", "rank 之间的等待超时。", *_OTHERS, _PTA + "ERR-011.md", _PTA_VERSION),
    ("ERR00100", _DETAIL, "", "A call of torch_npu to CANN failed; the code of CANN beside it tells why.",
     "torch_npu 调用 CANN 接口失败，原因见同处的 CANN 错误码。", *_NEXT, _PTA + "ERR-100.md", _PTA_VERSION),
    ("ERR01100", _DETAIL, "", "An operator's call to CANN failed; the code of CANN beside it tells why.", "算子调用 CANN 接口失败，原因见同处的 CANN 错误码。",
     *_NEXT, _PTA + "ERR-100.md", _PTA_VERSION),
    ("ERR02200", _CASCADE, "", "A collective of this rank failed in HCCL; the EI or EJ code beside it tells why.",
     "该 rank 的集合通信在 HCCL 中失败，原因见同处的 EI 或 EJ 错误码。", *_NEXT, _PTA + "ERR-200.md", _PTA_VERSION),
    ("ERR00300", _DETAIL, "", "A call of torch_npu to the graph engine failed; the code of CANN beside it tells why.",
     "torch_npu 调用 GE 接口失败，原因见同处的 CANN 错误码。", *_NEXT, _PTA + "ERR-300.md", _PTA_VERSION),
    ("ERR99999", _DETAIL, "", "The program ended by an exception that is not torch_npu's own: it adds this line to each of them.",
     "程序因非 torch_npu 自身的异常退出：torch_npu 会为此类异常附加该行。", *_NEXT, _PTA + "ERR-999.md", _PTA_VERSION),
)
