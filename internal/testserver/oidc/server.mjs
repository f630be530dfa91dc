// A certified OpenID provider (npm oidc-provider) as a real OAuth 2.0 server for tests, on loopback only.
// Environment: PORT (0: free), AT_TTL, CC_TTL, RT_TTL in seconds, ROTATE=0|1, PAGES=0|1, TLS_CERT and TLS_KEY, CLIENT_JWKS.
// It prints "listening ISSUER", counts grants at GET /__stats, and ends with its standard input.
// Interactions finish by themselves: the account is login_hint or "alice"; login_hint=deny is access_denied. With PAGES=1
// they are pages.mjs's. Redirects to /oauth/callback on any loopback port are those of the clients app and native.
import http from 'node:http';
import https from 'node:https';
import fs from 'node:fs';
import { Provider, errors } from 'oidc-provider';
import * as jose from 'jose';
import { shown } from './pages.mjs';

const env = process.env;
const seconds = (name, otherwise) => Number(env[name] ?? otherwise);
const tls = Boolean(env.TLS_CERT);
const server = tls
  ? https.createServer({ cert: fs.readFileSync(env.TLS_CERT), key: fs.readFileSync(env.TLS_KEY) })
  : http.createServer();

const machine = (id, secret, more) => ({
  client_id: id, client_secret: secret, grant_types: ['client_credentials'], redirect_uris: [], response_types: [], scope: 'api:read', ...more,
});
const redirects = ['http://127.0.0.1/cb', 'http://127.0.0.1:9999/cb'];
const callback = 'http://127.0.0.1/oauth/callback';
const clients = [
  machine('m2m', 's3cr3t-m2m', { scope: 'api:read api:write' }),
  machine('m2m-post', 's3cr3t:/+%', { token_endpoint_auth_method: 'client_secret_post' }),
  machine('odd:id', 'p@ss/w+rd %'), // must be form-urlencoded before Basic (RFC 6749 section 2.3.1)
  { client_id: 'web', client_secret: 's3cr3t-web', grant_types: ['authorization_code', 'refresh_token'], redirect_uris: redirects, response_types: ['code'] },
  {
    client_id: 'native', token_endpoint_auth_method: 'none', application_type: 'native', redirect_uris: ['http://127.0.0.1/cb', callback], response_types: ['code'],
    grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
  },
  {
    client_id: 'app', client_secret: 's3cr3t-app', application_type: 'native', redirect_uris: [callback], response_types: ['code'],
    grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
  },
  machine('zoom', 's3cr3t-zoom', { grant_types: ['account_credentials'] }),
  { client_id: 'rs', client_secret: 's3cr3t-rs', grant_types: [], redirect_uris: [], response_types: [] }, // asks the introspection endpoint
];

// CLIENT_JWKS: the public keys of the client "signed", which proves itself by an assertion, and of who may speak for others.
const jwks = env.CLIENT_JWKS ? JSON.parse(env.CLIENT_JWKS) : undefined;
const jwtBearer = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const tokenExchange = 'urn:ietf:params:oauth:grant-type:token-exchange';
if (jwks) {
  const asserting = { redirect_uris: [], response_types: [], scope: 'api:read api:write', grant_types: ['client_credentials', jwtBearer, tokenExchange] };
  clients.push(
    { client_id: 'signed', token_endpoint_auth_method: 'private_key_jwt', jwks, ...asserting },
    { client_id: 'open', token_endpoint_auth_method: 'none', ...asserting, grant_types: [jwtBearer, tokenExchange] },
  );
}

// accounts adds a grant like Zoom's of server-to-server apps: the client's own account, named.
function accounts(provider) {
  provider.registerGrantType('account_credentials', async (ctx) => {
    if (ctx.oidc.params.account_id !== 'AbC-123') throw new errors.InvalidGrant('no such account');
    const token = new provider.ClientCredentials({ client: ctx.oidc.client, scope: 'api:read' });
    ctx.body = { access_token: await token.save(), expires_in: token.expiration, token_type: 'bearer', scope: 'api:read' };
  }, ['account_id']);
}

// fromJSON lets /json/... in: the endpoints of a server that takes nothing but JSON objects, as Notion's does.
async function fromJSON(req, res) {
  if (req.headers['content-type'] !== 'application/json') {
    res.writeHead(415).end();
    return false;
  }
  let body = '';
  for await (const chunk of req) if ((body += chunk).length > 1e5) throw new Error('too long');
  req.body = JSON.parse(body); // the provider takes one that was read before
  req.headers['content-type'] = 'application/x-www-form-urlencoded';
  req.url = req.url.slice('/json'.length);
  return true;
}

