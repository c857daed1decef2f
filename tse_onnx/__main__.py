"""`python -m tse_onnx`, the same as `tse-onnx`."""

from tse_onnx.cli import main

if __name__ == "__main__":
    main()
