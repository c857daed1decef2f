// Runs one model: a request of JSON on standard input, the outputs in their order as JSON on standard output.
// The package stands in the node_modules of the folder that NODE_HOME names.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.NODE_HOME}/`);
const ort = require("onnxruntime-web");
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "fatal";

const kinds = { float32: Float32Array, float16: Uint16Array, int64: BigInt64Array };
const request = JSON.parse(readFileSync(0, "utf8"));
try {
  const session = await ort.InferenceSession.create(readFileSync(request.model), { executionProviders: ["wasm"] });
  const feeds = {};
  for (const [name, [kind, shape, text]] of Object.entries(request.feeds)) {
    const bytes = Uint8Array.from(Buffer.from(text, "base64"));
    feeds[name] = new ort.Tensor(kind, new kinds[kind](bytes.buffer), shape);
  }
  const made = await session.run(feeds);
  const outputs = session.outputNames.map((name) => {
    const { type, dims, data } = made[name];
    return [type, dims, Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64")];
  });
  console.log(JSON.stringify(outputs));
} catch (error) {
  console.error(String(error.message ?? error).split("\n")[0]);
  process.exit(1);
}
