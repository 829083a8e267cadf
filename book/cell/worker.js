/* Python in a worker: it is told code, and tells what the code shows, piece by piece. */
import { loadPyodide } from "./pyodide/pyodide.mjs";

const here = name => new URL(name, import.meta.url).href;
const tell = (kind, content = "") => postMessage({ kind, content });

async function start() {
  const [python, answer] = await Promise.all([
    loadPyodide({ indexURL: here("pyodide/") }),
    fetch(here("library.zip")),
  ]);
  python.unpackArchive(await answer.arrayBuffer(), "zip", { extractDir: "/library" });
  python.pyimport("sys").path.append("/library");
  return python.pyimport("adam_nbdev.lab.cell");
}

const started = start();
onmessage = async ({ data }) => {
  try {
    const cell = await started;
    tell("running");
    tell(cell.run_cell(data, tell) ? "done" : "failed");
  } catch (error) {
    tell("broken", String(error));
  }
};
