"""Front ends beside the paper's first block: filters on the waveform, compression and normalisation of their output."""
