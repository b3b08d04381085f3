// Single theses at a constant arrival rate, whatever the server does. Every
// request is another (ticker, as_of, seed): no answer comes from the cache. As in
// batch.js all tickers are asked about on one date, then on the next.
// RATE_PER_MIN, DURATION, SEED_BASE.

import { check } from 'k6';
import { Counter, Trend } from 'k6/metrics';
import exec from 'k6/execution';
import { TREND_STATS, date, post } from './common.js';

export { handleSummary, setup } from './common.js';

const answered = new Counter('theses_answered');
const refused = new Counter('theses_refused');
const failed = new Counter('theses_failed');
const accepted = new Trend('accepted_ms', true);
const rejected = new Trend('rejected_ms', true);

export const options = {
  summaryTrendStats: TREND_STATS,
  scenarios: {
    single: {
      executor: 'constant-arrival-rate',
      rate: Number(__ENV.RATE_PER_MIN || 30),
      timeUnit: '1m',
      duration: __ENV.DURATION || '60s',
      preAllocatedVUs: 100,
      maxVUs: 400,
      gracefulStop: '90s',
    },
  },
  // Informative: a figure, not a gate.
  thresholds: { theses_failed: ['count==0'], accepted_ms: ['p(95)<60000'] },
};

export default function (data) {
  const i = exec.scenario.iterationInTest + Number(__ENV.SEED_BASE || 0);
  const n = data.tickers.length;
  const body = { ticker: data.tickers[i % n], as_of: date(Math.floor(i / n)), seed: i };
  const response = post('/v1/thesis', body);
  if (response.status === 200) {
    answered.add(1);
    accepted.add(response.timings.duration);
  } else if (response.status === 503) {
    refused.add(1);
    rejected.add(response.timings.duration);
    check(response, { '503 has Retry-After': (r) => r.headers['Retry-After'] !== undefined });
  } else {
    failed.add(1);
    console.error(`${response.status} ${response.error} ${String(response.body).slice(0, 200)}`);
  }
}
