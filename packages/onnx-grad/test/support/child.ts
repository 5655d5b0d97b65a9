/** Runs JavaScript in its own process, to measure peak memory and to see whether the process ends. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

export interface ChildResult {
  stdout: string;
  /** Peak resident memory in MiB. */
  peak: number;
}

/**
 * Runs the text of an ES module in this package's folder, so that it can import the package by name. Rejects if it
 * fails or takes more than `timeout` milliseconds.
 */
export async function runModule(source: string, timeout = 60_000): Promise<ChildResult> {
  const report = `process.on('exit', () => process.stderr.write('PEAK ' + process.resourceUsage().maxRSS));\n`;
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    ['--input-type=module', '--expose-gc', '--eval', report + source],
    { cwd: fileURLToPath(new URL('../..', import.meta.url)), timeout },
  );
  const peak = /PEAK (\d+)$/.exec(stderr)?.[1];
  if (peak === undefined) throw new Error(`runModule: expected a peak at the end of stderr, found ${stderr}`);
  return { stdout, peak: Number(peak) / 1024 };
}
