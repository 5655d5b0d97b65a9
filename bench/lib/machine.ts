/** The machine that a measurement ran on, and its yardstick: the rate of a large matrix product in ONNX Runtime. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import onnxProto from 'onnx-proto';
import * as ort from 'onnxruntime-node';
import { ROOT } from './paths.js';

const { onnx } = onnxProto;
const FLOAT = 1;
const INT64 = 7;

function git(...args: string[]): string | undefined {
  try {
    return execFileSync('git', args, {
      cwd: ROOT,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      maxBuffer: 1 << 28,
    }).trim();
  } catch {
    return undefined;
  }
}

/** The commit, with `+changes` and a digest where files differ from it; `unknown` outside a git checkout. */
export function commit(): string {
  const head = git('rev-parse', '--short=12', 'HEAD');
  if (head === undefined) return 'unknown';
  const status = git('status', '--porcelain');
  if (status === '') return head;
  // A new file counts only by its name.
  const changes = createHash('sha256')
    .update(`${status}\n${git('diff', 'HEAD')}`)
    .digest('hex')
    .slice(0, 8);
  return `${head}+changes-${changes}`;
}

export interface MachineInfo {
  cpu: string;
  /** Vector and matrix extensions that decide how fast products are; `unknown` where the system does not tell. */
  instructions: string;
  cores: number;
  memoryGb: number;
  loadBefore: number;
  platform: string;
  node: string;
  onnxruntime: string;
  commit: string;
}

const EXTENSIONS =
  /^(avx|avx2|fma|f16c|avx_vnni|avx512(f|bw|vl|_vnni|_bf16|_fp16)|amx_\w+|asimddp|i8mm|bf16|sve2?)$/;

/** From /proc/cpuinfo: `flags` on x86, `Features` on ARM. */
function instructions(): string {
  try {
    const line = readFileSync('/proc/cpuinfo', 'utf8').match(/^(?:flags|Features)\s*:(.*)$/m);
    const found = (line?.[1] ?? '').split(' ').filter((flag) => EXTENSIONS.test(flag));
    return found.length === 0 ? 'unknown' : found.join(' ');
  } catch {
    return 'unknown';
  }
}

/** Processor, cores, memory, load and versions. */
export function machineInfo(): MachineInfo {
  const cpus = os.cpus();
  const ortPackage = join(ROOT, 'node_modules/onnxruntime-node/package.json');
  return {
    cpu: cpus[0]?.model ?? 'unknown',
    instructions: instructions(),
    cores: cpus.length,
    memoryGb: Math.round(os.totalmem() / 2 ** 30),
    loadBefore: Number(os.loadavg()[0].toFixed(2)),
    platform: `${os.platform()} ${os.arch()}`,
    node: process.version,
    onnxruntime: (JSON.parse(readFileSync(ortPackage, 'utf8')) as { version: string }).version,
    commit: commit(),
  };
}

/** Peak resident memory of this process since `resetPeakMemory`, in MB. */
export const peakMemoryMb = (): number =>
  Math.round(memoryStatus('VmHWM') ?? process.resourceUsage().maxRSS / 1024);

/** Resident memory of this process, in MB: all of it, and without what is mapped from files. Linux only. */
export const residentMemoryMb = (): { resident: number; anonymous: number } => ({
  resident: Math.round(memoryStatus('VmRSS') ?? process.memoryUsage.rss() / 2 ** 20),
  anonymous: Math.round(memoryStatus('RssAnon') ?? Number.NaN),
});

/** Resets the peak to the current resident memory. @returns whether the system allows it; Linux does. */
export function resetPeakMemory(): boolean {
  try {
    execFileSync('sh', ['-c', `echo 5 > /proc/${process.pid}/clear_refs`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

function memoryStatus(field: string): number | undefined {
  try {
    const line = readFileSync('/proc/self/status', 'utf8').match(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm'));
    return line === null ? undefined : Number(line[1]) / 1024;
  } catch {
    return undefined;
  }
}

/**
 * `count` products of square matrices in a chain x = x * b; only one number is fetched, so no time goes into copies.
 */
function chain(size: number, count: number): Uint8Array {
  const square = { elemType: FLOAT, shape: { dim: [{ dimValue: size }, { dimValue: size }] } };
  const one = { elemType: FLOAT, shape: { dim: [{ dimValue: 1 }, { dimValue: 1 }] } };
  const products = Array.from({ length: count }, (_, i) => ({
    opType: 'MatMul',
    input: [i === 0 ? 'a' : `x${i - 1}`, 'b'],
    output: [`x${i}`],
  }));
  const ints = (name: string, values: number[]) => ({
    name,
    dataType: INT64,
    dims: [values.length],
    int64Data: values,
  });
  return onnx.ModelProto.encode(
    onnx.ModelProto.create({
      irVersion: 9,
      opsetImport: [{ domain: '', version: 20 }],
      graph: {
        name: 'peak',
        node: [
          ...products,
          { opType: 'Slice', input: [`x${count - 1}`, 'start', 'end'], output: ['corner'] },
        ],
        initializer: [ints('start', [0, 0]), ints('end', [1, 1])],
        input: [
          { name: 'a', type: { tensorType: square } },
          { name: 'b', type: { tensorType: square } },
        ],
        output: [{ name: 'corner', type: { tensorType: one } }],
      },
    }),
  ).finish();
}

/** The best rate in GFLOP/s (2 size^3 per product) of float32 MatMul over `rounds` rounds of four products. */
export async function matmulPeak({ size = 2048, rounds = 6 } = {}): Promise<number> {
  const products = 4;
  const session = await ort.InferenceSession.create(chain(size, products), {
    executionProviders: ['cpu'],
    logSeverityLevel: 3,
    extra: { session: { force_spinning_stop: '1' } },
  });
  // A fixed pattern of mean zero; the second factor is scaled so that the chain neither grows nor vanishes.
  const fill = (scale: number) =>
    Float32Array.from({ length: size * size }, (_, i) => scale * Math.sin(i * i + 1));
  const feeds = {
    a: new ort.Tensor('float32', fill(1), [size, size]),
    b: new ort.Tensor('float32', fill(Math.SQRT2 / Math.sqrt(size)), [size, size]),
  };
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    await session.run(feeds);
    best = Math.min(best, performance.now() - start);
  }
  await session.release();
  return (2 * size ** 3 * products) / best / 1e6;
}
