import { spawn, spawnSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { saveCheckpoint } from 'search-r3/checkpoint';
import { RunFolder, writeStateFile } from 'search-r3/run';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeCheckpoint, shrunk } from '../checkpoint/tiny.js';

const packageRoot = resolve(import.meta.dirname, '../..');
const main = join(packageRoot, 'dist/cli/main.js');
const fixtures = join(import.meta.dirname, 'fixtures');
const scifact = resolve(packageRoot, '../../../shared/data/scifact');

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cli-'));
});
afterAll(() => rm(folder, { recursive: true }));

const cli = (...argv: string[]) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...argv], {
    encoding: 'utf8',
    cwd: folder,
  });
  return { status, stdout, stderr };
};

describe('help', () => {
  /** The own files and the packages that a command line loads. */
  async function loadedBy(argv: readonly string[]) {
    const list = join(folder, 'modules.txt');
    await writeFile(list, '');
    const { status, stdout } = spawnSync(
      process.execPath,
      ['--import', join(fixtures, 'loaded-modules.mjs'), main, ...argv],
      { encoding: 'utf8', env: { ...process.env, LOADED_MODULES: list } },
    );
    expect(status).toBe(0);
    expect(stdout).toContain('Examples:');
    const modules = (await readFile(list, 'utf8'))
      .trim()
      .split('\n')
      .filter((url) => url.startsWith('file:'));
    const own = modules.flatMap((url) => url.split(`${packageRoot}/dist/`)[1] ?? []);
    expect(own).toContain('cli/program.js');
    const packages = modules.flatMap((url) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1] ?? []);
    return { own, packages: [...new Set(packages)].sort() };
  }

  test.each([[['--help']], [['inspect', '--help']]])(
    '%j loads only the frame of the program',
    async (argv) => {
      const { own, packages } = await loadedBy(argv);
      expect(own.filter((path) => !/^(cli|run)\//.test(path))).toEqual([]);
      expect(packages).toEqual(['commander']);
      expect(own.length).toBeLessThanOrEqual(
        11 + own.filter((path) => path.startsWith('cli/commands/')).length,
      );
    },
  );

  test('of a command with settings, it loads their schemas too, and nothing that computes', async () => {
    const { own, packages } = await loadedBy(['train', '--help']);
    expect(own).toContain('pipeline/settings.js');
    expect(packages).toEqual(['commander', 'zod']);
  });

  test('help and help COMMAND are --help and COMMAND --help', () => {
    for (const [asked, same] of [
      [['help'], ['--help']],
      [
        ['help', 'train'],
        ['train', '--help'],
      ],
    ] as const) {
      const { status, stdout, stderr } = cli(...asked);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(stdout).toBe(cli(...same).stdout);
    }
    expect(cli('help').stdout).toMatch(/\n {2}help \[command\] /);
  });

  test('the version is that of the package', async () => {
    const manifest = JSON.parse(await readFile(join(packageRoot, 'package.json'), 'utf8')) as {
      version: string;
    };
    expect(cli('--version')).toEqual({ status: 0, stdout: `${manifest.version}\n`, stderr: '' });
  });
});

describe('inspect', () => {
  test('a run: steps, latest metrics, evaluations, warnings, checkpoints', async () => {
    const path = join(folder, 'first');
    const run = await RunFolder.create(path, { steps: 9, sft: { temperature: 0.05 } });
    const timings = { step: 1 };
    for (let step = 1; step <= 3; step++) {
      const reward = step === 3 ? Number.NaN : step / 8;
      run.events.append({ type: 'step', stage: 'rl', step, metrics: { reward, length: 20 + step }, timings });
      if (step > 1)
        run.events.append({ type: 'warning', stage: 'rl', step, code: 'zero-std', message: `at ${step}` });
      const ndcg = step / 10;
      if (step < 3)
        run.events.append({ type: 'evaluation', stage: 'rl', step, name: 'reasoned', metrics: { ndcg } });
      if (step === 2) await run.saveCheckpoint(2, (to) => writeFile(join(to, 'w'), 'x'.repeat(1234)));
    }
    await run.close();
    const json = cli('inspect', path, '--json');
    expect(json.status).toBe(0);
    expect(JSON.parse(json.stdout)).toEqual({
      kind: 'run',
      path,
      stages: [{ stage: 'rl', step: 3, metrics: { reward: null, length: 23 } }],
      evaluations: [{ stage: 'rl', step: 2, name: 'reasoned', metrics: { ndcg: 0.2 } }],
      warnings: [{ code: 'zero-std', count: 2, last: 'at 3' }],
      checkpoints: [{ step: 2, bytes: 1234 }],
      config: { steps: 9, sft: { temperature: 0.05 } },
      model: null,
    });
    expect(cli('inspect', 'first').stdout).toMatchInlineSnapshot(`
      "Run first

      rl: 3 steps
        reward  not finite
        length  23

      Evaluations
      rl, reasoned, after step 2
        ndcg  0.2

      Warnings
      2 x zero-std: at 3

      checkpoint    size
      step-2      1.2 kB
      "
    `);
  });

  test('a state file', async () => {
    const arrays = { m: new Float32Array(1500), order: new Int32Array([2, 1]) };
    await writeStateFile(join(folder, 'adam.bin'), { metadata: { step: 4 }, arrays });
    expect(JSON.parse(cli('inspect', 'adam.bin', '--json').stdout)).toEqual({
      kind: 'state',
      path: 'adam.bin',
      metadata: { step: 4 },
      arrays: [
        { name: 'm', type: 'Float32Array', length: 1500, bytes: 6000 },
        { name: 'order', type: 'Int32Array', length: 2, bytes: 8 },
      ],
    });
    expect(cli('inspect', 'adam.bin').stdout).toContain('m      Float32Array   1,500  6.0 kB\n');
  });

  test('a collection: counts, judgements of missing documents among them', async () => {
    const path = join(folder, 'beir');
    await mkdir(join(path, 'qrels'), { recursive: true });
    const lines = (rows: object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
    await writeFile(
      join(path, 'corpus.jsonl'),
      lines([
        { _id: 'a', title: 'four', text: '12345678' },
        { _id: 'b', text: '123' },
        { _id: 'q3', text: ' ' },
        { _id: 'q2', text: 'X' },
      ]),
    );
    await writeFile(join(path, 'queries.jsonl'), lines([1, 2, 3].map((n) => ({ _id: `q${n}`, text: 'x' }))));
    const judgements = ['q1\ta\t1', 'q1\tb\t0', 'q2\tgone\t2', 'q3\tq3\t0'];
    await writeFile(
      join(path, 'qrels/test.tsv'),
      ['query-id\tcorpus-id\tscore', ...judgements, ''].join('\n'),
    );
    expect(JSON.parse(cli('inspect', 'beir', '--json').stdout)).toEqual({
      kind: 'collection',
      path: 'beir',
      documents: 4,
      meanDocumentCharacters: 4.25,
      documentsWithoutText: 1,
      queries: 3,
      // q2 alone: a judgement pairs q3 with its own id, and the texts of q3 differ.
      queriesThatAreDocuments: 1,
      splits: [{ split: 'test', queries: 3, judgements: 4, relevant: 2, missingDocuments: 1 }],
    });
    const { stdout } = cli('inspect', 'beir');
    expect(stdout).toContain('test         3           4         2                     1\n');
    expect(stdout).toMatch(/documents without text +1\n/);
    expect(stdout).toMatch(/queries that are documents +1\n/);
  });

  test.skipIf(spawnSync('test', ['-d', scifact]).status !== 0)('SciFact (needs ../shared/data)', () => {
    // Wadden et al. 2020 as in BEIR (Thakur et al. 2021, table 1): 5,183 documents, 300 test queries, 1.1 judgements each.
    const { documents, splits } = JSON.parse(cli('inspect', scifact, '--json').stdout) as {
      documents: number;
      splits: { split: string; queries: number; judgements: number }[];
    };
    expect(documents).toBe(5183);
    expect(splits.find(({ split }) => split === 'test')).toMatchObject({ queries: 300, judgements: 339 });
  });

  test('a model: architecture and parameters; what does not load is refused', async () => {
    await saveCheckpoint(join(folder, 'model'), makeCheckpoint(shrunk.qwen2));
    const value = JSON.parse(cli('inspect', 'model', '--json').stdout) as Record<string, unknown>;
    // 18*12 + 2 * (12 + 2*12*12 + 12 + 2*(4*12 + 4) + 12 + 3*12*20) + 12: heads of 2, six and two of them
    expect(value).toMatchObject({
      kind: 'model',
      tensors: 26,
      parameters: 2524,
      bytes: 10_096,
      dtypes: { F32: 2524 },
      notes: [],
      config: { architecture: 'qwen2', layers: 2, kvHeads: 2 },
    });
    expect(cli('inspect', 'model').stdout).toMatch(
      /architecture +qwen2\n[\s\S]*parameters +2,524\nstored as +F32, 10\.1 kB\n/,
    );
    const weights = join(folder, 'model/model.safetensors');
    expect(cli('inspect', weights).stdout).toMatch(/gate_proj\.weight +F32 +20 x 12\n/);

    await cp(join(folder, 'model'), join(folder, 'bad'), { recursive: true });
    await writeFile(join(folder, 'bad/model.safetensors'), (await readFile(weights)).subarray(0, -1));
    const { status, stdout, stderr } = cli('inspect', 'bad');
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(
      /^error: bad\/model\.safetensors: size: expected \d+ bytes, as its header says, found \d+ bytes\. The file is truncated/,
    );
  });

  test('a file that only stands in for another is called what it is', async () => {
    const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 1234\n`;
    await writeFile(join(folder, 'x.safetensors'), pointer);
    await writeFile(join(folder, 'state.bin'), pointer);
    for (const name of ['x.safetensors', 'state.bin']) {
      expect(cli('inspect', name).stderr).toMatch(
        new RegExp(`^error: ${name}: expected .*, found a Git LFS pointer to a file of 1,234 bytes\\.`),
      );
    }
  });

  test('anything else is refused in one line, with exit code 2', async () => {
    await writeFile(join(folder, 'notes.txt'), 'hello');
    for (const [path, found] of [
      ['nowhere', 'nothing there'],
      ['notes.txt', 'a file of another kind'],
    ] as const) {
      const { status, stdout, stderr } = cli('inspect', path);
      expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
      expect(stderr).toMatch(new RegExp(`^error: ${path}: expected a run folder .*, found ${found}\\.\\n$`));
    }
  });

  test('a checkpoint of a run is no index: it is told where its model is', async () => {
    await mkdir(join(folder, 'step-20/model'), { recursive: true });
    await writeFile(join(folder, 'step-20/manifest.json'), '{ "step": 20, "files": {} }');
    const { status, stderr } = cli('inspect', 'step-20');
    expect(status).toBe(2);
    expect(stderr).toMatch(/, found a folder with manifest\.json, model\. Is it step-20\/model\?\n$/);
  });
});

test('a reader that leaves early is no error', () => {
  const { status, stderr } = spawnSync('sh', ['-c', `"${process.execPath}" "${main}" --help | true`], {
    encoding: 'utf8',
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});

describe('Ctrl-C', () => {
  /** Starts work in steps of so many milliseconds; sends SIGINT at the first output and again `again` milliseconds later. */
  const interrupt = (milliseconds: number, again?: number) =>
    new Promise<{ code: number | null; stdout: string; stderr: string }>((done) => {
      const child = spawn(process.execPath, [join(fixtures, 'long-work.mjs'), String(milliseconds)]);
      const ended = { code: null as number | null, stdout: '', stderr: '' };
      child.stdout.on('data', (chunk) => {
        const isFirst = ended.stdout === '';
        ended.stdout += chunk;
        if (!isFirst) return;
        child.kill('SIGINT');
        if (again !== undefined) setTimeout(() => child.kill('SIGINT'), again);
      });
      child.stderr.on('data', (chunk) => {
        ended.stderr += chunk;
      });
      child.on('close', (code) => done({ ...ended, code }));
    });

  test('once: the step is finished, then exit code 130', async () => {
    expect(await interrupt(500)).toEqual({
      code: 130,
      stdout: 'begin 1\nsaved 1\n',
      stderr: 'warning: stopping; press Ctrl-C again to stop at once\ninterrupted\n',
    });
  });

  test('the same Ctrl-C arriving twice still lets the step finish', async () => {
    expect(await interrupt(500, 20)).toMatchObject({ code: 130, stdout: 'begin 1\nsaved 1\n' });
  });

  test('twice: the process ends at once', async () => {
    expect(await interrupt(30_000, 400)).toMatchObject({ code: 130, stdout: 'begin 1\n' });
  });
});
