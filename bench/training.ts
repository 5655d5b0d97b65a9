/**
 * Complete training steps compared with PyTorch on the same machine, in alternation, at two shapes, with the memory of
 * each. PyTorch appears twice: tuned (bench/peers/README.md), and plain, as most people write it.
 */
import type { BenchmarkOptions, BenchmarkResult, Log } from './lib/benchmark.js';
import { matmulPeak } from './lib/machine.js';
import { type Peer, startPeer } from './lib/peer.js';
import { interleaved, median, rounded, summary } from './lib/stats.js';

export const description = 'training tokens/s and memory against PyTorch, and the share of the MatMul peak';

interface StepAnswer {
  tokensPerSecond: number;
  gflops: number;
  peakMb: number;
}

type Side = 'ours' | 'tuned' | 'plain';

/** One process per shape and side, so that peak memory is that of the shape. */
const startSides = async (): Promise<Record<Side, Peer<StepAnswer>>> => ({
  ours: await startPeer('train-ours.js'),
  tuned: await startPeer('train_torch.py'),
  plain: await startPeer('train_torch.py', ['plain']),
});

async function measure(shape: string, rounds: number, steps: number, log: Log) {
  const sides = await startSides();
  const memory = { ours: 0, tuned: 0, plain: 0 };
  const rates = { ours: [] as number[], plain: [] as number[] };
  const gflops: number[] = [];
  const peak: number[] = [];
  try {
    const ask = async (side: Side) => {
      const answer = await sides[side].ask(`step ${shape} ${steps}`);
      memory[side] = Math.max(memory[side], answer.peakMb);
      if (side === 'ours') gflops.push(answer.gflops);
      return answer.tokensPerSecond;
    };
    const result = await interleaved({
      rounds,
      ours: async () => {
        const rate = await ask('ours');
        rates.ours.push(rate);
        peak.push(await matmulPeak({ rounds: 1 }));
        return rate;
      },
      theirs: async () => {
        rates.plain.push(await ask('plain'));
        return ask('tuned');
      },
      log: (text) => log(`${shape}: ${text}`),
    });
    return {
      tokensPerSecond: { ours: result.ours, torch: result.theirs, plainTorch: summary(rates.plain) },
      ratio: {
        torch: result.ratio,
        plainTorch: summary(rates.ours.map((rate, round) => rate / rates.plain[round])),
      },
      peakMb: { ours: memory.ours, torch: memory.tuned, plainTorch: memory.plain },
      memoryRatio: { torch: memory.ours / memory.tuned, plainTorch: memory.ours / memory.plain },
      gflops: Math.max(...gflops),
      matmulPeak: Math.max(...peak),
      shareOfPeak: {
        // Both rates were measured at the same time; the best peak is what the machine achieves undisturbed.
        median: median(gflops.map((rate, round) => rate / peak[round])),
        best: Math.max(...gflops) / Math.max(...peak),
      },
    };
  } finally {
    for (const side of Object.values(sides)) await side.stop();
  }
}

export async function run({ quick, log }: BenchmarkOptions): Promise<BenchmarkResult> {
  const figures: Record<string, unknown> = {};
  for (const shape of ['a', 'b']) figures[shape] = await measure(shape, quick ? 3 : 10, quick ? 2 : 4, log);
  return { figures: rounded(figures), sizes: { a: '5.0M, 32 x 96', b: '27.8M, 16 x 128' }, seeds: [0] };
}
