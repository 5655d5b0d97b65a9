/**
 * `npm run bench -- NAME [--part PART] [--quick]`: runs bench/NAME.ts, a module with the exports that `lib/benchmark.ts`
 * describes. The last line of stdout is JSON: what the benchmark returned, and the machine; a table comes before it
 * where the benchmark has one. Exit codes: 0 done, 1 failed, 2 wrong usage.
 */
import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Benchmark, Log } from './lib/benchmark.js';
import { machineInfo } from './lib/machine.js';

const HERE = fileURLToPath(new URL('.', import.meta.url));

async function names(): Promise<string[]> {
  const files = await readdir(HERE);
  return files.filter((file) => file.endsWith('.js') && file !== 'run.js').map((file) => file.slice(0, -3));
}

const load = (name: string): Promise<Benchmark> => import(`./${name}.js`) as Promise<Benchmark>;

async function usage(): Promise<string> {
  const lines = await Promise.all(
    (await names()).sort().map(async (name) => {
      const description = await load(name).then(
        ({ description, parts }) => (parts ? `${description} (parts: ${parts.join(', ')})` : description),
        (error: Error) => `cannot be loaded: ${error.message}`,
      );
      return `  ${name.padEnd(14)}${description}`;
    }),
  );
  const list = lines.length === 0 ? ['  (none)'] : lines;
  return ['Usage: npm run bench -- NAME [--part PART] [--quick]', '', 'Benchmarks:', ...list].join('\n');
}

interface Arguments {
  quick?: boolean;
  help?: boolean;
  part?: string;
  positionals: string[];
  problem?: string;
}

function parse(): Arguments {
  try {
    const { values, positionals } = parseArgs({
      options: {
        quick: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
        part: { type: 'string' },
      },
      allowPositionals: true,
    });
    return { ...values, positionals };
  } catch (error) {
    return { problem: (error as Error).message, positionals: [] };
  }
}

async function main(): Promise<number> {
  const { quick = false, help = false, part, problem, positionals } = parse();
  if (help) {
    console.log(await usage());
    return 0;
  }
  const [name] = positionals;
  if (
    problem !== undefined ||
    name === undefined ||
    positionals.length > 1 ||
    !(await names()).includes(name)
  ) {
    const wrong =
      problem ?? (positionals.length === 1 ? `There is no benchmark ${name}.` : 'Expected one name.');
    console.error(`${wrong}\n\n${await usage()}`);
    return 2;
  }
  const { run, parts = [] } = await load(name);
  if (part !== undefined && !parts.includes(part)) {
    const known = parts.length === 0 ? 'no parts' : `the parts ${parts.join(', ')}`;
    console.error(`${name} has ${known}, not ${part}.`);
    return 2;
  }
  const machine = machineInfo();
  for (const [key, value] of Object.entries(machine)) console.error(`${key.padEnd(14)}${value}`);
  const started = performance.now();
  const log: Log = (text) => {
    const seconds = (performance.now() - started) / 1000;
    console.error(`[${seconds.toFixed(0).padStart(5)} s] ${text}`);
  };
  const { table, ...result } = await run({ quick, log, ...(part !== undefined && { part }) });
  const seconds = Math.round((performance.now() - started) / 1000);
  if (table !== undefined) console.log(`${table}\n`);
  console.log(JSON.stringify({ bench: name, quick, ...result, seconds, machine }));
  return 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error);
  process.exitCode = 1;
}
