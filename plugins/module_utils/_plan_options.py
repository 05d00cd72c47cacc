"""Options of Megatron-LM 9de386d0 with AscendSpeed 9264e3c0: what kind of value each takes.

As their parser has them (megatron/training/arguments.py:620-1590, ascendspeed/arguments.py:39-228);
`make test-upstream` compares the two.
"""
from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """A set of the words of a text."""
    return frozenset(text.split())


# A whole number.
WHOLE = words("""
    adaptive-recompute-device-size adaptive-recompute-profiling-step adlr-autoresume-interval batch-size
    biencoder-projection-dim context-parallel-size decoder-num-layers decoder-seq-length dino-bottleneck-size
    dino-head-hidden-size dino-local-crops-number dino-local-img-size dino-warmup-teacher-temp-epochs
    distributed-timeout-minutes encoder-num-layers encoder-seq-length eval-interval eval-iters exit-duration-in-mins
    exit-interval expert-interval expert-model-parallel-size ffn-hidden-size fp8-amax-history-len fp8-interval fp8-margin
    global-batch-size hidden-size hysteresis ict-head-size img-h img-w indexer-batch-size indexer-log-interval
    inference-batch-times-seqlen-threshold iter-per-epoch kv-channels local-rank local_rank log-interval lr-decay-iters
    lr-decay-samples lr-warmup-iters lr-warmup-samples make-vocab-size-divisible-by manual-gc-interval
    max-position-embeddings max-tokens-to-oom micro-batch-size model-parallel-size moe-router-topk next-tockens
    num-attention-heads num-channels num-classes num-experts num-layers num-layers-per-virtual-pipeline-stage
    num-query-groups num-workers optimize-recomp-communication-level patch-dim pipeline-model-parallel-size
    pipeline-model-parallel-split-rank pre-tockens profile-step-end profile-step-start recompute-num-layers
    retriever-seq-length retro-cyclic-train-iters retro-encoder-layers retro-num-neighbors retro-num-retrieved-chunks
    rotary-seq-len-interpolation-factor save-interval seed seq-length tensor-model-parallel-size tensorboard-log-interval
    tensorboard-queue-size train-iters train-samples vocab-extra-ids vocab-size warmup
""")

# Any number.
FRACTION = words("""
    adam-beta1 adam-beta2 adam-eps attention-dropout classes-fraction clip-grad data-per-class-fraction
    dino-freeze-last-layer dino-teacher-temp dino-warmup-teacher-temp end-weight-decay head-lr-mult hidden-dropout
    init-method-std initial-loss-scale loss-scale loss-scale-window lr lr-warmup-fraction lr-warmup-init mask-factor
    mask-prob min-loss-scale min-lr moe-aux-loss-coeff moe-input-jitter-eps moe-train-capacity-factor moe-z-loss-coeff
    norm-epsilon query-in-block-prob retro-attention-gate retro-encoder-attention-dropout retro-encoder-hidden-dropout
    rotary-base rotary-percent sample-rate sgd-momentum short-seq-prob start-weight-decay weight-decay
""")

# No value: the option is there or not.
FLAG = words("""
    accumulate-allreduce-grads-in-fp32 adaptive-recompute-device-swap add-dense-bias add-qkv-bias adlr-autoresume
    apply-layernorm-1p apply-query-key-layer-scaling apply-residual-connection-post-layernorm attention-softmax-in-fp32
    auto-detect-ckpt-format bert-no-binary-head bf16 biencoder-shared-query-context-model checkpoint-activations
    data-parallel-random-init delay-param-gather dino-norm-last-layer disable-bias-linear disable-tp-comm-bulk-dgrad
    disable-tp-comm-bulk-wgrad disable-tp-comm-split-ag disable-tp-comm-split-rs distribute-saved-activations
    enable-one-logger eod-mask-loss exit-on-missing-checkpoint exit-signal-handler fill-neg-inf finetune fp16
    fp16-lm-cross-entropy fp32-residual-connection group-query-attention init-method-xavier-uniform
    log-batch-size-to-tensorboard log-memory-to-tensorboard log-num-zeros-in-grad log-params-norm log-progress
    log-throughput log-timers-to-tensorboard log-validation-ppl-to-tensorboard log-world-size-to-tensorboard manual-gc
    mock-data moe-grouped-gemm moe-token-dropping no-async-tensor-model-parallel-allreduce no-barrier-with-level-1-timing
    no-bias-dropout-fusion no-bias-gelu-fusion no-bias-swiglu-fusion no-check-for-nan-in-loss-and-grad
    no-clone-scatter-output-in-embedding no-create-attention-mask-in-dataloader no-data-sharding no-delay-grad-reduce
    no-fp8-wgrad no-gradient-accumulation-fusion no-initialization no-load-optim no-load-rng
    no-log-learnig-rate-to-tensorboard no-log-loss-scale-to-tensorboard no-manual-gc-eval no-masked-softmax-fusion
    no-mmap-bin-files no-overlap-p2p-communication no-persist-layer-norm no-position-embedding no-rope-fusion no-save-optim
    no-save-rng no-scatter-gather-tensors-in-pipeline openai-gelu output-bert-embeddings overlap-grad-reduce
    overlap-param-gather override-opt_param-scheduler profile qk-layernorm recompute-activations reset-attention-mask
    reset-position-ids retriever-score-scaling retro-add-retriever retro-no-verify-neighbor-count reuse-fp32-param
    rotary-interleaved sequence-parallel skip-bias-add skip-train square-alibi-mask squared-relu standalone-embedding-stage
    swiglu test-mode tokenizer-not-use-fast tp-comm-overlap untie-embeddings-and-output-weights use-checkpoint-args
    use-checkpoint-opt_param-scheduler use-cpu-initialization use-dist-ckpt use-distributed-optimizer use-flash-attn
    use-fused-rmsnorm use-fused-rotary-pos-emb use-fused-swiglu use-gpu-initialization use-mcore-models use-one-sent-docs
    use-ring-exchange-p2p use-rotary-position-embeddings vision-pretraining
""")

