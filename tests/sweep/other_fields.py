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
}
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
}
