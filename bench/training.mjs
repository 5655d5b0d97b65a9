/** Whole training steps against PyTorch on the same machine, in turn, at two shapes, with the memory of both. */
import { matmulPeak } from './lib/machine.mjs';
import { startPeer } from './lib/peer.mjs';
import { interleaved, rounded } from './lib/stats.mjs';

export const description = 'training tokens/s and memory against PyTorch, and the share of the MatMul peak';

export async function run({ quick, log }) {
  const rounds = quick ? 3 : 10;
  const steps = quick ? 2 : 4;
  const figures = {};
  for (const shape of ['a', 'b']) {
    // One process per shape and side, so that peak memory is that of the shape.
    const [ours, theirs] = [await startPeer('train-ours.mjs'), await startPeer('train_torch.py')];
    const memory = { ours: 0, theirs: 0 };
    const gflops = [];
    const peak = [];
    try {
      const ask = async (peer, side) => {
        const answer = await peer.ask(`step ${shape} ${steps}`);
        memory[side] = Math.max(memory[side], answer.peakMb);
        if (side === 'ours') gflops.push(answer.gflops);
        return answer.tokensPerSecond;
      };
      const result = await interleaved({
        rounds,
        ours: async () => {
          const rate = await ask(ours, 'ours');
          peak.push(await matmulPeak({ rounds: 1 }));
          return rate;
        },
        theirs: () => ask(theirs, 'theirs'),
        log: (text) => log(`${shape}: ${text}`),
      });
      // Both are rates of the same moments; the best of the peak is what the machine can do undisturbed.
      const shares = gflops.map((rate, round) => rate / peak[round]).sort((x, y) => x - y);
      figures[shape] = {
        tokensPerSecond: { ours: result.ours, torch: result.theirs, ratio: result.ratio },
        peakMb: { ours: memory.ours, torch: memory.theirs, ratio: memory.ours / memory.theirs },
        gflops: Math.max(...gflops),
        matmulPeak: Math.max(...peak),
        shareOfPeak: { median: shares[shares.length >> 1], best: Math.max(...gflops) / Math.max(...peak) },
      };
    } finally {
      await ours.stop();
      await theirs.stop();
    }
  }
  return { figures: rounded(figures), sizes: { a: '5.0M, 32 x 96', b: '27.8M, 16 x 128' }, seeds: [0] };
}