// assertions adds the grants of RFC 7523 and RFC 8693, which verify what they are given by jose.
function assertions(provider) {
  const keys = jose.createLocalJWKSet(jwks);
  const seen = new Set();
  const verified = async (token, options) => {
    try {
      const { payload } = await jose.jwtVerify(token, keys, { issuer: 'robot@example.test', requiredClaims: ['sub', 'iat', 'exp', 'jti'], ...options });
      if (payload.exp - payload.iat > 300 || payload.iat > Date.now() / 1000 || seen.has(payload.jti)) throw new Error('too long, too early, or used before');
      seen.add(payload.jti);
      return payload;
    } catch (cause) {
      throw new errors.InvalidGrant('the assertion is not valid', undefined, { cause });
    }
  };
  const give = async (ctx, more) => {
    const { scope } = ctx.oidc.params;
    const token = new provider.ClientCredentials({ client: ctx.oidc.client, scope });
    ctx.body = { access_token: await token.save(), expires_in: token.expiration, token_type: 'Bearer', scope, ...more };
  };
  provider.registerGrantType(jwtBearer, async (ctx) => {
    const { sub, scope } = await verified(ctx.oidc.params.assertion, { audience: `${provider.issuer}/token` });
    if (sub !== 'alice') throw new errors.InvalidGrant('nobody of that name');
    if (scope !== ctx.oidc.params.scope) throw new errors.InvalidScope('not the scope of the assertion', scope);
    await give(ctx);
  }, ['assertion', 'scope']);
  provider.registerGrantType(tokenExchange, async (ctx) => {
    const { subject_token: token, subject_token_type: type, audience, requested_token_type: wanted } = ctx.oidc.params;
    if (type === 'urn:ietf:params:oauth:token-type:jwt') await verified(token, { audience: 'workload' });
    else if (type !== 'urn:ietf:params:oauth:token-type:access_token') throw new errors.InvalidRequest('unknown subject_token_type');
    else if (!(await provider.ClientCredentials.find(token))?.isValid) throw new errors.InvalidGrant('the subject token is not valid');
    if (audience !== undefined && audience !== 'urn:api') throw new errors.InvalidTarget('unknown audience');
    await give(ctx, {
      issued_token_type: wanted ?? 'urn:ietf:params:oauth:token-type:access_token',
      ...(wanted?.endsWith(':jwt') && { token_type: 'N_A' }),
    });
  }, ['subject_token', 'subject_token_type', 'requested_token_type', 'audience', 'scope']);
}

// A resource, resource=urn:x, gives signed JWT access tokens.
const resource = (ctx, uri) => ({
  scope: 'api:read api:write', audience: uri, accessTokenFormat: 'jwt', accessTokenTTL: seconds('AT_TTL', 10), jwt: { sign: { alg: 'RS256' } },
});

const configuration = {
  clients,
  scopes: ['openid', 'offline_access', 'api:read', 'api:write'],
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true, allowedPolicy: async () => true },
    devInteractions: { enabled: false },
    resourceIndicators: { enabled: true, defaultResource: () => undefined, useGrantedResource: () => true, getResourceServerInfo: resource },
  },
  ttl: {
    AccessToken: seconds('AT_TTL', 10), ClientCredentials: seconds('CC_TTL', 10), RefreshToken: seconds('RT_TTL', 600),
    AuthorizationCode: 60, IdToken: 60, DeviceCode: 120, Grant: 3600, Session: 3600, Interaction: 300,
  },
  rotateRefreshToken: env.ROTATE !== '0',
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
  pkce: { required: (ctx, client) => client.clientAuthMethod === 'none' },
  cookies: { keys: ['test-only'] },
  findAccount: async (ctx, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  renderError: async (ctx, out) => { ctx.type = 'json'; ctx.body = out; },
};

// finish answers the login and the consent page in the place of a person.
async function finish(provider, req, res) {
  const details = await provider.interactionDetails(req, res);
  const { prompt, params, session, grantId } = details;
  const answer = env.PAGES === '1' ? await shown(req, res, details) : { account: params.login_hint ?? 'alice', allow: params.login_hint !== 'deny' };
  if (answer === undefined) return undefined;
  if (answer.allow === false) {
    return provider.interactionFinished(req, res, { error: 'access_denied' }, { mergeWithLastSubmission: false });
  }
  if (prompt.name === 'login') {
    return provider.interactionFinished(req, res, { login: { accountId: answer.account } }, { mergeWithLastSubmission: false });
  }
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  if (prompt.details.missingOIDCScope) grant.addOIDCScope(prompt.details.missingOIDCScope.join(' '));
  for (const [uri, scopes] of Object.entries(prompt.details.missingResourceScopes ?? {})) {
    grant.addResourceScope(uri, scopes.join(' '));
  }
  return provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true });
}

process.stdin.on('end', () => process.exit(0)).resume();
server.listen(Number(env.PORT ?? 0), '127.0.0.1', () => {
  const issuer = `${tls ? 'https' : 'http'}://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration);
  if (jwks) assertions(provider);
  accounts(provider);
  const stats = {}; // "GRANT_TYPE:ok" or "GRANT_TYPE:ERROR" -> how often
  const count = (grant, what) => { stats[`${grant}:${what}`] = (stats[`${grant}:${what}`] ?? 0) + 1; };
  provider.on('grant.success', (ctx) => count(ctx.oidc.params.grant_type, 'ok'));
  provider.on('grant.error', (ctx, err) => count(ctx.oidc?.params?.grant_type, err.error));
  const answer = provider.callback();
  server.on('request', async (req, res) => {
    try {
      if (req.url === '/__stats') res.end(JSON.stringify(stats));
      else if (req.url.startsWith('/interaction/')) await finish(provider, req, res);
      else if (!req.url.startsWith('/json/') || (await fromJSON(req, res))) await answer(req, res);
    } catch (err) {
      res.statusCode = 500;
      res.end(String(err?.stack ?? err));
    }
  });
  console.log('listening', issuer);
});
