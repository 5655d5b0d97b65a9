/**
 * `npm run bench -- NAME [--quick]`: runs bench/NAME.mjs. A benchmark is a module with
 *
 *   export const description = 'one line';
 *   export async function run({ quick, log }) { ...; return { figures, seeds, sizes }; }
 *
 * `log` shows progress (stderr). The last line of stdout is one line of JSON: what `run` returned, and the machine.
 * Exit codes: 0 done, 1 the benchmark failed, 2 wrong usage.
 */
import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { machineInfo } from './lib/machine.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));

async function names() {
  const files = await readdir(HERE);
  return files.filter((file) => file.endsWith('.mjs') && file !== 'run.mjs').map((file) => file.slice(0, -4));
}

async function usage() {
  const lines = await Promise.all(
    (await names()).sort().map(async (name) => {
      const { description } = await import(`./${name}.mjs`).catch((error) => ({
        description: `cannot be loaded: ${error.message}`,
      }));
      return `  ${name.padEnd(14)}${description}`;
    }),
  );
  const list = lines.length === 0 ? ['  (none)'] : lines;
  return ['Usage: npm run bench -- NAME [--quick]', '', 'Benchmarks:', ...list].join('\n');
}

function parse() {
  try {
    const { values, positionals } = parseArgs({
      options: { quick: { type: 'boolean', default: false }, help: { type: 'boolean', default: false } },
      allowPositionals: true,
    });
    return { ...values, positionals };
  } catch (error) {
    return { problem: error.message, positionals: [] };
  }
}

async function main() {
  const { quick, help, problem, positionals } = parse();
  if (help) {
    console.log(await usage());
    return 0;
  }
  const [name] = positionals;
  const known = await names();
  if (problem !== undefined || positionals.length !== 1 || !known.includes(name)) {
    const wrong =
      problem ?? (positionals.length === 1 ? `There is no benchmark ${name}.` : 'Expected one name.');
    console.error(`${wrong}\n\n${await usage()}`);
    return 2;
  }
  const machine = machineInfo();
  for (const [key, value] of Object.entries(machine)) console.error(`${key.padEnd(14)}${value}`);
  const started = performance.now();
  const log = (text) => {
    const seconds = (performance.now() - started) / 1000;
    console.error(`[${seconds.toFixed(0).padStart(5)} s] ${text}`);
  };
  const { run } = await import(`./${name}.mjs`);
  const result = await run({ quick, log });
  const seconds = Math.round((performance.now() - started) / 1000);
  console.log(JSON.stringify({ bench: name, quick, ...result, seconds, machine }));
  return 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error);
  process.exitCode = 1;
}
