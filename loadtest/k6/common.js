// What the scripts share: whom to ask, and what to keep of the result.

import http from 'k6/http';

const BASE_URL = __ENV.BASE_URL || 'http://127.0.0.1:8080';
const FIRST_DAY = Date.UTC(2006, 1, 15);
const LAST_DAY = Date.UTC(2022, 11, 20);
const DAY_MS = 86400000;

// Times worth knowing beyond k6's default.
export const TREND_STATS = ['avg', 'min', 'med', 'p(90)', 'p(95)', 'p(99)', 'max'];

// k6 hands the result to every iteration.
export function setup() {
  return { tickers: http.get(url('/v1/tickers')).json().map((span) => span.ticker) };
}

// The i-th of many distinct dates: strides of 61 days wrap around the history.
export function date(i) {
  const days = (LAST_DAY - FIRST_DAY) / DAY_MS;
  return new Date(FIRST_DAY + ((i * 61) % days) * DAY_MS).toISOString().slice(0, 10);
}

export function url(path) {
  return `${BASE_URL}${path}`;
}

// The body and the parameters of a request.
export function json(body) {
  return [JSON.stringify(body), { headers: { 'Content-Type': 'application/json' }, timeout: '900s' }];
}

export function post(path, body) {
  return http.post(url(path), ...json(body));
}

// Writes the whole result to OUT; the caller prints what matters of it.
export function handleSummary(data) {
  return __ENV.OUT ? { [__ENV.OUT]: JSON.stringify(data, null, 1) } : { stdout: JSON.stringify(data) };
}
