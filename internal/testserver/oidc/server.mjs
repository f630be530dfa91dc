// A certified OpenID provider (npm oidc-provider) as a real OAuth 2.0 server for tests, on loopback only.
// Environment: PORT (0: free), AT_TTL, CC_TTL, RT_TTL in seconds, ROTATE=0|1, TLS_CERT and TLS_KEY.
// It prints "listening ISSUER", counts grants at GET /__stats, and ends with its standard input.
// Interactions finish by themselves: the account is login_hint or "alice"; login_hint=deny is access_denied.
import http from 'node:http';
import https from 'node:https';
import fs from 'node:fs';
import { Provider } from 'oidc-provider';

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
const clients = [
  machine('m2m', 's3cr3t-m2m', { scope: 'api:read api:write' }),
  machine('m2m-post', 's3cr3t:/+%', { token_endpoint_auth_method: 'client_secret_post' }),
  machine('odd:id', 'p@ss/w+rd %'), // must be form-urlencoded before Basic (RFC 6749 section 2.3.1)
  { client_id: 'web', client_secret: 's3cr3t-web', grant_types: ['authorization_code', 'refresh_token'], redirect_uris: redirects, response_types: ['code'] },
  {
    client_id: 'native', token_endpoint_auth_method: 'none', application_type: 'native', redirect_uris: ['http://127.0.0.1/cb'], response_types: ['code'],
    grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
  },
  { client_id: 'rs', client_secret: 's3cr3t-rs', grant_types: [], redirect_uris: [], response_types: [] }, // asks the introspection endpoint
];

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
  const { prompt, params, session, grantId } = await provider.interactionDetails(req, res);
  if (params.login_hint === 'deny') {
    return provider.interactionFinished(req, res, { error: 'access_denied' }, { mergeWithLastSubmission: false });
  }
  if (prompt.name === 'login') {
    return provider.interactionFinished(req, res, { login: { accountId: params.login_hint ?? 'alice' } }, { mergeWithLastSubmission: false });
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
  const stats = {}; // "GRANT_TYPE:ok" or "GRANT_TYPE:ERROR" -> how often
  const count = (grant, what) => { stats[`${grant}:${what}`] = (stats[`${grant}:${what}`] ?? 0) + 1; };
  provider.on('grant.success', (ctx) => count(ctx.oidc.params.grant_type, 'ok'));
  provider.on('grant.error', (ctx, err) => count(ctx.oidc?.params?.grant_type, err.error));
  const answer = provider.callback();
  server.on('request', async (req, res) => {
    try {
      if (req.url === '/__stats') res.end(JSON.stringify(stats));
      else if (req.url.startsWith('/interaction/')) await finish(provider, req, res);
      else await answer(req, res);
    } catch (err) {
      res.statusCode = 500;
      res.end(String(err?.stack ?? err));
    }
  });
  console.log('listening', issuer);
});
