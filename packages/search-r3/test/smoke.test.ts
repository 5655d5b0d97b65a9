import { VERSION } from 'search-r3';
import { expect, test } from 'vitest';

test('version', () => expect(VERSION).toBe('0.1.0'));
