/** A process that exits while a thread is inside a kernel ends as it says, and does not abort. */
import { expect, test } from 'vitest';
import { runModule } from './support/child.js';

/** A thread that runs products of 512 x 512 matrices, about a second at a time, and says when it starts. */
const thread = `
  const { parentPort, workerData } = await import('node:worker_threads');
  const { announceKernels } = await import('onnx-grad/exit-guard');
  const { emit, f32, Graph, gemm, Session } = await import('onnx-grad');
  announceKernels(workerData);
  const graph = new Graph();
  const x = graph.input('x', 'float32', [512, 512]);
  let y = x;
  for (let i = 0; i < 200; i++) y = gemm(y, x);
  graph.output('y', y);
  const session = await Session.create(emit(graph), { threads: 1 });
  parentPort.postMessage('starts');
  for (;;) await session.run({ x: f32(new Float32Array(512 * 512), [512, 512]) });
`;

test.each([
  ['process.exit(3)', 3, ''],
  ["throw new Error('nobody catches this')", 1, 'nobody catches this'],
])('%s in the middle of a run', async (statement, code, message) => {
  const child = runModule(
    `
    import { once } from 'node:events';
    import { Worker } from 'node:worker_threads';
    import { awaitKernelsAtExit } from 'onnx-grad/exit-guard';
    const { memory } = awaitKernelsAtExit();
    const thread = new Worker(${JSON.stringify(thread)}, { eval: true, execArgv: [], workerData: memory });
    await once(thread, 'message');
    setTimeout(() => { ${statement} }, 100);
  `,
    30_000,
  );
  await expect(child).rejects.toMatchObject({
    code,
    stderr: expect.stringMatching(new RegExp(`^(?!.*terminate called)[^]*${message}`)) as string,
  });
});

test('a thread that has ended is not waited for', async () => {
  const { stdout } = await runModule(
    `
    import { awaitKernelsAtExit } from 'onnx-grad/exit-guard';
    const before = process.listenerCount('exit');
    const guards = [awaitKernelsAtExit(), awaitKernelsAtExit()];
    const during = process.listenerCount('exit');
    for (const { release } of guards) release();
    console.log(during - before, process.listenerCount('exit') - before);
  `,
    20_000,
  );
  expect(stdout).toBe('1 0\n');
});
