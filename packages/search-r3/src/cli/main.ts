#!/usr/bin/env node
/** The `search-r3` executable. */
import { runProgram } from './program.js';

// A reader may close the pipe early (`search-r3 ... | head`). That is not a failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

const code = await runProgram(process.argv.slice(2));
// Open sessions and sockets must not keep the process alive. Flush stdout, then exit.
process.stdout.write('', () => process.exit(code));
