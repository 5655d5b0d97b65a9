/** Estimates as sums of named parts. */

/** Something that takes memory. */
export interface Part {
  name: string;
  bytes: number;
}

/** Something that takes time. */
export interface TimedPart {
  name: string;
  seconds: number;
}

/** What exists at one time. */
export interface Phase {
  name: string;
  parts: readonly Part[];
}

export interface StageEstimate {
  stage: string;
  /** The phase that takes most memory. */
  phase: string;
  /** Its parts, largest first. */
  parts: Part[];
  /** Their sum. */
  peak: number;
  /** Parts of the time, longest first. */
  times: TimedPart[];
  /** Their sum. */
  seconds: number;
}

export const bytesOfAll = (parts: readonly Part[]): number =>
  parts.reduce((sum, { bytes }) => sum + bytes, 0);

/** A stage from its phases: memory is that of the largest. Parts of no size are left out. */
export function stageEstimate(
  stage: string,
  phases: readonly [Phase, ...Phase[]],
  times: readonly TimedPart[],
): StageEstimate {
  const largest = phases.reduce((a, b) => (bytesOfAll(b.parts) > bytesOfAll(a.parts) ? b : a));
  const parts = largest.parts.filter(({ bytes }) => bytes > 0).sort((a, b) => b.bytes - a.bytes);
  return {
    stage,
    phase: largest.name,
    parts,
    peak: bytesOfAll(parts),
    times: times.filter(({ seconds }) => seconds > 0).sort((a, b) => b.seconds - a.seconds),
    seconds: times.reduce((sum, { seconds }) => sum + seconds, 0),
  };
}

const GB = 1e9;
const MB = 1e6;

/** `2.1 GB`, `350 MB`. */
export function formatBytes(bytes: number): string {
  return bytes >= 0.9995 * GB ? `${(bytes / GB).toFixed(1)} GB` : `${Math.round(bytes / MB)} MB`;
}

/** `35 minutes`, `2.5 hours`, `40 seconds`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 90) return plural(Math.max(1, Math.round(seconds)), 'second');
  if (seconds < 90 * 60) return plural(Math.round(seconds / 60), 'minute');
  const hours = seconds / 3600;
  return hours < 10 ? `${hours.toFixed(1)} hours` : plural(Math.round(hours), 'hour');
}

const plural = (count: number, unit: string) => `${count} ${unit}${count === 1 ? '' : 's'}`;
