"""Another legal value than the default for every field of a trial's model and training."""

OTHER_MODEL = {
    "channels": (64, 128, 255),
    "kernels": (8, 6, 7),
    "pools": (8, 10, 8),
    "pooling": "average",
    "dropout": 0.4,
    "hidden": 255,
    "lstm_layers": 1,
    "targets": ("valence", "arousal"),
    "front_end": "filterbank",
    "filters": 41,
    "width_ms": 30.0,
    "hop_ms": 5.0,
    "energy_steps": 2,
    "filter_start": "random",
    "filter_rate": 1.0,
    "compression": "log",
    "normalization": "running",
    "statistics": "recording",
    "average": 2,
    "dropouts": (0.5, 0.5, 0.4),
    "temporal": "bilstm",
    "dilations": (1, 2),
    "tcn_kernel": 3,
    "causal": True,
    "temporal_dropout": 0.1,
}
NEEDS = {
    "statistics": {"normalization": "recording"},
    **{
        name: {"front_end": "filterbank"}
        for name in ("filters", "width_ms", "hop_ms", "energy_steps", "filter_start", "filter_rate")
    },
    **{name: {"temporal": "tcn"} for name in ("dilations", "tcn_kernel", "causal", "temporal_dropout")},
}
"""Fields of a part that is not the default, and what chooses that part."""
TOGETHER = [
    name
    for name in OTHER_MODEL
    if NEEDS.get(name, {}).get("temporal") is None and name not in ("dropouts", "statistics")
]
"""Fields of a model whose other values go together."""
OTHER_TRAINING = {
    "epochs": 99,
    "patience": 3,
    "batch_size": 4,
    "sequence_s": 19.0,
    "loss": "mse",
    "optimizer": "adam",
    "learning_rate": 2e-4,
    "decay": 0.8,
    "momentum": 0.2,
    "weight_decay": 1e-4,
    "segments": "random",
    "precision": "bf16",
    "deterministic": False,
    "label_shift_s": 0.4,
    "seed": 1,
    "limit_recordings": 3,
    "limit_s": 30.0,
    "clip_norm": 1.0,
    "estimate_delay": True,
}
TRAINING_TOGETHER = [name for name in OTHER_TRAINING if name != "estimate_delay"]
"""Fields of a training whose other values go together."""