# Several words.
WORDS = words("""
    data-path profile-ranks rampup-batch-size retriever-report-topk-accuracies spec test-data-path train-data-path
    valid-data-path
""")

# One word, whatever it is.
TEXT = words("""
    bert-load block-data-path data-cache-path embedding-path evidence-data-path ict-load lazy-mpu-init load merge-file
    nccl-communicator-config-path noisy-gate-policy one-logger-entity one-logger-project one-logger-run-name onnx-safe
    retro-project-dir save split tensorboard-dir titles-data-path tokenizer-model tokenizer-name-or-path tp-comm-overlap-cfg
    vocab-file wandb-exp-name wandb-project wandb-save-dir yaml-cfg
""")

# One of these words. Those of moe-model-type are not here: role ascendspeed compares it with the checkout, whose words differ by version.
CHOICES = {
    "bert-embedder-type": ("megatron", "huggingface"),
    "context-parallel-algo": ("ulysses_cp_algo", "megatron_cp_algo"),
    "dataloader-type": ("single", "cyclic", "external"),
    "dist-ckpt-format": ("zarr", "torch_dist"),
    "distributed-backend": ("nccl", "gloo"),
    "empty-unused-memory-level": ("0", "1", "2"),
    "fp8-amax-compute-algo": ("most_recent", "max"),
    "fp8-format": ("e4m3", "hybrid"),
    "lr-decay-style": ("constant", "linear", "cosine", "inverse-square-root"),
    "mask-type": ("random", "row"),
    "moe-router-load-balancing-type": ("aux_loss", "sinkhorn", "none"),
    "normalization": ("LayerNorm", "RMSNorm"),
    "optimizer": ("adam", "sgd"),
    "position-embedding-type": ("learned_absolute", "rope", "alibi"),
    "recompute-granularity": ("full", "selective"),
    "recompute-method": ("uniform", "block"),
    "shape-order": ("SBH", "BSH", "BSND"),
    "swin-backbone-type": ("tiny", "base", "h3"),
    "timing-log-level": ("0", "1", "2"),
    "timing-log-option": ("max", "minmax", "all"),
    "tokenizer-type": ("BertWordPieceLowerCase", "BertWordPieceCase", "GPT2BPETokenizer", "SentencePieceTokenizer",
                       "GPTSentencePieceTokenizer", "Llama2Tokenizer", "PretrainedFromHF", "NullTokenizer"),
    "transformer-impl": ("local", "transformer_engine"),
    "vision-backbone-type": ("vit", "mit", "swin"),
    "vision-pretraining-type": ("classify", "inpaint", "dino"),
    "weight-decay-incr-style": ("constant", "linear", "cosine"),
}

KNOWN = WHOLE | FRACTION | FLAG | WORDS | TEXT | CHOICES.keys() | {"moe-model-type"}

# The least value of what is counted, where the training would divide by zero, stand still or stop with another.
LEAST = {
    **dict.fromkeys((
        "context-parallel-size", "eval-interval", "expert-interval", "expert-model-parallel-size", "ffn-hidden-size", "global-batch-size",
        "hidden-size", "kv-channels", "log-interval", "lr-decay-iters", "lr-decay-samples", "make-vocab-size-divisible-by",
        "max-position-embeddings", "micro-batch-size", "num-attention-heads", "num-experts", "num-layers",
        "num-layers-per-virtual-pipeline-stage", "num-query-groups", "pipeline-model-parallel-size", "save-interval", "seed", "seq-length",
        "tensor-model-parallel-size", "train-iters", "train-samples"), 1),
    "manual-gc-interval": 0,
}

# From here to there, ends included, and in words.
_POSITIVE = (0.0, float("inf"), "a number of at least 0")
_PART = (0.0, 1.0, "a number from 0 to 1")
_BELOW_1 = (0.0, 1.0 - 2.0**-53, "a number from 0 to less than 1")
RANGE = {
    **dict.fromkeys(("adam-eps", "init-method-std", "lr", "min-lr", "weight-decay"), _POSITIVE),
    **dict.fromkeys(("attention-dropout", "hidden-dropout"), _PART),
    **dict.fromkeys(("adam-beta1", "adam-beta2"), _BELOW_1),
}


def misread(option: str, value: object) -> str:
    """What is expected in place of a value that the parser cannot read; empty where it can."""
    kind = int if option in WHOLE else float if option in FRACTION else str
    try:
        kind(str(value))
    except ValueError:
        return "a whole number" if kind is int else "a number"
    if option in CHOICES and str(value) not in CHOICES[option]:
        return f"one of {', '.join(CHOICES[option])}"
    return ""


def outside(option: str, value: object) -> str:
    """What is expected in place of a number that is too small or too large; empty where it is not."""
    if option in LEAST and int(str(value)) < LEAST[option]:
        return f"a whole number of at least {LEAST[option]}"
    if option in RANGE:
        least, most, words = RANGE[option]
        if not least <= float(str(value)) <= most:
            return words
    return ""
