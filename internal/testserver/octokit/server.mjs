// Recorded traffic of api.github.com (npm @octokit/fixtures) as a server, on loopback only: the package's own binds every
// interface. Environment: PORT (0: free), TLS_CERT and TLS_KEY. It prints "listening URL" and ends with its standard
// input. POST /fixtures {"scenario": NAME} begins a scenario and gives its base URL; a scenario answers its recorded
// requests, each once and in their order, and nothing else.
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import path from 'node:path';
import express from 'express';
import fixtures from '@octokit/fixtures-server';

const env = process.env;
const tls = Boolean(env.TLS_CERT);
const app = express();
const server = tls
  ? https.createServer({ cert: fs.readFileSync(env.TLS_CERT), key: fs.readFileSync(env.TLS_KEY) }, app)
  : http.createServer(app);

const root = path.join(path.dirname(new URL(import.meta.resolve('@octokit/fixtures')).pathname), 'scenarios/api.github.com');
const scenarios = Object.fromEntries(fs.readdirSync(root).map((name) => [
  name, JSON.parse(fs.readFileSync(path.join(root, name, 'normalized-fixture.json'))),
]));

process.stdin.on('end', () => process.exit(0)).resume();
server.listen(Number(env.PORT ?? 0), '127.0.0.1', () => {
  const { port } = server.address();
  const fixturesUrl = `${tls ? 'https' : 'http'}://localhost:${port}`;
  app.use(fixtures({ port, fixturesUrl, logLevel: 'silent', ttl: 600000, fixtures: scenarios }));
  console.log('listening', fixturesUrl);
});
