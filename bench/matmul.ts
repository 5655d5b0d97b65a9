/** The yardstick of the machine: a large float32 matrix product in ONNX Runtime, and in PyTorch if installed. */
import type { BenchmarkOptions, BenchmarkResult } from './lib/benchmark.js';
import { matmulPeak } from './lib/machine.js';
import { startPeer } from './lib/peer.js';
import { interleaved, rounded } from './lib/stats.js';

export const description = 'GFLOP/s of a 2048-cube fp32 MatMul: ONNX Runtime against PyTorch';

const SIZE = 2048;

export async function run({ quick, log }: BenchmarkOptions): Promise<BenchmarkResult> {
  const peer = await startPeer<{ gflops: number }>('train_torch.py');
  try {
    const { ours, theirs, ratio } = await interleaved({
      rounds: quick ? 2 : 8,
      ours: () => matmulPeak({ size: SIZE, rounds: 3 }),
      theirs: async () => (await peer.ask(`matmul ${SIZE}`)).gflops,
      log,
    });
    return {
      figures: rounded({ onnxruntime: ours, torch: theirs, ratio }),
      sizes: { matmul: SIZE },
      peer: peer.ready,
    };
  } finally {
    await peer.stop();
  }
}
