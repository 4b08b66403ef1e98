"""Exported models: ONNX, quantisation, and the proof that they still say the same."""
