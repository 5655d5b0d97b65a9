/**
 * `npm run test:full`: all tests with full counts and a new random seed, and the result in docs/test-full.md. TEST_SEED
 * repeats the draws of an earlier run; further arguments go to vitest and leave the page as it is. Exits as vitest
 * does.
 */
import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { machineInfo } from '../bench/lib/machine.js';

/** From dist/tools. */
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PAGE = join(ROOT, 'docs/test-full.md');
const SLOWEST = 15;

/** The part of the output of vitest's JSON reporter that the page needs. */
interface Report {
  startTime: number;
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  testResults: {
    name: string;
    status: string;
    startTime: number;
    endTime: number;
    assertionResults: { status: string; fullName: string }[];
  }[];
}

interface Count {
  file: string;
  line: string;
  small: string;
  full: string;
}

/** Every call of `scaled` with two literals. */
async function scaledCounts(): Promise<Count[]> {
  const counts: Count[] = [];
  for (const folder of ['packages/onnx-grad/test', 'packages/search-r3/test']) {
    const names = await readdir(join(ROOT, folder), { recursive: true });
    for (const name of names.filter((each) => each.endsWith('.ts')).sort()) {
      const file = `${folder}/${name}`;
      for (const line of (await readFile(join(ROOT, file), 'utf8')).split('\n')) {
        for (const [, small = '', full = ''] of line.matchAll(/\bscaled\(([\d_]+), ([\d_]+)\)/g)) {
          counts.push({ file, line: line.trim(), small: grouped(small), full: grouped(full) });
        }
      }
    }
  }
  return counts;
}

const grouped = (literal: string) => Number(literal.replaceAll('_', '')).toLocaleString('en-US');

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function page(report: Report, counts: readonly Count[], seed: number, seconds: number): string {
  const { cpu, cores, memoryGb, node, commit } = machineInfo();
  const files = report.testResults.map((result) => ({
    ...result,
    file: relative(ROOT, result.name),
    seconds: (result.endTime - result.startTime) / 1000,
  }));
  const failures = files.flatMap(({ file, status, assertionResults }) => {
    const failed = assertionResults.filter((test) => test.status === 'failed');
    if (failed.length === 0 && status === 'failed') return [`- ${file}: could not be run`];
    return failed.map(({ fullName }) => `- ${file}: ${fullName}`);
  });
  const slowest = [...files].sort((a, b) => b.seconds - a.seconds).slice(0, SLOWEST);
  return `${[
    '# The last full test run',
    '<!-- Written by npm run test:full. Do not edit. -->',
    '`npm run test:full` runs every test of `npm test` with the large counts below and a new random seed.',
    table(
      ['', ''],
      [
        ['date', new Date(report.startTime).toISOString().slice(0, 10)],
        ['commit', commit],
        ['machine', `${cpu}, ${cores} cores, ${memoryGb} GB, Node ${node}`],
        ['seed', `TEST_SEED=${seed}`],
        ['files', String(files.length)],
        [
          'tests',
          `${report.numPassedTests} passed, ${report.numFailedTests} failed, ${report.numPendingTests} skipped`,
        ],
        ['time', `${(seconds / 60).toFixed(1)} minutes`],
      ],
    ),
    ...(failures.length === 0 ? [] : ['## Failures', failures.join('\n')]),
    '## Counts',
    table(
      ['file', 'in `npm test`', 'in this run', 'where'],
      // Double backticks, since the line may contain single ones.
      counts.map(({ file, small, full, line }) => [file, small, full, `\`\` ${line} \`\``]),
    ),
    '## Slowest files',
    table(
      ['file', 'seconds'],
      slowest.map((each) => [each.file, each.seconds.toFixed(0)]),
    ),
  ].join('\n\n')}\n`;
}

const seed = Number(process.env.TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
const chosen = process.argv.slice(2);
const folder = await mkdtemp(join(tmpdir(), 'test-full-'));
const output = join(folder, 'report.json');
console.log(`TEST_SEED=${seed}`);
const started = performance.now();
const { status } = spawnSync(
  'npx',
  ['vitest', 'run', '--reporter=default', '--reporter=json', `--outputFile=${output}`, ...chosen],
  { cwd: ROOT, stdio: 'inherit', env: { ...process.env, TEST_SCALE: 'full', TEST_SEED: String(seed) } },
);
const seconds = (performance.now() - started) / 1000;
if (chosen.length === 0) {
  const report = JSON.parse(await readFile(output, 'utf8')) as Report;
  await writeFile(PAGE, page(report, await scaledCounts(), seed, seconds));
  console.log(`written: ${relative(ROOT, PAGE)}`);
}
await rm(folder, { recursive: true });
process.exitCode = status ?? 1;
