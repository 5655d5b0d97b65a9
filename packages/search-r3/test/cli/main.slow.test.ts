import { spawn, spawnSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { RunFolder, writeStateFile } from 'search-r3/run';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

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
  test.each([[['--help']], [['inspect', '--help']]])(
    '%j loads only the frame of the program',
    async (argv) => {
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
      expect(own.filter((path) => !/^(cli|run)\//.test(path))).toEqual([]);
      const packages = modules.flatMap((url) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1] ?? []);
      expect([...new Set(packages)]).toEqual(['commander']);
      expect(own.length).toBeLessThanOrEqual(
        10 + own.filter((path) => path.startsWith('cli/commands/')).length,
      );
    },
  );

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
      ]),
    );
    await writeFile(join(path, 'queries.jsonl'), lines([1, 2, 3].map((n) => ({ _id: `q${n}`, text: 'x' }))));
    const judgements = ['q1\ta\t1', 'q1\tb\t0', 'q2\tgone\t2'];
    await writeFile(
      join(path, 'qrels/test.tsv'),
      ['query-id\tcorpus-id\tscore', ...judgements, ''].join('\n'),
    );
    expect(JSON.parse(cli('inspect', 'beir', '--json').stdout)).toEqual({
      kind: 'collection',
      path: 'beir',
      documents: 2,
      meanDocumentCharacters: 7.5,
      queries: 3,
      splits: [{ split: 'test', queries: 2, judgements: 3, relevant: 2, missingDocuments: 1 }],
    });
    expect(cli('inspect', 'beir').stdout).toContain(
      'test         2           3         2                     1\n',
    );
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

  /** A safetensors file of these shapes, all f32 zeros, written by hand. */
  const safetensors = (shapes: Record<string, number[]>) => {
    let end = 0;
    const header = Object.entries(shapes).map(([name, shape]) => {
      const begin = end;
      end += 4 * shape.reduce((product, size) => product * size, 1);
      return [name, { dtype: 'F32', shape, data_offsets: [begin, end] }];
    });
    const json = Buffer.from(JSON.stringify(Object.fromEntries(header)));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(json.length));
    return Buffer.concat([length, json, Buffer.alloc(end)]);
  };

  test('a model: architecture and parameters, from config and headers; what does not fit is told', async () => {
    const path = join(folder, 'model');
    await mkdir(path);
    const config = {
      architectures: ['LlamaForCausalLM'],
      model_type: 'llama',
      vocab_size: 10,
      hidden_size: 4,
      intermediate_size: 6,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      rms_norm_eps: 1e-5,
      max_position_embeddings: 32,
      tie_word_embeddings: true,
    };
    await writeFile(join(path, 'config.json'), JSON.stringify(config));
    const at = 'model.layers.0';
    const shapes = {
      'model.embed_tokens.weight': [10, 4],
      [`${at}.input_layernorm.weight`]: [4],
      [`${at}.self_attn.q_proj.weight`]: [4, 4],
      [`${at}.self_attn.k_proj.weight`]: [2, 4],
      [`${at}.self_attn.v_proj.weight`]: [2, 4],
      [`${at}.self_attn.o_proj.weight`]: [4, 4],
      [`${at}.post_attention_layernorm.weight`]: [4],
      [`${at}.mlp.gate_proj.weight`]: [6, 4],
      [`${at}.mlp.up_proj.weight`]: [6, 4],
      [`${at}.mlp.down_proj.weight`]: [4, 6],
      'model.norm.weight': [4],
    };
    await writeFile(join(path, 'model.safetensors'), safetensors(shapes));
    const value = JSON.parse(cli('inspect', 'model', '--json').stdout) as Record<string, unknown>;
    // 10*4 + 4 + 16 + 8 + 8 + 16 + 4 + 3*24 + 4
    expect(value).toMatchObject({
      kind: 'model',
      tensors: 11,
      parameters: 172,
      bytes: 688,
      dtypes: { F32: 172 },
    });
    expect(value).toMatchObject({ problems: [], config: { architecture: 'llama', layers: 1, kvHeads: 1 } });
    expect(cli('inspect', 'model').stdout).toMatch(
      /architecture +llama\n[\s\S]*parameters +172\nstored as +F32, 688 B\n/,
    );
    expect(cli('inspect', join(path, 'model.safetensors')).stdout).toMatch(/gate_proj\.weight +F32 +6 x 4\n/);

    const bad = join(folder, 'bad');
    await cp(path, bad, { recursive: true });
    const { 'model.norm.weight': _, ...rest } = shapes;
    const others = { ...rest, extra: [1], [`${at}.mlp.down_proj.weight`]: [6, 4] };
    await writeFile(join(bad, 'model.safetensors'), safetensors(others));
    expect(JSON.parse(cli('inspect', 'bad', '--json').stdout)).toMatchObject({
      problems: [
        'model.norm.weight: missing',
        `${at}.mlp.down_proj.weight: 6 x 4 where the config calls for 4 x 6`,
        'extra: not a parameter of this architecture',
      ],
    });
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
