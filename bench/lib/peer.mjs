/**
 * A peer process (bench/peers) that measures on request: one line in, one line of JSON out. While it is not asked it
 * waits on its input and uses no processor, so that the two sides can alternate.
 */
import { spawn } from 'node:child_process';
import os from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/**
 * Starts `bench/peers/<script>` with the system's Python (not one of a virtual environment: the peer is Debian's
 * package), or, for our own side of a comparison, `bench/lib/<script>.mjs` with Node. `args` are those of the script,
 * `env` is added to the environment; OMP_NUM_THREADS is the number of cores unless given there.
 *
 * Returns { ready, ask, stop }: the line it greeted with; a function from a request line to its answer (errors when
 * the peer answers {"error"} or ends); and one that ends it.
 */
export async function startPeer(script, { args = [], env = {} } = {}) {
  const own = script.endsWith('.mjs');
  const path = fileURLToPath(new URL(own ? script : `../peers/${script}`, import.meta.url));
  const child = spawn(own ? process.execPath : '/usr/bin/python3', [path, ...args], {
    env: { ...process.env, OMP_NUM_THREADS: String(os.cpus().length), ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let complaints = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    complaints = (complaints + text).slice(-2000);
  });
  const ended = new Promise((_, reject) => {
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      const remedy = complaints.includes("No module named 'torch'") ? ' See bench/peers/README.md.' : '';
      reject(new Error(`${script} ended with ${signal ?? code}: ${complaints.trim()}${remedy}`));
    });
  });
  // Until somebody waits for an answer, an end (the one that `stop` asks for included) is nobody's error.
  ended.catch(() => {});
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async () => {
    const { value, done } = await Promise.race([lines.next(), ended]);
    if (done) return ended;
    const parsed = JSON.parse(value);
    if (parsed.error !== undefined) throw new Error(`${script}: ${parsed.error}`);
    return parsed;
  };
  return {
    ready: await answer(),
    ask: (request) => {
      child.stdin.write(`${request}\n`);
      return answer();
    },
    stop: async () => {
      child.stdin.end();
      await ended.catch(() => {});
    },
  };
}
