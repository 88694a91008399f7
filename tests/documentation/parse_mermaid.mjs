// Reads a JSON list of diagrams on stdin and prints a JSON list of what mermaid says of each: "" if it parses.
// The first argument is the folder that has node_modules with mermaid and jsdom in it.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const folder = process.argv[2];
const { JSDOM } = createRequire(join(folder, 'x.js'))('jsdom');
const page = new JSDOM('<!doctype html><body></body>');
globalThis.window = page.window;
globalThis.document = page.window.document;
const core = join(folder, 'node_modules', 'mermaid', 'dist', 'mermaid.core.mjs');
const mermaid = (await import(pathToFileURL(core).href)).default;

const said = [];
for (const diagram of JSON.parse(readFileSync(0, 'utf8'))) {
  try {
    await mermaid.parse(diagram);
    said.push('');
  } catch (error) {
    said.push(String(error.message ?? error));
  }
}
process.stdout.write(JSON.stringify(said));
process.exit(0);
