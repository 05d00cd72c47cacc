"""Error codes of CANN apart from HCCL, and its return codes; the columns are those of ``_fault_codes.FaultCode``.

A return code alone seldom tells who is at fault: those that a wait for another rank ends in are cascades, those that follow any error are
confirmations, also where the vendor's words are about hardware but reports show the code after something else (507011, 507013, 507018).
"""
from __future__ import annotations

_CAUSE, _CASCADE, _DETAIL = "cause", "cascade", "confirmation"

_OTHERS = (
    "Find the first error of any other rank or node: this rank waited for it.",
    "请查找其他 rank 或节点最早的报错：该 rank 只是在等待。")
_NEXT = (
    "Read the lines around it, and the plog of this rank (~/ascend/log/debug/plog): another line names what failed.",
    "请查看其前后的报错行以及该 rank 的 plog（~/ascend/log/debug/plog）：真正的原因在其他行。")
_MEMORY = (
    "See with `npu-smi info` that no other process holds this NPU; else train with less memory: a smaller plan_micro_batch_size, a larger "
    "plan_tensor_model_parallel_size or plan_pipeline_model_parallel_size, full recomputation.",
    "用 `npu-smi info` 确认该 NPU 未被其他进程占用；否则降低显存占用：减小 plan_micro_batch_size，增大 plan_tensor_model_parallel_size 或 "
    "plan_pipeline_model_parallel_size，开启全量重计算。")
_HOST_MEMORY = (
    "See with `free -g` on this node what is left, and end what does not belong there; fewer data workers need less memory.",
    "在该节点上用 `free -g` 查看剩余内存，结束无关进程；减少数据加载进程也可降低占用。")
_DEVICE = (
    "See `npu-smi info`, `npu-smi info -t health -i N` and `npu-smi info -t ecc -i N` on this node; reset or replace the NPU, or take the node out "
    "of the inventory, then run site.yml again.",
    "在该节点上查看 `npu-smi info`、`npu-smi info -t health -i N`、`npu-smi info -t ecc -i N`；复位或更换该 NPU，或将该节点移出 inventory，然后重新运行 "
    "site.yml。")
_OPERATOR = (
    "The lines beside it name the operator. See that CANN toolkit, kernels and torch_npu belong together and fit the chip "
    "(`ansible-playbook site.yml --tags cann_toolkit`); pretrain_profile=recipe (blocking launches) shows the Python line.",
    "同处的报错行给出算子名。请确认 CANN toolkit、kernels 与 torch_npu 版本配套且与芯片匹配（`ansible-playbook site.yml --tags cann_toolkit`）；"
    "pretrain_profile=recipe（同步下发）可显示出错的 Python 行。")
_INSTALL = (
    "Install CANN again on this node and compare with a node that works: `ansible-playbook site.yml --tags cann_toolkit,conda_env`.",
    "在该节点上重新安装 CANN 并与正常节点对比：`ansible-playbook site.yml --tags cann_toolkit,conda_env`。")
_ENVIRONMENT = (
    "The line names the variable and what is allowed; correct it in pretrain_environment_extra (group_vars).",
    "报错行给出变量名与允许的取值；请在 group_vars 的 pretrain_environment_extra 中改正。")
_STOP = (
    "Stop what is left with `ansible-playbook playbooks/stop.yml`, see with `npu-smi info` that no process holds an NPU, wait 10 s, then run "
    "site.yml again.",
    "先用 `ansible-playbook playbooks/stop.yml` 停止残留进程，用 `npu-smi info` 确认没有进程占用 NPU，等待 10 秒后重新运行 site.yml。")
_PERMISSION = (
    "See that the user of the training belongs to the driver's group (HwHiAiUser) and that no container holds the NPU.",
    "请确认训练用户属于驱动用户组（HwHiAiUser），且该 NPU 未被容器占用。")

