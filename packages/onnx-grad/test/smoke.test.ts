import { VERSION } from 'onnx-grad';
import { expect, test } from 'vitest';

test('version', () => expect(VERSION).toBe('0.1.0'));
