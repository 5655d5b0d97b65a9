import { EventEmitter } from 'node:events';
import { InterruptedError, listenForStop, type ProgressEvent, ProgressTracker } from 'search-r3/run';
import { describe, expect, test, vi } from 'vitest';

describe('ProgressTracker', () => {
  test('rate and remaining time come from a moving window of the latest steps', () => {
    let now = 5_000;
    const events: ProgressEvent[] = [];
    const tracker = new ProgressTracker({
      stage: 'rl',
      steps: 10,
      window: 3,
      clock: () => now,
      reporter: { report: (event) => events.push(event) },
    });
    // Uneven steps: 4 s, 1 s, 1 s, 2 s.
    for (const [step, seconds] of [4, 1, 1, 2].entries()) {
      now += seconds * 1000;
      tracker.update(step + 1, { reward: step });
    }
    expect(events.map(({ rate }) => rate)).toEqual([1 / 4, 2 / 5, 3 / 6, 3 / 4]);
    expect(events.map(({ etaSeconds }) => etaSeconds)).toEqual([
      9 * 4,
      8 / (2 / 5),
      7 / (3 / 6),
      6 / (3 / 4),
    ]);
    expect(events[3]).toMatchObject({ stage: 'rl', step: 4, steps: 10, metrics: { reward: 3 } });
  });

  test('steps from before a resume do not count towards the rate; several may finish at once', () => {
    let now = 0;
    const tracker = new ProgressTracker({ stage: 'encode', steps: 700, from: 500, clock: () => now });
    now = 2_000;
    expect(tracker.update(550)).toMatchObject({ rate: 25, etaSeconds: 6 });
    now = 4_000;
    expect(tracker.update(700)).toMatchObject({ rate: 50, etaSeconds: 0 });
  });

  test('rate and remaining time are null while unknown', () => {
    const tracker = new ProgressTracker({ stage: 'x', steps: 3, clock: () => 1 });
    expect(tracker.update(0)).toMatchObject({ rate: null, etaSeconds: null });
    expect(tracker.update(1)).toMatchObject({ rate: null, etaSeconds: null });
  });
});

describe('listenForStop', () => {
  const setup = () => {
    const source = new EventEmitter();
    const exit = vi.fn();
    const onStop = vi.fn();
    const clock = { now: 1_000 };
    const stop = listenForStop({ process: source, exit, onStop, clock: () => clock.now });
    return { source, exit, onStop, clock, stop };
  };

  test('the first signal aborts, the second ends the process with 130', () => {
    const { source, exit, onStop, clock, stop } = setup();
    expect(stop.signal.aborted).toBe(false);
    source.emit('SIGINT');
    expect(stop.signal.reason).toBeInstanceOf(InterruptedError);
    expect(onStop).toHaveBeenCalledTimes(1);
    expect(exit).not.toHaveBeenCalled();
    clock.now += 300;
    source.emit('SIGTERM');
    expect(exit.mock.calls).toEqual([[130]]);
    expect(onStop).toHaveBeenCalledTimes(1);
  });

  test('one Ctrl-C that arrives twice counts once', () => {
    const { source, exit, clock } = setup();
    source.emit('SIGINT');
    clock.now += 299;
    source.emit('SIGINT');
    expect(exit).not.toHaveBeenCalled();
  });

  test('dispose removes the listeners', () => {
    const { source, stop } = setup();
    stop.dispose();
    expect([source.listenerCount('SIGINT'), source.listenerCount('SIGTERM')]).toEqual([0, 0]);
  });
});
