// Addresses without their passwords, keys, and what a failed fetch says about the request.
import { ConnectionFailed } from './errors.js'

// After these no byte of the request was sent, so any request may be repeated. Browsers do not say.
const NOT_SENT = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'ENETUNREACH', 'EHOSTUNREACH', 'UND_ERR_CONNECT_TIMEOUT'])

/**
 * Parse the server's address. Throws ConnectionFailed if it is not one.
 * @param {string | URL} baseUrl
 * @returns {URL} with a slash at its end, so that paths can be added
 */
export function parseUrl(baseUrl) {
  let url
  try {
    url = new URL(baseUrl)
  } catch {
    throw refused(`the server's address is no URL: it must begin with http:// or https://`)
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw refused(`the server's address must begin with http:// or https://`)
  }
  // Fetch takes no such address. The message does not repeat it, since it has a password.
  if (url.username || url.password) throw refused('the server\'s address holds a user or a password: pass a key as apiKey')
  url.search = url.hash = ''
  if (!url.pathname.endsWith('/')) url.pathname += '/'
  return url
}

/**
 * Return the headers with the key. Throws ConnectionFailed for a key that is not valid in a header.
 * @param {string | undefined} apiKey
 * @returns {Record<string, string>}
 */
export function authorization(apiKey) {
  if (!apiKey) return {}
  if (!/^[\x20-\x7e]+$/.test(apiKey)) {
    throw refused('the API key holds a line break or a character that is not ASCII: check how it was copied')
  }
  return { authorization: `Bearer ${apiKey}` }
}

/**
 * Return the ConnectionFailed for an error of fetch.
 * @param {unknown} error
 * @param {URL} url
 */
export function connectionFailed(error, url) {
  const causes = causesOf(error)
  const sent = !causes.some((each) => NOT_SENT.has(/** @type {any} */ (each).code) || /\(Connect\)/.test(each.message))
  const why = causes.map((each) => each.message).filter(Boolean).at(-1) ?? String(error)
  const what = sent ? 'no answer from' : 'cannot reach'
  return new ConnectionFailed(`${what} ${url.origin}: ${why}`, { requestSent: sent, cause: error })
}

/** @param {unknown} error @returns {Error[]} */
function causesOf(error) {
  /** @type {Error[]} */
  const found = []
  for (let each = error; each instanceof Error && found.length < 8; each = each.cause) {
    found.push(each)
    // Node tries all addresses of a host and reports each failure.
    if (each instanceof AggregateError) found.push(...each.errors.filter((one) => one instanceof Error))
  }
  return found
}

/** @param {string} message */
const refused = (message) => new ConnectionFailed(message, { requestSent: false })
