"""What hls4ml writes, compiled so that its layers run at once, with streams as deep as is said.

A layer is a thread, a stream a queue that blocks. So the C++ comes to a halt exactly where its hardware would, whatever
time its layers take.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HEADER = Path(__file__).with_name("hls_stream.h")
_HALTED = 3
_LAYER = re.compile(r"^    (nnet::(?!load_weights).*;)", re.MULTILINE)
_MAIN = """
#include "network.h"
int main() {{
    hls::stream<input_t> in;
    hls::stream<result_t> out;
    for (int pixel = 0; pixel < {given}; pixel++) in.write(input_t());
    network(in, out);
    return out.size() == {made} ? 0 : 1;
}}
"""


@dataclass(frozen=True)
class Compiled:
    """A program; and the names of its streams in C++, by the layers that fill them: `clone_NAME_cpyn` for copies."""

    program: Path
    streams: Mapping[str, str]

    def completes(self, depths: Mapping[str, int]) -> bool:
        """Whether an image goes through with these depths; a stream that is not named has no end. Raises
        `CalledProcessError` where something else is wrong."""
        file = self.program.with_name("depths")
        file.write_text("".join(f"{self.streams[name]} {depth}\n" for name, depth in depths.items()))
        done = subprocess.run([self.program], env=os.environ | {"STREAM_DEPTHS": str(file)}, cwd=self.program.parent)
        if done.returncode not in (0, _HALTED):
            raise subprocess.CalledProcessError(done.returncode, self.program)
        return done.returncode == 0


def compiled(written: Any, folder: Path) -> Compiled:
    """hls4ml's model as a program in `folder`. Raises `CalledProcessError` where g++ does not take it."""
    written.write()
    firmware = folder / "firmware"
    source = firmware / "network.cpp"
    text, layers = _LAYER.subn(
        r"    threads.emplace_back([&] { \1 hls::Clockwork::only().end(); });", source.read_text()
    )
    text = text.replace('#include "network.h"', '#include "network.h"\n#include <thread>')
    first = text.index("    threads.emplace_back")
    start = f"    hls::Clockwork::only().begin({layers});\n    std::vector<std::thread> threads;\n"
    end = text.rindex("}")
    source.write_text(
        text[:first] + start + text[first:end] + "    for (auto &each : threads) each.join();\n" + text[end:]
    )
    given, made = (_pixels(each) for each in (written.get_input_variables()[0], written.get_output_variables()[0]))
    (firmware / "main.cpp").write_text(_MAIN.format(given=given, made=made))
    program = firmware / "network"
    sources = ["network.cpp", "main.cpp"]
    headers = [f"-I{_HEADER.parent}", "-Iap_types", "-I."]
    command = ["g++", "-std=c++17", "-w", "-pthread", *headers, *sources, "-o", program.name]
    subprocess.run(command, cwd=firmware, check=True)
    return Compiled(program, _streams(written))


def _pixels(variable: Any) -> int:
    return int(variable.shape[0] * variable.shape[1])


def _streams(written: Any) -> dict[str, str]:
    ends = {each.name for each in (*written.get_input_variables(), *written.get_output_variables())}
    return {
        f"{layer.name}_cpy{number}" if layer.class_name == "Clone" else layer.name: variable.name
        for layer in written.get_layers()
        for number, variable in enumerate(layer.variables.values(), 1)
        if variable.name not in ends
    }
