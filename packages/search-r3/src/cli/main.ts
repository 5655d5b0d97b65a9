#!/usr/bin/env node
/** The `search-r3` executable. */
import { runProgram } from './program.js';

// A reader that has seen enough (`search-r3 ... | head`) is no failure of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

const code = await runProgram(process.argv.slice(2));
// Sessions and sockets that are still open must not keep the process; what was written must get out first.
process.stdout.write('', () => process.exit(code));
