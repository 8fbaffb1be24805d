"""The networks whose features and logits the metrics are computed from."""
