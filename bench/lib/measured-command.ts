/** A command of the product with its estimate, its peak of resident memory and its time. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CLI } from './command.js';

/** Bytes and seconds. */
interface Cost {
  peak: number;
  seconds: number;
}

/** Writes the peak of a process to stderr when it ends. */
const REPORT = `data:text/javascript,process.on('exit',()=>process.stderr.write('PEAK '+process.resourceUsage().maxRSS+'\\n'))`;

async function runCli(args: readonly string[]): Promise<{ stdout: string; stderr: string }> {
  const child = spawn(process.execPath, ['--import', REPORT, CLI, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const written = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      written[name] += text;
    });
  }
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`search-r3 ${args[0]} ended with ${code}: ${written.stderr.slice(-2000)}`);
  return written;
}

/** @param folder for the file with the settings. */
export async function measuredCommand(
  command: string,
  settings: Readonly<Record<string, unknown>>,
  folder: string,
): Promise<{ estimated: Cost; measured: Cost }> {
  const config = join(folder, `${command}.yaml`);
  // JSON is YAML.
  await writeFile(config, JSON.stringify(settings));
  const { stdout } = await runCli(['inspect', '--plan', config, '--for', command, '--json']);
  const estimated = JSON.parse(stdout) as Cost;
  const started = performance.now();
  const { stderr } = await runCli([command, '--config', config, '--json']);
  const seconds = (performance.now() - started) / 1000;
  const peak = Number(/PEAK (\d+)\n$/.exec(stderr)?.[1]) * 1024;
  return { estimated, measured: { peak, seconds } };
}