_JSON = "https://github.com/hicann/runtime/blob/{0}/src/dfx/error_manager/error_code.json"
_V85 = (_JSON.format("8.5.0"), "CANN 8.5.0")
_V91 = (_JSON.format("9.1.0"), "CANN 9.1.0")
_INNER = ("https://www.hiascend.com/document/detail/zh/canncommercial/800/developmentguide/maintenref/troubleshooting/atlaserrorcode_15_0314.html",
          "CANN 8.0.0")
_ACL = ("https://github.com/hicann/runtime/blob/8.5.0/docs/api_docs/aclError.md", "CANN 8.5.0")
_ACLNN = ("https://www.hiascend.com/document/detail/en/canncommercial/850/API/aolapi/atlasascendc_api_07_1205.html", "CANN 8.5.0")

ROWS: tuple[tuple[str, ...], ...] = (
    # Runtime and ACL
    ("EE1001", _DETAIL, "", "A call to the runtime had an invalid argument, often because something failed before it.",
     "调用 Runtime 的参数无效，通常是更早的失败所致。", *_NEXT, *_V85),
    ("EE1002", _CASCADE, "", "The NPU's work was not done within the time-out: mostly a collective that waits for another rank.",
     "NPU 上的任务未在超时时间内完成，多为集合通信在等待其他 rank。", *_OTHERS, *_V85),
    ("EE1008", _CAUSE, "operator_failed", "The kernel of an operator could not be loaded.", "算子 kernel 加载失败。", *_OPERATOR, *_V85),
    ("EE1013", _CAUSE, "host_out_of_memory", "The node's memory (not the NPU's) is exhausted.", "主机内存（非 NPU 显存）不足。", *_HOST_MEMORY, *_V91),
    ("EE1014", _CAUSE, "operator_failed", "The binary file of an operator is damaged or built wrongly.",
     "算子二进制文件损坏或编译参数有误。", *_OPERATOR, *_V91),
    ("EE1015", _CAUSE, "version_mismatch", "The NPU driver of this node is too old for this CANN.", "该节点的 NPU 驱动版本过低，与当前 CANN 不匹配。",
     "Install the driver that belongs to this CANN on the node (`npu-smi info` shows the version), as on the nodes that work.",
     "在该节点安装与 CANN 配套的驱动（`npu-smi info` 可查看版本），与正常节点保持一致。", *_V85),
    ("EE2002", _CAUSE, "wrong_setting", "The runtime refuses an environment variable of this node.",
     "Runtime 不接受该节点的某个环境变量。", *_ENVIRONMENT, *_V85),
    ("EE9999", _DETAIL, "", "An internal error of the runtime.", "Runtime 内部错误。", *_NEXT, *_INNER),
    ("EH0010", _CAUSE, "host_out_of_memory", "The node's memory (not the NPU's) is exhausted.", "主机内存（非 NPU 显存）不足。", *_HOST_MEMORY, *_V91),
    ("EH9999", _DETAIL, "", "A call to CANN failed because of an earlier error.", "调用 CANN 接口失败，由更早的错误引起。", *_NEXT, *_INNER),
    # Driver
    ("EL0001", _CAUSE, "device_error", "An NPU of this node is absent or abnormal.", "该节点的 NPU 不存在或异常。", *_DEVICE, *_V85),
    ("EL0003", _DETAIL, "", "A call to the driver had an invalid argument.", "调用驱动的参数无效。", *_NEXT, *_V85),
    ("EL0004", _CAUSE, "npu_out_of_memory", "The driver could not allocate memory: the NPU's is exhausted.",
     "驱动申请内存失败：NPU 内存不足。", *_MEMORY, *_V85),
    ("EL0005", _CAUSE, "unknown", "The NPU is busy: held by another process, being reset, or not ready.", "NPU 资源忙：被其他进程占用、正在复位或尚未就绪。",
     *_STOP, *_V85),
    ("EL0007", _CAUSE, "permission_denied", "This user may not use the NPU.", "当前用户无权使用该 NPU。", *_PERMISSION, *_V85),
    ("EL0015", _CAUSE, "permission_denied", "The NPU may not be used from here: a container has it, or the user has no permission.",
     "无法访问该 NPU：已被其他容器绑定，或用户没有权限。", *_PERMISSION, *_V85),
    ("EL9999", _DETAIL, "", "An internal error of the driver.", "驱动内部错误。", *_NEXT, *_INNER),
    # AI CPU and the processes on the NPU
    ("E30003", _CAUSE, "last_process_running", "Too many processes run on this NPU: those of an earlier training are still there.",
     "该 NPU 上的用户进程数超限：上一次训练的进程尚未退出。", *_STOP, *_V85),
    ("E30004", _CAUSE, "device_error", "A program on the NPU is damaged: a memory (ECC) error of the NPU is possible.",
     "NPU 上的程序文件损坏，可能是 NPU 内存 ECC 错误。", *_DEVICE, *_V85),
    ("E30005", _CAUSE, "device_error", "The NPU cannot be reached: its heartbeat is lost or the channel to it is broken.",
     "无法连接该 NPU：心跳丢失或底层通道断开。", *_DEVICE, *_V85),
    ("E30006", _CAUSE, "version_mismatch", "The NPU refuses the operator package of this node: it is not the right one, or the NPU's memory has an ECC error.",
     "NPU 校验该节点的算子包失败：算子包不正确，或 NPU 内存存在 ECC 错误。", *_INSTALL, *_V85),
    ("E30008", _CAUSE, "operator_failed", "An operator on the AI CPU ran into its time-out.", "AI CPU 算子执行超时。", *_OPERATOR, *_V85),
    ("E39002", _CAUSE, "device_error", "The driver tells no number and list of devices.", "无法从驱动获取设备数量与列表。", *_DEVICE, *_V85),
    ("E39006", _CAUSE, "device_error", "The operator package could not be sent to the NPU: channel or NPU are abnormal.",
     "无法将算子包发送到 NPU：HDC 链路或设备状态异常。", *_DEVICE, *_V85),
    ("E39009", _CAUSE, "device_error", "The NPU cannot be reached: its heartbeat is lost or the channel to it is broken.",
     "无法连接该 NPU：心跳丢失或底层通道断开。", *_DEVICE, *_V85),
    ("E39999", _DETAIL, "", "An internal error of the AI CPU.", "AI CPU 内部错误。", *_NEXT, *_INNER),
    # Compilation
    ("E19999", _DETAIL, "", "An internal error of the graph engine.", "GE 内部错误。", *_NEXT, *_V85),
    ("E20001", _CAUSE, "operator_failed", "An operator could not be compiled.", "算子编译失败。", *_OPERATOR, *_V85),
    ("E22001", _CAUSE, "operator_failed", "The result of an operator's compilation is missing: the compiling thread or process crashed.",
     "找不到算子编译结果：编译线程或主进程发生段错误。", *_OPERATOR, *_V85),
    ("E40001", _CAUSE, "wrong_setting", "The operator compiler refuses an environment variable.", "算子编译不接受某个环境变量。", *_ENVIRONMENT, *_V85),
    ("E40002", _CAUSE, "version_mismatch", "The Python of this environment is too old for CANN.", "Python 版本过低，CANN 不支持。", *_INSTALL, *_V85),
    ("E40020", _CAUSE, "import_error", "The operator compiler cannot import a Python module; the line names it.",
     "算子编译无法导入 Python 模块，报错行给出模块名。", *_INSTALL, *_V85),
    ("E40021", _CAUSE, "operator_failed", "An operator could not be compiled; the line names it.", "算子编译失败，报错行给出算子名。", *_OPERATOR, *_V85),
    ("E40024", _CAUSE, "import_error", "The operator compiler cannot call a Python function: a library is missing or of another version.",
     "算子编译调用 Python 函数失败：依赖库缺失或版本不符。", *_INSTALL, *_V85),
    ("E80001", _CAUSE, "operator_failed", "A configuration file of the operator package is incomplete.", "算子包的配置文件不完整。", *_INSTALL, *_V85),
    ("EB0000", _CAUSE, "operator_failed", "TBE could not compile an operator.", "TBE 编译算子失败。", *_OPERATOR, *_V85),
    # Operators and aclnn
    ("EZ1001", _CAUSE, "operator_failed", "An operator refuses its inputs (type, shape or format).",
     "算子输入校验失败（类型、形状或格式）。", *_OPERATOR, *_V85),
    ("EZ2001", _CAUSE, "device_error", "An operator failed while the NPU reports a fault of its hardware; the line has the fault's id.",
     "算子执行失败，同时 NPU 上报硬件故障，报错行给出故障 ID。", *_DEVICE,
     "https://github.com/hicann/runtime/blob/master/docs/en/error_code_ref/EZ2001-Execution_Error.md", "CANN master, 2026-08"),
    ("EZ3002", _CAUSE, "operator_failed", "An operator of this type or form is not supported.", "不支持该类型或规格的算子。", *_OPERATOR, *_V85),
    ("EZ3003", _CAUSE, "operator_failed", "No kernel for an operator was found: the kernels package may be missing.",
     "找不到算子的 kernel：可能未安装 kernels 包。", *_OPERATOR, *_V85),
    ("EZ9903", _DETAIL, "", "An operator's call to the runtime failed.", "算子调用 Runtime 失败。", *_NEXT, *_V85),
    ("EZ9999", _CAUSE, "operator_failed", "An operator failed on this NPU.", "算子在该 NPU 上执行失败。", *_OPERATOR, *_V85),
    ("EK0204", _CAUSE, "disk_full", "The disk of this node is too full for profiling.", "该节点磁盘空间不足，无法写入 Profiling 数据。",
     "Free space on this node (`df -h`), or switch profiling off.", "在该节点上清理磁盘（`df -h`），或关闭 Profiling。", *_V91),

    # Return codes
    ("107002", _DETAIL, "", "The thread has no NPU context.", "当前线程没有 NPU context。", *_NEXT, *_ACL),
    ("107003", _DETAIL, "", "A stream of another context was used.", "使用了不属于当前 context 的 stream。", *_NEXT, *_ACL),
    ("107020", _CASCADE, "", "The NPU's work was not done within the time-out: mostly a collective that waits for another rank.",
     "NPU 上的任务执行超时，多为集合通信在等待其他 rank。", *_OTHERS, *_ACL),
    ("107022", _CASCADE, "", "The work on the NPU was stopped from outside.", "NPU 上的任务被外部终止。", *_OTHERS, *_ACL),
    ("207001", _CAUSE, "npu_out_of_memory", "Memory of the NPU could not be allocated.", "NPU 内存申请失败。", *_MEMORY, *_ACL),
    ("207004", _CAUSE, "device_error", "The NPU is not available.", "NPU 不可用。", *_DEVICE, *_ACL),
    ("207006", _CAUSE, "permission_denied", "This user may not use the NPU.", "当前用户无权使用该 NPU。", *_PERMISSION, *_ACL),
    ("207018", _CAUSE, "npu_out_of_memory", "The memory of the NPU is exhausted.", "NPU 内存耗尽。", *_MEMORY, *_ACL),
    ("500001", _DETAIL, "", "An internal error of ACL.", "ACL 内部错误。", *_NEXT, *_ACL),
    ("500002", _DETAIL, "", "An error in the graph engine.", "GE 模块错误。", *_NEXT, *_ACL),
    ("507010", _CAUSE, "device_error", "The NPU's task scheduler has no heartbeat.", "NPU 的任务调度器（task scheduler）心跳丢失。", *_DEVICE, *_ACL),
    ("507011", _DETAIL, "", "What was launched on the NPU failed.", "NPU 上下发的任务执行失败。", *_NEXT, *_ACL),
    ("507013", _DETAIL, "", "A memory copy by DMA failed.", "DMA 内存拷贝失败。", *_NEXT, *_ACL),
    ("507014", _CAUSE, "device_error", "An AI Core of the NPU did not finish in time.", "NPU 的 AI Core 执行超时。", *_DEVICE, *_ACL),
    ("507015", _CAUSE, "operator_failed", "An operator failed on an AI Core of the NPU.", "算子在 NPU 的 AI Core 上执行异常。", *_OPERATOR, *_ACL),
    ("507017", _DETAIL, "", "An operator on the AI CPU did not finish in time; where HCCL runs on the AI CPU it may wait for another rank.",
     "AI CPU 执行超时；若 HCCL 运行在 AI CPU 上，也可能是在等待其他 rank。", *_NEXT, *_ACL),
    ("507018", _DETAIL, "", "An operator on the AI CPU failed; where HCCL runs on the AI CPU it may be another rank's fault.",
     "AI CPU 执行异常；若 HCCL 运行在 AI CPU 上，也可能由其他 rank 引起。", *_NEXT, *_ACL),
    ("507033", _CAUSE, "device_error", "The NPU could not be started.", "NPU 启动失败。", *_DEVICE, *_ACL),
    ("507034", _CAUSE, "device_error", "A vector core of the NPU did not finish in time.", "NPU 的 Vector Core 执行超时。", *_DEVICE, *_ACL),
    ("507035", _CAUSE, "operator_failed", "An operator failed on a vector core of the NPU.", "算子在 NPU 的 Vector Core 上执行异常。", *_OPERATOR, *_ACL),
    ("507046", _CASCADE, "", "The stream was not done within the time-out: mostly a collective that waits for another rank.",
     "stream 同步超时，多为集合通信在等待其他 rank。", *_OTHERS, *_ACL),
    ("507048", _CASCADE, "", "A task was not done within the time-out: mostly a collective that waits for another rank.",
     "内部任务执行超时，多为集合通信在等待其他 rank。", *_OTHERS, *_ACL),
    ("507049", _DETAIL, "", "A task on the NPU failed.", "NPU 内部任务执行异常。", *_NEXT, *_ACL),
    ("507053", _CAUSE, "device_error", "The memory of this NPU has an error that cannot be corrected (UCE).",
     "该 NPU 内存出现不可纠正错误（UCE）。", *_DEVICE, *_ACL),
    ("507054", _CAUSE, "device_error", "The memory (HBM) of this NPU has a multi-bit ECC error.", "该 NPU 的 HBM 出现多比特 ECC 错误。", *_DEVICE, *_ACL),
    ("507055", _CASCADE, "", "The memory of another NPU, which this one reads, seems to be broken.", "该 NPU 所访问的对端 NPU 内存疑似故障。", *_OTHERS, *_ACL),
    ("507056", _CAUSE, "device_error", "The link between this NPU and another one is broken.", "该 NPU 与另一 NPU 之间的链路断开。", *_DEVICE, *_ACL),
    ("507057", _CASCADE, "", "Another NPU seems to have failed, or this one read outside its memory.",
     "对端 NPU 疑似故障，或该 NPU 内存访问越界。", *_OTHERS, *_ACL),
    ("507899", _CAUSE, "device_error", "The driver of this NPU reports an internal error.", "该 NPU 的驱动内部错误。", *_DEVICE, *_ACL),
    ("507901", _CAUSE, "device_error", "The channel between this node and its NPU (HDC) was cut.", "主机与 NPU 之间的 HDC 会话断开。", *_DEVICE, *_ACL),
    ("161002", _CAUSE, "operator_failed", "An operator refuses its inputs (type, shape or format).",
     "aclnn 算子参数校验失败（类型、形状或格式）。", *_OPERATOR, *_ACLNN),
    ("361001", _DETAIL, "", "An operator's call to the runtime failed.", "aclnn 算子调用 Runtime 失败。", *_NEXT, *_ACLNN),
    ("561000", _CAUSE, "operator_failed", "An error inside an operator's programming interface (aclnn).", "aclnn 算子接口内部错误。", *_OPERATOR, *_ACLNN),
    ("561003", _CAUSE, "operator_failed", "No kernel for an operator was found: the kernels package may be missing.",
     "找不到算子的 kernel：可能未安装 kernels 包。", *_OPERATOR, *_ACLNN),
    ("561103", _CAUSE, "operator_failed", "An operator met a null pointer inside aclnn.", "aclnn 算子内部出现空指针。", *_OPERATOR, *_ACLNN),
)
