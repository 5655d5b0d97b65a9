/** The teacher, against a server in this process: what it is asked, when it is asked again, and what is an error. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { askTeacher } from 'search-r3/targets';
import { expect, test } from 'vitest';

/** A server that gives these answers in order; resolves with the requests that it had. */
async function served(answers: [number, string][], work: (url: string) => Promise<void>): Promise<string[]> {
  const requests: string[] = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    requests.push(`${request.url} ${request.headers.authorization ?? ''} ${body}`);
    const [status, text] = answers[requests.length - 1] ?? [500, 'no more'];
    response.writeHead(status, { 'retry-after': '0' }).end(text);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  try {
    await work(`http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`);
  } finally {
    server.close();
  }
  return requests;
}
const said = JSON.stringify({ choices: [{ message: { content: 'because' } }] });
const options = { model: 'm', prompt: 'Q {query} D {document}', concurrency: 1 };
const texts = { query: 'why', document: 'd {query}' };

test('asked again while the server is busy', async () => {
  const requests = await served(
    [
      [429, ''],
      [503, ''],
      [200, said],
    ],
    async (url) => {
      expect(await askTeacher({ ...options, url }, texts)).toBe('because');
    },
  );
  const body = '{"model":"m","messages":[{"role":"user","content":"Q why D d {query}"}]}';
  expect(requests).toEqual(Array(3).fill(`/v1/chat/completions  ${body}`));
});

test.each<[[number, string], RegExp]>([
  [[401, 'no key'], /expected a chat completion, found status 401: no key/],
  [[200, '{}'], /expected a chat completion, found \{\}/],
])('refused: %j', async (answer, message) => {
  const requests = await served([answer], async (url) => {
    await expect(askTeacher({ ...options, url }, texts)).rejects.toThrow(message);
  });
  expect(requests.length).toBe(1);
});
