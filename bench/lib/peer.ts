/**
 * A peer process that measures on request: one line in, one line of JSON out. While it waits for a request it uses no
 * processor, so two sides can alternate.
 */
import { spawn } from 'node:child_process';
import os from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { ROOT } from './paths.js';

export interface Peer<Answer> {
  /** The line it greeted with. */
  ready: Record<string, unknown>;
  /** @throws Error if the peer answers `{"error"}` or exits. */
  ask(request: string): Promise<Answer>;
  /** Ends the process. */
  stop(): Promise<void>;
}

/** Debian's, for the peer that needs its package of PyTorch. */
const PYTHON = '/usr/bin/python3';

/**
 * Starts `bench/peers/SCRIPT` with Python (`.py`) or Node (`.mjs`), or our own side `lib/SCRIPT.js` with Node.
 * OMP_NUM_THREADS is the number of cores.
 */
export async function startPeer<Answer>(
  script: string,
  args: readonly string[] = [],
  { python = PYTHON, env = {} }: { python?: string; env?: Readonly<Record<string, string>> } = {},
): Promise<Peer<Answer>> {
  const own = script.endsWith('.js');
  const path = own ? fileURLToPath(new URL(script, import.meta.url)) : join(ROOT, 'bench/peers', script);
  const child = spawn(script.endsWith('.py') ? python : process.execPath, [path, ...args], {
    env: { ...process.env, OMP_NUM_THREADS: String(os.cpus().length), ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let complaints = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaints = (complaints + text).slice(-2000);
  });
  const ended = new Promise<never>((_, reject) => {
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      const remedy = complaints.includes("No module named 'torch'") ? ' See bench/peers/README.md.' : '';
      reject(new Error(`${script} ended with ${signal ?? code}: ${complaints.trim()}${remedy}`));
    });
  });
  // Exiting when nobody is waiting, such as after `stop`, is not an error.
  ended.catch(() => {});
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async (): Promise<Record<string, unknown>> => {
    const { value, done } = await Promise.race([lines.next(), ended]);
    if (done) return ended;
    const parsed = JSON.parse(value) as Record<string, unknown>;
    if (parsed.error !== undefined) throw new Error(`${script}: ${parsed.error}`);
    return parsed;
  };
  return {
    ready: await answer(),
    ask: (request) => {
      child.stdin.write(`${request}\n`);
      return answer() as Promise<Answer>;
    },
    stop: async () => {
      child.stdin.end();
      await ended.catch(() => {});
    },
  };
}
