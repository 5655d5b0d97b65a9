/** Commands of the product in processes of their own. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Log } from './benchmark.js';
import { ROOT } from './paths.js';

export const CLI = join(ROOT, 'packages/search-r3/dist/cli/main.js');

/** Runs a command of the product and shows its progress. @returns its JSON result and the seconds it took. */
export function command<T>(
  name: string,
  args: readonly string[],
  log: Log,
): Promise<{ result: T; seconds: number }> {
  const started = performance.now();
  const child = spawn(process.execPath, [CLI, name, ...args, '--json'], { cwd: ROOT });
  let output = '';
  let last = '';
  let shown = 0;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    const line = text.trim().split('\n').at(-1) ?? '';
    last = (last + text).slice(-2000);
    if (line === '' || performance.now() - shown < 15_000) return;
    shown = performance.now();
    log(`${name}: ${line}`);
  });
  return new Promise((done, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      const seconds = (performance.now() - started) / 1000;
      if (code === 0) done({ result: JSON.parse(output), seconds });
      else reject(new Error(`search-r3 ${name} ended with ${code}:\n${last}`));
    });
  });
}
