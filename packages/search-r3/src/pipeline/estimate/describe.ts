/** Estimates in words. */
import type { AvailableMemory } from '../../run/index.js';
import type { CommandEstimate } from './estimate.js';
import { formatBytes, formatSeconds, type StageEstimate } from './parts.js';

/** `estimated: 2.1 GB of memory, about 35 minutes`. */
export const estimateLine = ({ peak, seconds }: CommandEstimate): string =>
  `estimated: ${formatBytes(peak)} of memory, about ${formatSeconds(seconds)}`;

/** All parts of all stages, as a table. */
export function estimateTable(
  { stages, peak, seconds }: CommandEstimate,
  { bytes, by }: AvailableMemory,
): string {
  const largest = stages.find((stage) => stage.peak === peak)?.stage;
  const where = stages.length > 1 ? ` in ${largest}` : '';
  const fits = peak <= bytes ? 'fits' : 'does not fit';
  return [
    ...stages.flatMap(stageLines),
    `memory  ${formatBytes(peak)}${where}, which ${fits}: the ${by} has ${formatBytes(bytes)} available`,
    `time    about ${formatSeconds(seconds)} on this machine as it is now`,
  ].join('\n');
}

function stageLines({ stage, phase, parts, peak, times, seconds }: StageEstimate): string[] {
  const rows = [
    ...parts.map(({ name, bytes }) => ['memory', name, formatBytes(bytes)] as const),
    ...times.map(({ name, seconds: own }) => ['time', name, formatSeconds(own)] as const),
  ];
  const width = Math.max(...rows.map(([, name]) => name.length));
  const largest = phase === stage ? '' : ` (most in its ${phase})`;
  return [
    `${stage}: ${formatBytes(peak)}${largest}, about ${formatSeconds(seconds)}`,
    ...rows.map(([kind, name, value], i) => {
      const heading = rows[i - 1]?.[0] === kind ? '' : kind;
      return `  ${heading.padEnd(6)}  ${name.padEnd(width)}  ${value.padStart(12)}`;
    }),
    '',
  ];
}
