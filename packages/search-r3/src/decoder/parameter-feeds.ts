/** Parameters in JavaScript memory, as a program takes them. */
import { f32, type HostTensor } from 'onnx-grad';
import type { Checkpoint } from '../checkpoint/index.js';

/** The weights as feeds of a program, sharing their memory. */
export function parameterFeeds({ weights }: Pick<Checkpoint, 'weights'>): Record<string, HostTensor> {
  return Object.fromEntries([...weights].map(([name, { data, shape }]) => [name, f32(data, shape)]));
}
