/**
 * Whole training steps against PyTorch on the same machine, in turn, at two shapes, with the memory of all. PyTorch
 * stands twice: tuned (bench/peers/README.md), and plain, as one usually writes it.
 */
import { matmulPeak } from './lib/machine.mjs';
import { startPeer } from './lib/peer.mjs';
import { interleaved, rounded, summary } from './lib/stats.mjs';

export const description = 'training tokens/s and memory against PyTorch, and the share of the MatMul peak';

/** One process per shape and side, so that peak memory is that of the shape. */
const startSides = async () => ({
  ours: await startPeer('train-ours.mjs'),
  tuned: await startPeer('train_torch.py'),
  plain: await startPeer('train_torch.py', { args: ['plain'] }),
});

async function measure(shape, rounds, steps, log) {
  const sides = await startSides();
  const memory = { ours: 0, tuned: 0, plain: 0 };
  const rates = { ours: [], plain: [] };
  const gflops = [];
  const peak = [];
  try {
    const ask = async (side) => {
      const answer = await sides[side].ask(`step ${shape} ${steps}`);
      memory[side] = Math.max(memory[side], answer.peakMb);
      if (side === 'ours') gflops.push(answer.gflops);
      return answer.tokensPerSecond;
    };
    const result = await interleaved({
      rounds,
      ours: async () => {
        rates.ours.push(await ask('ours'));
        peak.push(await matmulPeak({ rounds: 1 }));
        return rates.ours.at(-1);
      },
      theirs: async () => {
        rates.plain.push(await ask('plain'));
        return ask('tuned');
      },
      log: (text) => log(`${shape}: ${text}`),
    });
    // Both are rates of the same moments; the best of the peak is what the machine can do undisturbed.
    const shares = gflops.map((rate, round) => rate / peak[round]).sort((x, y) => x - y);
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
      shareOfPeak: { median: shares[shares.length >> 1], best: Math.max(...gflops) / Math.max(...peak) },
    };
  } finally {
    for (const side of Object.values(sides)) await side.stop();
  }
}

export async function run({ quick, log }) {
  const figures = {};
  for (const shape of ['a', 'b']) figures[shape] = await measure(shape, quick ? 3 : 10, quick ? 2 : 4, log);
  return { figures: rounded(figures), sizes: { a: '5.0M, 32 x 96', b: '27.8M, 16 x 128' }, seeds: [0] };
}
